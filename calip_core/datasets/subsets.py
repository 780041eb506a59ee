"""Subsets of a split: unmodified images, augmented views, blurred images, or whole clouds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from calip_core.datasets.task import Preprocess, Split

VERSION = 1
"""Version of the rules for augmented and blurred images: increment it when a change alters their pixels."""

CROP = (0.5, 1.0)
"""Range of the share of the area that an augmented view keeps, as in Tip-Adapter's code."""

_SHAPE = (3 / 4, 4 / 3)  # width over height of a crop
_TRIES = 10

TEST_CROP = (0.08, 1.0)
"""The same for crops of a test image: torchvision's default, as in MTA's code."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""


def random_box(rng: np.random.Generator, width: int, height: int, kept: tuple[float, float] = CROP) -> Box:
    """A random crop by the rule of torchvision's ``RandomResizedCrop``, drawn from a given generator.

    torchvision uses torch's global generator, which parallel decoding threads would share.

    Args:
        rng: source of all random numbers.
        width: width of the image, in pixels.
        height: height of the image, in pixels.
        kept: range of the share of the area that the crop keeps.
    """
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*kept)
        shape = math.exp(rng.uniform(math.log(_SHAPE[0]), math.log(_SHAPE[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    # No such crop fits: use the largest central one.
    w, h = min(width, round(height * _SHAPE[1])), min(height, round(width / _SHAPE[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@dataclass(frozen=True)
class _Views:
    """Reads images of a split, each in one or several views."""

    split: Split
    indices: tuple[int, ...]
    augmentations: int
    seed: int

    def __call__(self, row: int) -> Image.Image:
        place, view = divmod(row, max(1, self.augmentations))
        image = self.split[self.indices[place]][0]
        return image if not self.augmentations else _augmented(image, (self.seed, self.indices[place], view))


def _augmented(image: Image.Image, seed: tuple[int, ...], kept: tuple[float, float] = CROP) -> Image.Image:
    rng = np.random.default_rng(seed)
    cut = image.resize(image.size, Image.Resampling.BICUBIC, random_box(rng, *image.size, kept))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else cut


class ImageSubset(Split):
    """Some images of a split, each unmodified or in several augmented views: random crops, half of them mirrored.

    Attributes:
        views: rows of each drawn image.
    """

    def __init__(self, split: Split, indices: Sequence[int], augmentations: int = 0, seed: int = 0) -> None:
        """Select the images.

        Args:
            split: a split of images.
            indices: numbers of images in it.
            augmentations: number of views of each image; 0 uses the unmodified image.
            seed: seed of crops and mirrorings; view v of image i depends only on (seed, i, v).
        """
        views, drawn = max(1, augmentations), [int(i) for i in indices]
        change = f"{augmentations} views of {drawn} by seed {seed}, rule {VERSION}" if augmentations else f"{drawn}"
        untouched = split.paths is not None and not augmentations  # the files' contents identify the drawn images
        super().__init__(
            _Views(split, tuple(drawn), augmentations, seed),
            np.repeat(split.labels[drawn], views),
            views=views,
            paths=None if split.paths is None else [split.paths[i] for i in drawn for _ in range(views)],
            identity=split.identity if untouched else split.derived_identity(change),
        )


class CloudSubset(Split):
    """Some clouds of a split of views, each with all its views."""

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        """Select the clouds by the numbers of their images in the split, with the views of a cloud together."""
        self._split, self._indices = split, [int(i) for i in indices]
        identity = split.derived_identity(f"images {self._indices}")
        super().__init__(self._picture, split.labels[self._indices], views=split.views, identity=identity)
        self.depth_maps = split.depth_maps

    def _picture(self, row: int) -> Image.Image:
        return self._split[self._indices[row]][0]

    def encoder_input(self, index: int, preprocess: Preprocess, resolution: int) -> Float[Tensor, "3 h w"]:
        """Same as the split's input."""
        return self._split.encoder_input(self._indices[index], preprocess, resolution)


@dataclass(frozen=True)
class _WithCrops:
    split: Split
    crops: int
    seed: int

    def __call__(self, row: int) -> Image.Image:
        index, view = divmod(row, 1 + self.crops)
        image = self.split[index][0]
        return _augmented(image, (self.seed, index, view), TEST_CROP) if view else image


def with_crops(split: Split, crops: int, seed: int = 0) -> Split:
    """Each image of a split followed by random crops of it, half of them mirrored, as views of one item.

    Args:
        split: a split of images, one per item.
        crops: crops per image.
        seed: view v of image i depends only on (seed, i, v).

    Raises:
        ValueError: there are no crops, or the items have several views already, as point clouds have.
    """
    if crops < 1:
        raise ValueError(f"crops is {crops}, expected at least 1")
    if split.views > 1 or split.depth_maps:
        raise ValueError("the split holds views of point clouds, expected images: random crops are of one image")
    views = 1 + crops
    return Split(
        _WithCrops(split, crops, seed),
        np.repeat(split.labels, views),
        views=views,
        paths=None if split.paths is None else [path for path in split.paths for _ in range(views)],
        identity=split.derived_identity(f"and {crops} crops of each by seed {seed}, rule {VERSION}"),
    )


def subset(split: Split, indices: Sequence[int], augmentations: int = 0, seed: int = 0) -> Split:
    """Some images of a split, or some point clouds with all their views; the arguments are those of ``ImageSubset``."""
    return CloudSubset(split, indices) if split.depth_maps else ImageSubset(split, indices, augmentations, seed)


@dataclass(frozen=True)
class _Blur:
    split: Split
    radius: float

    def __call__(self, index: int) -> Image.Image:
        return self.split[index][0].filter(ImageFilter.GaussianBlur(self.radius))


class _Blurred(Split):
    """Pictures are blurred directly; for depth maps, the encoder's input is blurred."""

    def __init__(self, split: Split, radius: float) -> None:
        identity = split.derived_identity(f"blurred {radius}, rule {VERSION}")
        super().__init__(_Blur(split, radius), split.labels, views=split.views, paths=split.paths, identity=identity)
        self.depth_maps, self._split, self._radius = split.depth_maps, split, radius

    def encoder_input(self, index: int, preprocess: Preprocess, resolution: int) -> Float[Tensor, "3 h w"]:
        if not self.depth_maps:
            return super().encoder_input(index, preprocess, resolution)
        given = self._split.encoder_input(index, preprocess, resolution)
        size = 2 * math.ceil(3 * self._radius) + 1  # three standard deviations to each side
        blurred: Float[Tensor, "3 h w"] = gaussian_blur(given, [size, size], [self._radius, self._radius])
        return blurred


def blurred(split: Split, radius: float) -> Split:
    """The same items in the same order, blurred; views of clouds stay together.

    Args:
        split: labelled images, or views of clouds.
        radius: standard deviation of a Gaussian, in pixels of the image, or of the encoder's input for views of clouds;
            0 returns the split itself.

    Raises:
        ValueError: the radius is negative or not finite.
    """
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius is {radius}, expected a finite number of pixels, 0 or more")
    if radius == 0:
        return split
    return _Blurred(split, radius)
