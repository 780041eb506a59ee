"""A dataset of the literature as tables of a mirror on the Hub: files are renamed, so CoOp's split cannot be used."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from calip_core.datasets.checks import SPLITS
from calip_core.datasets.hub.columns import Columns, columns_of
from calip_core.datasets.hub.origin import origin_of
from calip_core.datasets.hub.tables import check_rows, split_labels, table_files, table_split
from calip_core.datasets.readers.cars import year_first
from calip_core.datasets.readers.cuts import VAL_BY_RULE
from calip_core.datasets.readers.disk import EACH, TRAIN_AND_VAL, Found, Listing, Row
from calip_core.datasets.readers.own_splits import cut_val_off, own_sizes, readable
from calip_core.datasets.subsets import subset
from calip_core.datasets.task import Split

NAMES: dict[str, Callable[[str], str]] = {"stanford_cars": year_first}
"""Card -> how CoOp writes a class name of the mirror; by default, as the mirror does."""


def list_mirror(found: Found) -> Listing:
    """The tables below a folder as the images of a card's dataset; val is cut from train if the mirror has none.

    Raises:
        ImportError: the package pyarrow is not installed.
        ValueError: a table is missing, damaged or not of the same classes as the others, or there is no train or test.
        OSError: a table cannot be opened.
    """
    files = table_files(found.images)
    if not {"train", "test"} <= set(files):
        raise ValueError(f"{found.images} has tables of {', '.join(files)}, expected train and test: fetch it again")
    columns = columns_of(files["train"][0])
    tables = {split: _Tables(found.images, paths, columns) for split, paths in files.items()}
    rows = {split: table.rows for split, table in tables.items()}
    cut = {} if "val" in rows else cut_val_off(rows["train"])
    origin = origin_of(found.images) or found.images.name
    own, note = " and ".join(split for split in SPLITS if split in rows), f"; {VAL_BY_RULE}" if cut else ""
    name_of = NAMES.get(found.card.name, _as_there)
    return Listing(
        tuple(map(name_of, columns.names)),
        rows | cut,
        f"own splits {own} of {origin}, a mirror that renames files: not CoOp's split{note}",
        own_sizes(found),
        TRAIN_AND_VAL if cut else EACH,
        inside=True,
        split_of=partial(_split_of, list(tables.values())),
    )


class _Tables:
    """The tables of one of the mirror's splits, with one row per image, named after its table."""

    def __init__(self, folder: Path, paths: Sequence[Path], columns: Columns) -> None:
        labels = [split_labels([path], columns) for path in paths]
        for path, part in zip(paths, labels, strict=True):
            check_rows(part, [path], columns)
        self.split = table_split(paths, columns, np.concatenate(labels))
        self.rows = [
            Row(f"{path.relative_to(folder).as_posix()}#{number:06d}", label)
            for path, part in zip(paths, labels, strict=True)
            for number, label in enumerate(part.tolist())
        ]
        self.numbers = {row.path: number for number, row in enumerate(self.rows)}


def _split_of(tables: Sequence[_Tables], rows: list[Row]) -> Split:
    """The split of these rows, which all belong to one of the mirror's splits."""
    owner = next(table for table in tables if not rows or rows[0].path in table.numbers)
    return subset(owner.split, [owner.numbers[row.path] for row in rows])


def _as_there(name: str) -> str:
    return readable(name, {})
