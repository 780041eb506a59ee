"""Lists, tables and split files of datasets."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
