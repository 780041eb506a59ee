"""Records on disk, and the tables that they become: what was measured here beside what has been published."""

import csv
import errno
import json
import os
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import ValidationError

from calip_core.datasets import disk_datasets, load_card, split_template_set
from calip_core.evaluation.fewshot import FewShotRecord
from calip_core.evaluation.record import RunRecord
from calip_core.methods.recipes import published_training
from calip_core.paths import DATA_DIR

_ZERO_SHOT = DATA_DIR / "published" / "zeroshot.csv"
_FEW_SHOT = DATA_DIR / "published" / "fewshot.csv"
_POINT_CLOUDS = DATA_DIR / "published" / "point_clouds.csv"


Form = TypeVar("Form", RunRecord, FewShotRecord)


class TornRecordWarning(UserWarning):
    """A line of a file of records was cut short: a run was stopped while it wrote."""


class OldRecordWarning(UserWarning):
    """A record was written by another version of this library, in another form."""


def results_file() -> Path:
    """Where runs are recorded: ``$CALIP_RESULTS``, else ``results/runs.jsonl`` in the repository."""
    return Path(os.environ.get("CALIP_RESULTS") or DATA_DIR.parent / "results" / "runs.jsonl")


def few_shot_file() -> Path:
    """Where few-shot runs are recorded: ``fewshot.jsonl`` beside the other results."""
    return results_file().with_name("fewshot.jsonl")


def append(record: RunRecord | FewShotRecord, path: Path | None = None) -> None:
    """Add a record as one line of JSON. Several processes may append at once; a line is whole or is not there.

    Args:
        record: what was measured.
        path: the file; ``results_file()`` or, for few-shot records, ``few_shot_file()`` when left out.

    Raises:
        OSError: the file cannot be written; the records in it stay.
    """
    path = path or (results_file() if isinstance(record, RunRecord) else few_shot_file())
    path.parent.mkdir(parents=True, exist_ok=True)
    line = record.model_dump_json().encode() + b"\n"
    with FileLock(f"{path}.lock"), path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = line if _ends_a_line(file, end) else b"\n" + line  # a torn line keeps a line of its own
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError as error:
            os.truncate(path, end)
            raise OSError(
                error.errno, f"cannot append a record ({error.strerror}); the earlier ones are safe", str(path)
            ) from error


def _ends_a_line(file: FileIO, end: int) -> bool:
    if end == 0:
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"


def load(path: Path | None = None) -> list[RunRecord]:
    """All records, in the order in which they were written; none where there is no file.

    Args:
        path: the file; ``results_file()`` when left out.

    Warns:
        TornRecordWarning: a line was cut short; it is left out.
        OldRecordWarning: a record has another form than this version's; it is left out.

    Raises:
        ValueError: a whole line is not a record; the message names the file, the line and the field.
    """
    return _load(path or results_file(), RunRecord)


def load_few_shot(path: Path | None = None) -> list[FewShotRecord]:
    """All few-shot records, as ``load`` reads the others; of ``few_shot_file()`` when ``path`` is left out."""
    return _load(path or few_shot_file(), FewShotRecord)


def _load(path: Path, form: type[Form]) -> list[Form]:
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    parsed = (_parse(path, number, line, form) for number, line in enumerate(lines, 1) if line.strip())
    return [record for record in parsed if record is not None]


def _parse(path: Path, number: int, line: bytes, form: type[Form]) -> Form | None:
    try:
        return form.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "json_invalid":
            warnings.warn(
                f"{path}, line {number}, is cut short and left out: run its measurement again", TornRecordWarning,
                stacklevel=4,
            )  # fmt: skip
            return None
        version, ours = _schema(line), form.model_fields["schema_version"].default
        if version not in (None, ours):
            warnings.warn(
                f"{path}, line {number}, is a record of form {version}, this version writes form {ours}; it is left "
                "out: run its measurement again", OldRecordWarning, stacklevel=4,
            )  # fmt: skip
            return None
        where = ".".join(map(str, fault["loc"])) or "the line"
        raise ValueError(
            f"{path}, line {number}, is not a record of this version: {where}: {fault['msg']}. Move the file away, or "
            "remove the line"
        ) from error


