"""The exhibits of chapter 7: clouds to turn, depth maps, accuracies by view, weight and setting, and confusions."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go  # type: ignore[import-untyped]
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from calip_core.blend.line import LineLandscape
from calip_core.datasets.clouds.views import ViewSplit
from calip_core.datasets.task import Task
from calip_core.evaluation.record import Record
from calip_core.exhibits.exhibit import Interactive, Plot, Table, Text, interval, percent, points, restacked
from calip_core.exhibits.style import BAD, GOOD, MUTED, PALETTE, WIDTH, panels
from calip_core.metrics import Interval, mcnemar, wilson_interval
from calip_core.pointclouds.projection import depth_maps
from calip_core.pointclouds.views import view_set

Map = Float[np.ndarray, "h w"]
Hits = Bool[np.ndarray, " n"]
Setting = float | str
"""What one run of ``fragility`` changes: a number, or a word."""

_DECIMALS = 3  # of coordinates in the unit sphere: finer than a pixel of the viewer, at a third of the bytes
_SLIDER_PIXELS = 330
_LINE_STYLES = "-", "--", "-."
_NARROW = 3.9  # inches: a phone's width
_LEVEL = 0.05
_PERCENT = PercentFormatter(1.0, decimals=0, symbol=" %")


def first_of_class(task: Task, most: int = 10) -> dict[str, int]:
    """Class name -> number of its first test cloud, for up to ``most`` classes that have one."""
    test = _clouds(task)
    labels = test.labels[:: test.views]
    first = {name: np.flatnonzero(labels == label) for label, name in enumerate(task.classnames)}
    return dict([(name, int(where[0])) for name, where in first.items() if len(where)][:most])


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
        height=480, margin={"l": 0, "r": 0, "t": 60, "b": 0}, showlegend=False,
    )  # fmt: skip
    alt = (
        f"A cloud of {len(next(iter(clouds.values()))):,} points in the unit sphere, to turn with the mouse; a menu "
        f"chooses among {', '.join(clouds)}."
    )
    return Interactive(
        figure, alt=alt, caption="Drag to turn, scroll to zoom. The menu changes the class. Colour shows height."
    )


def view_slider(task: Task, cloud: int) -> Interactive:
    """The depth maps of one test cloud by the task's views, one at a time, with a slider over the views."""
    test = _clouds(task)
    maps = {_side(label): _depth_map(test, cloud, view) for view, label in enumerate(test.view_set.labels)}
    figure = go.Figure(
        [go.Image(source=_png(depth, test.view_set.largest_value), hoverinfo="skip") for depth in maps.values()]
    )
    for number, picture in enumerate(figure.data):
        picture.visible = number == 0
    axis = {"visible": False, "fixedrange": True}
    figure.update_layout(
        sliders=[{"steps": _steps(maps), "currentvalue": {"prefix": "seen from "}, "pad": {"t": 10, "b": 10}}],
        xaxis=axis, yaxis=axis, height=_SLIDER_PIXELS + 150, margin={"l": 20, "r": 20, "t": 10, "b": 20},
    )  # fmt: skip
    name = task.classnames[test.labels[cloud * test.views]]
    alt = f"Depth maps of one cloud ({name}) by {task.view_set}; a slider goes through its {len(maps)} views."
    return Interactive(figure, alt=alt, caption=f"All views of {task.view_set}: move the slider.")


def _steps(titles: Mapping[str, object]) -> list[dict[str, object]]:
    """Entries of a menu or slider, each of which shows one trace."""
    return [
        {"label": title, "method": "update", "args": [{"visible": [other == title for other in titles]}]}
        for title in titles
    ]


