"""Many clouds in one HDF5 file: ``data`` (N x P x 3) and ``label`` (N x 1), as in ModelNet40 and ScanObjectNN.

Files are untrusted: links to other files and unusual filters are refused, and types, shapes and sizes are checked
before any data is read.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from h5py import h5z
from jaxtyping import Int64, Shaped

from calip_core.pointclouds.clouds import Cloud, check_cloud, check_columns
from calip_core.reading import reading

POINTS, LABELS = "data", "label"
BLOCK = 256
"""Clouds read at a time: the published files are compressed in blocks of many clouds."""
FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_LZF}
"""What a dataset may be stored through."""
RATIO = 1032
"""Bytes that deflate, the strongest filter, can give for one stored byte: a larger size has not been stored."""


def read_labels(path: Path) -> Int64[np.ndarray, " n"]:
    """The class index of every cloud in a file.

    Raises:
        ValueError: the file is damaged or not HDF5, lacks one of the two keys, or has one of the wrong shape or type.
        OSError: the file cannot be opened.
    """
    with _open(path) as (_, labels):
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
def _block(path: Path, changed: int, number: int) -> Shaped[np.ndarray, "n p 3"]:
    """One block of clouds; ``changed`` is the file's modification time, part of the cache key."""
    with _open(path) as (points, _):
        return np.asarray(points[number * BLOCK : (number + 1) * BLOCK, :, :3])


@contextmanager
def _open(path: Path) -> Iterator[tuple[h5py.Dataset, h5py.Dataset]]:
    """The points and the labels of a file, both checked but not read."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: was the archive not unpacked completely?")
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        points, labels = _dataset(file, POINTS, path), _dataset(file, LABELS, path)
        _check_layout(points, labels, path)
        yield points, labels


def _dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    if key not in list(file):  # names only: looking up the object would follow a link
        raise ValueError(f"{path} has the keys {sorted(file)}, expected {POINTS} and {LABELS}: is it the right file?")
    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"{path}: {key} is no array of this file's own, expected one: do not trust it, fetch it again")
    _check_storage(found, key, path)
    return found


def _check_storage(array: h5py.Dataset, key: str, path: Path) -> None:
    """Refuse filters that are not known, and sizes that cannot have been stored in the file."""
    stored = array.id.get_create_plist()
    filters = {stored.get_filter(number)[0] for number in range(stored.get_nfilters())}
    if unknown := filters - FILTERS:
        raise ValueError(f"{path}: {key} is stored through filter {min(unknown)}, expected gzip or LZF: write it again")
    declared = max(math.prod(array.shape), math.prod(array.chunks or ())) * array.dtype.itemsize
    held = min(array.id.get_storage_size(), path.stat().st_size)
    if declared > RATIO * held:
        raise ValueError(f"{path}: {key} declares {declared} bytes and stores {held}: it is damaged; fetch it again")


def _check_layout(points: h5py.Dataset, labels: h5py.Dataset, path: Path) -> None:
    if points.ndim != 3 or points.shape[2] < 3 or points.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {POINTS} is {points.dtype} {points.shape}, expected numbers (clouds, points, 3)")
    check_columns(points.shape[1:], f"{path}: a cloud in {POINTS}")
    if labels.shape not in ((len(points),), (len(points), 1)) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: {LABELS} is {labels.dtype} {labels.shape}, expected one whole number for each of the "
            f"{len(points)} clouds in {POINTS}"
        )