def _schema(line: bytes) -> object:
    """The number of the form in which a line is written; None where it is no record at all."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("schema_version") if isinstance(value, dict) else None


Setting = tuple[Hashable, ...]


def setting(record: RunRecord) -> Setting:
    """What was asked, in a form that can be compared: records of one setting measure the same thing."""
    return (
        record.dataset, record.standin, record.class_names, record.templates, record.projection, record.view_weighting,
        record.backbone, record.weights, record.token_space, record.method, record.config, record.protocol,
        record.chosen_by, record.grid, record.seed, record.limit,
    )  # fmt: skip


def latest(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The newest record of each setting, in the order in which the settings first appear."""
    newest: dict[Setting, RunRecord] = {}
    for record in records:
        known = newest.get(setting(record))
        if known is None or record.time >= known.time:
            newest[setting(record)] = record
    return list(newest.values())


@dataclass(frozen=True)
class Published:
    """A published accuracy: a share from 0 to 1, and where it stands."""

    dataset: str
    backbone: str
    method: str
    top1: float
    source: str


@cache
def published() -> tuple[Published, ...]:
    """All published accuracies that this repository knows: ``data/published/zeroshot.csv``."""
    with _ZERO_SHOT.open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(row["dataset"], row["backbone"], row["method"], float(row["top1"]) / 100, row["source"])
            for row in csv.DictReader(file)
        )


@dataclass(frozen=True)
class Row:
    """One line of the table "measured here / published"; one of the two may be missing. Shares run from 0 to 1.

    Attributes:
        record: what was measured here.
        reference: what has been published for the same dataset, backbone and method.
    """

    record: RunRecord | None
    reference: Published | None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.record is None or self.reference is None:
            return None
        return self.record.top1 - self.reference.top1

    @property
    def outside(self) -> bool:
        """Whether the published value lies outside the 95 % interval of the measured one."""
        if self.record is None or self.reference is None:
            return False
        return not self.record.low <= self.reference.top1 <= self.record.high

    def cells(self) -> tuple[str, ...]:
        """The row as text, in per cent: one cell for each of ``HEADERS``."""
        what = self.record or self.reference
        assert what is not None  # rows are made of at least one of the two
        measured = measured_cells(self.record) if self.record else ("",) * 5
        return (what.dataset, what.backbone, what.method, *measured, *self._published())

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


def measured_cells(record: RunRecord) -> tuple[str, ...]:
    """What was measured, as text, in per cent: one cell for each of ``MEASURED_HEADERS``."""
    return (
        f"{record.protocol}; {record.labels_seen}" if record.method == "calip" else "",
        f"{record.images}" + ("" if record.limit is None else f" (limit {record.limit})") + _split_mark(record),
        f"{100 * record.top1:.2f} [{100 * record.low:.2f}, {100 * record.high:.2f}]",
        gain_text(record),
        paired_text(record),
    )


def gain_text(record: RunRecord) -> str:
    """The gain over CLIP in points with its interval and, for the oracle, what the search gains by selection alone."""
    text = f"{100 * record.gain:+.2f} [{100 * record.gain_low:+.2f},\u00a0{100 * record.gain_high:+.2f}]"
    return text if record.control_gain is None else f"{text}; with shuffled terms {100 * record.control_gain:+.2f}"


def paired_text(record: RunRecord) -> str:
    """On how many images one of the two alone is right, and what that proves: nothing where the choice saw the test."""
    differing = record.only_method + record.only_clip
    parts = [f"{record.only_method} : {record.only_clip}" + (f" (fewer than {FEW} differ)" if differing < FEW else "")]
    if record.labels_seen == "test":
        parts.append("p not valid")
    else:
        unsure = " if the weights' choice saw no test labels" if record.labels_seen == "unknown" else ""
        parts.append(f"p = {record.mcnemar_p:.2g}{unsure}")
    if record.control_p is not None:
        parts.append(f"against shuffled terms p = {record.control_p:.2g}")
    return ", ".join(parts)


