"""Archives and datasets' own binary formats."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
