"""Records of measured speeds: one file per machine, from which the book's page on speed is made."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from calip_core.environment import core_count, processor_name
from calip_core.paths import DATA_DIR, atomic_path

SPEEDS_DIR = DATA_DIR / "benchmarks"
"""Where ``make bench`` writes its records; the book reads every file in this folder."""

Text = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Measurement(BaseModel):
    """One measured value and its goal.

    Attributes:
        what: description of what was measured, including the problem size.
        value: value in ``unit``; a percentage is 85, not 0.85.
        unit: such as "s", "images/s", "times", "%", "MiB".
        goal: the smallest acceptable value, or the largest if ``better`` is "lower"; None if no goal was set.
        better: which direction is the good one.
        before: the value in the run that this one replaced; None if that did not measure it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: Text
    value: Finite
    unit: str
    goal: Finite | None = None
    better: Literal["higher", "lower"] = "higher"
    before: Finite | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None if there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    @property
    def measured_text(self) -> str:
        """The value with its unit, to three digits."""
        return f"{_digits(self.value)} {self.unit}".strip()

    @property
    def before_text(self) -> str:
        """The value before, with its unit; empty if there is none."""
        return "" if self.before is None else f"{_digits(self.before)} {self.unit}".strip()

    @property
    def goal_text(self) -> str:
        """The goal in words; empty if there is none."""
        if self.goal is None:
            return ""
        return f"at {'least' if self.better == 'higher' else 'most'} {_digits(self.goal)} {self.unit}".strip()

    def __str__(self) -> str:
        verdict = "" if self.goal is None else f" (goal: {self.goal_text}, {'reached' if self.reached else 'missed'})"
        return f"{self.what}: {self.measured_text}{verdict}"


class SpeedRun(BaseModel):
    """The measurements of one run of a benchmark, with the code version and settings of the run.

    Attributes:
        title: the benchmark's title.
        date: when it ran.
        commit: the code that ran.
        torch: torch's version.
        threads: threads of the processor.
        measurements: what was measured.
        before: the commit whose values the measurements give as ``before``; None for a first run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: Text
    date: AwareDatetime
    commit: str
    torch: str
    threads: int = Field(ge=1)
    measurements: tuple[Measurement, ...] = Field(min_length=1)
    before: str | None = None

    def after(self, earlier: "SpeedRun") -> "SpeedRun":
        """This run beside an earlier one's values, or beside those before it if both ran the same code."""
        same = earlier.commit == self.commit
        values = {m.what: m.before if same else m.value for m in earlier.measurements}
        measurements = tuple(m.model_copy(update={"before": values.get(m.what)}) for m in self.measurements)
        before = earlier.before if same else earlier.commit
        return self.model_copy(update={"measurements": measurements, "before": before})


class MachineSpeeds(BaseModel):
    """Everything measured on one machine: the latest run of each benchmark, keyed by the benchmark's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = 1
    machine: Text
    runs: dict[str, SpeedRun]


def machine_name() -> str:
    """The processor, the number of cores that this process may use, and the GPU if there is one."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor_name()}, {core_count()} cores{gpu}"


def record_path(machine: str, folder: Path = SPEEDS_DIR) -> Path:
    """The file of one machine's record: the machine's name in lower-case letters, digits and hyphens."""
    plain = re.sub(r"\((r|tm|c)\)", " ", machine.lower())
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', plain).strip('-')}.json"


def save_run(name: str, run: SpeedRun, *, machine: str, folder: Path = SPEEDS_DIR) -> Path:
    """Write one benchmark's run to the machine's record, beside the values of the run that it replaces.

    Runs of other benchmarks are kept.

    Returns:
        The record's path.

    Raises:
        ValueError: the existing file is not such a record.
        OSError: the folder cannot be written.
    """
    path = record_path(machine, folder)
    runs = read_speeds(path).runs if path.exists() else {}
    run = run.after(runs[name]) if name in runs else run
    record = MachineSpeeds(machine=machine, runs=dict(sorted((runs | {name: run}).items())))
    with atomic_path(path) as temporary:
        temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def read_speeds(path: Path) -> MachineSpeeds:
    """Read one machine's record.

    Raises:
        ValueError: the file is not such a record; the message names the file and the fault.
    """
    try:
        return MachineSpeeds.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{path} is not a record of speeds ({where}: {first['msg']}): delete it and run `make bench`"
        ) from error


def all_speeds(folder: Path = SPEEDS_DIR) -> list[MachineSpeeds]:
    """The records of every measured machine, sorted by file name.

    Raises:
        ValueError: a file is not such a record.
    """
    return [read_speeds(path) for path in sorted(folder.glob("*.json"))]


def missed(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The measurements that have a goal and did not reach it."""
    return [measurement for measurement in measurements if measurement.reached is False]


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
