"""The exhibits of chapter 7: clouds to turn, depth maps, and accuracies by view set and by view weights."""

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go  # type: ignore[import-untyped]
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calip_core.backbones.names import backbone_label
from calip_core.datasets.clouds.views import ViewSplit
from calip_core.datasets.task import Task
from calip_core.evaluation.record import Record
from calip_core.exhibits.exhibit import (
    Interactive,
    Plot,
    Table,
    Text,
    accuracy_text,
    interval,
    percent,
    points,
    restacked,
)
from calip_core.exhibits.pictures import first_of_each
from calip_core.exhibits.results import where
from calip_core.exhibits.style import PHONE_WIDTH, WIDTH
from calip_core.metrics import LEVEL, mcnemar
from calip_core.pointclouds.projection import depth_maps
from calip_core.pointclouds.views import view_set

_DECIMALS = 3  # of coordinates in the unit sphere: finer than a pixel of the viewer, at a third of the bytes


def first_of_class(task: Task, most: int = 10) -> dict[str, int]:
    """Class name -> number of its first test cloud, for up to ``most`` classes that have one."""
    test = _clouds(task)
    return first_of_each(test.labels[:: test.views], task.classnames, most)


def cloud_viewer(task: Task) -> Interactive:
    """One test cloud per class that the reader can rotate; a menu chooses among them. The y axis points up."""
    test = _clouds(task)
    clouds = {name: test.clouds[number] for name, number in first_of_class(task).items()}
    figure = go.Figure()
    for number, cloud in enumerate(clouds.values()):
        x, y, z = np.round(cloud, _DECIMALS).T.tolist()
        figure.add_scatter3d(
            x=x, y=y, z=z, mode="markers", visible=number == 0, hoverinfo="skip",
            marker={"size": 2, "color": y, "colorscale": "Cividis"},
        )  # fmt: skip
    axis = {"range": [-1, 1], "tickvals": [-1, 0, 1]}
    figure.update_layout(
        scene={
            "xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "cube",
            "camera": {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.3, "y": 0.9, "z": 1.6}},
        },
        updatemenus=[{"buttons": _steps(clouds), "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}],
        height=360, margin={"l": 0, "r": 0, "t": 60, "b": 0}, showlegend=False,
    )  # fmt: skip
    alt = (
        f"A cloud of {len(next(iter(clouds.values()))):,} points in the unit sphere, to turn with the mouse; a menu "
        f"chooses among {', '.join(clouds)}."
    )
    return Interactive(
        figure, alt=alt, caption="Drag to turn, scroll to zoom. The menu changes the class. Colour shows height."
    )


def _steps(titles: Mapping[str, object]) -> list[dict[str, object]]:
    """Entries of a menu or slider, each of which shows one trace."""
    return [
        {"label": title, "method": "update", "args": [{"visible": [other == title for other in titles]}]}
        for title in titles
    ]


def drawings(task: Task, cloud: int, sets: Sequence[str], views: int = 6) -> Plot:
    """One test cloud as several view sets draw it: one row per view set, with its first views.

    Args:
        task: a task of clouds.
        cloud: number of the cloud.
        sets: names of view sets.
        views: views per row; a phone shows half as many.
    """
    test = _clouds(task)
    name = task.classnames[test.labels[cloud * test.views]]
    batch = torch.from_numpy(np.array(test.clouds[cloud]))[None]
    maps = {label: depth_maps(batch, label)[0].numpy() for label in sets}
    drawn = "; ".join(f"{label}, {percent(_share_drawn(maps[label][0]), 0)}" for label in sets)
    return restacked(
        partial(_drawings, maps),
        columns=views,
        narrow=max(1, views // 2),
        alt=f"A cloud of class {name} drawn by {len(sets)} view sets. Of each first map it covers: {drawn}.",
        caption=f"One cloud ({name}) as {len(sets)} view sets draw it. “+y” is from above.",
    )


def _share_drawn(depth: Float[np.ndarray, "h w"]) -> float:
    """The share of pixels that differ from the background, as the corner shows it."""
    return float((depth != depth[0, 0]).mean())


def _drawings(maps: Mapping[str, Float[np.ndarray, "v h w"]], columns: int) -> Figure:
    width = WIDTH if columns > 3 else PHONE_WIDTH
    figure, axes = plt.subplots(
        len(maps), columns, squeeze=False, layout="constrained",
        figsize=(width, (width / columns + 0.25) * len(maps) + 0.2),
    )  # fmt: skip
    for line, (name, drawn) in zip(axes, maps.items(), strict=True):
        chosen = view_set(name)
        for ax, depth, label in zip(line, drawn, chosen.labels, strict=False):
            _draw_map(ax, depth, chosen.largest_value)
            ax.set_xlabel(f"from {_side(label)}", fontsize=9)
        for ax in line[len(drawn) :]:
            ax.axis("off")
        line[0].set_ylabel(name, fontsize=9)
    return figure


def _side(label: str) -> str:
    """A view's label with a real minus sign."""
    return label.replace("-", "−")


def _draw_map(ax: Axes, depth: Float[np.ndarray, "h w"], largest: float) -> None:
    ax.imshow(depth, cmap="gray", vmin=0, vmax=largest)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)  # the frame of a map with a white background


def by_view_set(measured: Mapping[tuple[str, str], Record]) -> Table:
    """CLIP's accuracy and CALIP's gain, one row per view set.

    Args:
        measured: view set and kind of spatial tokens -> CALIP's record; all on the same clouds.
    """
    rows: dict[str, dict[str, object]] = {}
    for (name, kind), record in measured.items():
        row = rows.setdefault(name, {"views": len(view_set(name)), "CLIP": _clip(record)})
        row[f"gain, {kind} tokens (points)"] = _gain(record)
    record = next(iter(measured.values()))
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        caption=f"Zero-shot accuracy of CLIP, and the gain of CALIP with fixed weights on the same "
        f"{record.data.images:,} test clouds of {record.data.task} [95 % intervals]. "
        f"{backbone_label(record.encoder.backbone)}; equal weights for all views. Guessing reaches "
        f"{percent(1 / record.data.classes)}.",
    )


