"""The exhibits of chapter 5: images that the weights decide, the accuracy landscape, and what searching it is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import ArrayLike
from PIL import Image

from calip_core.blend.landscape import BetaLandscape, released_grid
from calip_core.blend.optimism import Optimism
from calip_core.blend.polygon import winning_polygon
from calip_core.blend.selection import Grid, OracleControl, Selection
from calip_core.exhibits.exhibit import Plot, Table, percent, points, restacked
from calip_core.exhibits.results import gain_interval, p_text, verdict
from calip_core.exhibits.style import BAD, GOOD, MUTED, PALETTE, SEQUENTIAL, WIDTH
from calip_core.metrics import correct_predictions, mcnemar
from calip_core.tokens import CalipLogits

_MARKERS = "o", "D", "s", "^", "v", "P", "X"
_DECIDED = 0.02  # of the rectangle: an image counts as decided by the weights if it is right on more and wrong on more


@dataclass(frozen=True)
class _Fate:
    """An image that the weights decide: where in the rectangle it is right, and on what share of it."""

    image: int
    corners: Float[np.ndarray, "_ 2"]
    share: float


def rescued_and_spoiled(
    logits: CalipLogits, labels: ArrayLike, picture: Callable[[int], Image.Image], names: Sequence[str],
    grid: Grid, most: int = 1000,
) -> Plot:  # fmt: skip
    """Four images that CLIP gets wrong and some pair gets right, and four the other way round, with their polygons.

    Args:
        logits: the three terms.
        labels: class numbers.
        picture: gives the picture of an image by its number.
        names: of the classes.
        grid: its ends are the ends of the panels.
        most: how many images to look at.
    """
    count, target = min(most, len(logits)), np.asarray(labels)
    clip = correct_predictions(logits.clip, target)
    fates = _fates(logits, target, grid, count)
    sides = {
        "rescued": [fate for fate in fates if not clip[fate.image]],
        "spoiled": [fate for fate in fates if clip[fate.image]],
    }
    shown = {side: _spread(of_side, 4) for side, of_side in sides.items()}
    flat = [(side, fate) for side, some in shown.items() for fate in some]

    def draw(columns: int) -> Figure:
        return _draw_fates(flat, picture, [names[target[fate.image]] for _, fate in flat], grid, columns)

    caption = (
        "Above, images; below, the weights at which each is classified correctly (blue). CLIP alone is the dot at the "
        f"lower left. Of the first {count:,} images, some weights rescue {len(sides['rescued'])} and some spoil "
        f"{len(sides['spoiled'])}; the other {count - len(fates):,} are right, or wrong, almost everywhere."
    )
    alt = f"{len(flat)} test images, each with a convex region of the plane of the two weights. " + " ".join(
        f"{side.capitalize()}: "
        + ", ".join(f"{names[target[fate.image]]}, right on {percent(fate.share, 0)}" for fate in some) + "."
        for side, some in shown.items() if some
    )  # fmt: skip
    return restacked(draw, columns=4, narrow=2, alt=alt, caption=caption)


def _fates(logits: CalipLogits, labels: Int[np.ndarray, "n"], grid: Grid, count: int) -> list[_Fate]:
    """The images whose polygon covers neither (almost) nothing nor (almost) all of the rectangle."""
    beta2, beta3 = _ends(grid)
    whole = (beta2[1] - beta2[0]) * (beta3[1] - beta3[0])
    polygons = [winning_polygon(logits, i, int(labels[i]), beta2=beta2, beta3=beta3) for i in range(count)]
    fates = [_Fate(i, corners, _area(corners) / whole) for i, corners in enumerate(polygons)]
    return [fate for fate in fates if _DECIDED < fate.share < 1 - _DECIDED]


def _ends(grid: Grid) -> tuple[tuple[float, float], tuple[float, float]]:
    """From where to where the weights of a grid run; a weight that does not vary gets a range around it."""

    def ends(weights: Float[np.ndarray, "g"]) -> tuple[float, float]:
        low, high = float(weights.min()), float(weights.max())
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    return ends(grid.beta2), ends(grid.beta3)


def _area(corners: Float[np.ndarray, "v 2"]) -> float:
    """Area of a polygon (the shoelace formula)."""
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _spread(fates: Sequence[_Fate], most: int) -> list[_Fate]:
    """At most so many, from the smallest to the largest polygon in even steps."""
    ranked = sorted(fates, key=lambda fate: fate.share)
    return [ranked[i] for i in np.linspace(0, len(ranked) - 1, min(most, len(ranked))).astype(int)]


def _draw_fates(
    fates: Sequence[tuple[str, _Fate]], picture: Callable[[int], Image.Image], names: Sequence[str], grid: Grid,
    columns: int,
) -> Figure:  # fmt: skip
    """One column per image: its picture above its polygon."""
    if not fates:
        figure, ax = plt.subplots(figsize=(WIDTH, 1.0), layout="constrained")
        ax.text(0.5, 0.5, "The weights decide none of these images.", ha="center", va="center")
        ax.set_axis_off()
        return figure
    columns = min(columns, len(fates))
    rows = -(-len(fates) // columns)
    figure, grid_of_axes = plt.subplots(
        2 * rows, columns, figsize=(1.85 * columns, 3.0 * rows), squeeze=False, layout="constrained"
    )
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        above, below = grid_of_axes[2 * row, column], grid_of_axes[2 * row + 1, column]
        if place >= len(fates):
            above.remove()
            below.remove()
            continue
        side, fate = fates[place]
        above.imshow(picture(fate.image))
        above.set(xticks=[], yticks=[])
        colour = GOOD if side == "rescued" else BAD
        above.set_title(fill(f"{side}: {names[place]}", 20), fontsize=9, color=colour)
        above.spines[:].set(visible=True, color=colour, linewidth=2)
        _draw_polygon(below, fate.corners, grid)
        below.set_xlabel(r"$\beta_2$", labelpad=-10)
        if column == 0:
            below.set_ylabel(r"$\beta_3$", labelpad=-4)
    return figure


def _draw_polygon(ax: Axes, corners: Float[np.ndarray, "v 2"], grid: Grid) -> None:
    ax.add_patch(Polygon(corners, facecolor=PALETTE[0], alpha=0.35, edgecolor=PALETTE[0], linewidth=1.5))
    beta2, beta3 = _ends(grid)
    ax.set(xlim=beta2, ylim=beta3, xticks=beta2, yticks=beta3)
    ax.plot(beta2[0], beta3[0], "o", color="black", markersize=5, clip_on=False)
    ax.tick_params(labelsize=9)


def landscape(found: BetaLandscape, marks: Mapping[str, tuple[float, float]], clip: float) -> Plot:
    """Accuracy at every pair of weights: the best pairs outlined, chosen pairs marked, the released grid framed.

    Args:
        found: the landscape, with ascending weights.
        marks: name -> (beta2, beta3); pairs outside the grid are omitted.
        clip: CLIP's accuracy.
    """
    best, share = found.best(), found.share_within(0.5)
    caption = (
        f"Accuracy at {found.correct.size:,} pairs, on {found.images:,} images; CLIP alone has {percent(clip, 2)}. "
        f"Outlined in white: the {int(found.plateau().sum()):,} best pairs ({percent(best.accuracy, 2)}). "
        f"{percent(share, 0)} of all pairs lie within half a point of them. Dashed: the grid of the released code."
    )
    alt = (
        f"Heat-map of accuracy over the two weights, from {percent(float(found.accuracy.min()))} to "
        f"{percent(best.accuracy)}. The best pairs lie around β₂ = {best.beta2:.3g}, β₃ = {best.beta3:.3g}."
    )
    return restacked(partial(_draw_landscape, found, marks), columns=3, alt=alt, caption=caption)


def _draw_landscape(found: BetaLandscape, marks: Mapping[str, tuple[float, float]], columns: int) -> Figure:
    """The heat-map; its legend has so many columns."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.7), layout="constrained")
    picture = ax.pcolormesh(found.beta2, found.beta3, 100 * found.accuracy.T, cmap=SEQUENTIAL, rasterized=True)
    if not found.plateau().all():
        ax.contour(found.beta2, found.beta3, found.plateau().T.astype(float), levels=[0.5], colors="white")
    low2, high2, low3, high3 = (ends for grid in released_grid() for ends in (grid.min(), grid.max()))
    ax.add_patch(Rectangle((low2, low3), high2 - low2, high3 - low3, fill=False, edgecolor="white", linestyle="--"))
    inside = {
        name: pair
        for name, pair in marks.items()
        if found.beta2.min() <= pair[0] <= found.beta2.max() and found.beta3.min() <= pair[1] <= found.beta3.max()
    }
    for (name, pair), marker, colour in zip(inside.items(), _MARKERS, PALETTE[1:], strict=False):
        ax.plot(*pair, marker, color=colour, markeredgecolor="white", markersize=10, label=name, linestyle="none",
                clip_on=False)  # fmt: skip
    ax.set(xlabel=r"$\beta_2$, weight of the text-attended term", ylabel=r"$\beta_3$, of the visual-attended term")
    figure.colorbar(picture, ax=ax, label="accuracy (%)")
    if inside:
        figure.legend(loc="outside lower center", ncols=columns)
    return figure


