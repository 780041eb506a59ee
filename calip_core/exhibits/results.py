"""Results in words and tables: scores, gains, verdicts, the newest records, and clouds beside what is published."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from calip_core.backbones.names import backbone_label
from calip_core.blend.protocols import LabelsSeen
from calip_core.datasets import disk_datasets, load_card, split_template_set
from calip_core.evaluation.record import DataPart, Record, ScorePart
from calip_core.evaluation.store import latest
from calip_core.exhibits.exhibit import Table, percent, points
from calip_core.methods import METHODS
from calip_core.metrics import LEVEL, paired_interval
from calip_core.published import PublishedClouds, published_clouds

REPOSITORIES = {
    "APE_results.ipynb": "APE",
    "mrflogs/ICLR24 exp.log": "GDA",
    "gaopengcuhk/Tip-Adapter exp.log": "Tip-Adapter",
}
"""Source of published numbers -> the method whose repository it belongs to."""


def where(record: Record) -> str:
    """Task and backbone of a record, as captions name them."""
    return f"{record.data.task}, {backbone_label(record.encoder.backbone)}"


def interval_text(score: ScorePart) -> str:
    """The accuracy in per cent with its 95 % interval: "60.00 [58.02, 61.94]"."""
    return f"{100 * score.top1:.2f} [{100 * score.low:.2f}, {100 * score.high:.2f}]"


def gain_interval(only_method: int, only_clip: int, images: int, confidence: float = 0.95) -> str:
    """A gain in points with its paired interval: "+0.90 [+0.12, +1.70]"."""
    ends = paired_interval(only_method, only_clip, images, confidence)
    return _gain((only_method - only_clip) / images, ends.low, ends.high)


def gain_text(score: ScorePart) -> str:
    """The gain over CLIP in points with its interval and, for the oracle, what the search gains on shuffled terms."""
    text, control = _gain(score.gain, score.gain_low, score.gain_high), score.control_gain
    return text if control is None else f"{text}; with shuffled terms {points(control, 2)}"


def _gain(gain: float, low: float, high: float) -> str:
    return f"{points(gain, 2)} [{points(low, 2)},\u00a0{points(high, 2)}]"


def p_text(p: float) -> str:
    """A p-value with two digits: "p = 0.025"."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def verdict(only_method: int, only_clip: int, p: float, labels_seen: LabelsSeen) -> str:
    """The one verdict on a gain: that of McNemar's exact test, which needs a choice that saw no test labels."""
    if labels_seen == "test":
        return "none: saw test labels"
    what = "not shown" if p >= LEVEL else "gain" if only_method > only_clip else "loss"
    return f"{what}, {p_text(p)}" + (", if no test labels were seen" if labels_seen == "unknown" else "")


def verdict_on(record: Record) -> str:
    """The verdict on a record's gain over CLIP."""
    score = record.score
    return verdict(score.only_method, score.only_clip, score.mcnemar_p, record.choice.labels_seen)


def split_text(data: DataPart) -> str:
    """A note if a record holds fewer test images than the dataset has, or another split than CoOp's; else empty."""
    name = split_template_set(data.task)[0]
    if name not in disk_datasets("images"):
        return ""
    card, notes = load_card(name), [f"only a part: {data.part}"] if data.part else []
    if data.images < card.sizes["test"]:
        notes.append(f"{data.images:,} of {card.sizes['test']:,} images")
    split = None if card.layout is None else card.layout.split_file
    if split is not None and Path(split).name != data.split_source:
        notes.append(f"not CoOp's split but {data.split_source}")
    return "; ".join(notes)


def newest(records: Iterable[Record], dataset: str, backbone: str, most: int = 20) -> Table:
    """The newest record of each setting of one dataset and backbone, newest first.

    Args:
        records: what was measured, in the order in which it was recorded.
        dataset: the task's name.
        backbone: as records name it.
        most: how many rows, at most.
    """
    asked = [record for record in latest(records) if (record.data.task, record.encoder.backbone) == (dataset, backbone)]
    shown = asked[::-1][:most]
    rows = [
        (
            record.head.sees, record.choice.protocol, record.encoder.tokens, record.shots, record.seed,
            interval_text(record.score), gain_text(record.score), verdict_on(record),
        )
        for record in shown
    ]  # fmt: skip
    setting = ["sees", "protocol", "tokens", "shots", "seed"]
    columns = [*setting, "accuracy, % [95 %]", "gain, points [95 %]", "verdict (McNemar)"]
    frame = pd.DataFrame(rows, index=[record.head.method for record in shown], columns=columns)
    return Table(frame, f"The newest records of {dataset} with {backbone_label(backbone)}, at most {most}.")


