"""Pictures."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
