"""The figures of chapter 9: CALIP-FS matrix by matrix, accuracy against shots, costs, and leads under shift."""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from calip_core.exhibits.style import MUTED, PALETTE, WIDTH, panels
from calip_core.metrics import Interval, mean_interval

_MARKERS = "oDs^vPX<>*"
_DASHES = ("--", ":", "-.")
LEARNS = "#cfe3f1"
"""Fill colour of a learned matrix; the others are white."""


def shots_panels(
    shots: Sequence[int], accuracy: Mapping[str, Float[np.ndarray, "s seeds"]], references: Mapping[str, float]
) -> Figure:
    """One panel per method: draws as dots, their mean as a line with 95 % t-intervals, the other means in grey.

    Args:
        shots: images per class.
        accuracy: method -> accuracies, one row per number of shots, one column per draw. A single draw has no interval.
        references: name -> accuracy that needs no shots, drawn as a broken line.
    """
    figure, axes = panels(len(accuracy), 3, height=2.1, layout="constrained", sharex=True, sharey=True)
    for ax, (method, shares) in zip(axes, accuracy.items(), strict=True):
        for other in accuracy.values():
            ax.plot(shots, 100 * other.mean(axis=1), color=MUTED, linewidth=0.8, alpha=0.4)
        for column in shares.T:
            ax.plot(shots, 100 * column, ".", color=PALETTE[1], markersize=4, zorder=3)
        _mean_with_interval(ax, shots, shares)
        _references(ax, references, label=ax is axes[0])
        ax.set_title(method, fontsize=10)
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(shots), [str(shot) for shot in shots])
        ax.minorticks_off()
    for ax in axes[-3:]:  # the lowest panel of each column, even if the last row is not full
        ax.tick_params(labelbottom=True)
    figure.legend(loc="outside upper center", ncols=3)
    figure.supxlabel("shots: images of each class", fontsize=11)
    figure.supylabel("accuracy (%)", fontsize=11)
    return figure


def _mean_with_interval(ax: Axes, shots: Sequence[int], shares: Float[np.ndarray, "s seeds"]) -> None:
    means, halves = np.array([mean_interval(row) for row in shares]).T
    ax.plot(shots, 100 * means, color=PALETTE[0])
    if np.isfinite(halves).all():
        ax.errorbar(shots, 100 * means, 100 * halves, fmt="none", ecolor=PALETTE[0], elinewidth=1, capsize=2)


def _references(ax: Axes, references: Mapping[str, float], *, label: bool) -> None:
    for (name, share), dashes in zip(references.items(), _DASHES, strict=False):
        ax.axhline(100 * share, color="black", linestyle=dashes, linewidth=1, label=name if label else None)


