"""Handwritten digits: real pixels in the procedural world (scikit-learn's copy of the UCI optical digits)."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from sklearn.datasets import load_digits

_TRAINING = 898  # the first half of the 1797 images; the second half is for validation and test


@dataclass(frozen=True)
class Digits:
    """``n`` digits and how each is drawn; ``digits[i:j]`` are digits again."""

    digit: Int64[np.ndarray, " n"]
    ink: Float32[np.ndarray, "n 8 8"]
    paper_rgb: Float32[np.ndarray, "n 3"]
    ink_rgb: Float32[np.ndarray, "n 3"]
    place: Float32[np.ndarray, "n 2 3"]

    def __len__(self) -> int:
        return len(self.digit)

    def __getitem__(self, index: Any) -> "Digits":
        if isinstance(index, int | np.integer):
            index = [int(index)]
        return Digits(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    def facts(self) -> dict[str, Int64[np.ndarray, " n"]]:
        """The true attributes of each picture: attribute name -> index of its word."""
        return {"digit": self.digit}


@lru_cache(maxsize=2)
def digit_images(half: Literal["train", "test"]) -> tuple[Float32[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    """The scans (ink in [0, 1]) and their values: "train" trains the miniature, which never sees "test".

    Raises:
        ValueError: ``half`` is neither "train" nor "test".
    """
    if half not in ("train", "test"):
        raise ValueError(f'half = {half!r}: expected "train" or "test"')
    part = slice(None, _TRAINING) if half == "train" else slice(_TRAINING, None)
    images, values = load_digits(return_X_y=True)
    ink = (images[part].reshape(-1, 8, 8) / 16.0).astype(np.float32)
    return ink, values[part].astype(np.int64)


def sample_digits(n: int, seed: int) -> Digits:
    """Sample ``n`` scans from the training half, each with random greys, position, size and slant."""
    ink, values = digit_images("train")
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(ink), n)
    dark, bright = rng.uniform(0, 0.3, n), rng.uniform(0.65, 1, n)
    swap = rng.random(n) < 0.5
    paper, colour = np.where(swap, bright, dark), np.where(swap, dark, bright)
    zoom, slant = rng.uniform(1.0, 1.6, n), rng.uniform(-0.2, 0.2, n)
    shift = rng.uniform(-0.3, 0.3, (n, 2)) * (zoom[:, None] - 0.8)
    place = np.zeros((n, 2, 3))
    place[:, 0, 0] = place[:, 1, 1] = zoom * np.cos(slant)
    place[:, 0, 1], place[:, 1, 0] = -zoom * np.sin(slant), zoom * np.sin(slant)
    place[:, :, 2] = shift
    return _as_digits(ink[index], values[index], paper, colour, place)


def unseen_digits() -> Digits:
    """All 899 scans of the test half, upright and centred, white on black."""
    ink, values = digit_images("test")
    n = len(ink)
    place = np.tile(np.array([[1.25, 0, 0], [0, 1.25, 0]]), (n, 1, 1))
    return _as_digits(ink, values, np.zeros(n), np.ones(n), place)


def _as_digits(
    ink: np.ndarray, values: np.ndarray, paper: np.ndarray, colour: np.ndarray, place: np.ndarray
) -> Digits:
    grey = np.ones((1, 3))
    return Digits(
        digit=values,
        ink=ink,
        paper_rgb=(paper[:, None] * grey).astype(np.float32),
        ink_rgb=(colour[:, None] * grey).astype(np.float32),
        place=place.astype(np.float32),
    )


def render_digits(digits: Digits, resolution: int = 128) -> UInt8[np.ndarray, "n h w 3"]:
    """Enlarge the 8 x 8 scans with bicubic interpolation and blend ink and paper."""
    if not len(digits):
        return np.empty((0, resolution, resolution, 3), np.uint8)
    grid = torch.nn.functional.affine_grid(
        torch.from_numpy(digits.place), [len(digits), 1, resolution, resolution], align_corners=False
    )
    ink = torch.nn.functional.grid_sample(
        torch.from_numpy(digits.ink).unsqueeze(1), grid, mode="bicubic", align_corners=False
    ).clamp_(0, 1)
    paper, colour = (torch.from_numpy(rgb).view(-1, 3, 1, 1) for rgb in (digits.paper_rgb, digits.ink_rgb))
    picture = torch.lerp(paper, colour, ink)
    return np.ascontiguousarray(picture.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
