"""The book's page on speed, generated from the records of ``make bench``: measured values and their goals."""

from collections.abc import Iterable
from pathlib import Path

from book.tools.markdown import table
from calip_core.analysis import costs
from calip_core.analysis.speed_records import SPEEDS_DIR, MachineSpeeds, Measurement, SpeedRun, all_speeds, missed

_TITLE = "# Speed"
_NOTHING = """\
No machine has been measured for this copy of the book. `make bench` measures the one that it runs on and keeps a record
in `data/benchmarks/`; the next `make book` shows it here.
"""
_HOW = """\
`make bench` measured these values and keeps one record per machine in `data/benchmarks/`, from which this page is
generated. Compared alternatives ran alternately in one process, so a noisy machine slows all of them equally: their
ratio says more than the seconds. A value without a goal is informative, or gives the scale of a ratio. Where a
benchmark was measured again, the values of the run that it replaced stand before the new ones.
"""


def speed_page(folder: Path = SPEEDS_DIR) -> str:
    """The page as MyST Markdown; without records, it says how to create one.

    Raises:
        ValueError: a file in the folder is not a record of speeds.
    """
    records = all_speeds(folder)
    if not records:
        return "\n\n".join([_TITLE, _NOTHING])
    return "\n\n".join([_TITLE, _HOW, *(part for record in records for part in _machine(record)), *_costs(records)])


def _costs(records: list[MachineSpeeds]) -> Iterable[str]:
    """What large sets of images take, from the measured speeds and from cited sizes."""
    yield "## What a large set of images costs"
    yield costs.INPUTS
    bytes_per_image = [[name, *map(costs.size_text, sizes)] for name, sizes in costs.moved().items()]
    yield table(["bytes per image", "read", "tokens, if stored", "margins, kept"], bytes_per_image)
    yield costs.storage_sentence()
    hours = costs.hours(records)
    if hours:
        heads = [f"{size:,} images" for size in costs.SIZES]
        yield table(["one worker", "images/s", *heads], [[_text(row.what), *row.cells()] for row in hours])
        yield costs.WORKERS


def _machine(record: MachineSpeeds) -> Iterable[str]:
    yield f"## {record.machine}"
    yield _verdict([measurement for run in record.runs.values() for measurement in run.measurements])
    for run in record.runs.values():
        yield from _benchmark(run)


def _verdict(measurements: list[Measurement]) -> str:
    """The number of goals, and a list of those missed."""
    goals = sum(measurement.goal is not None for measurement in measurements)
    failed = missed(measurements)
    if not failed:
        return f"All {goals} goals were reached on this machine." if goals else "No goal was set for these values."
    lines = [f"- {_text(m.what)}: {m.measured_text}, where the goal was {m.goal_text}" for m in failed]
    return "\n".join([f"**{len(failed)} of {goals} goals were missed on this machine:**", "", *lines])


def _benchmark(run: SpeedRun) -> Iterable[str]:
    yield f"### {_text(run.title).rstrip('.')}"
    yield f"{run.date:%Y-%m-%d %H:%M} UTC, {run.threads} threads, torch {run.torch}, commit `{run.commit[:12]}`"
    rows = [[_text(m.what), *_values(m), _mark(m)] for m in run.measurements]
    heads = ["what", f"before, `{run.before[:12]}`" if run.before else "before", "measured", "goal", "verdict"]
    shown = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    yield table([heads[column] for column in shown], [[row[column] for column in shown] for row in rows])


def _values(m: Measurement) -> list[str]:
    """The numbers; a per cent sign stays on its number's line."""
    return [text.replace(" %", "\u00a0%") for text in (m.before_text, m.measured_text, m.goal_text)]


def _mark(measurement: Measurement) -> str:
    return {True: "reached", False: "**missed**", None: ""}[measurement.reached]


def _text(words: str) -> str:
    """Text with Markdown's special characters escaped."""
    return words.replace("|", r"\|").replace("_", r"\_").replace("*", r"\*")
