"""Rendered images kept on disk: one ``.npy`` of uint8 a split, made once, mapped into memory, never half-written."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from calip_core.paths import atomic_path

_DIGEST = hashlib.sha256().digest_size


class DamagedCacheError(ValueError):
    """A cache file is not what was written."""


def fingerprint(sources: Path, parameters: dict[str, Any]) -> str:
    """16 hexadecimal digits that change with the Python files under ``sources``, the parameters, or NumPy's version.

    NumPy counts as a maker too: its random streams and elementary functions may differ in another version.
    """
    digest = hashlib.sha256(json.dumps([parameters, np.__version__], sort_keys=True).encode())
    for file in sorted(sources.rglob("*.py")):
        code = file.read_bytes()
        digest.update(f"{file.relative_to(sources).as_posix()} {len(code)} ".encode() + code)
    return digest.hexdigest()[:16]


def write_images(path: Path, shape: tuple[int, int, int, int], batches: Iterator[UInt8[np.ndarray, "_ h w 3"]]) -> None:
    """Write batches of images as one ``.npy`` file that is followed by its SHA-256.

    ``numpy.load`` reads such a file as any other; the digest at its end shows damage of every kind. Plain writes, not a
    writable memory map: on a full disk they raise, where the map would end the process.

    Args:
        path: the file to write; it appears when it is whole.
        shape: images, height, width, 3.
        batches: that many images in all, in their order.

    Raises:
        ValueError: the batches hold other images than ``shape`` says.
        OSError: the folder cannot be written, or the disk is full.
    """
    digest, written = hashlib.sha256(), 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            if batch.shape[1:] != shape[1:] or batch.dtype != np.uint8:
                raise ValueError(f"rendered {batch.dtype} images of {batch.shape[1:]}, expected uint8 of {shape[1:]}")
            data = np.ascontiguousarray(batch).data
            digest.update(data)
            file.write(data)
            written += len(batch)
        if written != shape[0]:
            raise ValueError(f"rendered {written} images, expected {shape[0]}")
        file.write(digest.digest())


def map_images(path: Path, shape: tuple[int, int, int, int]) -> UInt8[np.ndarray, "n h w 3"]:
    """Map the images of a cache file into memory, after a check of every byte.

    Raises:
        FileNotFoundError: there is no such file yet.
        OSError: the file cannot be opened.
        DamagedCacheError: the file is truncated or was changed.
    """
    try:
        images: np.memmap[Any, np.dtype[np.uint8]] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise DamagedCacheError(f"{path} is no array ({error})") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise DamagedCacheError(f"{path} holds {images.dtype} {images.shape}, expected uint8 {shape}")
    with path.open("rb") as file:
        file.seek(-_DIGEST, os.SEEK_END)
        expected = file.read()
    if path.stat().st_size != images.offset + images.nbytes + _DIGEST or _sha256(images) != expected:
        raise DamagedCacheError(f"{path} does not match its checksum")
    return images


def _sha256(images: UInt8[np.ndarray, "n h w 3"]) -> bytes:
    return hashlib.sha256(images.reshape(-1).data).digest()


class CachedImages:
    """Reads image number i of a cache file, which is made when the first image is asked for.

    Several processes may ask at once: each then writes a whole file of the same bytes, and the last one stays.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        render: Callable[[int, int], UInt8[np.ndarray, "_ h w 3"]],
        batch_size: int = 128,
    ) -> None:
        """Say what to read, and how to make it.

        Args:
            path: the cache file.
            shape: images, height, width, 3.
            render: gives images ``start`` to ``stop``.
            batch_size: images rendered at a time.
        """
        self._path, self._shape, self._render, self._batch_size = path, shape, render, batch_size
        self._images: UInt8[np.ndarray, "n h w 3"] | None = None

    def __call__(self, index: int) -> Image.Image:
        if self._images is None:
            self._images = self._open()
        return Image.fromarray(self._images[index])

    def __getstate__(self) -> dict[str, Any]:
        """A worker process maps the file itself instead of receiving all its images."""
        return self.__dict__ | {"_images": None}

    def _open(self) -> UInt8[np.ndarray, "n h w 3"]:
        try:
            return map_images(self._path, self._shape)
        except FileNotFoundError:
            pass
        except DamagedCacheError as error:
            warnings.warn(f"{error}: rendering the images again", UserWarning, stacklevel=4)
        write_images(self._path, self._shape, self._batches())
        return map_images(self._path, self._shape)

    def _batches(self) -> Iterator[UInt8[np.ndarray, "_ h w 3"]]:
        count = self._shape[0]
        for start in tqdm(range(0, count, self._batch_size), f"rendering {self._path.stem}", delay=2, leave=False):
            yield self._render(start, min(start + self._batch_size, count))
