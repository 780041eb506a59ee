"""Scenes of the miniature's world with two or three main objects: pictures that have several labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from calip_core import world
from calip_core.datasets.builtin.shapes import RESOLUTION, split_seed
from calip_core.datasets.task import Split

FEWEST, MOST = 2, 3
"""Main objects in a scene."""

_TRIES = 50


@dataclass(frozen=True, eq=False)
class _Pictures:
    images: UInt8[np.ndarray, "n h w 3"]

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])


def several_objects(split: str, count: int, *, seed: int) -> tuple[Split, Bool[np.ndarray, "n 12"]]:
    """Scenes with two or three main objects that do not cover each other, and which shapes each shows.

    Args:
        split: any name; scenes of different names are independent.
        count: number of scenes.
        seed: draws the scenes.

    Returns:
        The scenes, whose ``labels`` are the shapes of their first objects; and for each whether it shows each of
        ``world.SHAPES`` as a main object. Small distractors do not count. Where no further object fits, a scene has
        fewer.

    Raises:
        ValueError: there are no scenes.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one scene")
    rng = np.random.default_rng(split_seed(f"several/{seed}", split))
    scenes = world.sample_scenes(count * MOST, int(rng.integers(2**62)), pairs="seen")
    rendered, masks = world.render_scenes(scenes, RESOLUTION), world.object_masks(scenes, RESOLUTION)
    images, truth = rendered[:count].copy(), np.zeros((count, len(world.SHAPES)), dtype=bool)
    for number in range(count):
        members = _apart(number, int(rng.integers(FEWEST, MOST + 1)), masks, rng)
        for member in members[1:]:
            images[number][masks[member]] = rendered[member][masks[member]]
        truth[number, scenes.shape[members]] = True
    return Split(_Pictures(images), scenes.shape[:count]), truth


def _apart(first: int, wanted: int, masks: Bool[np.ndarray, "s h w"], rng: np.random.Generator) -> list[int]:
    """Numbers of scenes, ``first`` among them, whose main objects would not touch in one picture."""
    members, covered = [first], masks[first].copy()
    for other in rng.integers(len(masks), size=_TRIES).tolist():
        if len(members) < wanted and not (covered & masks[other]).any():
            members.append(other)
            covered |= masks[other]
    return members
