"""The figures of chapter 1: similarities, accuracies with their intervals, calibration, failures."""

from collections.abc import Mapping, Sequence
from textwrap import shorten, wrap

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from PIL import Image

from calip_core.exhibits.style import BAD, GOOD, MUTED, PALETTE, SEQUENTIAL, WIDTH, panels
from calip_core.metrics import Interval, ReliabilityBins, wilson_interval

THUMBNAIL = 96
"""Pixels along the longer side of thumbnails in a figure."""


def similarity_matrix(
    similarities: Float[np.ndarray, "t n"], captions: Sequence[str], pictures: Sequence[Image.Image], label: str
) -> Figure:
    """Matrix of captions (rows) against pictures (columns), with matching pairs framed.

    Args:
        similarities: one number per cell; row i matches column i.
        captions: labels of the rows.
        pictures: drawn above the columns.
        label: label of the colour bar.
    """
    rows, columns = similarities.shape
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * rows + 1.7))
    shown = ax.imshow(similarities, cmap=SEQUENTIAL, aspect="auto")
    middle = (similarities.max() + similarities.min()) / 2
    for (row, column), value in np.ndenumerate(similarities):
        ink = "black" if value > middle else "white"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    for i in range(min(rows, columns)):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=BAD, linewidth=2, clip_on=False))
    ax.set_yticks(range(rows), ["\n".join(wrap(caption, 34)) for caption in captions], fontsize=8)
    ax.set_xticks([])
    ax.set_xlabel("pictures")
    ax.xaxis.set_label_position("bottom")
    for column, picture in enumerate(pictures):
        _place_picture(ax, picture, column, width_points=72 * WIDTH * 0.56 / columns)
    figure.colorbar(shown, ax=ax, label=label, fraction=0.04, pad=0.02)
    return figure


def learning_curve(steps: Sequence[int], losses: Mapping[str, Sequence[float]], guess: float) -> Figure:
    """Contrastive loss against training steps; ``guess`` is the loss of random guessing."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    for name, values in losses.items():
        ax.plot(steps, values, label=name)
    ax.axhline(guess, color=MUTED, linestyle="--", label="guessing: log N")
    ax.set(xlabel="training step", ylabel="contrastive loss (nats)", ylim=(0, None))
    ax.legend()
    return figure


def class_accuracies(
    names: Sequence[str], correct: Int[np.ndarray, " k"], totals: Int[np.ndarray, " k"], most: int = 24
) -> Figure:
    """Accuracy per class with 95 % Wilson intervals: the ``most`` worst classes, worst first.

    Classes without images are omitted.
    """
    present = np.flatnonzero(totals)
    shares = correct[present] / totals[present]
    order = present[np.argsort(shares, kind="stable")][:most]
    overall = correct.sum() / totals.sum()
    figure, ax = plt.subplots(figsize=(WIDTH, 0.26 * len(order) + 1.1))
    for place, k in enumerate(order):
        share, interval = correct[k] / totals[k], wilson_interval(int(correct[k]), int(totals[k]))
        colour = BAD if interval.high < overall else GOOD
        ax.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(share, place, marker="D" if colour == BAD else "o", color=colour, markersize=7)
    ax.axvline(overall, color=MUTED, linestyle="--", label="all classes together")
    ax.set_yticks(range(len(order)), [f"{shorten(names[k], 40, placeholder=' …')} ({totals[k]})" for k in order])
    ax.invert_yaxis()
    _percent(ax, "x")
    ax.set(xlim=(-0.02, 1.02), xlabel="accuracy (with 95 % Wilson interval)", ylabel="class (images)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return figure


def template_comparison(
    templates: Sequence[str], gains: Sequence[float], intervals: Sequence[Interval], rival: str
) -> Figure:
    """Paired difference in accuracy between each template and ``rival``, in points, with its interval."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(templates) + 1.1))
    for place, (gain, interval) in enumerate(zip(gains, intervals, strict=True)):
        undecided = 0.0 in interval
        colour = MUTED if undecided else (GOOD if gain > 0 else BAD)
        ax.plot([100 * interval.low, 100 * interval.high], [place, place], color=colour, linewidth=2.5)
        ax.plot(100 * gain, place, "o", color=colour, markersize=7, fillstyle="none" if undecided else "full")
    ax.axvline(0, color=MUTED, linestyle="--")
    ax.set_yticks(range(len(templates)), [f"“{shorten(t, 46, placeholder=' …')}”" for t in templates])
    ax.invert_yaxis()
    ax.set_xlabel(f"accuracy less that of {rival} (points, 95 % bootstrap interval)")
    return figure


