"""The figures of chapter 2: heat-maps over the image, the token grid, and matrices between tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import Compose
from torchvision.transforms import Normalize as Standardise

from calip_core.exhibits.style import MUTED, PALETTE, WIDTH
from calip_core.metrics import Interval

# Designed for colour-blind readers; its uniform lightness stays legible over a grey image.
HEAT_COLOURS = "cividis"
Picture = Float[np.ndarray, "h w 3"]
Heat = Float[np.ndarray, "gh gw"]


@dataclass(frozen=True)
class HeatRow:
    """One image and the heat-maps drawn over it, in the order of the columns.

    Attributes:
        image: red, green and blue in [0, 1].
        heats: one map per column, with one number per token.
        title: label at the left of the row.
        outline: mask of the object, drawn as an outline if given.
    """

    image: Picture
    heats: Sequence[Heat]
    title: str = ""
    outline: Bool[np.ndarray, "h w"] | None = None


def upsample(heat: Heat, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Interpolate a map of tokens bilinearly to ``size`` pixels, with each token's value at the centre of its cell."""
    values = torch.from_numpy(np.ascontiguousarray(heat)).double()[None, None]
    return interpolate(values, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def draw_heat(ax: Axes, image: Picture, heat: Heat, limits: tuple[float, float]) -> None:
    """Overlay a heat-map on the image in grey, and mark the centre of the hottest token's cell with a cross."""
    height, width = image.shape[:2]
    ax.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=1)
    ax.imshow(upsample(heat, (height, width)), cmap=HEAT_COLOURS, vmin=limits[0], vmax=limits[1], alpha=0.65)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    x, y = (column + 0.5) * width / heat.shape[1] - 0.5, (row + 0.5) * height / heat.shape[0] - 0.5
    ax.plot(x, y, marker="P", markersize=9, color="white", markeredgecolor="black")


def heat_map_table(rows: Sequence[HeatRow], columns: Sequence[str], scales: Sequence[str]) -> Figure:
    """One image per row, one heat-map per column, with the limits of the colour scale (dark to bright) under each map.

    Args:
        rows: images with their maps.
        columns: titles of the maps.
        scales: one key per column; maps of a row with the same key share a colour scale. Rows do not share scales:
            tokens differ more between images than within one, so a common scale would hide the structure of each.

    Raises:
        ValueError: the number of maps in a row differs from the number of columns or scales.
    """
    for row in rows:
        if not len(row.heats) == len(columns) == len(scales):
            raise ValueError(f"{len(row.heats)} maps for {len(columns)} columns and {len(scales)} scales: give as many")
    figure, axes = plt.subplots(
        len(rows), len(columns) + 1, squeeze=False, layout="constrained",
        figsize=(1.35 * (len(columns) + 1), 1.6 * len(rows) + 0.4),
    )  # fmt: skip
    for row, line in zip(rows, axes, strict=True):
        _draw_picture(line[0], row)
        for ax, heat, scale in zip(line[1:], row.heats, scales, strict=True):
            low, high = _limits(row, scales, scale)
            draw_heat(ax, row.image, heat, (low, high))
            _finish(ax, row)
            ax.set_xlabel(f"{low:.3f} … {high:.3f}", fontsize=8)
    for ax, title in zip(axes[0], ["image", *columns], strict=True):
        ax.set_title(title, fontsize=9)
    return figure


def token_grid(ax: Axes, image: Picture, grid: tuple[int, int]) -> None:
    """The image with the lines of its token grid and a number in each cell."""
    height, width = image.shape[:2]
    ax.imshow(image)
    rows, columns = grid
    ax.set_xticks(np.arange(1, columns) * width / columns - 0.5)
    ax.set_yticks(np.arange(1, rows) * height / rows - 0.5)
    ax.grid(color="white", linewidth=1.2)
    ax.tick_params(length=0, labelbottom=False, labelleft=False)
    for token in range(rows * columns):
        row, column = divmod(token, columns)
        x, y = (column + 0.08) * width / columns, (row + 0.08) * height / rows
        box = {"facecolor": "black", "alpha": 0.6, "pad": 1.0, "linewidth": 0}
        ax.text(x, y, str(token), color="white", fontsize=7, va="top", bbox=box)


def picture_seen(image: Image.Image, preprocess: Compose) -> Picture:
    """The image as a backbone sees it: cropped and resized, but not standardised.

    Args:
        image: the original.
        preprocess: the backbone's chain of transforms, ``backbone.preprocess``.
    """
    for step in preprocess.transforms:
        if not isinstance(step, Standardise):
            image = step(image)
    return np.asarray(torch.as_tensor(image).permute(1, 2, 0), dtype=float)


