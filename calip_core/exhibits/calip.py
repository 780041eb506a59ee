"""The figures of chapter 3: the affinity of one image, the effect of temperature, and gains over CLIP."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from jaxtyping import Float
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from calip_core.exhibits.grid import HEAT_COLOURS, Picture, draw_heat, token_grid
from calip_core.exhibits.style import MUTED, PALETTE, WIDTH
from calip_core.metrics import Interval


def affinity_map(
    image: Picture, affinity: Float[np.ndarray, "m k"], classnames: Sequence[str], grid: tuple[int, int]
) -> Figure:
    """The numbered tokens of an image beside its affinity matrix A: one row per token, one column per class."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 3.4), layout="constrained", gridspec_kw={"width_ratios": [1, 1.5]}
    )
    token_grid(left, image, grid)
    left.set_title(r"image, tokens numbered")
    picture = right.imshow(affinity, cmap=HEAT_COLOURS, aspect="auto")
    right.set(xlabel="class $k$", ylabel="token $m$", title=r"affinity $A = F_s F_t^\top$")
    right.set_xticks(range(len(classnames)), classnames, rotation=60, ha="right", fontsize=8)
    figure.colorbar(picture, ax=right, label="cosine")
    return figure


def attention_at_temperatures(
    image: Picture, weights: Sequence[Float[np.ndarray, "gh gw"]], alphas: Sequence[float], title: str
) -> Figure:
    """Attention of one class over one image at several temperatures; each map has its own scale, shown above it."""
    figure, axes = plt.subplots(1, len(alphas) + 1, figsize=(WIDTH, 2.3), layout="constrained")
    axes[0].imshow(image)
    axes[0].set_title("image", fontsize=10)
    for ax, alpha, heat in zip(axes[1:], alphas, weights, strict=True):
        draw_heat(ax, image, heat, (float(heat.min()), float(heat.max())))
        ax.set_title(f"$\\alpha_t = {alpha:g}$\n{heat.min():.3f} to {heat.max():.3f}", fontsize=10)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=11)
    return figure


def temperature_curves(
    alphas: Sequence[float],
    effective: dict[str, Sequence[float]],
    accuracies: dict[str, Sequence[float]],
    baseline: tuple[float, Interval],
    marks: dict[str, float],
) -> Figure:
    """Evenness of the attention (left) and accuracy of its logits (right), against the temperature.

    Args:
        alphas: temperatures, on a logarithmic axis.
        effective: effective fraction of the items that a softmax attends to, one curve per direction.
        accuracies: accuracy curves, from 0 to 1.
        baseline: accuracy and interval of CLIP.
        marks: named temperatures, drawn as vertical lines.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained")
    styles = ["-", "--", ":", "-."]
    for (name, curve), line in zip(effective.items(), styles, strict=False):
        left.plot(alphas, curve, line, label=name)
    left.set(xscale="log", xlabel=r"temperature $\alpha$", ylabel="effective share attended to", ylim=(0, 1.05))
    for (name, curve), line in zip(accuracies.items(), styles, strict=False):
        right.plot(alphas, 100 * np.asarray(curve), line, label=name)
    value, interval = baseline
    right.axhline(100 * value, color=MUTED, linewidth=1.2, label="CLIP alone")
    right.axhspan(100 * interval.low, 100 * interval.high, color=MUTED, alpha=0.15, linewidth=0)
    right.set(xscale="log", xlabel=r"temperature $\alpha$", ylabel="accuracy (%)")
    for ax in (left, right):
        for name, alpha in marks.items():
            ax.axvline(alpha, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            ax.annotate(name, (alpha, 1.0), xycoords=("data", "axes fraction"), rotation=90, fontsize=8,
                        va="top", ha="right", backgroundcolor="#ffffffcc")  # fmt: skip
        ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def gains(names: Sequence[str], values: Sequence[float], intervals: Sequence[Interval]) -> Figure:
    """Gains over CLIP with their intervals, in percentage points, one row per variant; the zero line is CLIP."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(names) + 1.1), layout="constrained")
    points, rows = 100 * np.asarray(values), np.arange(len(names))[::-1]
    low = points - [100 * interval.low for interval in intervals]
    high = [100 * interval.high for interval in intervals] - points
    ax.errorbar(points, rows, xerr=np.clip([low, high], 0, None), fmt="o", color=PALETTE[0], capsize=3)
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.set_yticks(rows, names)
    ax.set_xlabel("gain in accuracy over CLIP (percentage points, 95 % interval of the paired difference)")
    return figure


def attention_slider(weights: Sequence[Float[np.ndarray, "gh gw"]], alphas: Sequence[float], title: str) -> go.Figure:
    """Interactive map of one class's attention over the tokens, with a slider for the temperature."""
    rows, columns = weights[0].shape
    heats = [
        go.Heatmap(
            z=heat[::-1],
            colorscale="Cividis",
            visible=i == 0,
            colorbar={"title": "weight"},
            hovertemplate="column %{x}, row %{y}: %{z:.4f}<extra></extra>",
        )
        for i, heat in enumerate(weights)
    ]
    steps = [
        {"method": "update", "label": f"{alpha:g}", "args": [{"visible": [j == i for j in range(len(heats))]}]}
        for i, alpha in enumerate(alphas)
    ]
    from_below = {"tickvals": list(range(rows)), "ticktext": [str(rows - 1 - row) for row in range(rows)]}
    figure = go.Figure(heats)
    figure.update_layout(
        title=title,
        width=460,
        height=470,
        margin={"t": 60, "l": 60, "r": 20, "b": 40},
        sliders=[{"active": 0, "currentvalue": {"prefix": "α_t = "}, "steps": steps}],
        xaxis={"title": "token column", "dtick": 1},
        yaxis={"title": "token row", "scaleanchor": "x", **from_below},
    )
    figure.update_xaxes(range=[-0.5, columns - 0.5])
    return figure


def idea(
    image: Picture, affinity: Float[np.ndarray, "k gh gw"], classnames: Sequence[str], grid: tuple[int, int]
) -> Figure:
    """CALIP's idea in one figure: the parts of an image, and how well each part matches each class name."""
    figure, axes = plt.subplots(1, len(classnames) + 1, figsize=(WIDTH, 2.5), layout="constrained")
    token_grid(axes[0], image, grid)
    axes[0].set_title("parts of the image", fontsize=10)
    limits = float(affinity.min()), float(affinity.max())
    for ax, name, heat in zip(axes[1:], classnames, affinity, strict=True):
        draw_heat(ax, image, heat, limits)
        ax.set_title(f'"{name}"', fontsize=10)
        ax.set(xticks=[], yticks=[])
    colours = plt.cm.ScalarMappable(Normalize(*limits), cmap=HEAT_COLOURS)
    figure.colorbar(colours, ax=axes[1:], label="cosine", shrink=0.8)
    return figure
