"""Checkpoints of CLIP and saved heads."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
