"""The exhibits of chapter 6: records as tables, gains with their intervals, and the ledger of published numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from calip_core.backbones.names import backbone_label
from calip_core.blend.selection import FIXED
from calip_core.datasets import disk_datasets, load_card, split_template_set
from calip_core.evaluation.record import DescriptionsPart, Record
from calip_core.evaluation.replication import Replication
from calip_core.evaluation.sent import Sent
from calip_core.evaluation.store import latest
from calip_core.exhibits.exhibit import Plot, Table, percent, points, restacked, signed
from calip_core.exhibits.results import REPOSITORIES, gain_text, interval_text, split_text, verdict_on, where
from calip_core.exhibits.style import BAD, GOOD, MUTED, PALETTE, WIDTH
from calip_core.metrics import LEVEL, Interval, mcnemar, paired_interval, wilson_interval
from calip_core.published import Published, published

_MARKERS = "o", "D", "s", "^", "v"


def record_table(record: Record) -> Table:
    """One record: what was measured, on what, and how the weights were chosen."""
    data, choice, score, encoder = record.data, record.choice, record.score, record.encoder
    rows = {
        "dataset": f"{data.task}, {data.classes} classes" + (" (a stand-in)" if data.standin else ""),
        "prompts": _prompts(data.templates),
        "test images": "; ".join(filter(None, [f"{data.images:,}", split_text(data)])),
        "split": data.split_source,
        "backbone": f"{backbone_label(encoder.backbone)}, {encoder.tokens} tokens, {encoder.precision}",
        "temperatures and pooling": str(record.head.options.get("config")),
        "protocol": f"{choice.protocol}: {choice.chosen_by}",
        "β₂, β₃": _pair(record),
        "CLIP": percent(score.clip_top1, 2),
        "CALIP, % [95 %]": interval_text(score),
        "gain, points [95 %]": gain_text(score),
        "verdict (McNemar)": verdict_on(record),
        "seed, commit, seconds": f"{record.seed}, {record.run.commit[:10]}, {record.run.seconds:.1f}",
    }
    return Table(pd.DataFrame({"this run": rows}), "One record: a number, and everything that it depends on.")


def _prompts(templates: tuple[str, ...] | DescriptionsPart) -> str:
    if isinstance(templates, DescriptionsPart):
        return str(templates)
    more = f" and {len(templates) - 1} more" if len(templates) > 1 else ""
    return f"{templates[0]}{more}"


def _pair(record: Record) -> str:
    return f"{record.choice.values['beta2']:.3g}, {record.choice.values['beta3']:.3g}"


def protocols(records: Sequence[Record]) -> Table:
    """Records of one task and one backbone that differ in their protocol, side by side."""
    rows = {
        _how(record): (
            record.choice.labels_seen, _pair(record), record.score.top1, gain_text(record.score),
            f"{record.score.only_method} : {record.score.only_clip}", verdict_on(record),
        )
        for record in records
    }  # fmt: skip
    columns = ["labels seen", "β₂, β₃", "CALIP", "gain [95 %]", "CALIP : CLIP alone", "verdict (McNemar)"]
    first = records[0]
    caption = (
        f"{where(first)}, {first.data.images:,} test images; CLIP has "
        f"{percent(first.score.clip_top1, 2)}. Gains in points. Alone: images that only one of the two gets right."
    )
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return Table(frame, caption, {"CALIP": _percent_two})


def _how(record: Record) -> str:
    criterion = record.choice.criterion
    return record.choice.protocol + (f": {criterion.replace('_', ' ')}" if criterion else "")


def _counted(records: Sequence[Record]) -> str:
    """How many verdicts are gains and losses, and how many luck alone would give."""
    honest = [record for record in records if record.test_is_valid]
    words = [verdict_on(record).split(",")[0] for record in honest]
    return (
        f"Of {len(honest)} comparisons whose weights saw no test labels, McNemar's test calls {words.count('gain')} a "
        f"gain and {words.count('loss')} a loss; luck alone would give at most about {LEVEL * len(honest):.1f}."
    )


def measured_table(records: Sequence[Record]) -> Table:
    """The same gains in numbers, with the images behind them; a star marks McNemar's verdicts."""
    hows = list(dict.fromkeys(record.choice.protocol for record in records))
    rows: dict[str, dict[str, float | str]] = {}
    for record in records:
        row = rows.setdefault(where(record), {"CLIP": record.score.clip_top1})
        row[record.choice.protocol] = _short_gain(record)
        if record.score.control_gain is not None:
            row["oracle, shuffled"] = points(record.score.control_gain, 2)
    columns = ["CLIP", *hows] + ["oracle, shuffled"] * any("oracle, shuffled" in row for row in rows.values())
    caption = (
        "Gain of CALIP in points, and in brackets the images that only CALIP : only CLIP gets right. Star: a verdict "
        "of McNemar's test (p < 0.05). The oracle saw test labels and gets no verdict; beside it, the mean gain of the "
        "same search on shuffled terms. " + _counted(records)
    )
    return Table(pd.DataFrame.from_dict(rows, orient="index", columns=columns), caption, {"CLIP": percent})


