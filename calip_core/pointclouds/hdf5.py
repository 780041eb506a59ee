"""Many clouds in one HDF5 file: ``data`` (N x P x 3) and ``label`` (N x 1), as in ModelNet40 and ScanObjectNN.

Files are untrusted: links to other files are refused, and types and shapes are checked before any data is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Int64

from calip_core.pointclouds.clouds import Cloud, check_cloud

POINTS, LABELS = "data", "label"
BLOCK = 256
"""Clouds read at a time: the published files are compressed in blocks of many clouds."""


def read_labels(path: Path) -> Int64[np.ndarray, " n"]:
    """The class index of every cloud in a file.

    Raises:
        ValueError: the file is not HDF5, lacks one of the two keys, or has one of the wrong shape or type.
        OSError: the file cannot be opened.
    """
    with _open(path) as file:
        points, labels = _dataset(file, POINTS, path), _dataset(file, LABELS, path)
        if points.ndim != 3 or points.shape[2] < 3 or points.dtype.kind not in "fiu":
            raise ValueError(f"{path}: {POINTS} is {points.dtype} {points.shape}, expected numbers (clouds, points, 3)")
        if labels.shape not in ((len(points),), (len(points), 1)) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: {LABELS} is {labels.dtype} {labels.shape}, expected one whole number for each of the "
                f"{len(points)} clouds in {POINTS}"
            )
        return np.asarray(labels[:], dtype=np.int64).reshape(-1)


def read_row(path: Path, row: int) -> Cloud:
    """All stored points of cloud ``row``; columns after the third are dropped.

    The surrounding block of clouds is cached, so that reading in order is fast.

    Raises:
        ValueError: the file is damaged, or the points form no valid cloud.
        OSError: the file cannot be opened.
    """
    block = _block(path, path.stat().st_mtime_ns, row // BLOCK)
    if row % BLOCK >= len(block):
        raise ValueError(f"{path} has no row {row}: it has changed since it was listed; load the dataset again")
    return check_cloud(block[row % BLOCK], f"{path}, row {row}")


@lru_cache(maxsize=4)
def _block(path: Path, changed: int, number: int) -> Float32[np.ndarray, "n p 3"]:
    """One block of clouds; ``changed`` is the file's modification time, part of the cache key."""
    with _open(path) as file:
        points = _dataset(file, POINTS, path)
        with np.errstate(over="ignore"):
            return np.asarray(points[number * BLOCK : (number + 1) * BLOCK, :, :3], dtype=np.float32)


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: was the archive not unpacked completely?")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:  # h5py raises these for every kind of damage
        raise ValueError(f"{path} is not a whole HDF5 file ({error}): unpack or fetch it again") from error


def _dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    if key not in list(file):  # names only: looking up the object would follow a link
        raise ValueError(f"{path} has the keys {sorted(file)}, expected {POINTS} and {LABELS}: is it the right file?")
    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"{path}: {key} is no array of this file's own, expected one: do not trust it, fetch it again")
    return found
