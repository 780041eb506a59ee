"""The figures of chapter 6: published and measured gains per dataset, and the classes behind them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from calip_core.exhibits.style import BAD, GOOD, MUTED, PALETTE, WIDTH
from calip_core.metrics import Interval

_MARKERS = "o", "D", "s", "^"


def published_gains(datasets: Sequence[str], gains: Mapping[str, Sequence[float]], margins: Sequence[float]) -> Figure:
    """Published gains over several zero-shot baselines, compared with the sampling error of an accuracy.

    Args:
        datasets: one row per dataset.
        gains: source of the baseline -> percentage points, one per dataset.
        margins: half-width of the unpaired 95 % interval of an accuracy, in points, one per dataset.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(datasets) + 1.5), layout="constrained")
    rows = np.arange(len(datasets))[::-1]
    ax.barh(rows, 2 * np.asarray(margins), left=-np.asarray(margins), height=0.7, color=MUTED, alpha=0.2,
            label="95 % margin of one accuracy")  # fmt: skip
    for (source, points), marker, colour in zip(gains.items(), _MARKERS, PALETTE, strict=False):
        ax.plot(points, rows, marker, color=colour, label=source, linestyle="none")
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.set_yticks(rows, datasets)
    ax.set_xlabel("published accuracy of CALIP less a published accuracy of CLIP (points)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def measured_gains(
    rows: Sequence[str], gains: Mapping[str, Sequence[float | None]], intervals: Mapping[str, Sequence[Interval | None]]
) -> Figure:
    """Measured gains with paired intervals: one row per dataset and backbone, one colour per protocol.

    Args:
        rows: labels from top to bottom.
        gains: protocol -> gains as fractions, one per row; None if there is no record.
        intervals: protocol -> their intervals.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(rows) + 1.6), layout="constrained")
    offsets = np.linspace(0.25, -0.25, len(gains)) if len(gains) > 1 else [0.0]
    for (protocol, values), offset, marker, colour in zip(gains.items(), offsets, _MARKERS * 2, PALETTE, strict=False):
        places = np.arange(len(rows))[::-1] + offset
        known = [i for i, value in enumerate(values) if value is not None]
        points = np.array([100 * float(values[i] or 0) for i in known])
        ends = [intervals[protocol][i] or Interval(0, 0) for i in known]
        errors = [points - [100 * end.low for end in ends], [100 * end.high for end in ends] - points]
        ax.errorbar(points, places[known], xerr=np.clip(errors, 0, None), fmt=marker, color=colour, capsize=2,
                    markersize=5, linewidth=1.2, label=protocol)  # fmt: skip
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.set_yticks(np.arange(len(rows))[::-1], rows)
    ax.set_xlabel("gain over CLIP (percentage points, 95 % interval of the paired difference)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def class_changes(names: Sequence[str], won: ArrayLike, lost: ArrayLike, counts: ArrayLike) -> Figure:
    """Change in accuracy per class from CLIP to CALIP, in points, with the number of images behind it.

    Args:
        names: class names.
        won: images per class that only CALIP gets right.
        lost: images per class that only CLIP gets right.
        counts: test images per class.
    """
    gained, gone, images = (np.asarray(values, dtype=int) for values in (won, lost, counts))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(names) + 1.0), layout="constrained")
    rows, points = np.arange(len(names))[::-1], 100 * (gained - gone) / np.maximum(images, 1)
    ax.barh(rows, points, color=[GOOD if point >= 0 else BAD for point in points])
    ax.axvline(0, color=MUTED, linewidth=1)
    behind = zip(names, gained, gone, images, strict=True)
    ax.set_yticks(rows, [f"{name} (+{plus} \u2212{minus} of {of})" for name, plus, minus, of in behind], fontsize=9)
    ax.set_xlabel("change in the class's accuracy, CALIP less CLIP (points)")
    return figure