def clouds_beside_published(records: Iterable[Record]) -> Table:
    """Published accuracies on clouds and every newest record of real clouds.

    All rows of a dataset stand together, and in them those of a backbone, published ones first; published ones that
    name no backbone lead.
    """
    rows = [((ref.dataset, ref.backbone or ""), _published_clouds(ref)) for ref in published_clouds()]
    known = disk_datasets("clouds")
    for record in latest(record for record in records if record.data.projection and not record.data.standin):
        if record.data.task in known:
            rows.append(((record.data.task, record.encoder.backbone), _measured_clouds(record)))
    order = list(dict.fromkeys([*(dataset for (dataset, _), _ in rows), *known]))
    rows.sort(key=lambda row: (order.index(row[0][0]), row[0][1]))
    notes = dict.fromkeys(cells[-1] for _, cells in rows)
    numbers = {note: f"({number})" for number, note in enumerate(notes, start=1)}
    columns = ["method", "backbone", "CLIP", "CALIP, % [95 %]", "note"]
    frame = pd.DataFrame(
        [(*cells[:-1], numbers[cells[-1]]) for _, cells in rows],
        index=[dataset for (dataset, _), _ in rows],
        columns=columns,
    )
    if not frame["CALIP, % [95 %]"].any():
        frame = frame.drop(columns="CALIP, % [95 %]")
    caption = "Published accuracies on point clouds, and what was measured here. "
    caption += "; ".join(f"{number} {note}" for note, number in numbers.items()) + "."
    return Table(frame, caption, {"CLIP": lambda share: percent(share, 2)})


def _published_clouds(ref: PublishedClouds) -> tuple[str, str, float, str, str]:
    return ref.method, ref.backbone or "not stated", ref.top1, "", f"{ref.note}: {ref.source}"


def _measured_clouds(record: Record) -> tuple[str, str, float, str, str]:
    data, choice, score = record.data, record.choice, record.score
    how = (
        f"{data.projection}; blend: {choice.protocol}; view weights: {choice.view_weighting}, "
        f"{choice.view_weights_by}; labels seen: {choice.labels_seen}; {data.images} clouds; "
        f"gain {gain_text(score)} points; verdict: {verdict_on(record)}"
    )
    return "measured here", backbone_label(record.encoder.backbone), score.clip_top1, interval_text(score), how


def mean_over_seeds(records: Iterable[Record], dataset: str, backbone: str, method: str, shots: int) -> str:
    """Measured mean of real data over its seeds, to stand beside a published number; empty where there is none.

    Seeds are averaged within one setting: the same data, weights, options and protocol. Of several settings, the one
    nearest to the published recipe counts, and the newest among equals.

    Returns:
        The mean in per cent, the number of seeds, and in words all that differs from the published recipe.
    """
    settings: dict[str, dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: record.run.time):
        what = (record.data.task, record.encoder.backbone, record.head.method, record.shots)
        if what == (dataset, backbone, method, shots) and not record.data.standin:
            key = record.key_without_seed
            settings[key] = settings.pop(key, {}) | {record.seed: record}
    if not settings:
        return ""
    group = min(reversed(settings.values()), key=lambda group: len(unlike_published(next(iter(group.values())))))
    found = [100 * record.score.top1 for record in group.values()]
    notes = [f"{len(found)} seed{'s' * (len(found) > 1)}", *unlike_published(next(iter(group.values())))]
    return f"{sum(found) / len(found):.2f} ({'; '.join(notes)})"


def unlike_published(record: Record) -> list[str]:
    """In words, what a few-shot record does otherwise than the published measurements of its method.

    Those use all test images, draws by CoOp's rules, random crops, the published training, and either published values
    or, for methods whose code searches, values chosen on validation images. How many of these and whose draws differs
    from source to source, as ``published_few_shot`` tells.
    """
    data, protocol = record.data, record.choice.protocol
    expected = METHODS[record.head.method].published_protocol
    notes = [] if data.limit is None else [f"{data.images:,} test images"]
    notes += [] if data.part is None else [f"only a part: {data.part}"]
    if protocol != expected:
        notes.append(f"{protocol} hyperparameters")
    notes += _unlike_training(record)
    support = data.support
    if support is None:
        return notes
    if not support.augmentations and data.projection is None:
        notes.append("no random crops")
    notes += ["nested draws"] * support.nested
    return notes + [f"short={support.short!r}"] * (support.short in ("take", "dassl"))


def _unlike_training(record: Record) -> list[str]:
    used = record.head.options.get("training")
    known = METHODS[record.head.method].published_training(record.data.task, record.shots)
    if not isinstance(used, dict) or known is None:
        return []
    differ = {name: value for name, value in asdict(known).items() if used.get(name) != value}
    return [f"{name} {used.get(name)}, published {value}" for name, value in differ.items()]
