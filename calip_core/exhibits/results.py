"""Tables of results: what was measured here, beside what has been published."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from calip_core.datasets import disk_datasets, load_card, split_template_set
from calip_core.evaluation.record import DataPart, Record, ScorePart
from calip_core.evaluation.store import latest
from calip_core.methods import METHODS
from calip_core.published import Published, PublishedClouds, published, published_clouds


@dataclass(frozen=True)
class Row:
    """One line of the table "measured here / published"; one of the two may be missing. Shares run from 0 to 1.

    Attributes:
        record: what was measured here.
        reference: what has been published for the same dataset, backbone and method.
    """

    record: Record | None
    reference: Published | None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.record is None or self.reference is None:
            return None
        return self.record.score.top1 - self.reference.top1

    @property
    def outside(self) -> bool:
        """Whether the published value lies outside the 95 % interval of the measured one."""
        if self.record is None or self.reference is None:
            return False
        return not self.record.score.low <= self.reference.top1 <= self.record.score.high

    def cells(self) -> tuple[str, ...]:
        """The row as text, in per cent: one cell for each of ``HEADERS``."""
        measured = measured_cells(self.record) if self.record else ("",) * 5
        return (*self.subject, *measured, *self._published())

    @property
    def subject(self) -> tuple[str, str, str]:
        """Dataset, backbone and method."""
        if self.record is not None:
            return _subject(self.record)
        assert self.reference is not None  # rows are made of at least one of the two
        return self.reference.dataset, self.reference.backbone, self.reference.method

    def _published(self) -> tuple[str, ...]:
        if self.reference is None:
            return "", "", ""
        difference = "" if self.difference is None else f"{100 * self.difference:+.2f}" + " (!)" * self.outside
        return f"{100 * self.reference.top1:.2f}", difference, self.reference.source


MEASURED_HEADERS = (
    "protocol; labels seen", "images; split", "measured here, % [95 %]", "gain over CLIP, points [95 %]",
    "only it : only CLIP right, McNemar's p",
)  # fmt: skip
"""Column heads of ``measured_cells``."""

HEADERS = (
    "dataset", "backbone", "method", *MEASURED_HEADERS, "published, %", "measured - published, points", "source"
)  # fmt: skip
"""Column heads of ``Row.cells``; "(!)" marks a published value outside the measured interval."""

FEW = 10
"""Images on which two classifiers must differ, at least, before their comparison says much."""


def measured_cells(record: Record) -> tuple[str, ...]:
    """What was measured, as text, in per cent: one cell for each of ``MEASURED_HEADERS``."""
    data, choice, score = record.data, record.choice, record.score
    return (
        f"{choice.protocol}; {choice.labels_seen}" if record.head.method == "calip" else "",
        f"{data.images}" + ("" if data.limit is None else f" (limit {data.limit})") + _split_mark(data),
        interval_text(score),
        gain_text(score),
        paired_text(record),
    )


def interval_text(score: ScorePart) -> str:
    """The accuracy in per cent with its 95 % interval."""
    return f"{100 * score.top1:.2f} [{100 * score.low:.2f}, {100 * score.high:.2f}]"


def gain_text(score: ScorePart) -> str:
    """The gain over CLIP in points with its interval and, for the oracle, what the search gains by selection alone."""
    text = f"{100 * score.gain:+.2f} [{100 * score.gain_low:+.2f},\u00a0{100 * score.gain_high:+.2f}]"
    control = score.control_gain
    return text if control is None else f"{text}; with shuffled terms {100 * control:+.2f}"


def paired_text(record: Record) -> str:
    """How many images one of the two alone gets right, and what that proves: nothing where the choice saw the test."""
    score, seen = record.score, record.choice.labels_seen
    differing = score.only_method + score.only_clip
    parts = [f"{score.only_method} : {score.only_clip}" + (f" (fewer than {FEW} differ)" if differing < FEW else "")]
    if seen == "test":
        parts.append("p not valid")
    else:
        unsure = " if the weights' choice saw no test labels" if seen == "unknown" else ""
        parts.append(f"p = {score.mcnemar_p:.2g}{unsure}")
    if score.control_p is not None:
        parts.append(f"against shuffled terms p = {score.control_p:.2g}")
    return ", ".join(parts)


def _split_mark(data: DataPart) -> str:
    """A note if only a part of the dataset, or another split than CoOp's, was used, unlike in publications."""
    if data.part:
        return f"; only a part: {data.part}"
    name = split_template_set(data.task)[0]
    theirs = load_card(name).layout if name in disk_datasets("images") else None
    if theirs is None or theirs.split_file is None or Path(theirs.split_file).name == data.split_source:
        return ""
    return f"; not CoOp's split but {data.split_source}"