def cost(
    seconds: Mapping[str, float],
    numbers: Mapping[str, int],
    accuracy: Mapping[str, float],
    intervals: Mapping[str, Interval],
    references: Mapping[str, float],
) -> Figure:
    """Accuracy against fitting time and against head size, one point per method in each panel.

    Args:
        seconds: method -> duration of one fit.
        numbers: method -> size of the fitted head, in stored numbers.
        accuracy: method -> accuracy.
        intervals: method -> interval of the accuracy over the draws.
        references: name -> accuracy that needs no fit, drawn as a broken line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.0), layout="constrained", sharey=True)
    labels = "seconds of one fit, features given", "numbers that the head keeps"
    for ax, values, label in zip(axes, (seconds, numbers), labels, strict=True):
        for (method, share), marker, colour in zip(accuracy.items(), _MARKERS, PALETTE, strict=False):
            ends, name = intervals[method], method if ax is axes[0] else None
            ax.vlines(values[method], 100 * ends.low, 100 * ends.high, color=colour, linewidth=1)
            ax.plot(values[method], 100 * share, marker, color=colour, markersize=8, label=name)
        _references(ax, references, label=ax is axes[0])
        ax.set(xscale="log", xlabel=label)
    axes[0].set_ylabel("accuracy (%)")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def leads(
    points: Mapping[str, Mapping[str, Float[np.ndarray, "seeds"]]], xlabel: str = "lead over zero-shot CLIP (points)"
) -> Figure:
    """One panel per kind of test images, one row per method: leads per draw as dots, and their mean with a t-interval.

    Args:
        points: kind of images -> method -> leads in percentage points, one per draw. All kinds have the same methods.
        xlabel: label of the horizontal axis.
    """
    methods = list(next(iter(points.values())))
    height = 1.1 + 0.26 * len(methods)
    figure, axes = panels(len(points), 4, height=height, layout="constrained", sharex=True, sharey=True)
    rows = np.arange(len(methods))[::-1]
    for ax, (kind, by_method) in zip(axes, points.items(), strict=True):
        for row, method in zip(rows, methods, strict=True):
            mean, half = mean_interval(by_method[method])
            ax.plot(by_method[method], np.full(len(by_method[method]), row + 0.25), ".", color=PALETTE[1], markersize=5)
            ax.errorbar(mean, row, xerr=None if np.isnan(half) else half, fmt="|", color=PALETTE[0], capsize=2)
        ax.axvline(0, color="black", linestyle="--", linewidth=1)
        ax.set_title(kind, fontsize=10)
        ax.set_yticks(rows, methods)
    figure.supxlabel(xlabel, fontsize=11)
    return figure


Side = Literal["M", "K", "C", "1"]
_SIDES: Mapping[Side, float] = {"1": 0.16, "M": 0.62, "K": 0.9, "C": 0.74}
_Sign = tuple[str, float]
"""Text between matrices, and its width."""
_Matrix = tuple[str, Side, Side, bool]
"""Name, rows, columns, and whether it is learned."""


def _fixed(name: str, rows: Side, columns: Side) -> _Matrix:
    return name, rows, columns, False


def _learned(name: str) -> _Matrix:
    return name, "C", "C", True


_DOT, _ARROW, _IS, _CLOSE, _THEN = (r"$\cdot$", 0.3), (r"$\rightarrow$", 0.5), ("=", 0.3), (") =", 0.4), ("", 0.2)
_F_V, _F_T = _fixed("$F_v$", "1", "C"), _fixed("$F_t^\\top$", "C", "K")
_STEPS: tuple[tuple[str, tuple[_Sign | _Matrix, ...]], ...] = (
    ("1  Project the image's tokens, once for each role", (
        _fixed("$F_s$", "M", "C"), _DOT, _learned("$W_q^\\top$"), _learned("$W_k^\\top$"), _learned("$W_v^\\top$"),
        _ARROW, _fixed("$Q_s$", "M", "C"), _fixed("$K_s$", "M", "C"), _fixed("$V_s$", "M", "C"),
    )),
    ("2  Project the class texts, once for each role", (
        _fixed("$F_t$", "K", "C"), _DOT, _learned("$W_q'^\\top$"), _learned("$W_k'^\\top$"), _learned("$W_v'^\\top$"),
        _ARROW, _fixed("$Q_t$", "K", "C"), _fixed("$K_t$", "K", "C"), _fixed("$V_t$", "K", "C"),
    )),
    ("3  The text looks at the image, and what it saw is projected once more", (
        (r"softmax$_M$( c", 1.2), _fixed("$Q_t$", "K", "C"), _fixed("$K_s^\\top$", "C", "M"), _CLOSE,
        _fixed("$S_t$", "K", "M"), _THEN, _fixed("$S_t$", "K", "M"), _fixed("$V_s$", "M", "C"),
        _learned("$W_p^\\top$"), _IS, _fixed("$F_t^a$", "K", "C"),
    )),
    ("4  The image looks at the text, and what it saw is projected by the same matrix", (
        (r"softmax$_K$( c", 1.2), _fixed("$Q_s$", "M", "C"), _fixed("$K_t^\\top$", "C", "K"), _CLOSE,
        _fixed("$S_s$", "M", "K"), _THEN, _fixed("$S_s$", "M", "K"), _fixed("$V_t$", "K", "C"),
        _learned("$W_p^\\top$"), _IS, _fixed("$F_s^a$", "M", "C"),
    )),
    ("5  Pool the tokens into one feature", (
        ("mean", 0.66), _fixed("$F_s^a$", "M", "C"), ("+ max", 0.76), _fixed("$F_s^a$", "M", "C"), _IS,
        _fixed("$F_v^a$", "1", "C"),
    )),
    ("6  Blend three logits", (
        (r"s ( $\beta_1$", 0.55), _F_V, _F_T, (r"+ $\beta_2$", 0.5), _F_V, _fixed("$F_t^{a\\top}$", "C", "K"),
        (r"+ $\beta_3$", 0.5), _fixed("$F_v^a$", "1", "C"), _F_T, _CLOSE, _fixed("logits", "1", "K"),
    )),
)  # fmt: skip


def calip_fs_diagram() -> Figure:
    """CALIP-FS step by step, with each matrix as a rectangle; learned matrices are coloured.

    Heights stand for rows and widths for columns, in the fixed order M < C < K; shapes are written below.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 8.4), layout="constrained")
    ax.set(xlim=(-0.05, 8.7), ylim=(1.75 - 1.75 * len(_STEPS) - 1.5, 0.4), aspect="equal")
    ax.axis("off")
    for number, (title, cells) in enumerate(_STEPS):
        top = -1.75 * number
        ax.text(0, top + 0.1, title, fontsize=10, fontweight="bold", va="bottom")
        _draw_step(ax, cells, top - 0.6)
    return figure


def _draw_step(ax: Axes, cells: Sequence[_Sign | _Matrix], middle: float) -> None:
    """Draw matrices and signs from left to right, centred vertically."""
    x = 0.0
    for cell in cells:
        if len(cell) == 2:
            sign, width = cell
            ax.text(x + width / 2, middle, sign, ha="center", va="center", fontsize=10)
            x += width
        else:
            x += _draw_matrix(ax, cell, x, middle) + 0.12


def _draw_matrix(ax: Axes, matrix: _Matrix, x: float, y: float) -> float:
    """Draw one rectangle with its name and shape; return its width."""
    name, rows, columns, learns = matrix
    height, width = _SIDES[rows], _SIDES[columns]
    edge, face = (PALETTE[0], LEARNS) if learns else (MUTED, "white")
    ax.add_patch(Rectangle((x, y - height / 2), width, height, facecolor=face, edgecolor=edge, linewidth=1.4))
    # A single row is too low to contain its name.
    name_y, anchor = (y + height / 2 + 0.05, "bottom") if rows == "1" else (y, "center")
    ax.text(x + width / 2, name_y, name, ha="center", va=anchor, fontsize=10)
    ax.text(x + width / 2, y - height / 2 - 0.05, rf"{rows}$\times${columns}", ha="center", va="top", fontsize=8)
    return width
