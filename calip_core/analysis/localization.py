"""Localization scores of a heat-map over an image's tokens, given the object's mask."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Masks = Bool[np.ndarray, "n h w"]


def points_on_object(masks: Masks, grid: tuple[int, int], tolerance: int = 0) -> Bool[np.ndarray, "n m"]:
    """Whether the centre of each token's cell lies on the mask, or within ``tolerance`` pixels of it.

    A token stands for a whole cell, but a heat-map points at a single pixel: the centre, where the map interpolated
    between tokens has its peak. The tolerance (Chebyshev distance, in mask pixels) compensates for that.

    Raises:
        ValueError: the grid is finer than the masks, or the tolerance is negative.
    """
    _check_grid(masks, grid)
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance} pixels, expected 0 or more")
    grown = torch.from_numpy(masks).float()
    if tolerance:
        grown = torch.nn.functional.max_pool2d(grown, 2 * tolerance + 1, stride=1, padding=tolerance)
    rows, columns = (_cell_centres(size, cells) for size, cells in zip(masks.shape[1:], grid, strict=True))
    return grown[:, rows][:, :, columns].flatten(1).bool().numpy()


def pointing_hits(heat: Float[Tensor, "n m"], on_object: Bool[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """The pointing game: whether the hottest token of each image lies on the object (Zhang et al., IJCV 2018).

    A random token hits with probability ``on_object.mean(axis=1)``.

    Args:
        heat: one number per token, in any unit.
        on_object: which tokens count as hits, from ``points_on_object``.

    Raises:
        ValueError: the shapes differ, or the heat is NaN.
    """
    _check_heat(heat, on_object)
    hottest = heat.argmax(dim=1).cpu().numpy()
    return np.asarray(on_object[np.arange(len(on_object)), hottest])


def _cell_centres(size: int, cells: int) -> list[int]:
    return [int((i + 0.5) * size / cells) for i in range(cells)]


def _check_grid(masks: Masks, grid: tuple[int, int]) -> None:
    if not (1 <= grid[0] <= masks.shape[1] and 1 <= grid[1] <= masks.shape[2]):
        raise ValueError(
            f"a grid of {grid[0]}x{grid[1]} tokens does not fit masks of {masks.shape[1]}x{masks.shape[2]} pixels: "
            "expected 1 to as many rows and columns as the masks have"
        )


def _check_heat(heat: Tensor, tokens: np.ndarray) -> None:
    if tuple(heat.shape) != tokens.shape:
        raise ValueError(
            f"heat has shape {tuple(heat.shape)}, the object's tokens {tokens.shape}: "
            "make both for the same images and the same grid"
        )
    if heat.isnan().any():
        raise ValueError("heat holds NaN: it has no hottest token")
