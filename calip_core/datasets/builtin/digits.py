"""scikit-learn's handwritten digits: real pixels, 8 by 8 of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image

from calip_core import world
from calip_core.datasets.cards import load_card
from calip_core.datasets.task import Split, Task

RESOLUTION = 128
MARGIN = 1
"""Scanned pixels of paper added on each side, because a scan is cropped so close that its ink touches the edge."""


@dataclass(frozen=True, eq=False)
class DigitImages:
    """Reads image number i of the scans: white ink on black, enlarged with bicubic interpolation.

    Attributes:
        ink: from 0 for paper to 1 for ink.
    """

    ink: Float32[np.ndarray, "n 8 8"]

    def __call__(self, index: int) -> Image.Image:
        scan = np.pad(np.rint(self.ink[index] * 255).astype(np.uint8), MARGIN)
        return Image.fromarray(scan).resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC).convert("RGB")


def load_digits() -> Task:
    """The handwritten digits, cut in the order of scikit-learn's file.

    Train is the first half, *which also trains the miniature*: its backbones have seen digits, though none of the
    images of val (the first 300 of the second half) and test (the others).
    """
    (known, known_labels), (new, new_labels) = world.digit_images("train"), world.digit_images("test")
    splits = {
        "train": Split(DigitImages(known), known_labels),
        "val": Split(DigitImages(new[:300]), new_labels[:300]),
        "test": Split(DigitImages(new[300:]), new_labels[300:]),
    }
    return Task.from_card(load_card("digits"), splits)
