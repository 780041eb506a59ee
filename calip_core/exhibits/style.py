"""The common style of all figures: legible sizes, and colours that colour-blind readers can distinguish."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

PALETTE: tuple[str, ...] = tuple(sns.color_palette("colorblind").as_hex())
"""Ten hues for colour-blind readers, after Okabe and Ito, in order of use."""

GOOD, BAD, MUTED = PALETTE[0], PALETTE[3], "#6b6b6b"
"""Blue for right or improved, vermilion for wrong or worsened (never red against green), grey for references."""

SEQUENTIAL = "viridis"
"""Colour map for non-negative quantities, with monotonically increasing lightness."""

DIVERGING = "PuOr"
"""Colour map for signed quantities around zero."""

WIDTH = 7.4
"""Width of the book's text column in inches; wider figures are shrunk."""

PHONE_WIDTH = 4.2
"""Width of a figure for phones in inches."""


def style() -> None:
    """Set the book's style for all subsequent figures. Call it once, at the top of a chapter."""
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE), rc=_RC)


def panels(
    count: int, columns: int, *, width: float = WIDTH, height: float = 2.0, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of ``count`` axes in row-major order; unused positions in the last row stay empty.

    Args:
        count: number of axes.
        columns: maximum number of axes per row.
        width: width of the whole figure, in inches.
        height: height of each row, in inches.
        options: passed to ``plt.subplots``.

    Raises:
        ValueError: ``count`` or ``columns`` is below 1.
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


def in_percent(axis: Axis) -> None:
    """Label an axis of fractions in per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


_RC = {
    "figure.figsize": (WIDTH, 4.2),
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # also on dark pages, so that photographs and colour maps keep their colours
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
    "svg.hashsalt": "calip",  # makes SVG output reproducible
}