def _short_gain(record: Record) -> str:
    score = record.score
    star = " *" if record.test_is_valid and score.mcnemar_p < LEVEL else ""
    return f"{points(score.gain, 2)} ({score.only_method}\u00a0:\u00a0{score.only_clip}){star}"


def class_changes(record: Record, labels: ArrayLike, names: Sequence[str], most: int = 12) -> Plot:
    """Change of each class's accuracy from CLIP to CALIP, with intervals and tests that hold for all classes together.

    Args:
        record: with its hits.
        labels: class numbers of its test images.
        names: of the classes.
        most: how many classes to show: those with the most images on which the two differ.
    """
    target, ours, clips = np.asarray(labels), record.correct(), record.correct_by_clip()
    counts = [np.bincount(target[mask], minlength=len(names)) for mask in (ours & ~clips, ~ours & clips, target >= 0)]
    won, lost, images = counts
    seen: list[int] = np.flatnonzero(images).tolist()
    tests = {k: mcnemar(ours[target == k], clips[target == k]).p_value * len(seen) for k in seen}
    ranked = sorted(seen, key=lambda k: -int(won[k] + lost[k]))[:most]
    order = sorted(ranked, key=lambda k: -float(won[k] - lost[k]) / images[k])
    ends = [paired_interval(int(won[k]), int(lost[k]), int(images[k]), 1 - LEVEL / len(seen)) for k in order]
    draw = partial(_draw_classes, order, [won, lost, images], ends, [tests[k] < LEVEL for k in order], names)
    changed = [f"{names[k]} ({points((won[k] - lost[k]) / images[k])})" for k in seen if tests[k] < LEVEL]
    found = f"Classes that change: {', '.join(changed)}." if changed else "No class changes by more than luck explains."
    some = f"the {len(order)} of {len(seen)} classes with the most images on which CLIP and CALIP differ"
    which = some if len(order) < len(seen) else "all classes"
    caption = (
        f"{where(record)}, protocol {record.choice.protocol}: {which}. In "
        f"brackets: images won, lost, and all. Intervals and tests are corrected for {len(seen)} classes (Bonferroni). "
        f"{found}"
    )
    alt = f"Change of accuracy in {len(order)} classes, with intervals. {found}"
    return restacked(draw, columns=2, alt=alt, caption=caption)


