"""Opening a picture: the one way from an image file, which may be damaged or hostile, to RGB."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

from calip_core.reading import reading

Image.init()
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF") if name in Image.OPEN
)
"""Pillow's names of the formats that are read, by what a file holds and not by its suffix.

Pillow opens others too, some by starting another program (Ghostscript for EPS): none of those.
"""
SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)
NOT_READ = frozenset((
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".mpo", ".svg", ".psd", ".tga", ".ico", ".exr", ".hdr",
    ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw",
))  # fmt: skip
"""Suffixes of pictures in other formats."""
MAX_PIXELS = 1 << 28
"""The most pixels of a picture: 268 million, which take 1 GiB decoded. The largest cameras have 200 million."""
_SMALL, _PIXELS_PER_BYTE = 1 << 24, 4096
"""Pixels above which a picture needs a file that is not too small for them; a sheet of one colour has 1,000 a byte."""
_WHITE_16 = 65535

# Pillow's own limit holds for the whole process and is lower than ours.
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, MAX_PIXELS) or None


def open_picture(path: Path, *, upright: bool = False, only_check: bool = False) -> Image.Image:
    """Open a picture and decode it completely (of several pages or frames, the first), in RGB.

    Transparent places become white. Grey levels of 16 bits and of floating-point numbers from 0 to 1 become 8 bits.

    Args:
        path: the file.
        upright: whether to rotate it as its EXIF data says.
        only_check: allow a JPEG to be decoded at an eighth of its size, which is faster but still reads every byte.

    Raises:
        ValueError: the file is damaged, has another format or more than ``MAX_PIXELS``, or its numbers have no known
            white; the message names the file.
        OSError: the file cannot be opened.
    """
    with reading(path, "an image"), path.open("rb") as file:
        return _decoded(file, path.stat().st_size, upright, only_check)


def picture_in(content: bytes, place: str) -> Image.Image:
    """A picture that is a part of a larger file, decoded like ``open_picture`` decodes a file, as stored.

    Args:
        content: its bytes, as a file of its own would hold them.
        place: the larger file and the picture's place in it, for messages.

    Raises:
        ValueError: as ``open_picture`` does; the message names the place.
    """
    with reading(place, "an image"):
        return _decoded(io.BytesIO(content), len(content))


def _decoded(
    file: io.BufferedReader | io.BytesIO, size: int, upright: bool = False, only_check: bool = False
) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        _check_size(image, size)
        if only_check:
            image.draft("RGB", (1, 1))
        image.load()
        return _in_rgb(ImageOps.exif_transpose(image) if upright else image, image.format)


def _check_size(image: Image.Image, size: int) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ValueError(f"it has {pixels:,} pixels, at most {MAX_PIXELS:,} are read: make it smaller")
    if pixels > max(_SMALL, _PIXELS_PER_BYTE * size):
        raise ValueError(f"it claims {pixels:,} pixels in {size:,} bytes, as pictures do that are made to fill memory")


def _in_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_in_8_bits(np.asarray(image), image.mode, kind)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    visible = image.convert("RGBA")
    sheet = Image.new("RGB", image.size, "white")
    sheet.paste(visible, mask=visible.getchannel("A"))
    return sheet


def _in_8_bits(levels: Shaped[np.ndarray, "h w"], mode: str, kind: str | None) -> Shaped[np.ndarray, "h w"]:
    if mode == "F":
        if not (levels.min() >= 0 and levels.max() <= 1):  # NaN is neither
            raise ValueError(f"its levels go from {levels.min()} to {levels.max()}, expected 0 to 1: save it in 8 bits")
        whole: np.ndarray = np.rint(levels * 255).astype(np.uint8)
        return whole
    if mode == "I" and kind not in ("PNG", "PPM"):  # which Pillow gives with 16 bits
        raise ValueError("its levels have 32 bits, of which none is known to be white: save it in 8 or 16 bits")
    return ((levels.astype(np.uint32) * 255 + _WHITE_16 // 2) // _WHITE_16).astype(np.uint8)
