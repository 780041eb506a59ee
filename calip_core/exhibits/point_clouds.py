"""The figures of chapter 7: rotatable clouds, depth maps, and the sensitivity of accuracy."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from calip_core.blend.line import LineLandscape
from calip_core.exhibits.style import MUTED, PALETTE, WIDTH, panels
from calip_core.metrics import Interval

Map = Float[np.ndarray, "h w"]

_DECIMALS = 3  # of coordinates in the unit sphere: finer than a pixel of the viewer, at a third of the bytes
_SLIDER_PIXELS = 330
_LINE_STYLES = "-", "--", "-."


def cloud_viewer(clouds: Mapping[str, Float[np.ndarray, "_ 3"]]) -> go.Figure:
    """Clouds that the reader can rotate, one shown at a time; colour shows height. The y axis points up.

    Args:
        clouds: title -> points; a menu lists the titles.
    """
    figure = go.Figure()
    for number, points in enumerate(clouds.values()):
        x, y, z = np.round(points, _DECIMALS).T.tolist()
        figure.add_scatter3d(
            x=x, y=y, z=z, mode="markers", visible=number == 0, hoverinfo="skip",
            marker={"size": 2, "color": y, "colorscale": "Cividis"},
        )  # fmt: skip
    buttons = [
        {"label": title, "method": "update", "args": [{"visible": [other == title for other in clouds]}]}
        for title in clouds
    ]
    axis = {"range": [-1, 1], "tickvals": [-1, 0, 1]}
    figure.update_layout(
        scene={
            "xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "cube",
            "camera": {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.3, "y": 0.9, "z": 1.6}},
        },
        updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}],
        height=480, margin={"l": 0, "r": 0, "t": 60, "b": 0}, showlegend=False,
    )  # fmt: skip
    return figure


def view_slider(maps: Mapping[str, Map], largest: float) -> go.Figure:
    """One depth map at a time, with a slider over the views.

    Args:
        maps: label of a view -> its map.
        largest: the value shown as white; 0 is black.
    """
    figure = go.Figure([go.Image(source=_png(depth, largest), hoverinfo="skip") for depth in maps.values()])
    for number, picture in enumerate(figure.data):
        picture.visible = number == 0
    steps = [
        {"label": label, "method": "update", "args": [{"visible": [other == label for other in maps]}]}
        for label in maps
    ]
    axis = {"visible": False, "fixedrange": True}
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": "seen from "}, "pad": {"t": 10, "b": 10}}],
        xaxis=axis, yaxis=axis, height=_SLIDER_PIXELS + 150, margin={"l": 20, "r": 20, "t": 10, "b": 20},
    )  # fmt: skip
    return figure


def _png(depth: Map, largest: float) -> str:
    grey = Image.fromarray((np.clip(depth / largest, 0, 1) * 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    grey.resize((_SLIDER_PIXELS, _SLIDER_PIXELS), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class MapRow:
    """Depth maps of one cloud, one per view.

    Attributes:
        title: label at the left of the row.
        maps: one map per column.
        largest: the value shown as white.
        notes: optional text under each map.
    """

    title: str
    maps: Sequence[Map]
    largest: float
    notes: Sequence[str] = ()


def map_table(rows: Sequence[MapRow], columns: Sequence[str]) -> Figure:
    """Depth maps in grey: one row per cloud (or per style of drawing it), one column per view.

    Raises:
        ValueError: the number of maps in a row differs from the number of columns.
    """
    for row in rows:
        if len(row.maps) != len(columns):
            raise ValueError(f"row {row.title!r} has {len(row.maps)} maps for {len(columns)} columns: give as many")
    size = WIDTH / (len(columns) + 0.5)
    noted = any(row.notes for row in rows)
    figure, axes = plt.subplots(
        len(rows), len(columns), squeeze=False, layout="constrained",
        figsize=(WIDTH, (size + 0.3 * noted) * len(rows) + 0.3),
    )  # fmt: skip
    for row, line in zip(rows, axes, strict=True):
        for column, (ax, depth) in enumerate(zip(line, row.maps, strict=True)):
            ax.imshow(depth, cmap="gray", vmin=0, vmax=row.largest)
            ax.set(xticks=[], yticks=[], xlabel=row.notes[column] if row.notes else "")
            ax.xaxis.label.set_size(8)
        line[0].set_ylabel(row.title, fontsize=9)
    for ax, label in zip(axes[0], columns, strict=True):
        ax.set_title(label, fontsize=9)
    return figure


def weight_lines(lines: Mapping[str, LineLandscape]) -> Figure:
    """Exact accuracy as a function of a single view's weight, with all other weights 1.

    Args:
        lines: label of the view -> accuracy along its weight.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    for (label, line), colour, style in zip(lines.items(), PALETTE, _LINE_STYLES * 3, strict=False):
        ax.stairs(100 * line.correct / line.images, line.edges, baseline=None, color=colour, linestyle=style,
                  linewidth=1.5, label=f"from {label}")  # fmt: skip
    ax.axvline(1, color=MUTED, linewidth=1)
    ax.set(xlabel="weight of the view", ylabel="accuracy of CLIP (%)")
    figure.legend(loc="outside lower center", ncols=len(lines))
    return figure


@dataclass(frozen=True)
class Curve:
    """Accuracy of several methods as a function of one setting.

    Attributes:
        label: label of the horizontal axis.
        values: measured values of the setting.
        accuracy: method -> accuracies, one per value.
        intervals: method -> their 95 % intervals.
        logarithmic: whether the horizontal axis is logarithmic.
    """

    label: str
    values: Sequence[float] | Sequence[str]
    accuracy: Mapping[str, Sequence[float]]
    intervals: Mapping[str, Sequence[Interval]]
    logarithmic: bool = False


def sensitivity(curves: Sequence[Curve], chance: float) -> Figure:
    """One panel per curve with a common accuracy axis; the dotted line is chance."""
    figure, axes = panels(len(curves), 2, height=2.6, layout="constrained", sharey=True)
    for ax, curve in zip(axes, curves, strict=True):
        _draw_curve(ax, curve)
        ax.axhline(100 * chance, color="black", linestyle=":", linewidth=1, label="chance")
    figure.supylabel("accuracy (%)", fontsize=11)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_curve(ax: Axes, curve: Curve) -> None:
    words = any(isinstance(value, str) for value in curve.values)
    places = np.arange(len(curve.values)) if words else np.asarray(curve.values, dtype=float)
    for (method, shares), marker, colour in zip(curve.accuracy.items(), "oDs^", PALETTE, strict=False):
        low, high = ([100 * getattr(end, name) for end in curve.intervals[method]] for name in ("low", "high"))
        ax.plot(places, 100 * np.asarray(shares), marker=marker, color=colour, markersize=5, linewidth=1.5,
                linestyle="none" if words else "-", label=method)  # fmt: skip
        ax.vlines(places, low, high, color=colour, linewidth=1, alpha=0.7)
    if words:
        ax.set_xticks(places, [str(value) for value in curve.values])
        ax.margins(x=0.2)
    if curve.logarithmic:
        ax.set_xscale("log", base=2)
        ax.set_xticks(places, [f"{value:g}" for value in places])
        ax.minorticks_off()
    ax.set_xlabel(curve.label)
    ax.set_ylim(bottom=0)