def _draw_classes(
    order: Sequence[int], counts: Sequence[np.ndarray], ends: Sequence[Interval], changed: Sequence[bool],
    names: Sequence[str], columns: int,
) -> Figure:  # fmt: skip
    """One row per class; the label of the axis has room for so many columns."""
    won, lost, images = counts
    figure, ax = plt.subplots(figsize=(WIDTH, 0.25 * len(order) + 0.9), layout="constrained")
    places = np.arange(len(order))[::-1]
    for place, k, end, sure in zip(places, order, ends, changed, strict=True):
        gain = 100 * (won[k] - lost[k]) / images[k]
        colour = (GOOD if gain > 0 else BAD) if sure else MUTED
        ax.plot([100 * end.low, 100 * end.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        ax.plot(gain, place, "o", color=colour, markersize=6, fillstyle="full" if sure else "none")
    ax.axvline(0, color=MUTED, linewidth=1)
    rows = [f"{names[k]} (+{won[k]} \u2212{lost[k]} of {images[k]})" for k in order]
    ax.set_yticks(places, rows, fontsize=9)
    ax.set_xlabel(fill("change of the class's accuracy, CALIP less CLIP (points)", 30 * columns))
    return figure


@dataclass(frozen=True)
class _Published:
    """Published accuracies of RN50, as shares: log or source -> dataset -> accuracy.

    Attributes:
        calip: by the log that lists them.
        clip: by the source of the baseline.
        remarks: of a source on its CLIP, such as "ImageNet: single prompt".
        others: accuracies of CALIP whose backbone is not stated.
    """

    calip: dict[str, dict[str, float]]
    clip: dict[str, dict[str, float]]
    remarks: dict[str, str]
    others: list[Published]

    @classmethod
    def read(cls) -> "_Published":
        found = cls({}, {}, {}, [])
        for row in published():
            if row.backbone is None:
                found.others.append(row)
            elif row.method == "calip":
                for log in row.source.split("; "):
                    found.calip.setdefault(REPOSITORIES.get(log, log), {})[row.dataset] = row.top1
            elif row.method == "zero_shot":
                name = REPOSITORIES.get(row.source, row.source)
                found.clip.setdefault(name, {})[row.dataset] = row.top1
                if row.note:
                    found.remarks[name] = f"{load_card(row.dataset).title}: {row.note}"
        return found

    def gains(self, source: str, log: str) -> dict[str, float]:
        """CALIP by one log less CLIP by one source, in points."""
        return {name: 100 * (top1 - self.clip[source][name]) for name, top1 in self.calip[log].items()}


def _margin(dataset: str, top1: float) -> float:
    """Half of the 95 % interval of an accuracy on this dataset, in points."""
    total = load_card(dataset).sizes["test"]
    ends = wilson_interval(round(total * top1), total)
    return 50 * (ends.high - ends.low)


def published_gains() -> Plot:
    """Published gains of CALIP over three published CLIPs, beside the sampling error of one accuracy."""
    found = _Published.read()
    log = next(iter(found.calip))
    names = list(found.calip[log])
    margins = np.array([_margin(name, found.calip[log][name]) for name in names])
    gains = {source: found.gains(source, log) for source in found.clip}
    means = ", ".join(f"{signed(float(np.mean(list(g.values()))), 2)} over {s}'s CLIP" for s, g in gains.items())
    inside = ", ".join(str(sum(abs(g[n]) <= m for n, m in zip(names, margins, strict=True))) for g in gains.values())
    caption = (
        f"Published gains of CALIP (RN50) on eleven datasets. The mean depends on whose CLIP one subtracts: {means}. "
        f"Grey: the sampling error of one accuracy, which covers {inside} of these {len(names)} gains."
    )
    alt = f"Published gains on eleven datasets over three baselines. Means: {means} points."
    return restacked(partial(_draw_published, gains, margins), columns=2, alt=alt, caption=caption)


def _draw_published(gains: Mapping[str, Mapping[str, float]], margins: np.ndarray, columns: int) -> Figure:
    """One row per dataset, one marker per source of CLIP's accuracy; the legend has so many columns."""
    names = list(next(iter(gains.values())))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.29 * len(names) + 1.4), layout="constrained")
    rows = np.arange(len(names))[::-1]
    ax.barh(rows, 2 * margins, left=-margins, height=0.7, color=MUTED, alpha=0.2, label="95 % margin of one accuracy")
    heights = np.linspace(0.22, -0.22, len(gains))  # equal gains do not hide each other
    for (source, values), height, marker, colour in zip(gains.items(), heights, _MARKERS, PALETTE, strict=False):
        ax.plot(list(values.values()), rows + height, marker, color=colour, markersize=5, label=f"over {source}'s CLIP",
                linestyle="none")  # fmt: skip
    ax.axvline(0, color=MUTED, linewidth=1)
    ax.set_yticks(rows, [load_card(name).title for name in names])
    ax.set_xlabel(fill("published accuracy of CALIP less a published accuracy of CLIP (points)", 37 * columns))
    figure.legend(loc="outside lower center", ncols=columns)
    return figure


def ledger(records: Iterable[Record] = (), sent: Iterable[Sent] = ()) -> Table:
    """Published accuracies of CALIP, its gains over published CLIPs, and below each what was measured here.

    Args:
        records: what was measured. Those of CALIP on real image datasets have rows, stand-ins have none: they say
            nothing about the dataset.
        sent: what readers measured and sent, which has rows with who and where.
    """
    found = _Published.read()
    rows = _published_rows(found)
    measured = [("measured", record) for record in latest(records)]
    measured += [(f"sent by {one.header}", record) for one in sent for record in one.records]
    for source, record in measured:
        name = split_template_set(record.data.task)[0]
        if record.head.method == "calip" and not record.data.standin and name in disk_datasets("images"):
            rows.setdefault(name, {})[f"{source}: {_measured_label(record)}"] = {
                "CALIP": record.score.top1,
                "margin": 50 * (record.score.high - record.score.low),
                "gain over its own CLIP [95 %]": gain_text(record.score),
            }
    flat = {label: row for of_dataset in rows.values() for label, row in of_dataset.items()} | _mean_rows(found)
    remarks = "; ".join(f"{source}'s CLIP on {remark}" for source, remark in found.remarks.items())
    others = "".join(f"; {note}" for note in dict.fromkeys(f"{row.source}: {row.note}" for row in found.others))
    caption = (
        "Published zero-shot accuracy of CALIP with RN50, its gain in points over three published accuracies of CLIP "
        f"({remarks}), and the 95 % margin of one accuracy{others}. " + _measured_note(flat)
    )
    formats: dict[str, str | Callable[[Any], str]] = {f"gain over {source}": _two for source in found.clip}
    formats |= {"CALIP": _percent_two, "margin": "± {:.2f}"}
    return Table(pd.DataFrame.from_dict(flat, orient="index"), caption, formats)


