"""Controlled changes that make labelled pictures harder to recognise, to find where a classifier fails."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from calip_core.datasets.task import Split

Shift = Callable[[Image.Image, Image.Image, float, np.random.Generator], Image.Image]
"""(picture, another picture of the split, strength, randomness) -> the changed picture, of the same size."""

CELLS = 4
"""Rows and columns of the grid in which ``mixed`` replaces cells."""


def smaller(image: Image.Image, other: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """The picture at ``1 - strength`` of its size, at a random place on a canvas of its border's mean colour."""
    width, height = (max(1, round(side * (1 - strength))) for side in image.size)
    x, y = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.size, (width, height), strict=True))
    canvas = Image.new("RGB", image.size, _border_colour(image))
    canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, y))
    return canvas


def mixed(image: Image.Image, other: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """A share ``strength`` of the cells of a 4 x 4 grid shows the other picture instead: cover and clutter at once."""
    replaced = np.zeros(CELLS**2, dtype=bool)
    replaced[rng.permutation(CELLS**2)[: round(strength * CELLS**2)]] = True
    mask = Image.fromarray(replaced.reshape(CELLS, CELLS)).convert("L").resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(other.resize(image.size), image, mask)


def noisy(image: Image.Image, other: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise on every value; its standard deviation is ``strength`` of the range from black to white."""
    values = np.asarray(image, dtype=np.float32) / 255
    changed = np.clip(values + strength * rng.standard_normal(values.shape, dtype=np.float32), 0, 1)
    return Image.fromarray((changed * 255).round().astype(np.uint8))


def coarse(image: Image.Image, other: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Scaled down to ``(1 - strength)`` squared of its side and up again, so that detail is lost."""
    small = tuple(max(2, round(side * (1 - strength) ** 2)) for side in image.size)
    return image.resize((small[0], small[1]), Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


SHIFTS: dict[str, Shift] = {"smaller": smaller, "mixed": mixed, "noisy": noisy, "coarse": coarse}
"""The shifts by name; each leaves a picture as it is at strength 0."""


@dataclass(frozen=True)
class _ShiftedImages:
    split: Split
    shift: Shift
    strength: float
    seed: int

    def __call__(self, index: int) -> Image.Image:
        rng = np.random.default_rng((self.seed, index))
        step = int(rng.integers(1, max(2, len(self.split))))
        other = (index + step) % len(self.split)
        return self.shift(self.split[index][0], self.split[other][0], self.strength, rng)


def shifted(split: Split, name: str, strength: float, seed: int = 0) -> Split:
    """The split with every picture changed, in the same order and with the same labels.

    Args:
        split: labelled pictures, but not depth maps of point clouds.
        name: one of ``SHIFTS``.
        strength: from 0, unchanged, to 1 (excluded).
        seed: seed of all randomness; a picture's change depends only on it and on the picture's number.

    Raises:
        ValueError: the name is unknown, the strength is out of range, or the split has point clouds, whose views belong
            together and reach the encoder without CLIP's preprocessing.
    """
    if name not in SHIFTS:
        raise ValueError(f"shift is {name!r}, expected one of {', '.join(SHIFTS)}")
    if not 0 <= strength < 1:
        raise ValueError(f"strength is {strength}, expected at least 0 and less than 1")
    if split.views > 1 or split.depth_maps:
        raise ValueError(
            f"the split holds depth maps of point clouds, {split.views} to a cloud, expected pictures that stand for "
            "themselves: a shift changes every picture for itself. Shift a split of an image task instead"
        )
    read = _ShiftedImages(split, SHIFTS[name], strength, seed)
    # The files do not determine them: a shift may show parts of other pictures, so the pixels are the fingerprint.
    return Split(read, split.labels)


def _border_colour(image: Image.Image) -> tuple[int, int, int]:
    values: Float[np.ndarray, "h w 3"] = np.asarray(image, dtype=np.float64)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    red, green, blue = (round(float(value)) for value in border.mean(axis=0))
    return red, green, blue
