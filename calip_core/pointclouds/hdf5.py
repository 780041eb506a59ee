"""Many clouds in one HDF5 file: ``data`` (N x P x 3) and ``label`` (N x 1), as ModelNet40 and ScanObjectNN have it.

A file may come from anyone: links that lead to other files are refused, and nothing is read before its kind is known.
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
"""Clouds that are read at a time: the published files are compressed in blocks of many clouds."""


def read_labels(path: Path) -> Int64[np.ndarray, " n"]:
    """The class number of every cloud in a file.

    Raises:
        ValueError: the file is no HDF5, lacks one of the two keys, or they are not of the shape that they should be.
        OSError: it cannot be opened.
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
    """Cloud number ``row`` of a file, all points that it has there; columns after the third are left out.

    The block of clouds around it is kept, so that reading in order is fast.

    Raises:
        ValueError: the file is damaged, or the points are no cloud.
        OSError: it cannot be opened.
    """
    block = _block(path, path.stat().st_mtime_ns, row // BLOCK)
    if row % BLOCK >= len(block):
        raise ValueError(f"{path} has no row {row}: it has changed since it was listed; load the dataset again")
    return check_cloud(block[row % BLOCK], f"{path}, row {row}")


@lru_cache(maxsize=4)
def _block(path: Path, changed: int, number: int) -> Float32[np.ndarray, "n p 3"]:
    """Some clouds; ``changed``, the file's time, is there so that another file of this name is read anew."""
    with _open(path) as file:
        points = _dataset(file, POINTS, path)
        with np.errstate(over="ignore"):
            return np.asarray(points[number * BLOCK : (number + 1) * BLOCK, :, :3], dtype=np.float32)


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: was the archive not wholly unpacked?")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:  # h5py's words for damage of every kind
        raise ValueError(f"{path} is not a whole HDF5 file ({error}): unpack or fetch it again") from error


def _dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    if key not in list(file):  # the names alone: to look for the object would follow a link
        raise ValueError(f"{path} has the keys {sorted(file)}, expected {POINTS} and {LABELS}: is it the right file?")
    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"{path}: {key} is no array of this file's own, expected one: do not trust it, fetch it again")
    return found
