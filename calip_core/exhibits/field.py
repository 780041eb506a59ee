"""The exhibits of chapter 10: methods without labels, grouped by what they look at besides the one image."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from calip_core.analysis.composition import BASELINE
from calip_core.evaluation.record import Record
from calip_core.exhibits.calip_fs import over_draws
from calip_core.exhibits.exhibit import Plot, Table, Text, listed, percent, points, restacked
from calip_core.exhibits.results import gain_interval
from calip_core.exhibits.style import MUTED, PALETTE, in_percent, panels
from calip_core.methods import METHODS
from calip_core.methods.base import Sees
from calip_core.metrics import mean_interval
from calip_core.published import published_training_free

SEES: tuple[str, ...] = get_args(Sees)
_COLOURS = dict(zip(SEES, (PALETTE[0], PALETTE[2], PALETTE[4], PALETTE[1], PALETTE[3], MUTED), strict=True))
_TITLES = {
    "zero_shot": "zero-shot CLIP", "calip": "CALIP", "distribution_normalization": "DN", "inmap": "InMaP",
    "transclip": "TransCLIP", "stata": "StatA", "tda": "TDA", "dmn": "DMN", "zlap": "ZLaP", "mta": "MTA",
}  # fmt: skip
_NEEDS = {
    "nothing": "the image",
    "views": "the image and random crops of it",
    "unlabelled": "some images without labels, before the first test image",
    "stream": "the test images before it, in their order",
    "batch": "all images of the batch, before the first answer",
}


_SEEN = {
    "nothing": "nothing", "views": "crops of it", "unlabelled": "unlabelled images", "stream": "a stream",
    "batch": "a batch", "labels": "labels",
}  # fmt: skip


_LINES: dict[str, Literal["-", ":"]] = {"shuffled": "-", "class after class": ":"}


def title(record: Record) -> str:
    """The method with the options of CALIP that earlier chapters introduced: "CALIP, value tokens"."""
    name = _TITLES.get(record.head.method, record.head.method)
    if record.head.method != "calip":
        return name
    name += f", {record.encoder.tokens} tokens" if record.encoder.tokens != "joint" else ""
    return name + (", without prior" if record.head.options["prior"] != "keep" else "")


def _by_kind(records: Sequence[Record]) -> list[tuple[str, str]]:
    """(sees, title) of all methods but zero-shot CLIP: kinds together, methods in the order of their records."""
    found = dict.fromkeys((r.head.sees, title(r)) for r in records if r.head.method != BASELINE)
    return sorted(found, key=lambda pair: SEES.index(pair[0]))


def gains(records: Sequence[Record]) -> Plot:
    """Paired gains over zero-shot CLIP, one panel per task; what a method sees is its colour and part of its name."""
    rows = _by_kind(records)
    tasks = list(dict.fromkeys(record.data.task for record in records))
    heights = {row: len(rows) - 1 - place for place, row in enumerate(rows)}

    def draw(columns: int) -> Figure:
        height = 0.9 + 0.24 * len(rows)
        figure, axes = panels(len(tasks), columns, height=height, layout="constrained", sharex=True, sharey=True)
        for ax, task in zip(axes, tasks, strict=True):
            for record in records:
                if record.data.task == task and record.head.method != BASELINE:
                    _draw_gain(ax, record, heights[record.head.sees, title(record)])
            ax.axvline(0, color="black", linestyle="--", linewidth=1)
            ax.set_title(f"{task}, CLIP {percent(_clip(records, task))}", fontsize=10)
            ax.set_yticks([heights[row] for row in rows], [f"{name} ({sees})" for sees, name in rows], fontsize=9)
        figure.supxlabel("gain over zero-shot CLIP (points)", fontsize=11)
        return figure

    told = "; ".join(
        f"{task}: " + ", ".join(f"{title(r)} {points(r.score.gain)}" for r in records
                                if r.data.task == task and r.head.method != BASELINE)
        for task in tasks
    )  # fmt: skip
    return restacked(
        draw, columns=2, alt=f"Gains over zero-shot CLIP in points, one panel per task. {told}.",
        caption="Gain over zero-shot CLIP on the same images, with its paired 95 % interval. In brackets, and as the "
        f"colour: what a method sees besides the image. {_sizes(records)} Options as published; streams and batches "
        "are the whole test set.",
    )  # fmt: skip


def _clip(records: Sequence[Record], task: str) -> float:
    """Accuracy of zero-shot CLIP on a task."""
    return next(r.score.top1 for r in records if r.data.task == task and r.head.method == BASELINE)


def _draw_gain(ax: Axes, record: Record, height: float) -> None:
    score, colour = record.score, _COLOURS[record.head.sees]
    gain, low, high = (100 * x for x in (score.gain, score.gain_low, score.gain_high))
    ax.errorbar(gain, height, xerr=[[gain - low], [high - gain]], fmt="o", color=colour, markersize=4, capsize=2)


def _sizes(records: Sequence[Record]) -> str:
    """The number of test images per task, and of those that differ from it."""
    usual = {record.data.task: record.data.images for record in records if record.head.method == BASELINE}
    text = "Test images: " + ", ".join(f"{task} {images}" for task, images in usual.items())
    fewer = dict.fromkeys(
        f"{title(r)} {r.data.images} of {r.data.task}" for r in records if r.data.images != usual[r.data.task]
    )
    return text + (f"; {', '.join(fewer)}" if fewer else "") + "."


def in_short(records: Sequence[Record]) -> Text:
    """Per kind, the smallest and the largest gain of its methods on any task."""
    found = []
    for sees in SEES:
        own = [r.score.gain for r in records if r.head.sees == sees and r.head.method != BASELINE]
        if own:
            ends = list(dict.fromkeys(points(gain) for gain in (min(own), max(own))))
            found.append(f"{_SEEN[sees]} {' to '.join(ends)}")
    return Text(
        "**In short.** Gains in points, from the smallest of a method on a task to the largest, by what methods see "
        f"besides the image: {'; '.join(found)}."
    )


def _of(records: Iterable[Record], sees: str, name: str) -> list[Record]:
    return [record for record in records if (record.head.sees, title(record)) == (sees, name)]


def needs() -> Table:
    """What the heads without labels look at, by kind."""
    rows = [
        (sees, _NEEDS[sees], ", ".join(_TITLES.get(name, name) for name, head in METHODS.items() if head.sees == sees))
        for sees in _NEEDS
    ]
    frame = pd.DataFrame(rows, columns=["sees", "to answer for one image it needs", "methods"]).set_index("sees")
    return Table(frame, "What a method without labels sees besides the one image.")


def class_shares(shares: Mapping[str, Float[np.ndarray, " k"]], classnames: Sequence[str]) -> Plot:
    """One row of bars per source of labels: the share of the batch that each class gets.

    Args:
        shares: source, such as "truth" -> share of each class, summing to 1.
        classnames: names of the classes. Those with small shares are drawn together.
    """
    shares, classnames = _together(shares, classnames)

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(shares), columns, height=2.6, layout="constrained", sharex=True, sharey=True)
        for place, (ax, (source, values)) in enumerate(zip(axes, shares.items(), strict=True)):
            ax.barh(range(len(values)), values, color=PALETTE[place])
            ax.set_title(source, fontsize=10)
            ax.set_yticks(range(len(values)), list(classnames), fontsize=8)
            in_percent(ax.xaxis)
        axes[0].invert_yaxis()
        figure.supxlabel("share of the batch", fontsize=11)
        return figure

    told = "; ".join(f"{source}: {_largest(values, classnames)}" for source, values in shares.items())
    return restacked(
        draw, columns=3, alt=f"Share of the batch that each class gets. {told}.",
        caption="Share of a batch that each class gets: in truth, by zero-shot CLIP, and by the pseudo-labels from "
        "which InMaP learns.",
    )  # fmt: skip


def _together(
    shares: Mapping[str, Float[np.ndarray, " k"]], classnames: Sequence[str], most: int = 9
) -> tuple[dict[str, Float[np.ndarray, " j"]], list[str]]:
    """The classes with the largest shares in any source, and all others as one."""
    order = np.argsort(-np.max(list(shares.values()), axis=0), kind="stable")
    if len(order) <= most:
        return dict(shares), list(classnames)
    first, rest = order[: most - 1], order[most - 1 :]
    joined = {source: np.append(values[first], values[rest].sum()) for source, values in shares.items()}
    return joined, [*(classnames[k] for k in first), f"{len(rest)} others together"]


def _largest(shares: Float[np.ndarray, " k"], classnames: Sequence[str], most: int = 3) -> str:
    order = np.argsort(-shares)[:most]
    return ", ".join(f"{classnames[k]} {percent(float(shares[k]), 0)}" for k in order)


def absent_means(
    means: Float[Tensor, "k c"],
    text: Float[Tensor, "k c"],
    images: Float[Tensor, "n c"],
    absent: Bool[np.ndarray, " k"],
) -> Text:
    """Where the mean of a class lies that has no image in the batch: near its text, or near the images of others.

    Args:
        means: mean of each class, of unit length.
        text: text feature of each class, of unit length.
        images: pooled features of the batch, of unit length.
        absent: which classes have no image in it.
    """
    own = (means * text).sum(dim=1)[torch.from_numpy(absent)]
    others = (means @ images.T).amax(dim=1)[torch.from_numpy(absent)]
    return Text(
        f"The means of the {int(absent.sum())} absent classes: their cosine with their own text is "
        f"{float(own.mean()):.2f} on average, with the nearest image of the batch {float(others.mean()):.2f}."
    )


def curves(frame: pd.DataFrame, level: str, caption: str) -> Plot:
    """One panel per method: gain over zero-shot CLIP by level, with t-intervals over the seeds.

    Args:
        frame: of ``analysis.composition``; with a column "order", one curve per order.
        level: label of the horizontal axis.
        caption: what was varied.
    """
    kinds = {method: sees for method, sees in zip(frame["method"], frame["sees"], strict=True) if method != BASELINE}
    methods = sorted(kinds, key=lambda method: SEES.index(kinds[method]))

    def draw(columns: int) -> Figure:
        figure, axes = panels(len(methods), columns, height=2.0, layout="constrained", sharex=True, sharey="row")
        for ax, method in zip(axes, methods, strict=True):
            for label, own in _orders(frame[frame["method"] == method]):
                _draw_curve(ax, own, label, _COLOURS[kinds[method]])
            ax.axhline(0, color="black", linestyle="--", linewidth=1)
            ax.set_title(f"{_name(method)} ({kinds[method]})", fontsize=9)
        for ax in axes[-columns:]:
            ax.tick_params(labelbottom=True)
        if "order" in frame:
            lines = [Line2D([], [], color="black", linestyle=style, label=order) for order, style in _LINES.items()]
            axes[0].legend(handles=lines, fontsize=8)
        figure.supxlabel(level, fontsize=11)
        figure.supylabel("gain (points)", fontsize=11)
        return figure

    told = "; ".join(f"{_name(method)} {_told(frame[frame['method'] == method])}" for method in methods)
    seeds = frame["seed"].nunique()
    return restacked(
        draw, columns=4, narrow=2, alt=f"Gain over zero-shot CLIP by {level}, one panel per method. {told}.",
        caption=f"{caption} Gain over zero-shot CLIP (dashed) on the same images: mean over {seeds} draws, with its "
        "95 % t-interval. The number is that of the first point.",
    )  # fmt: skip


def _name(method: str) -> str:
    return _TITLES.get(method, method)


def _orders(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "order" not in frame:
        return [("", frame)]
    return [(order, frame[frame["order"] == order]) for order in frame["order"].unique()]


def _means(frame: pd.DataFrame) -> dict[Any, tuple[float, float]]:
    """Level -> mean gain and half-width of its interval."""
    return {level: mean_interval(frame[frame["level"] == level]["gain"]) for level in frame["level"].unique()}


def _draw_curve(ax: Axes, frame: pd.DataFrame, label: str, colour: str) -> None:
    means = _means(frame)
    places = [str(level) for level in means]
    first_curve = label in ("", "shuffled")
    ax.errorbar(
        places, [100 * mean for mean, _ in means.values()],
        yerr=[0 if np.isnan(half) else 100 * half for _, half in means.values()],
        color=colour, linestyle=_LINES.get(label, "-"), marker="o", markersize=3, capsize=2, linewidth=1.5, label=label,
    )  # fmt: skip
    if first_curve:
        first = next(iter(means.values()))[0]
        aside = (4, -11) if first < 0 else (2, 5)
        ax.annotate(points(first), (0, 100 * first), aside, textcoords="offset points", fontsize=8)


def _told(frame: pd.DataFrame) -> str:
    return "; ".join(
        f"{order} ".lstrip() + ", ".join(f"{points(mean)} at {level}" for level, (mean, _) in _means(own).items())
        for order, own in _orders(frame)
    )


def composition_in_short(presence: pd.DataFrame, classes: int) -> Text:
    """Which methods lose, and which hold, where only few of the classes are present."""
    fewest = min(presence["level"])
    few = presence[presence["level"] == fewest]
    gains = {m: mean_interval(few[few["method"] == m]["gain"]) for m in few["method"].unique() if m != BASELINE}
    lose = {m: mean for m, (mean, half) in gains.items() if mean + half < 0}
    win = [m for m, (mean, half) in gains.items() if mean - half > 0]
    text = f"With {fewest} of the {classes} classes in the batch, "
    if lose:
        worst = min(lose, key=lambda m: lose[m])
        text += f"{listed(map(_name, lose))} {'lose' if len(lose) > 1 else 'loses'} accuracy"
        text += f", {_name(worst)} most" if len(lose) > 1 else ""
        text += f": {points(lose[worst])} points. "
    else:
        text += "no method clearly loses accuracy. "
    if win:
        return Text(f"{text}{listed(map(_name, win))} clearly {'gain' if len(win) > 1 else 'gains'}.")
    return Text(f"{text}None clearly gains.")


def neighbours(records: Sequence[Record], agreement: Mapping[str, float]) -> Table:
    """CLIP's accuracy, how often neighbours share a class, and the gains of the methods that see a batch, by task.

    Args:
        records: of zero-shot CLIP and of methods that see a batch, on all tasks.
        agreement: task -> share of an image's nearest images that show its class.
    """
    rows = {
        task: {"CLIP is right": percent(_clip(records, task)), "neighbours agree": percent(share)}
        | {title(r): points(r.score.gain) for r in records if r.data.task == task and r.head.sees == "batch"}
        for task, share in agreement.items()
    }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        "Neighbours agree: how often one of the three nearest images shows the same class. The other columns are gains "
        "over zero-shot CLIP in points, from the first figure.",
    )  # fmt: skip


def cost(seconds: Mapping[str, float], images: int, heads: Mapping[str, Any]) -> Table:
    """What an answer costs beside the encoder.

    Args:
        seconds: method -> seconds for all images, from their features.
        images: how many.
        heads: method -> fitted head.
    """
    rows = {
        _name(method): {
            "sees": heads[method].sees,
            "encoder runs per image": 1 + getattr(heads[method].options, "crops", 0),
            "head, ms per image": 1000 * total / images,
        }
        for method, total in seconds.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    order = sorted(frame.index, key=lambda name: SEES.index(frame.loc[name, "sees"]))
    return Table(
        frame.loc[order],
        f"Time of each head for {images} images whose features are there, per image. MTA's time is for all its views.",
        {"head, ms per image": "{:,.3f}"},
    )


def published_gains() -> Table:
    """Published accuracies of methods without training, each beside its own source's zero-shot CLIP."""
    rows = sorted(published_training_free(), key=lambda p: SEES.index(METHODS[p.method].sees))
    sources = list(dict.fromkeys(p.source for p in rows))
    frame = pd.DataFrame.from_records(
        [
            {
                "sees": METHODS[p.method].sees, "data": p.data, "CLIP": 100 * p.clip, "method": 100 * p.top1,
                "gain": points(p.top1 - p.clip), "source": f"({sources.index(p.source) + 1})",
            }
            for p in rows
        ],
        index=[_name(p.method) for p in rows],
    )  # fmt: skip
    baselines = sorted({p.clip for p in rows if p.data.startswith("ImageNet, RN50")})
    return Table(
        frame,
        "Published accuracies (%). A source's own zero-shot CLIP depends on its prompts: for ImageNet and RN50 it is "
        f"{listed(f'{100 * share:.2f}' for share in baselines)} in different tables. So compare gains, and only with "
        f"the same word under “sees”. {'; '.join(f'({n}) {source}' for n, source in enumerate(sources, 1))}.",
        {"CLIP": "{:.2f}", "method": "{:.2f}"},
    )


