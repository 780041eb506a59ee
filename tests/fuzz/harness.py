"""Feed mutated files to one reader and say what it did wrong."""

import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzz.mutations import mutated

SECONDS = 2.0  # of the processor, children included: how busy the machine is does not matter
PATIENCE = 10  # times as many seconds of the clock end a reader that only waits
GROWTH = 1 << 30  # bytes of resident memory


@dataclass(frozen=True)
class Target:
    """A reader of files.

    Attributes:
        name: of the reader and the format.
        file_name: as which a mutated file is written; readers look at the suffix.
        seeds: makes whole files, from which the mutated ones come; they must be read without an error.
        read: the reader; what it returns is not looked at, but must have been read (no lazy result).
        in_child: whether a child process does the reading, so that fewer files are tried.
    """

    name: str
    file_name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    in_child: bool = False


class TooSlow(BaseException):
    """Raised inside a reader when its time is over; no reader's ``except Exception`` takes it."""


def attack(target: Target, folder: Path, count: int, seed: int = 0) -> list[str]:
    """What went wrong over ``count`` mutated files, one line per kind of fault, each with the case that shows it.

    The case's bytes are kept in ``folder``.
    """
    path, seeds = folder / target.file_name, target.seeds()
    for content in seeds:
        path.write_bytes(content)
        target.read(path)
    before, faults = _peak(), dict[str, str]()
    for case in range(count):
        content = mutated(seeds, np.random.default_rng([seed, case]))
        path.write_bytes(content)
        fault = _fault(target, path)
        if fault is None and _peak() - before > GROWTH:
            fault, before = f"takes {(_peak() - before) >> 20} MiB", _peak()
        if fault is not None and (kind := fault.split("\n")[0][:80]) not in faults:
            kept = folder / f"case-{seed}-{case}{path.suffix}"
            kept.write_bytes(content)
            faults[kind] = f"{target.name}, case {case}: {fault} ({kept})"
    return list(faults.values())


def _fault(target: Target, path: Path) -> str | None:
    start = _processor_seconds()
    try:
        with _alarm(PATIENCE * SECONDS):
            target.read(path)
    except ValueError as error:
        if path.name not in str(error):
            return f"{type(error).__name__} does not name the file: {error}"
    except TooSlow:
        return f"takes more than {PATIENCE * SECONDS:g} s"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if _processor_seconds() - start > SECONDS:
        return f"takes more than {SECONDS:g} s of the processor"
    return None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlow

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak() -> int:
    """The largest resident size so far, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size << 10