def _split_mark(record: RunRecord) -> str:
    """Says so where the dataset has a split of CoOp's, on which published numbers are, and another one was used."""
    name = split_template_set(record.dataset)[0]
    theirs = load_card(name).layout if name in disk_datasets("images") else None
    if theirs is None or theirs.split_file is None or Path(theirs.split_file).name == record.split_source:
        return ""
    return f"; not CoOp's split but {record.split_source}"


def beside_published(records: Iterable[RunRecord], references: Iterable[Published] | None = None) -> list[Row]:
    """Every newest record with each published value of its dataset, backbone and method.

    Records without such a value, and published values that nobody has measured here, have a row of their own. All rows
    of a dataset stand together, and in them those of a backbone and a method. Records of stand-ins are left out: they
    say nothing about the dataset.

    Args:
        records: what was measured.
        references: what has been published; ``published()`` when left out.
    """
    known = tuple(published() if references is None else references)
    rows = []
    measured = set()
    for record in latest(record for record in records if not record.standin):
        what = (record.dataset, record.backbone, record.method)
        measured.add(what)
        same = [Row(record, ref) for ref in known if (ref.dataset, ref.backbone, ref.method) == what]
        rows += same or [Row(record, None)]
    rows += [Row(None, ref) for ref in known if (ref.dataset, ref.backbone, ref.method) not in measured]
    order = {name: place for place, name in enumerate(dict.fromkeys(ref.dataset for ref in known))}

    def place(row: Row) -> tuple[int, str, str, str]:
        what = row.record or row.reference
        assert what is not None
        dataset = split_template_set(what.dataset)[0]
        return order.get(dataset, len(order)), what.dataset, what.backbone, what.method

    return sorted(rows, key=place)


@dataclass(frozen=True)
class PublishedClouds:
    """A published accuracy on point clouds: a share from 0 to 1, how it was got, and where it stands.

    Attributes:
        backbone: None where the source does not say.
    """

    dataset: str
    backbone: str | None
    method: str
    top1: float
    note: str
    source: str


