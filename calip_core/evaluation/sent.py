"""Records that readers send: files in ``data/records/``, each with who measured where, checked before they are used."""

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calip_core.backbones.names import OPENAI
from calip_core.backbones.openai import published_sha256, weights_file
from calip_core.datasets import disk_datasets, load_card, split_template_set
from calip_core.digests import file_digest
from calip_core.evaluation.record import Record
from calip_core.metrics import paired_interval, paired_test, wilson_interval
from calip_core.paths import DATA_DIR, atomic_path
from calip_core.reading import reading

RECORDS_DIR = DATA_DIR / "records"
"""The folder of the files that readers sent."""
_MOST_BYTES = 32 << 20
_CLOSE = 1e-9  # how far two ways to compute the same share may differ

Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f<>|\\`]{1,80}$")]
"""A few plain words, to be shown in a table."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Model = TypeVar("Model", bound=BaseModel)


class Header(BaseModel):
    """The first line of a file: who measured, where, and with which files.

    Attributes:
        who: name of the sender.
        where: place and machine, in the sender's words.
        date: when the file was made.
        checkpoints: backbone -> SHA-256 of its checkpoint file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    who: Words
    where: Words
    date: datetime.date
    checkpoints: dict[str, Sha256]

    def __str__(self) -> str:
        return f"{self.who}, {self.where}, {self.date}"


class _Line(BaseModel):
    """Any other line: a record, and the key that it had where it was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    key: Sha256
    record: Record


@dataclass(frozen=True)
class Sent:
    """One file.

    Attributes:
        path: the file.
        header: who, where and with which files.
        records: what was measured.
    """

    path: Path
    header: Header
    records: tuple[Record, ...]


def read_sent(path: Path) -> Sent:
    """Read and check one file.

    Raises:
        ValueError: the file is too large, a line has another form, or something does not add up; the message names
            the file, the line and the fault.
        OSError: the file cannot be read.
    """
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, expected at most {_MOST_BYTES:,}: send fewer records")
    with reading(path, "records that a reader sent"):
        first, *others = path.read_text(encoding="utf-8").splitlines() or [""]
    header = _parsed(Header, first, f"{path}, line 1,")
    records = []
    for number, text in enumerate(others, start=2):
        line = _parsed(_Line, text, f"{path}, line {number},")
        if fault := next(_faults(line, header), None):
            raise ValueError(f"{path}, line {number}: {fault}: measure it again, and pack the file anew")
        records.append(line.record)
    if not records:
        raise ValueError(f"{path} has no records after its first line: pack some")
    return Sent(path, header, tuple(records))


def all_sent(folder: Path = RECORDS_DIR) -> list[Sent]:
    """All files of a folder, by name, after checking each, and that they agree on the weights.

    Raises:
        ValueError: a file is not right, or two used other weights under one name.
    """
    found, known = (
        [read_sent(path) for path in sorted(folder.glob("*.jsonl"))],
        dict[tuple[str, str], tuple[str, Path]](),
    )
    for one in found:
        for record in one.records:
            encoder = record.encoder
            weights, path = known.setdefault(
                (encoder.backbone, encoder.precision.split()[0]), (encoder.weights, one.path)
            )
            if weights != encoder.weights:
                raise ValueError(
                    f"{one.path} has weights {encoder.weights[:12]} of {encoder.backbone}, but {path} has "
                    f"{weights[:12]} of the same checkpoint and precision: one of them was prepared by other code"
                )
    return found


def pack(records: Iterable[Record], path: Path, who: str, where: str, weights: Path | None = None) -> Sent:
    """Write the records of real image datasets and OpenAI's backbones to a file that can be sent.

    Args:
        records: what was measured; the others are left out.
        path: the file.
        who: your name, or the one that you want to be known by.
        where: place and machine.
        weights: the folder of OpenAI's checkpoints; clip's own by default.

    Raises:
        ValueError: no record can be sent, a checkpoint is not OpenAI's, or who and where are not a few plain words.
        OSError: a checkpoint is not here, or the file cannot be written.
    """
    known = disk_datasets("images")
    chosen = [
        record for record in records
        if record.encoder.backbone in OPENAI and not record.data.standin
        and split_template_set(record.data.task)[0] in known
    ]  # fmt: skip
    if not chosen:
        raise ValueError("there is no record to pack: it takes one of OpenAI's backbones on a real image dataset")
    names = sorted({record.encoder.backbone for record in chosen})
    header = {
        "who": who, "where": where, "date": datetime.datetime.now(datetime.UTC).date(),
        "checkpoints": {name: file_digest(weights_file(name, weights)) for name in names},
    }  # fmt: skip
    try:
        lines: list[BaseModel] = [Header.model_validate(header)]
    except ValidationError as error:
        raise ValueError(_fault(error)) from error
    lines += [_Line(key=record.key, record=record) for record in chosen]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line.model_dump_json()}\n" for line in lines), encoding="utf-8")
        read_sent(temporary)
    return read_sent(path)


def _parsed(model: type[Model], text: str, where: str) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{where} is not as `calip records pack` writes it: {_fault(error)}") from error


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"[:300]


def _faults(line: _Line, header: Header) -> Iterator[str]:
    """What is wrong with a record, in words."""
    record = line.record
    if line.key != record.key:
        yield f"the key is {line.key[:12]}, but that of its setting is {record.key[:12]}"
    backbone = record.encoder.backbone
    if backbone not in OPENAI:
        yield f"the backbone is {backbone!r}, expected one of {', '.join(OPENAI)}"
    elif (found := header.checkpoints.get(backbone)) != (expected := published_sha256(backbone)):
        yield f"the checkpoint of {backbone} has SHA-256 {str(found)[:12]}, but OpenAI's has {expected[:12]}"
    yield from _data_faults(record)
    yield from _count_faults(record)


def _data_faults(record: Record) -> Iterator[str]:
    data = record.data
    name = split_template_set(data.task)[0]
    if data.standin or name not in disk_datasets("images"):
        yield f"the dataset is {data.task!r}, expected real images of one of {', '.join(disk_datasets('images'))}"
        return
    card = load_card(name)
    places = [place.own_sizes for place in card.layout.places if place.own_sizes] if card.layout else []
    own = [sizes["test"] for sizes in (card.layout and card.layout.own_sizes, *places) if sizes and "test" in sizes]
    most = max(card.sizes["test"], *own, 0)
    if data.images > most or (data.classes != card.classes and data.part is None):
        yield f"{data.images:,} images of {data.classes} classes, expected at most {most:,} of {card.classes}"
    chosen, options = record.choice.values, record.head.options
    for weight in ("beta2", "beta3"):
        if record.choice.protocol == "fixed" and chosen.get(weight) != options.get(weight):
            yield f"{weight} is {chosen.get(weight)}, but the head was made with {options.get(weight)}"


def _count_faults(record: Record) -> Iterator[str]:
    """Shares, intervals and lists of hits that do not follow from the same counts."""
    score, total = record.score, record.data.images
    correct, clip_correct = round(score.top1 * total), round(score.clip_top1 * total)
    only = score.only_method, score.only_clip
    if correct - clip_correct != only[0] - only[1] or only[0] > correct or only[1] > clip_correct or sum(only) > total:
        yield f"{correct} and {clip_correct} of {total} images are right, but {only[0]} and {only[1]} of them alone"
        return
    interval, gain, test = wilson_interval(correct, total), paired_interval(*only, total), paired_test(*only)
    expected = {
        "top1": correct / total, "clip_top1": clip_correct / total, "gain": (correct - clip_correct) / total,
        "low": interval.low, "high": interval.high, "mcnemar_p": test.p_value,
    }  # fmt: skip
    if record.head.method != "zero_shot":
        expected |= {"gain_low": gain.low, "gain_high": gain.high}
    for name, value in expected.items():
        if abs(getattr(score, name) - value) > _CLOSE:
            yield f"{name} is {getattr(score, name)}, but the counts give {value}"
    if score.hits is None or score.clip_hits is None:
        yield "it does not say which images were right: evaluate with keep_hits=True"
        return
    hits, clip_hits = record.correct(), record.correct_by_clip()
    counted = [int(np.count_nonzero(some)) for some in (hits, clip_hits, hits & ~clip_hits, clip_hits & ~hits)]
    if counted != [correct, clip_correct, *only]:
        yield f"the lists of right images count {counted}, the score {[correct, clip_correct, *only]}"
