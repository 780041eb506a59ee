"""Images of parquet tables, read where they lie: one batch of rows of one row group is in memory at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from calip_core.datasets.hub.columns import parquet
from calip_core.datasets.readers.pictures import picture_in
from calip_core.reading import reading

_BATCH = 32  # rows that are decoded together, at most
_BYTES = 512 << 20
"""Bytes of a batch, at most, unless one row has more.

Equal pictures can be stored once: each of a group's rows may be as large as all that the group stores.
"""


class TableImages:
    """Reads image i from its row.

    Reading in order is fast; a jump back, or into another row group, begins that group again.

    Attributes:
        paths: the tables.
    """

    def __init__(self, paths: tuple[Path, ...], groups: Int64[np.ndarray, "g 3"], column: str) -> None:
        """Say where the images lie.

        Args:
            paths: the tables.
            groups: number of the table, number of the row group in it, and number of rows, in the order of the images.
            column: the column of the images.
        """
        self.paths, self._groups, self._column = paths, groups, column
        self._firsts = np.concatenate([[0], np.cumsum(groups[:, 2])])
        self._lock = threading.Lock()
        self._open: _OpenGroup | None = None

    def __call__(self, index: int) -> Image.Image:
        number = int(np.searchsorted(self._firsts, index, "right")) - 1
        row = index - int(self._firsts[number])
        table, group, _ = map(int, self._groups[number])
        path, place = self.paths[table], f"{self.paths[table]}, row {row} of row group {group}"
        with self._lock, reading(place, "an image"):
            if self._open is None or self._open.number != number or row < self._open.first:
                self._open = _OpenGroup(number, path, group, self._column)
            content = self._open.content(row)
        return picture_in(content, place)

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens the tables itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._open = threading.Lock(), None


class _OpenGroup:
    """A row group that is being read from its start.

    Attributes:
        number: of the group among all groups of the split.
        first: first row of the batch in memory.
    """

    def __init__(self, number: int, path: Path, group: int, column: str) -> None:
        self.number, self.first = number, 0
        file = parquet().ParquetFile(path)
        chunks = [file.metadata.row_group(group).column(i) for i in range(file.metadata.row_group(group).num_columns)]
        stored = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
        rows = max(1, min(_BATCH, _BYTES // max(1, stored)))
        self._batches: Iterator[Any] = file.iter_batches(rows, row_groups=[group], columns=[column])
        self._batch: Any = next(self._batches, None)

    def content(self, row: int) -> bytes:
        """The bytes of the image in a row that is not before the batch in memory."""
        while self._batch is not None and row >= self.first + len(self._batch):
            self.first += len(self._batch)
            self._batch = next(self._batches, None)
        if self._batch is None:
            raise ValueError("the table has fewer rows than it claims")
        cell = self._batch.column(0)[row - self.first].as_py() or {}
        if cell.get("bytes") is None:
            raise ValueError(
                f"it has no bytes, only the path {cell.get('path')!r}: images outside the table are not read"
            )
        content: bytes = cell["bytes"]
        return content
