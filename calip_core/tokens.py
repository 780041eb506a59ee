"""The two containers that flow through the library: image features from a backbone, and the three logits of CALIP."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ImageTokens:
    """Pooled and spatial features of ``n`` images, all rows of unit length.

    Attributes:
        pooled: F_v of each image, the features that CLIP itself classifies with.
        spatial: F_s of each image: ``m = grid[0] * grid[1]`` vectors in the same joint space, row by row of the grid.
        grid: rows and columns of the spatial tokens.

    Raises:
        ValueError: the shapes do not match.
    """

    pooled: Float[Tensor, "n c"]
    spatial: Float[Tensor, "n m c"]
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        n, c = self.pooled.shape
        expected = (n, self.grid[0] * self.grid[1], c)
        if tuple(self.spatial.shape) != expected:
            raise ValueError(
                f"spatial tokens have shape {tuple(self.spatial.shape)}, but pooled features of shape {(n, c)} and a "
                f"grid of {self.grid[0]}x{self.grid[1]} need {expected}: encode both with the same backbone"
            )

    @classmethod
    def without_places(cls, pooled: Float[Tensor, "n c"]) -> "ImageTokens":
        """Pooled features alone, with an empty grid."""
        n, c = pooled.shape
        return cls(pooled, pooled.new_empty(n, 0, c), (0, 0))

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> "ImageTokens":
        """The images selected by a slice, a list of indices or a boolean mask."""
        return ImageTokens(self.pooled[index], self.spatial[index], self.grid)

    def to(self, target: torch.device | torch.dtype | str) -> "ImageTokens":
        """The same tokens on another device or in another precision."""
        return ImageTokens(self.pooled.to(target), self.spatial.to(target), self.grid)

    def batches(self, size: int | None = None) -> Iterator["ImageTokens"]:
        """The images in order, at most ``size`` at a time; all at once by default. Without images there is no batch."""
        step = size or max(1, len(self))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    @staticmethod
    def cat(parts: Sequence["ImageTokens"]) -> "ImageTokens":
        """Concatenate batches from one backbone, in order.

        Raises:
            ValueError: there are no parts, or their grids differ.
        """
        grids = sorted({part.grid for part in parts})
        if len(grids) != 1:
            raise ValueError(f"expected token batches of one grid, got {len(parts)} batches with grids {grids}")
        pooled = torch.cat([part.pooled for part in parts])
        return ImageTokens(pooled, torch.cat([part.spatial for part in parts]), grids[0])


@runtime_checkable
class TokenStream(Protocol):
    """Tokens read batch by batch, from memory or disk; ``ImageTokens`` is such a stream too."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batches(self) -> Iterator[ImageTokens]:
        """All images in order. Every call starts from the first image."""
        ...


@dataclass(frozen=True)
class CalipLogits:
    """The three terms of CALIP's blend for ``n`` images and ``k`` classes, each multiplied by the logit scale s.

    Attributes:
        clip: s F_v F_t^T, CLIP's own zero-shot logits (weight beta1).
        text_attended: s F_v F_t^aT, with text features that have attended to the image (beta2).
        visual_attended: s F_v^a F_t^T, with image features that have attended to the text (beta3).
    """

    clip: Float[Tensor, "n k"]
    text_attended: Float[Tensor, "n k"]
    visual_attended: Float[Tensor, "n k"]

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> "CalipLogits":
        """The logits of the selected images."""
        return CalipLogits(self.clip[index], self.text_attended[index], self.visual_attended[index])

    def combine(self, beta1: float = 1.0, *, beta2: float, beta3: float) -> Float[Tensor, "n k"]:
        """beta1 * clip + beta2 * text_attended + beta3 * visual_attended: CALIP's blend, as released.

        Raises:
            ValueError: a weight is infinite or NaN.
        """
        if not all(map(math.isfinite, (beta1, beta2, beta3))):
            raise ValueError(f"beta1, beta2, beta3 are {beta1}, {beta2}, {beta3}, expected finite numbers")
        return beta1 * self.clip + beta2 * self.text_attended + beta3 * self.visual_attended

    @staticmethod
    def cat(parts: Sequence["CalipLogits"]) -> "CalipLogits":
        """Concatenate the logits of consecutive batches of images."""
        return CalipLogits(
            torch.cat([part.clip for part in parts]),
            torch.cat([part.text_attended for part in parts]),
            torch.cat([part.visual_attended for part in parts]),
        )