def which(records: Sequence[Record], presence: pd.DataFrame) -> Table:
    """When to use which, as computed: mean gain with all classes, and with few, best of each kind in each column."""
    fewest, rows = min(presence["level"]), []
    for sees, name in _by_kind(records):
        own = _of(records, sees, name)
        method = own[0].head.method
        few = presence[(presence["method"] == method) & (presence["level"] == fewest)]["gain"].to_numpy()
        plain = name == _name(method) and sees != "stream"  # so few images do not fill a memory
        rows.append(
            {
                "method": name, "sees": sees, "tasks": len(own),
                "gain, all tasks": _pooled(own),
                f"gain, {fewest} classes present": over_draws(few, difference=True) if plain and len(few) else "",
            }
        )  # fmt: skip
    return Table(
        pd.DataFrame(rows).set_index("method"),
        "Gains over zero-shot CLIP in points: on all test images of all tasks together, with the paired 95 % interval; "
        "and the mean over batches with few classes, with its t-interval. Unless you know your batches, a method is as "
        "good as its worse column.",
    )


def _pooled(records: Sequence[Record]) -> str:
    counts = np.array([(r.score.only_method, r.score.only_clip, r.data.images) for r in records])
    only_method, only_clip, images = counts.sum(axis=0).tolist()
    return gain_interval(only_method, only_clip, images)
