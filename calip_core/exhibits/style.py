"""One look for every figure: readable sizes, colours that colour-blind readers can tell apart."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE: tuple[str, ...] = tuple(sns.color_palette("colorblind").as_hex())
"""Ten hues after Okabe and Ito's advice for colour-blind readers, in the order of use."""

GOOD, BAD, MUTED = PALETTE[0], PALETTE[3], "#6b6b6b"
"""Blue for right or improved, vermilion for wrong or worsened (never red against green), grey for references."""

SEQUENTIAL = "viridis"
"""Colour map for quantities from little to much: its lightness rises steadily."""

DIVERGING = "PuOr"
"""Colour map for signed quantities around zero."""

WIDTH = 7.4
"""Inches across the text column of the book; figures wider than this are shrunk there."""


def style() -> None:
    """Set the book's look for all figures that follow. Call it once, at the top of a chapter."""
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE), rc=_RC)


def panels(
    count: int, columns: int, *, width: float = WIDTH, height: float = 2.0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of ``count`` axes, row by row; places left over in the last row stay empty.

    Args:
        count: axes wanted.
        columns: axes a row, at most.
        width: inches of the whole figure.
        height: inches of a row.
        options: passed to ``plt.subplots``.

    Raises:
        ValueError: no axes or no columns were asked for.
    """
    if count < 1 or columns < 1:
        raise ValueError(f"{count} panels in {columns} columns: expected at least one of each")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False, **options)
    axes = list(np.asarray(grid).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


_RC = {
    "figure.figsize": (WIDTH, 4.2),
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # a light card on dark pages: photographs and colour maps keep their colours
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 2,
    "image.cmap": SEQUENTIAL,
    "svg.fonttype": "path",
    "svg.hashsalt": "calip",  # the same figure gives the same bytes
}
