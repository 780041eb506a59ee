"""Rendered images and sampled clouds on disk: one ``.npy`` file per split, made once and memory-mapped."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy.typing import DTypeLike
from PIL import Image
from tqdm import tqdm

from calip_core.paths import atomic_path
from calip_core.reading import reading

_DIGEST = hashlib.sha256().digest_size


class DamagedCacheError(ValueError):
    """A cache file differs from what was written."""


def fingerprint(parameters: dict[str, Any]) -> str:
    """16 hexadecimal digits that change with the parameters, or with NumPy's version.

    The parameters must include the version of the rules that produce the rows (``world.VERSION``,
    ``pointclouds.VERSION``). NumPy's version is included because its random streams and elementary functions may
    change.
    """
    text = json.dumps([parameters, np.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_array(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, batches: Iterator[Shaped[np.ndarray, "_ ..."]]
) -> None:
    """Write batches of rows as one ``.npy`` file followed by its SHA-256.

    ``numpy.load`` reads such a file normally; the digest at its end reveals any damage. Plain writes are used instead
    of a writable memory map: on a full disk they raise, whereas the map would end the process.

    Args:
        path: the file to write; it appears only when complete.
        shape: of the whole array.
        dtype: of its numbers.
        batches: all rows, in order.

    Raises:
        ValueError: the batches do not match ``shape`` and ``dtype``.
        OSError: the folder cannot be written, or the disk is full.
    """
    digest, written = hashlib.sha256(), 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            if batch.shape[1:] != shape[1:] or batch.dtype != dtype:
                expected = f"{np.dtype(dtype)} of {shape[1:]}"
                raise ValueError(f"made {batch.dtype} rows of {batch.shape[1:]}, expected {expected}")
            data = np.ascontiguousarray(batch).data
            digest.update(data)
            file.write(data)
            written += len(batch)
        if written != shape[0]:
            raise ValueError(f"made {written} rows, expected {shape[0]}")
        file.write(digest.digest())


def map_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Shaped[np.ndarray, "n ..."]:
    """Map a cache file into memory, after verifying its checksum.

    Raises:
        FileNotFoundError: there is no such file yet.
        OSError: the file cannot be opened.
        DamagedCacheError: the file is truncated or was changed.
    """
    try:
        with reading(path, "an array"):
            array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise DamagedCacheError(str(error)) from error
    if array.shape != shape or array.dtype != dtype:
        raise DamagedCacheError(f"{path} holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
    with path.open("rb") as file:
        file.seek(-_DIGEST, os.SEEK_END)
        expected = file.read()
    if path.stat().st_size != array.offset + array.nbytes + _DIGEST or _sha256(array) != expected:
        raise DamagedCacheError(f"{path} does not match its checksum")
    return array


def _sha256(array: Shaped[np.ndarray, "n ..."]) -> bytes:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).digest()


class CachedArray:
    """Rows of a cache file, which is made when the first row is requested.

    Several processes may do so at once: each writes a complete file with the same bytes, and the last one stays.
    """

    def __init__(
        self,
        path: Path | Callable[[], Path],
        shape: tuple[int, ...],
        make: Callable[[int, int], Shaped[np.ndarray, "_ ..."]],
        *,
        dtype: DTypeLike,
        batch_size: int = 128,
        doing: str = "rendering",
    ) -> None:
        """Store what to read, and how to make it.

        Args:
            path: the cache file, or a function that returns it if computing its name is expensive; it is called on
                first access.
            shape: of the whole array.
            make: returns rows ``start`` to ``stop``.
            dtype: of its numbers.
            batch_size: rows made at a time.
            doing: label of the progress bar.
        """
        self._where, self._shape, self._make, self._dtype = path, shape, make, np.dtype(dtype)
        self._batch_size, self._doing = batch_size, doing
        self._array: Shaped[np.ndarray, "n ..."] | None = None

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int | slice) -> Shaped[np.ndarray, "..."]:
        rows: np.ndarray = self._rows[index]
        return rows

    @property
    def _rows(self) -> Shaped[np.ndarray, "n ..."]:
        if self._array is None:
            self._array = self._open()
        return self._array

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all rows, which are made if necessary."""
        return _sha256(self._rows).hex()

    def __getstate__(self) -> dict[str, Any]:
        """A worker process maps the file itself instead of receiving all its rows."""
        return self.__dict__ | {"_array": None}

    def _open(self) -> Shaped[np.ndarray, "n ..."]:
        path = self._where() if callable(self._where) else self._where
        try:
            return map_array(path, self._shape, self._dtype)
        except FileNotFoundError:
            pass
        except DamagedCacheError as error:
            warnings.warn(f"{error}: {self._doing} it again", UserWarning, stacklevel=4)
        write_array(path, self._shape, self._dtype, self._batches(path.stem))
        return map_array(path, self._shape, self._dtype)

    def _batches(self, name: str) -> Iterator[Shaped[np.ndarray, "_ ..."]]:
        count = self._shape[0]
        for start in tqdm(range(0, count, self._batch_size), f"{self._doing} {name}", delay=2, leave=False):
            yield self._make(start, min(start + self._batch_size, count))


class CachedImages(CachedArray):
    """Images of uint8 "n h w 3", each returned as a PIL image."""

    def __init__(
        self,
        path: Path | Callable[[], Path],
        shape: tuple[int, int, int, int],
        render: Callable[[int, int], UInt8[np.ndarray, "_ h w 3"]],
        batch_size: int = 128,
    ) -> None:
        """As for ``CachedArray``; ``render`` returns images ``start`` to ``stop``."""
        super().__init__(path, shape, render, dtype=np.uint8, batch_size=batch_size)

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self[index])
