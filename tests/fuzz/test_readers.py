"""Mutated files give a result or a ValueError that names the file. `make fuzz` tries ten times as many."""

from pathlib import Path

import pytest

from tests.fuzz.harness import Target, attack
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_reader_gives_a_result_or_names_the_file(target: Target, tmp_path: Path) -> None:
    faults = attack(target, tmp_path, 100 if target.in_child else 1000)
    assert not faults, "\n".join(faults)