def tokens_in_plane(
    image: Picture, grid: tuple[int, int], tokens: Float[np.ndarray, "m 2"], pooled: Float[np.ndarray, " 2"]
) -> Figure:
    """An image's numbered cells beside their tokens as points in a plane, with the pooled vector as a star."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.5), layout="constrained")
    token_grid(left, image, grid)
    right.scatter(*tokens.T, s=150, color=PALETTE[9], alpha=0.45, linewidth=0)
    for token, (x, y) in enumerate(tokens):
        right.text(x, y, str(token), ha="center", va="center", fontsize=7)
    right.plot(*pooled, "*", markersize=20, color=PALETTE[3], markeredgecolor="black")
    right.annotate("pooled vector", pooled, xytext=(0, 12), textcoords="offset points", ha="center", fontsize=9)
    right.set(xlabel="first principal component", ylabel="second principal component")
    right.set_aspect("equal", adjustable="datalim")
    right.locator_params(nbins=5)
    return figure


@dataclass(frozen=True)
class Estimate:
    """A measured fraction with its interval.

    Attributes:
        label: what was measured.
        share: from 0 to 1.
        interval: confidence interval; None for a reference without a sampling error of interest.
    """

    label: str
    share: float
    interval: Interval | None = None


def estimates_chart(groups: Mapping[str, Sequence[Estimate]], axis: str) -> Figure:
    """Fractions with their intervals, one panel per group; those without an interval are drawn as grey references.

    Args:
        groups: title of a panel -> its estimates; all panels have the same labels in the same order.
        axis: label of the horizontal axis, which is in per cent.
    """
    size = WIDTH, 0.36 * max(map(len, groups.values())) + 1.2
    figure, axes = plt.subplots(
        1, len(groups), squeeze=False, sharex=True, sharey=True, layout="constrained", figsize=size
    )
    for ax, (title, estimates) in zip(axes[0], groups.items(), strict=True):
        for place, estimate in enumerate(estimates):
            _draw_estimate(ax, place, estimate)
        ax.set_yticks(range(len(estimates)), [estimate.label for estimate in estimates], fontsize=9)
        ax.set_ylim(len(estimates) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", alpha=0.3)
        ax.set(title=title, xlabel=axis)
    return figure


def _draw_estimate(ax: Axes, place: int, estimate: Estimate) -> None:
    if estimate.interval is None:
        ax.plot(100 * estimate.share, place, "D", color=MUTED, markersize=6, fillstyle="none")
        return
    ends = [100 * estimate.interval.low, 100 * estimate.interval.high]
    ax.plot(ends, [place, place], color=PALETTE[0], linewidth=2.5, solid_capstyle="butt")
    ax.plot(100 * estimate.share, place, "o", color=PALETTE[0], markersize=6)


def token_matrices(
    matrices: Mapping[str, Float[np.ndarray, "a b"]], *, unit: str, x_label: str, y_label: str
) -> Figure:
    """Square matrices between tokens side by side, on a common colour scale."""
    figure, axes = plt.subplots(
        1, len(matrices), squeeze=False, layout="constrained", figsize=(3.4 * len(matrices) + 0.8, 3.3)
    )
    low = min(float(matrix.min()) for matrix in matrices.values())
    high = max(float(matrix.max()) for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        ax.imshow(matrix, cmap=HEAT_COLOURS, vmin=low, vmax=high)
        ax.set(title=title, xlabel=x_label, ylabel=y_label)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
    bar = figure.colorbar(axes[0, -1].images[0], ax=list(axes[0]), shrink=0.9, aspect=30)
    bar.set_label(unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _limits(row: HeatRow, scales: Sequence[str], scale: str) -> tuple[float, float]:
    maps = [heat for heat, name in zip(row.heats, scales, strict=True) if name == scale]
    return min(float(heat.min()) for heat in maps), max(float(heat.max()) for heat in maps)


def _draw_picture(ax: Axes, row: HeatRow) -> None:
    ax.imshow(row.image)
    ax.set_ylabel(row.title, fontsize=9)
    _finish(ax, row)


def _finish(ax: Axes, row: HeatRow) -> None:
    if row.outline is not None:
        ax.contour(row.outline, levels=[0.5], colors="white", linewidths=1.0)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
