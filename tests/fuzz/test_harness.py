"""The harness finds the faults that it is for."""

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Target, attack
from tests.fuzz.mutations import mutated


def _careful(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no number: {error}") from error


def _nameless(path: Path) -> int:
    return int(path.read_bytes())


def _raw(path: Path) -> object:
    return {b"12": 1}[path.read_bytes()]


def _slow(path: Path) -> None:
    while path.read_bytes() != b"12":
        pass


@pytest.mark.parametrize(
    ("read", "fault"),
    [(_careful, None), (_nameless, "does not name the file"), (_raw, "KeyError"), (_slow, "takes more than")],
)
def test_faults_are_found(read, fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SECONDS", 0.1)
    found = attack(Target("numbers", "number.txt", lambda: [b"12"], read), tmp_path, 20)
    assert (not found) if fault is None else any(fault in line for line in found)


def test_a_seed_gives_the_same_files() -> None:
    first, again = ([mutated([b"abc 12", b"def"], np.random.default_rng([0, i])) for i in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 30
