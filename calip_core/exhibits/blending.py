"""The figures of chapter 5: polygons of single images, the accuracy landscape, and the effect of searching it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from calip_core.blend.landscape import BetaLandscape
from calip_core.blend.line import LineLandscape
from calip_core.exhibits.style import MUTED, PALETTE, SEQUENTIAL, WIDTH, panels

_MARKERS = "o", "D", "s", "^", "v", "P", "X"


def polygons(
    corners: Sequence[Float[np.ndarray, "_ 2"]],  # each image has its own number of corners
    titles: Sequence[str],
    beta2: tuple[float, float],
    beta3: tuple[float, float],
) -> Figure:
    """The region of the weight plane where each image is classified correctly, one panel per image."""
    figure, axes = panels(len(corners), 4, height=2.3, layout="constrained", sharex=True, sharey=True)
    for ax, polygon, title in zip(axes, corners, titles, strict=True):
        if len(polygon) > 2:
            ax.add_patch(Polygon(polygon, facecolor=PALETTE[0], alpha=0.35, edgecolor=PALETTE[0], linewidth=1.5))
        ax.set(xlim=beta2, ylim=beta3)
        ax.set_title(title, fontsize=9)
    figure.supxlabel(r"$\beta_2$", fontsize=11)
    figure.supylabel(r"$\beta_3$", fontsize=11)
    return figure


def landscape(found: BetaLandscape, marks: Mapping[str, tuple[float, float]]) -> Figure:
    """Accuracy at every pair of weights, with the plateau of best pairs outlined and chosen pairs marked.

    Args:
        found: the landscape, with ascending weights.
        marks: name -> (beta2, beta3); pairs outside the grid are omitted.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")
    picture = ax.pcolormesh(found.beta2, found.beta3, 100 * found.accuracy.T, cmap=SEQUENTIAL, rasterized=True)
    if not found.plateau().all():
        ax.contour(found.beta2, found.beta3, found.plateau().T.astype(float), levels=[0.5], colors="white")
    inside = {
        name: pair
        for name, pair in marks.items()
        if found.beta2.min() <= pair[0] <= found.beta2.max() and found.beta3.min() <= pair[1] <= found.beta3.max()
    }
    for (name, pair), marker, colour in zip(inside.items(), _MARKERS, PALETTE[1:], strict=False):
        ax.plot(*pair, marker, color=colour, markeredgecolor="white", markersize=10, label=name, linestyle="none")
    ax.set(xlabel=r"$\beta_2$, weight of the text-attended term", ylabel=r"$\beta_3$, of the visual-attended term")
    figure.colorbar(picture, ax=ax, label="accuracy (%)")
    if inside:
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def landscape_hover(found: BetaLandscape, every: int = 4) -> go.Figure:
    """The landscape as an interactive figure: every ``every``-th pair shows its weights and accuracy on hover."""
    rows, columns = slice(None, None, every), slice(None, None, every)
    figure = go.Figure(
        go.Heatmap(
            x=found.beta2[rows].round(4),
            y=found.beta3[columns].round(5),
            z=(100 * found.accuracy[rows, columns]).round(2).T,
            colorscale="Viridis",
            colorbar={"title": "accuracy (%)"},
            hovertemplate="β₂ = %{x}, β₃ = %{y}: %{z} %<extra></extra>",
        )
    )
    figure.update_layout(height=430, margin={"t": 20, "l": 60, "r": 20, "b": 50})
    figure.update_xaxes(title="β₂")
    figure.update_yaxes(title="β₃")
    return figure


def selection_control(control: Float[np.ndarray, "r"], gain: float) -> Figure:
    """The gain of a search on test labels, compared with gains of the same search on shuffled attended terms."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    bins = min(20, max(5, len(control) // 3))
    ax.hist(100 * control, bins, color=MUTED, alpha=0.6, label="attended terms shuffled")
    ax.axvline(100 * gain, color=PALETTE[1], label="attended terms as they are")
    ax.set(xlabel="gain over CLIP of the best pair on the test labels (percentage points)", ylabel="repetitions")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def optimism(sizes: Sequence[int], tuned: Float[np.ndarray, "s r"], elsewhere: Float[np.ndarray, "s r"]) -> Figure:
    """Gain on the images that the weights were tuned on, and on other images, against the number of tuning images.

    Args:
        sizes: numbers of tuning images.
        tuned: gains on them as fractions, one row per size, one column per repetition.
        elsewhere: gains on the other images.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for values, name, colour, marker in (
        (tuned, "on the images that chose the pair", PALETTE[1], "o"),
        (elsewhere, "on other images", PALETTE[0], "s"),
    ):
        middle = 100 * values.mean(axis=1)
        low, high = 100 * np.quantile(values, [0.1, 0.9], axis=1)
        ax.plot(sizes, middle, marker=marker, color=colour, label=name)
        ax.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.axhline(0, color=MUTED, linewidth=1)
    ax.set(xscale="log", xlabel="images that chose the pair", ylabel="gain over CLIP (points)")
    ax.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    ax.minorticks_off()
    ax.legend()
    return figure


def line(found: LineLandscape, name: str) -> Figure:
    """Exact accuracy along a line, as a step function."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    ax.stairs(100 * found.correct / found.images, found.edges, baseline=None, color=PALETTE[0], linewidth=1.2)
    plateau = found.best()
    ax.axvspan(plateau.low, plateau.high, color=PALETTE[1], alpha=0.3, label="widest stretch of best accuracy")
    ax.set(xlabel=name, ylabel="accuracy (%)")
    ax.legend()
    return figure