def ensemble_sizes(accuracies: Mapping[int, Sequence[float]]) -> Figure:
    """Accuracy of random ensembles against the number of templates: every draw, and the mean."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    for size, values in accuracies.items():
        offsets = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
        ax.plot(size + np.asarray(offsets), values, ".", color=PALETTE[9], markersize=6, alpha=0.8)
    ax.plot(list(accuracies), [np.mean(v) for v in accuracies.values()], "o-", color=GOOD, label="mean of the draws")
    _percent(ax, "y")
    ax.set(xlabel="templates in the ensemble", ylabel="accuracy", xticks=list(accuracies))
    ax.legend(loc="lower right")
    return figure


def reliability_diagrams(curves: Mapping[str, ReliabilityBins]) -> Figure:
    """Accuracy per bin of confidence, one panel per classifier; a dot's area shows its share of the images."""
    figure, axes = panels(len(curves), 2, height=3.7, sharex=True, sharey=True)
    for ax, (title, bins) in zip(axes, curves.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle="--", label="perfectly calibrated")
        filled = bins.counts > 0
        x, y = bins.confidence[filled], bins.accuracy[filled]
        ax.vlines(x, np.minimum(x, y), np.maximum(x, y), color=BAD, linewidth=1.5, label="gap")
        ax.scatter(x, y, s=12 + 400 * bins.counts[filled] / bins.counts.sum(), color=GOOD, alpha=0.85, zorder=3)
        ax.set_title(f"{title}\nECE {100 * bins.expected_calibration_error:.1f} points")
        ax.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), xlabel="confidence (largest probability)")
        ax.set_aspect("equal")
        _percent(ax, "x")
        _percent(ax, "y")
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="upper left")
    return figure


def scale_sweep(
    scales: Float[np.ndarray, " g"], curves: Mapping[str, Sequence[float]], marks: Mapping[str, float]
) -> Figure:
    """Fractions from 0 to 1 against the logit scale, with named scales marked."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    for (name, values), line in zip(curves.items(), ("-", "--", "-."), strict=False):
        ax.plot(scales, values, line, label=name)
    for name, scale in marks.items():
        ax.axvline(scale, color=MUTED, linewidth=1)
        ax.annotate(name, (scale, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9, color=MUTED)
    _percent(ax, "y")
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="logit scale s (log axis)", ylabel="share")
    ax.legend()
    return figure


def picture_grid(
    pictures: Sequence[Image.Image], titles: Sequence[str], right: Sequence[bool] | None = None, columns: int = 4
) -> Figure:
    """Pictures with a few lines of text under each; if ``right`` is given, each has a blue or vermilion frame."""
    lines = max(title.count("\n") + 1 for title in titles)
    figure, axes = panels(len(pictures), columns, height=1.75 + 0.19 * lines)
    for place, (ax, picture, title) in enumerate(zip(axes, pictures, titles, strict=True)):
        ax.imshow(_thumbnail(picture, 2 * THUMBNAIL))
        ax.set(xticks=[], yticks=[])
        ax.set_xlabel(title, fontsize=9)
        for spine in ax.spines.values():
            spine.set_visible(right is not None)
            spine.set(color=(GOOD if right[place] else BAD) if right is not None else MUTED, linewidth=3)
    return figure


def shift_curves(strengths: Sequence[float], hits: Mapping[str, Sequence[int]], total: int, guess: float) -> Figure:
    """Accuracy on the same ``total`` images under increasing shifts, with Wilson intervals and chance level."""
    figure, axes = panels(len(hits), 4, height=2.9, sharey=True)
    for ax, (name, counts) in zip(axes, hits.items(), strict=True):
        intervals = [wilson_interval(count, total) for count in counts]
        ax.fill_between(strengths, [i.low for i in intervals], [i.high for i in intervals], color=GOOD, alpha=0.25)
        ax.plot(strengths, [count / total for count in counts], "o-", color=GOOD)
        ax.axhline(guess, color=MUTED, linestyle="--")
        ax.set(title=name, xlabel="strength", ylim=(0, 1.02), xticks=list(strengths))
        _percent(ax, "y")
    axes[0].set_ylabel("accuracy")
    axes[0].annotate("guess", (strengths[-1], guess), ha="right", va="bottom", fontsize=9, color=MUTED)
    return figure


def confusion_matrix(counts: Int[np.ndarray, "k k"], names: Sequence[str]) -> Figure:
    """Counts of predicted classes (columns) per true class (rows); correct answers on the diagonal stay blank."""
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    side = 0.42 * len(names) + 2.4
    figure, ax = plt.subplots(figsize=(min(WIDTH, side + 0.6), min(WIDTH, side)))
    ax.imshow(wrong, cmap="Purples", vmin=0)
    ceiling = np.nanmax(wrong) if len(names) > 1 else 0
    for (row, column), value in np.ndenumerate(wrong):
        if value > 0:
            ink = "white" if value > 0.6 * ceiling else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=ink)
    short = [shorten(name, 24, placeholder=" …") for name in names]
    ax.set_xticks(range(len(names)), short, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), short)
    ax.set(xlabel="answer", ylabel="truth")
    return figure


def _thumbnail(picture: Image.Image, side: int = THUMBNAIL) -> Image.Image:
    small = picture.convert("RGB")
    enlarge = max(1, side // max(small.size))  # tiny pictures, such as digits, keep crisp pixels
    small = small.resize((small.width * enlarge, small.height * enlarge), Image.Resampling.NEAREST)
    small.thumbnail((side, side))
    return small


def _place_picture(ax: Axes, picture: Image.Image, column: int, width_points: float) -> None:
    small = _thumbnail(picture)
    box = OffsetImage(np.asarray(small), zoom=0.92 * width_points / max(small.size), dpi_cor=True)
    ax.add_artist(
        AnnotationBbox(
            box, (column, 1.0), xycoords=("data", "axes fraction"), box_alignment=(0.5, -0.08), frameon=False, pad=0
        )
    )


def _percent(ax: Axes, which: str) -> None:
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