@cache
def published_clouds() -> tuple[PublishedClouds, ...]:
    """All published accuracies on point clouds that this repository knows: ``data/published/point_clouds.csv``."""
    with _POINT_CLOUDS.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedClouds(
                row["dataset"], row["backbone"] or None, row["method"], float(row["top1"]) / 100, row["note"],
                row["source"],
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


CLOUD_HEADERS = ("dataset", "what", "CLIP, %", "CALIP, %", "protocol and source")
"""Column heads of the rows of ``clouds_beside_published``."""


def clouds_beside_published(records: Iterable[RunRecord]) -> list[tuple[str, ...]]:
    """Published accuracies on clouds and every newest record of real clouds, as text for ``CLOUD_HEADERS``.

    All rows of a dataset stand together, and in them those of a backbone, published ones first; published ones that
    name no backbone lead.
    """
    rows = [((ref.dataset, ref.backbone or ""), _published_clouds(ref)) for ref in published_clouds()]
    order = [dataset for (dataset, _), _ in rows]
    known = disk_datasets("clouds")
    for record in latest(record for record in records if record.projection and not record.standin):
        if record.dataset in known:
            rows.append(((record.dataset, record.backbone), _measured_clouds(record)))
    order = list(dict.fromkeys([*order, *known]))
    return [cells for _, cells in sorted(rows, key=lambda row: (order.index(row[0][0]), row[0][1]))]


def _published_clouds(ref: PublishedClouds) -> tuple[str, ...]:
    what = f"published: {ref.method}, {ref.backbone or 'backbone not stated'}"
    return ref.dataset, what, f"{100 * ref.top1:.2f}", "", f"{ref.note} ({ref.source})"


def _measured_clouds(record: RunRecord) -> tuple[str, ...]:
    how = (
        f"{record.projection}; blend: {record.protocol}; view weights: {record.view_weighting}, "
        f"{record.view_weights_by}; labels seen: {record.labels_seen}; {record.images} clouds; "
        f"gain {gain_text(record)}, {paired_text(record)}"
    )
    return (
        record.dataset, f"measured here: {record.backbone}", f"{100 * record.clip_top1:.2f}",
        f"{100 * record.top1:.2f} [{100 * record.low:.2f}, {100 * record.high:.2f}]", how,
    )  # fmt: skip


@dataclass(frozen=True)
class PublishedFewShot:
    """A published few-shot accuracy: a share from 0 to 1, and where it stands."""

    dataset: str
    backbone: str
    method: str
    shots: int
    top1: float
    source: str


@cache
def published_few_shot() -> tuple[PublishedFewShot, ...]:
    """All published few-shot accuracies that this repository knows: ``data/published/fewshot.csv``."""
    with _FEW_SHOT.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedFewShot(
                row["dataset"], row["backbone"], row["method"], int(row["shots"]), float(row["top1"]) / 100,
                row["source"],
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def mean_over_seeds(records: Iterable[FewShotRecord], dataset: str, backbone: str, method: str, shots: int) -> str:
    """Measured mean of real data over its seeds, to stand beside a published number; empty where there is none.

    Seeds are averaged within one setting alone: the same images, weights, options and hyperparameters. Of several
    settings the one that is nearest to the published recipe counts, the newest among equals.

    Returns:
        The mean in per cent, the number of seeds, and in words all that differs from the published recipe.
    """
    asked = (dataset, backbone, method, shots)
    settings: dict[str, dict[int, FewShotRecord]] = {}
    for record in sorted(records, key=lambda record: record.time):
        if (record.dataset, record.backbone, record.method, record.shots) == asked and not record.standin:
            own = settings.pop(_few_shot_setting(record), {}) | {record.seed: record}
            settings[_few_shot_setting(record)] = own
    if not settings:
        return ""
    group = min(reversed(settings.values()), key=lambda group: len(unlike_published(next(iter(group.values())))))
    found = [100 * record.top1 for record in group.values()]
    notes = [f"{len(found)} seed{'s' * (len(found) > 1)}", *unlike_published(next(iter(group.values())))]
    return f"{sum(found) / len(found):.2f} ({'; '.join(notes)})"


def _few_shot_setting(record: FewShotRecord) -> str:
    """All that a record was asked for but its seed, in a form that can be compared."""
    options = {name: value for name, value in record.options.items() if name not in ("seed", "progress")}
    asked = (
        record.split_source, record.image_set, record.limit, record.weights, record.precision, record.augmentations,
        record.nested, record.short, record.hyperparameters, options,
    )  # fmt: skip
    return json.dumps(asked, sort_keys=True)


_SEARCHING = {"linear_probe", "tip_adapter", "tip_adapter_f", "gda"}  # published code chooses on validation images


def unlike_published(record: FewShotRecord) -> list[str]:
    """In words, what a few-shot record does otherwise than the published measurements of its method.

    Those use all test images, CoOp's draws, random crops, the published training, and either published values or, for
    methods whose code searches, values chosen on validation images.
    """
    expected = "validation" if record.method in _SEARCHING else "published"
    notes = [] if record.limit is None else [f"{record.images:,} test images"]
    if record.hyperparameters != expected:
        notes.append(f"{record.hyperparameters} hyperparameters")
    notes += _unlike_training(record)
    if not record.augmentations and record.projection is None and record.method not in ("zero_shot", "calip"):
        notes.append("no random crops")
    return notes + ["nested draws"] * record.nested + [f"short={record.short!r}"] * (record.short == "take")


def _unlike_training(record: FewShotRecord) -> list[str]:
    used = record.options.get("training")
    known = published_training(record.method, record.dataset, record.shots)
    if used is None or known is None:
        return []
    differ = {name: value for name, value in asdict(known).items() if used.get(name) != value}
    return [f"{name} {used.get(name)}, published {value}" for name, value in differ.items()]
