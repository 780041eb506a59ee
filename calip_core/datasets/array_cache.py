"""Rendered images and sampled clouds on disk: one ``.npy`` a split, made once, memory-mapped, never half-written."""

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
    """A cache file is not what was written."""


def fingerprint(parameters: dict[str, Any]) -> str:
    """16 hexadecimal digits that change with the parameters, or with NumPy's version.

    Whoever makes the rows states among the parameters the version of the rules by which they are made
    (``world.VERSION``, ``pointclouds.VERSION``). NumPy counts as a maker too: its random streams and elementary
    functions may differ in another version.
    """
    text = json.dumps([parameters, np.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_array(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, batches: Iterator[Shaped[np.ndarray, "_ ..."]]
) -> None:
    """Write batches of rows as one ``.npy`` file that is followed by its SHA-256.

    ``numpy.load`` reads such a file as any other; the digest at its end shows damage of every kind. Plain writes, not a
    writable memory map: on a full disk they raise, where the map would end the process.

    Args:
        path: the file to write; it appears when it is whole.
        shape: of the whole array.
        dtype: of its numbers.
        batches: that many rows in all, in their order.

    Raises:
        ValueError: the batches hold other rows than ``shape`` and ``dtype`` say.
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
    """Map a cache file into memory, after a check of every byte.

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
    """Reads row number i of a cache file, which is made when the first row is asked for.

    Several processes may ask at once: each then writes a whole file of the same bytes, and the last one stays.
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
        """Say what to read, and how to make it.

        Args:
            path: the cache file; as a function where its name takes work, which is put off until a row is wanted.
            shape: of the whole array.
            make: gives rows ``start`` to ``stop``.
            dtype: of its numbers.
            batch_size: rows made at a time.
            doing: the word that a progress bar shows.
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
        """Hexadecimal SHA-256 of all rows, which are made if need be."""
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
    """Images of uint8 "n h w 3", each as a picture."""

    def __init__(
        self,
        path: Path | Callable[[], Path],
        shape: tuple[int, int, int, int],
        render: Callable[[int, int], UInt8[np.ndarray, "_ h w 3"]],
        batch_size: int = 128,
    ) -> None:
        """As for an array; ``render`` gives images ``start`` to ``stop``."""
        super().__init__(path, shape, render, dtype=np.uint8, batch_size=batch_size)

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self[index])