def shuffled_control(control: OracleControl) -> Plot:
    """The gain of a search on test labels, beside gains of the same search on shuffled attended terms."""
    gains = control.by_selection

    def draw(columns: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 2.4), layout="constrained")
        ax.hist(100 * gains, min(20, max(5, len(gains) // 3)), color=MUTED, alpha=0.6, label="attended terms shuffled")
        ax.axvline(100 * control.gain, color=PALETTE[1], label="attended terms in place")
        label = "gain over CLIP of the best pair on the test labels (points)"
        ax.set(xlabel=fill(label, 40 * columns), ylabel="searches")
        figure.legend(loc="outside lower center", ncols=columns)
        return figure

    caption = (
        f"The search gains {points(control.gain, 2)} points. With shuffled terms, {len(gains)} searches gain "
        f"{points(gains.mean(), 2)} on average. Permutation {p_text(control.p_value)}; the smallest possible with "
        f"{len(gains)} shuffles is {1 / (1 + len(gains)):.2g}."
    )
    alt = (
        f"Histogram of the gains of {len(gains)} searches over shuffled terms, from {points(gains.min(), 2)} to "
        f"{points(gains.max(), 2)} points, and a line at the gain with the terms in place, {points(control.gain, 2)}."
    )
    return restacked(draw, columns=2, alt=alt, caption=caption)


def optimism(found: Optimism) -> Plot:
    """Gain on the images that chose the weights and on other images, against the number of images that chose."""

    def draw(columns: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
        for gains, name, colour, marker in (
            (found.own, "on the images that chose the pair", PALETTE[1], "o"),
            (found.others, "on other images", PALETTE[0], "s"),
        ):
            low, high = 100 * np.quantile(gains, [0.1, 0.9], axis=1)
            ax.plot(found.sizes, 100 * gains.mean(axis=1), marker=marker, color=colour, label=name)
            ax.fill_between(found.sizes, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.axhline(0, color=MUTED, linewidth=1)
        ax.set(xscale="log", xlabel="images that chose the pair", ylabel="gain over CLIP (points)")
        ax.set_xticks(found.sizes, [str(size) for size in found.sizes], minor=False)
        ax.minorticks_off()
        figure.legend(loc="outside lower center", ncols=columns)
        return figure

    own, others = found.own.mean(axis=1), found.others.mean(axis=1)
    ends = {found.sizes[i]: (points(own[i], 2), points(others[i], 2)) for i in (0, -1)}
    alt = "Two lines against the number of images that choose. " + " ".join(
        f"With {size} images, the chosen pair gains {a} points on them and {b} on others."
        for size, (a, b) in ends.items()
    )
    caption = f"Mean and middle 80 % of {found.own.shape[1]} draws. The gap between the lines is optimism."
    return restacked(draw, columns=2, alt=alt, caption=caption)


def ways_to_choose(
    ways: Mapping[str, Selection], correct: Mapping[str, Bool[np.ndarray, "n"]], clip: Bool[np.ndarray, "n"], where: str
) -> Table:
    """Pairs of weights by the way they were chosen, each compared with CLIP on the same images.

    Args:
        ways: name -> the pair.
        correct: name -> which images it gets right.
        clip: which images CLIP gets right.
        where: task and backbone, for the caption.
    """
    rows = {}
    for name, way in ways.items():
        test = mcnemar(correct[name], clip)
        rows[name] = (
            f"{way.beta2:.3g}, {way.beta3:.3g}", float(correct[name].mean()),
            gain_interval(test.only_a, test.only_b, len(clip)), f"{test.only_a} : {test.only_b}",
            verdict(test.only_a, test.only_b, test.p_value, way.labels),
        )  # fmt: skip
    columns = ["β₂, β₃", "accuracy", "gain [95 %]", "CALIP : CLIP alone", "verdict (McNemar)"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    caption = (
        f"{where}: CALIP against CLIP ({percent(clip.mean(), 2)}) on {len(clip):,} test images. Gains in points. "
        "Alone: images that only one of the two gets right."
    )
    return Table(frame, caption, {"accuracy": lambda share: percent(share, 2)})