def drawing_or_attention(measured: Mapping[tuple[str, str], Record]) -> Text:
    """Which of the two moves accuracy more: the view set, or CALIP's attention."""
    by_set = {name: record for (name, _), record in measured.items()}
    best, worst = (f(by_set, key=lambda name: by_set[name].score.clip_top1) for f in (max, min))
    spread = by_set[best].score.clip_top1 - by_set[worst].score.clip_top1
    p = mcnemar(by_set[best].correct_by_clip(), by_set[worst].correct_by_clip()).p_value
    gains = [record.score.gain for record in measured.values()]
    largest = max(abs(gain) for gain in gains)
    if spread > largest:
        verdict = "**How the cloud is drawn matters more than the attention.**"
    else:
        verdict = "**Here the attention moves more than the drawing does.**"
    return Text(
        f"{verdict} Between {worst} and {best}, CLIP's accuracy changes by {points(spread)} points (McNemar's p = "
        f"{p:.2g}). CALIP's attention changes it by {points(min(gains))} to {points(max(gains))} points: "
        f"{_clear_gains(measured)}"
    )


def _clear_gains(measured: Mapping[tuple[str, str], Record]) -> str:
    """The gains and losses that McNemar's test does not put down to chance, in words."""
    clear = [
        f"{points(record.score.gain)} with {kind} tokens on {name}"
        for (name, kind), record in measured.items()
        if mcnemar(record.correct(), record.correct_by_clip()).p_value < LEVEL
    ]
    if not clear:
        return f"McNemar's test calls none of these {len(measured)} changes real."
    return (
        f"McNemar's test calls {len(clear)} of these {len(measured)} changes real ({'; '.join(clear)}). Without any "
        "effect, it would call at most one in twenty so."
    )


def by_weighting(weighted: Mapping[tuple[str, str], Record]) -> Table:
    """CLIP and CALIP by how their weights were chosen, one row per way.

    Args:
        weighted: protocol and source of the view weights -> CALIP's record; all on the same clouds.
    """
    rows = {
        f"{protocol}, {weighting} views": {
            "labels seen": record.choice.labels_seen,
            "CLIP": _clip(record),
            "CALIP": f"{percent(record.score.top1)} {interval(record.score.low, record.score.high)}",
            "gain (points)": _gain(record),
            "gain on shuffled terms": None if (c := record.score.control_gain) is None else points(c),
        }
        for (protocol, weighting), record in weighted.items()
    }
    record = next(iter(weighted.values()))
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        caption=f"{record.data.images:,} test clouds of {where(record)}, "
        f"{record.data.projection}, seed {record.seed}. “Searched”: first the views' weights for CLIP, then the blend, "
        "both on the labels seen. Last column: what the oracle's search for a blend gains on average when CALIP's "
        "terms belong to other clouds; smaller gains mean nothing.",
    )


def search_verdict(weighted: Mapping[tuple[str, str], Record]) -> Text:
    """What a search for view weights gains on the labels it saw, and on clouds it did not see."""
    peeked = weighted["oracle", "searched"].score.clip_top1 - weighted["oracle", "uniform"].score.clip_top1
    searched, equal = weighted["validation", "searched"], weighted["validation", "uniform"]
    honest = searched.score.clip_top1 - equal.score.clip_top1
    p = mcnemar(searched.correct_by_clip(), equal.correct_by_clip()).p_value
    if p >= LEVEL:
        verdict = f"With {equal.data.images:,} clouds, the second change cannot be distinguished from chance"
    elif honest > 0:
        verdict = "The gain survives on clouds that the search has not seen"
    else:
        verdict = "Weights that help on the clouds they were searched on do harm on others"
    return Text(
        f"Searching the views' weights on the test labels, as published code does, changes CLIP's accuracy by "
        f"{points(peeked)} points. The same search on validation clouds changes it by {points(honest)}. {verdict} "
        f"(McNemar's p = {p:.2g})."
    )


def _clouds(task: Task) -> ViewSplit:
    test = task.splits["test"]
    assert isinstance(test, ViewSplit)  # the chapter's parameters allow tasks of clouds only
    return test


def _clip(record: Record) -> str:
    return accuracy_text(record.correct_by_clip())


def _gain(record: Record) -> str:
    score = record.score
    return f"{points(score.gain)} [{points(score.gain_low)}, {points(score.gain_high)}]"