def beside_published(records: Iterable[Record], references: Iterable[Published] | None = None) -> list[Row]:
    """Every newest record with each published value of its dataset, backbone and method.

    Records without such a value, and published values without a measurement, have their own row. All rows of a dataset
    stand together, and in them those of a backbone and a method. Records of stand-ins are omitted: they say nothing
    about the dataset.

    Args:
        records: what was measured.
        references: published results; ``published()`` by default.
    """
    known = tuple(published() if references is None else references)
    rows = []
    measured = set()
    for record in latest(record for record in records if not record.data.standin):
        what = _subject(record)
        measured.add(what)
        same = [Row(record, ref) for ref in known if (ref.dataset, ref.backbone, ref.method) == what]
        rows += same or [Row(record, None)]
    rows += [Row(None, ref) for ref in known if (ref.dataset, ref.backbone, ref.method) not in measured]
    order = {name: place for place, name in enumerate(dict.fromkeys(ref.dataset for ref in known))}

    def place(row: Row) -> tuple[int, str, str, str]:
        dataset, backbone, method = row.subject
        return order.get(split_template_set(dataset)[0], len(order)), dataset, backbone, method

    return sorted(rows, key=place)


def _subject(record: Record) -> tuple[str, str, str]:
    return record.data.task, record.encoder.backbone, record.head.method


NEWEST_HEADERS = ("method", "protocol", "shots", "seed", "accuracy, % [95 %]", "gain over CLIP, points [95 %]")
"""Column heads of the rows of ``newest_cells``."""


def newest_cells(records: Iterable[Record], dataset: str, backbone: str, most: int = 20) -> list[tuple[str, ...]]:
    """The newest record of each setting of one dataset and backbone, newest first, as text for ``NEWEST_HEADERS``.

    Args:
        records: what was measured, in the order in which it was recorded.
        dataset: the task's name.
        backbone: as records name it.
        most: how many rows, at most.
    """
    asked = [record for record in latest(records) if _subject(record)[:2] == (dataset, backbone)]
    return [
        (
            record.head.method, record.choice.protocol, str(record.shots), str(record.seed),
            interval_text(record.score), gain_text(record.score),
        )
        for record in asked[::-1][:most]
    ]  # fmt: skip


CLOUD_HEADERS = ("dataset", "what", "CLIP, %", "CALIP, %", "protocol and source")
"""Column heads of the rows of ``clouds_beside_published``."""


def clouds_beside_published(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Published accuracies on clouds and every newest record of real clouds, as text for ``CLOUD_HEADERS``.

    All rows of a dataset stand together, and in them those of a backbone, published ones first; published ones that
    name no backbone lead.
    """
    rows = [((ref.dataset, ref.backbone or ""), _published_clouds(ref)) for ref in published_clouds()]
    order = [dataset for (dataset, _), _ in rows]
    known = disk_datasets("clouds")
    for record in latest(record for record in records if record.data.projection and not record.data.standin):
        if record.data.task in known:
            rows.append(((record.data.task, record.encoder.backbone), _measured_clouds(record)))
    order = list(dict.fromkeys([*order, *known]))
    return [cells for _, cells in sorted(rows, key=lambda row: (order.index(row[0][0]), row[0][1]))]


def _published_clouds(ref: PublishedClouds) -> tuple[str, ...]:
    what = f"published: {ref.method}, {ref.backbone or 'backbone not stated'}"
    return ref.dataset, what, f"{100 * ref.top1:.2f}", "", f"{ref.note} ({ref.source})"


def _measured_clouds(record: Record) -> tuple[str, ...]:
    data, choice, score = record.data, record.choice, record.score
    how = (
        f"{data.projection}; blend: {choice.protocol}; view weights: {choice.view_weighting}, "
        f"{choice.view_weights_by}; labels seen: {choice.labels_seen}; {data.images} clouds; "
        f"gain {gain_text(score)}, {paired_text(record)}"
    )
    backbone = f"measured here: {record.encoder.backbone}"
    return data.task, backbone, f"{100 * score.clip_top1:.2f}", interval_text(score), how


def mean_over_seeds(records: Iterable[Record], dataset: str, backbone: str, method: str, shots: int) -> str:
    """Measured mean of real data over its seeds, to stand beside a published number; empty where there is none.

    Seeds are averaged within one setting: the same data, weights, options and protocol. Of several settings, the one
    nearest to the published recipe counts, and the newest among equals.

    Returns:
        The mean in per cent, the number of seeds, and in words all that differs from the published recipe.
    """
    asked = (dataset, backbone, method)
    settings: dict[str, dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: record.run.time):
        if _subject(record) == asked and record.shots == shots and not record.data.standin:
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

    Those use all test images, CoOp's draws, random crops, the published training, and either published values or, for
    methods whose code searches, values chosen on validation images.
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
    return notes + ["nested draws"] * support.nested + [f"short={support.short!r}"] * (support.short == "take")


def _unlike_training(record: Record) -> list[str]:
    used = record.head.options.get("training")
    known = METHODS[record.head.method].published_training(record.data.task, record.shots)
    if not isinstance(used, dict) or known is None:
        return []
    differ = {name: value for name, value in asdict(known).items() if used.get(name) != value}
    return [f"{name} {used.get(name)}, published {value}" for name, value in differ.items()]
