"""Files that this project writes: stores, records, sweeps, cards."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
