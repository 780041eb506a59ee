"""Files of points and meshes."""

from tests.fuzz.harness import Target

TARGETS: list[Target] = []
