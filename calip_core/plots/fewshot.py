"""Pictures of few-shot learning: accuracy against shots, method by method, and what it costs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from calip_core.metrics import Interval
from calip_core.plots.style import MUTED, PALETTE, WIDTH, panels

_MARKERS = "oDs^vPX<>*"


def shots_panels(
    shots: Sequence[int], accuracy: Mapping[str, Float[np.ndarray, "s seeds"]], zero_shot: float
) -> Figure:
    """One panel a method: its seeds as dots and their mean as a line, the means of all others in grey.

    Args:
        shots: images a class.
        accuracy: method -> shares, one row a number of shots, one column a seed.
        zero_shot: share that needs no shots; dashed.
    """
    figure, axes = panels(len(accuracy), 3, height=2.1, layout="constrained", sharex=True, sharey=True)
    for ax, (method, shares) in zip(axes, accuracy.items(), strict=True):
        for other in accuracy.values():
            ax.plot(shots, 100 * other.mean(axis=1), color=MUTED, linewidth=0.8, alpha=0.4)
        for column in shares.T:
            ax.plot(shots, 100 * column, ".", color=PALETTE[0], markersize=4)
        ax.plot(shots, 100 * shares.mean(axis=1), color=PALETTE[0])
        ax.axhline(100 * zero_shot, color="black", linestyle="--", linewidth=1)
        ax.set_title(method, fontsize=10)
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(shots), [str(shot) for shot in shots])
        ax.minorticks_off()
    figure.supxlabel("shots: images of each class", fontsize=11)
    figure.supylabel("accuracy (%)", fontsize=11)
    return figure


def cost(
    seconds: Mapping[str, float], accuracy: Mapping[str, float], intervals: Mapping[str, Interval], zero_shot: float
) -> Figure:
    """Accuracy against the time of a fit, a point a method.

    Args:
        seconds: of one fit.
        accuracy: shares.
        intervals: of the same, over the seeds.
        zero_shot: share that takes no fit; dashed.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    for (method, share), marker, colour in zip(accuracy.items(), _MARKERS, PALETTE * 2, strict=False):
        ends = intervals[method]
        ax.vlines(seconds[method], 100 * ends.low, 100 * ends.high, color=colour, linewidth=1)
        ax.plot(seconds[method], 100 * share, marker, color=colour, markersize=8, label=method)
    ax.axhline(100 * zero_shot, color="black", linestyle="--", linewidth=1, label="zero-shot CLIP")
    ax.set(xscale="log", xlabel="seconds of one fit, features given", ylabel="accuracy (%)")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def calip_fs_diagram() -> Figure:
    """CALIP-FS: which matrices stand where; those that learn are coloured."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    ax.set(xlim=(0, 10), ylim=(0, 5))
    ax.axis("off")
    boxes = {
        "F_s": (0.8, 3.9, r"$F_s$"), "F_t": (0.8, 1.1, r"$F_t$"),
        "Q_s": (3.0, 4.5, r"$W_q$"), "K_s": (3.0, 3.9, r"$W_k$"), "V_s": (3.0, 3.3, r"$W_v$"),
        "Q_t": (3.0, 1.7, r"$W_q'$"), "K_t": (3.0, 1.1, r"$W_k'$"), "V_t": (3.0, 0.5, r"$W_v'$"),
        "text": (5.6, 3.6, "text looks\nat image"), "image": (5.6, 1.4, "image looks\nat text"),
        "P_t": (7.6, 3.6, r"$W_p$"), "P_s": (7.6, 1.4, r"$W_p$"),
        "out_t": (9.2, 3.6, r"$F_t^a$"), "out_s": (9.2, 1.4, r"$F_s^a$"),
    }  # fmt: skip
    for name, (x, y, text) in boxes.items():
        learns = text.startswith("$W")
        wide = 0.75 if name in ("text", "image") else 0.42
        high = 0.38 if name in ("text", "image") else 0.23
        face = "#cfe3f1" if learns else "white"
        ax.add_patch(FancyBboxPatch((x - wide, y - high), 2 * wide, 2 * high, boxstyle="round,pad=0.03", facecolor=face,
                                    edgecolor=PALETTE[0] if learns else MUTED, linewidth=1.5))  # fmt: skip
        ax.text(x, y, text, ha="center", va="center", fontsize=10)
    arrows = [("F_s", name) for name in ("Q_s", "K_s", "V_s")] + [("F_t", name) for name in ("Q_t", "K_t", "V_t")]
    arrows += [("K_s", "text"), ("V_s", "text"), ("Q_t", "text"), ("Q_s", "image"), ("K_t", "image"), ("V_t", "image")]
    arrows += [("text", "P_t"), ("image", "P_s"), ("P_t", "out_t"), ("P_s", "out_s")]
    for start, end in arrows:
        reach = 0.85 if start in ("text", "image") else 0.5
        stop = 0.85 if end in ("text", "image") else 0.5
        ax.add_patch(FancyArrowPatch((boxes[start][0] + reach, boxes[start][1]), (boxes[end][0] - stop, boxes[end][1]),
                                     arrowstyle="-|>", mutation_scale=9, color=MUTED, linewidth=1))  # fmt: skip
    return figure
