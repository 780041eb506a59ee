"""Pictures."""

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from calip_core.datasets.readers.pictures import FORMATS, open_picture
from tests.fuzz.harness import Target

MODES: dict[str, Sequence[str]] = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "P", "1", "I;16"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "LA", "I;16", "F"),
    "PPM": ("RGB", "L", "1"),
    "WEBP": ("RGB", "RGBA"),
}
"""What a picture can be saved as; for other formats, RGB."""
TURNED = Image.Exif()
TURNED[0x0112] = 6  # by a quarter
OPTIONS: dict[str, Sequence[dict[str, Any]]] = {
    "JPEG": ({}, {"progressive": True, "exif": TURNED}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}),
    "WEBP": ({}, {"lossless": True}),
}


def _pictures(kind: str) -> list[bytes]:
    options = OPTIONS.get(kind, ({},))
    return [_saved(kind, mode, chosen) for mode in MODES.get(kind, ("RGB",)) for chosen in options]


def _saved(kind: str, mode: str, options: dict[str, Any]) -> bytes:
    colours = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    deep = {"I;16": colours[..., 0].astype(np.uint16) * 257, "F": colours[..., 0].astype(np.float32) / 255}
    image = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(colours).convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


TARGETS = [
    Target(kind, f"picture.{kind.lower()}", partial(_pictures, kind), partial(open_picture, upright=True))
    for kind in FORMATS
    if kind != "DIB"  # a BMP without its first 14 bytes
]
