"""The figures of appendix A: a gallery of the procedural world, and training curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calip_core.exhibits.style import panels

Curve = Sequence[Mapping[str, float]]


def gallery(pictures: UInt8[np.ndarray, "n h w 3"], captions: Sequence[str], columns: int = 4) -> Figure:
    """Pictures with the captions that training pairs them with."""
    figure, axes = panels(len(pictures), columns, height=2.3)
    for ax, picture, caption in zip(axes, pictures, captions, strict=True):
        ax.imshow(picture)
        ax.set_title(_in_lines(caption), fontsize=8)
        ax.axis("off")
    return figure


def training_curves(curves: Mapping[str, Curve], accuracies: Mapping[str, str]) -> Figure:
    """Loss, then one panel per accuracy, against the number of pictures seen.

    Args:
        curves: name of a run -> its points, each with "samples", "loss" and the keys of ``accuracies``.
        accuracies: key in a point -> title of its panel.
    """
    figure, axes = panels(1 + len(accuracies), 1 + len(accuracies), height=3.0)
    for (name, points), marker in zip(curves.items(), "os^d", strict=False):
        seen = [point["samples"] / 1000 for point in points]
        for ax, key in zip(axes, ("loss", *accuracies), strict=True):
            ax.plot(seen, [point[key] for point in points], marker=marker, markersize=4, label=name)
    for ax, title in zip(axes, ("training loss (nats)", *accuracies.values()), strict=True):
        ax.set(title=title, xlabel="pictures seen (thousands)", ylim=(0, None))
    for ax in axes[1:]:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set_ylim(0, 1)
    axes[-1].legend()
    return figure


def _in_lines(caption: str, width: int = 24) -> str:
    lines = [""]
    for word in caption.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