def _measured_label(record: Record) -> str:
    note, tokens = split_text(record.data), record.encoder.tokens
    space = "" if tokens == "joint" else f", {tokens} tokens"
    return f"{where(record)}{space}, {_how(record)}" + (f" ({note})" if note else "")


def _measured_note(rows: Mapping[str, object]) -> str:
    count, sent = (sum(label.startswith(kind) for label in rows) for kind in ("measured: ", "sent by "))
    others = f" {sent} row{'s were' if sent > 1 else ' was'} sent by readers." if sent else ""
    if count == 0:
        return "Nothing of these datasets was measured on this machine yet." + others
    return f"{count} row{'s were' if count > 1 else ' was'} measured here." + others


def replication(kit: Replication) -> Table:
    """What the replication kit measures with the weights and datasets that are here, and what it lacks."""
    sweep = kit.sweep
    rows = {
        "datasets here": ", ".join(kit.datasets) or "none",
        "datasets not here": ", ".join(kit.missing_datasets) or "none",
        "backbones": ", ".join(sweep.backbones),
        "weights not here": ", ".join(kit.missing_weights) or "none",
        "spatial tokens": ", ".join(sweep.tokens),
        "protocol": f"{', '.join(sweep.protocols)}: β₂, β₃ = {FIXED[0]:g}, {FIXED[1]:g} for every dataset",
        "seeds": ", ".join(map(str, sweep.seeds)),
        "test images": "all" if sweep.samples == "all" else f"at most {sweep.samples:,} of each dataset",
        "cells": str(len(kit.cells)),
    }
    can = "It can run here." if kit.ready else "It cannot run here: weights or datasets are missing."
    return Table(pd.DataFrame({"replication kit": rows}), f"The replication kit. {can}")


def _two(value: float) -> str:
    return signed(value, 2)


def _percent_two(share: float) -> str:
    return percent(share, 2)


_Row = dict[str, float | str]


def _published_rows(found: _Published) -> dict[str, dict[str, _Row]]:
    """Dataset -> its rows: one, and another where the logs of CALIP differ; no gain where no CLIP stands beside it."""
    first, *others = found.calip
    rows: dict[str, dict[str, _Row]] = {}
    for name in found.calip[first]:
        title = load_card(name).title
        rows[name] = {title: _published_row(found, first, name)}
        for log in others:
            if found.calip[log][name] != found.calip[first][name]:
                rows[name][f"{title}, by {log}'s log"] = _published_row(found, log, name)
    for row in found.others:
        label = f"{load_card(row.dataset).title}, by {row.source}"
        rows[row.dataset] = {label: {"CALIP": row.top1, "margin": _margin(row.dataset, row.top1)}}
    return rows


def _published_row(found: _Published, log: str, name: str) -> _Row:
    top1 = found.calip[log][name]
    gains: _Row = {f"gain over {source}": found.gains(source, log)[name] for source in found.clip}
    return {"CALIP": top1} | gains | {"margin": _margin(name, top1)}


def _mean_rows(found: _Published) -> dict[str, _Row]:
    """A mean over the datasets for each log of CALIP."""
    rows: dict[str, _Row] = {}
    for log, accuracies in found.calip.items():
        gains: _Row = {f"gain over {s}": float(np.mean(list(found.gains(s, log).values()))) for s in found.clip}
        mean: _Row = {"CALIP": float(np.mean(list(accuracies.values())))}
        rows[f"mean, by {log}'s log"] = mean | gains
    return rows


def costs(seconds: Mapping[str, float], images: int, where: str) -> Table:
    """What the steps take per image.

    Args:
        seconds: step -> seconds for all images; the last one is what CALIP adds.
        images: how many images.
        where: backbone and device.
    """
    frame = pd.DataFrame({"ms per image": {step: 1000 * value / images for step, value in seconds.items()}})
    *before, added = seconds.values()
    caption = f"{where}, {images:,} images. The last step adds {percent(added / sum(before), 2)} to the others."
    return Table(frame, caption, {"ms per image": "{:.3f}"})