def _png(depth: Map, largest: float) -> str:
    grey = Image.fromarray((np.clip(depth / largest, 0, 1) * 255).round().astype(np.uint8))
    buffer = io.BytesIO()
    grey.resize((_SLIDER_PIXELS, _SLIDER_PIXELS), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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


def _share_drawn(depth: Map) -> float:
    """The share of pixels that differ from the background, as the corner shows it."""
    return float((depth != depth[0, 0]).mean())


def _drawings(maps: Mapping[str, Float[np.ndarray, "v h w"]], columns: int) -> Figure:
    width = WIDTH if columns > 3 else _NARROW
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


def _draw_map(ax: Axes, depth: Map, largest: float) -> None:
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
        f"{record.data.images:,} test clouds of {record.data.task} [95 % intervals]. {record.encoder.backbone}; equal "
        f"weights for all views. Guessing reaches {percent(1 / record.data.classes)}.",
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
    """The gains and losses whose interval excludes 0, in words."""
    clear = [
        f"{points(record.score.gain)} with {kind} tokens on {name}"
        for (name, kind), record in measured.items()
        if 0 not in Interval(record.score.gain_low, record.score.gain_high)
    ]
    if not clear:
        return f"none of the {len(measured)} intervals excludes 0."
    return (
        f"{len(clear)} of the {len(measured)} intervals exclude 0 ({'; '.join(clear)}). Without any effect, one in "
        "twenty would."
    )


def single_views(task: Task, view_hits: Bool[np.ndarray, "n v"], fused: Hits) -> Plot:
    """CLIP's accuracy on each view alone, best first, and on all views together.

    Args:
        task: the task.
        view_hits: which clouds each view alone classifies correctly.
        fused: which clouds all views together classify correctly.
    """
    labels = [_side(label) for label in _clouds(task).view_set.labels]
    order = np.argsort(-view_hits.mean(axis=0), kind="stable")
    rows = [("all views", fused, BAD), *[(f"from {labels[v]}", view_hits[:, v], GOOD) for v in order]]

    def draw(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 0.27 * len(rows) + 0.9))
        for place, (_name, hits, colour) in enumerate(rows):
            ends = wilson_interval(int(hits.sum()), len(hits))
            ax.plot([ends.low, ends.high], [place, place], color=colour, linewidth=2.5)
            ax.plot(hits.mean(), place, marker="D" if place == 0 else "o", color=colour, markersize=6)
        ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        ax.invert_yaxis()
        ax.xaxis.set_major_formatter(_PERCENT)
        ax.set(xlim=(0, 1), xlabel="accuracy of CLIP, with its 95 % interval")
        return figure

    top, bottom = order[0], order[-1]
    alt = (
        f"Accuracy of CLIP by view, from {percent(view_hits[:, top].mean())} ({labels[top]}) down to "
        f"{percent(view_hits[:, bottom].mean())} ({labels[bottom]}). All views together: {percent(fused.mean())}."
    )
    caption = f"CLIP on single views and on all of them, {len(fused)} test clouds."
    return restacked(draw, columns=1, alt=alt, caption=caption)


