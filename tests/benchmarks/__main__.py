"""Measure every speed that the book claims, here and now, print it, and keep it in data/benchmarks/ for the book.

``make bench``, or ``python -m tests.benchmarks [NAME ...]``; the names given replace only their own measurements.
"""

import argparse
import pkgutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch

from calip_core.analysis.speed_records import SPEEDS_DIR, Measurement, SpeedRun, machine_name, missed, save_run
from calip_core.environment import commit


def benchmarks() -> list[str]:
    """The names of all benchmarks: the modules beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_")


def measure(title: str, run: Callable[[], Iterable[Measurement]]) -> SpeedRun:
    """Run one benchmark and print each value as it comes."""
    date, measurements = datetime.now(UTC).replace(microsecond=0), []
    for measurement in run():
        print(f"  {measurement}", flush=True)
        measurements.append(measurement)
    return SpeedRun(
        title=title, date=date, commit=commit(), torch=torch.__version__, threads=torch.get_num_threads(),
        measurements=tuple(measurements),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    known = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=known, help=f"which: {', '.join(known)}")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default: 2)")
    parser.add_argument("--out", type=Path, default=SPEEDS_DIR, help="folder of the records (default: %(default)s)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(known))
    if unknown:
        parser.error(f"unknown benchmark {unknown}, expected some of {known}")
    torch.set_num_threads(given.threads)
    machine = machine_name()
    print(f"machine: {machine}; {given.threads} threads, torch {torch.__version__}")
    for name in given.names:
        module = import_module(f"tests.benchmarks.{name}")
        title = module.__doc__.splitlines()[0]
        print(f"\n{name}: {title}")
        run = measure(title, module.run)
        path = save_run(name, run, machine=machine, folder=given.out)
        print(f"  {len(missed(run.measurements))} goals missed; kept in {path}")


if __name__ == "__main__":
    main()