def weight_lines(lines: Mapping[str, LineLandscape]) -> Plot:
    """Exact accuracy as a function of a single view's weight, with all other weights 1.

    Args:
        lines: label of the view -> accuracy along its weight.
    """
    low, high = (f(f(line.correct) / line.images for line in lines.values()) for f in (min, max))

    def draw(_: int) -> Figure:
        figure, ax = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
        for (label, line), colour, style in zip(lines.items(), PALETTE, _LINE_STYLES * 3, strict=False):
            ax.stairs(line.correct / line.images, line.edges, baseline=None, color=colour, linestyle=style,
                      linewidth=1.5, label=f"from {_side(label)}")  # fmt: skip
        ax.axvline(1, color=MUTED, linewidth=1)
        ax.yaxis.set_major_formatter(_PERCENT)
        ax.set(xlabel="weight of the view", ylabel="accuracy of CLIP", ylim=(max(0, low - 0.03), min(1, high + 0.03)))
        figure.legend(loc="outside lower center", ncols=min(3, len(lines)))
        return figure

    ranges = "; ".join(
        f"from {_side(label)} between {percent(line.correct.min() / line.images)} and "
        f"{percent(line.correct.max() / line.images)}"
        for label, line in lines.items()
    )
    return restacked(
        draw,
        columns=1,
        alt=f"Staircases: accuracy on the validation clouds against the weight of one view, {ranges}.",
        caption="Exact accuracy on validation clouds along the weight of one view, the others staying at 1. At 1 all "
        "lines meet: equal weights.",
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
        caption=f"{record.data.images:,} test clouds of {record.data.task}, {record.encoder.backbone}, "
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
    if p >= _LEVEL:
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


def fragility(
    runs: Mapping[str, Mapping[Setting, Record]], by_count: Mapping[int, Sequence[float]], *, logarithmic: str = ""
) -> Plot:
    """Accuracy against one changed setting per panel; the last panel is the number of views.

    Args:
        runs: what is changed -> its settings -> CALIP's record; all on the same clouds.
        by_count: number of views -> CLIP's accuracy for several random choices of them.
        logarithmic: the key of ``runs`` whose axis is logarithmic.
    """
    record = next(iter(next(iter(runs.values())).values()))
    said = "; ".join(_range(label, settings) for label, settings in runs.items())
    first, last = min(by_count), max(by_count)
    views = f"{percent(float(np.mean(by_count[first])))} with {first} to {percent(float(np.mean(by_count[last])))}"
    return restacked(
        partial(_fragility, runs, by_count, logarithmic),
        columns=2,
        alt=f"Accuracy of CLIP and CALIP in {len(runs) + 1} panels. CLIP by {said}; by number of views, from {views}.",
        caption=f"{record.data.images} test clouds of {record.data.task}, {record.encoder.backbone}, fixed weights; "
        "dotted: guessing. Bars are 95 % intervals; for the number of views, CLIP's range over "
        f"{len(by_count[first])} random choices. All settings use the same clouds, so bars that overlap do not settle "
        "whether two settings differ.",
    )


def _range(label: str, settings: Mapping[Setting, Record]) -> str:
    (first, start), *_, (last, end) = settings.items()
    return f"{label}, from {percent(start.score.clip_top1)} at {first} to {percent(end.score.clip_top1)} at {last}"


def _fragility(
    runs: Mapping[str, Mapping[Setting, Record]],
    by_count: Mapping[int, Sequence[float]],
    logarithmic: str,
    columns: int,
) -> Figure:
    width = WIDTH if columns > 1 else _NARROW
    figure, axes = panels(len(runs) + 1, columns, width=width, height=2.6, layout="constrained", sharey=True)
    for ax, (label, settings) in zip(axes, runs.items(), strict=False):
        _draw_runs(ax, settings, logarithmic=label == logarithmic)
        ax.set_xlabel(label)
    counts = list(by_count)
    axes[-1].plot(counts, [np.mean(by_count[n]) for n in counts], "o-", color=PALETTE[0], markersize=5, linewidth=1.5)
    low, high = [min(by_count[n]) for n in counts], [max(by_count[n]) for n in counts]
    axes[-1].vlines(counts, low, high, color=PALETTE[0], linewidth=1)
    axes[-1].set_xlabel("number of views")
    guess = 1 / next(iter(next(iter(runs.values())).values())).data.classes
    for ax in axes:
        ax.axhline(guess, color="black", linestyle=":", linewidth=1)
        ax.yaxis.set_major_formatter(_PERCENT)
        ax.set_ylim(bottom=0)
    figure.supylabel("accuracy", fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_runs(ax: Axes, settings: Mapping[Setting, Record], *, logarithmic: bool) -> None:
    words = any(isinstance(value, str) for value in settings)
    places = np.arange(len(settings)) if words else np.asarray(list(settings), dtype=float)
    records = list(settings.values())
    scores = {
        "CLIP": [(record.score.clip_top1, _clip_interval(record)) for record in records],
        "CALIP": [(record.score.top1, Interval(record.score.low, record.score.high)) for record in records],
    }
    for (name, values), marker, colour in zip(scores.items(), "oD", PALETTE, strict=False):
        size = 8 if name == "CLIP" else 4  # both are seen where they coincide
        ax.plot(places, [share for share, _ in values], marker=marker, color=colour, markersize=size, linewidth=1.5,
                linestyle="none" if words else "-", label=name)  # fmt: skip
        low, high = [ends.low for _, ends in values], [ends.high for _, ends in values]
        ax.vlines(places, low, high, color=colour, linewidth=1)
    if words:
        ax.set_xticks(places, [str(value) for value in settings])
        ax.margins(x=0.2)
    if logarithmic:
        ax.set_xscale("log", base=2)
        ax.set_xticks(places, [f"{value:g}" for value in places])
        ax.minorticks_off()


def confusions(
    task: Task, clouds: Int[np.ndarray, " n"], answers: Int[np.ndarray, " n"], most: int = 6
) -> Plot | Text:
    """The most frequent confusions, each with the first view of one cloud; a sentence if every answer is right.

    Args:
        task: the task.
        clouds: numbers of the classified test clouds.
        answers: the class given to each.
        most: confusions to show, at most.
    """
    test = _clouds(task)
    truth = test.labels[:: test.views][clouds]
    cases: dict[tuple[int, int], list[int]] = {}
    for number, true, said in zip(clouds, truth, answers, strict=True):
        if true != said:
            cases.setdefault((int(true), int(said)), []).append(int(number))
    if not cases:
        return Text("Every one of these clouds is classified correctly: there is no confusion to show.")
    shown = dict(sorted(cases.items(), key=lambda case: -len(case[1]))[:most])
    names = {pair: (task.classnames[pair[0]], task.classnames[pair[1]]) for pair in shown}
    notes = [
        f"{names[pair][0]},\ncalled {names[pair][1]}\n({len(found)} of {int((truth == pair[0]).sum())})"
        for pair, found in shown.items()
    ]
    maps = [_depth_map(test, found[0], 0) for found in shown.values()]
    wrong, explained = (sum(len(found) for found in group.values()) for group in (cases, shown))
    said_wrong = np.bincount(answers[answers != truth], minlength=len(task.classnames))
    favourite = task.classnames[said_wrong.argmax()]
    return restacked(
        partial(_confusions, maps, notes, test.view_set.largest_value),
        columns=3,
        alt="Depth maps of wrongly classified clouds: " + "; ".join(f"{a} called {b}" for a, b in names.values()) + ".",
        caption=f"The most frequent confusions among {len(clouds)} test clouds, with the first view of one of them. "
        f"{wrong} clouds are wrong, {explained} of them in the ways shown. The most frequent wrong answer, "
        f"“{favourite}”, makes up {percent(said_wrong.max() / wrong)} of all wrong answers.",
    )


def _confusions(maps: Sequence[Map], notes: Sequence[str], largest: float, columns: int) -> Figure:
    width = WIDTH if columns > 1 else _NARROW
    figure, axes = panels(len(maps), columns, width=width, height=2.4 if columns > 1 else 3.2)
    for ax, depth, note in zip(axes, maps, notes, strict=True):
        _draw_map(ax, depth, largest)
        ax.set_xlabel(note, fontsize=9)
    return figure


def _clouds(task: Task) -> ViewSplit:
    test = task.splits["test"]
    assert isinstance(test, ViewSplit)  # the chapter's parameters allow tasks of clouds only
    return test


def _depth_map(test: ViewSplit, cloud: int, view: int) -> Map:
    depth: Map = test.depth_map(cloud * test.views + view).numpy()
    return depth


def _clip_interval(record: Record) -> Interval:
    hits = record.correct_by_clip()
    return wilson_interval(int(hits.sum()), len(hits))


def _clip(record: Record) -> str:
    ends = _clip_interval(record)
    return f"{percent(record.score.clip_top1)} {interval(ends.low, ends.high)}"


def _gain(record: Record) -> str:
    score = record.score
    return f"{points(score.gain)} [{points(score.gain_low)}, {points(score.gain_high)}]"
