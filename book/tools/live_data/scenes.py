"""Scenes of the miniature's world that no training run sees, for panels to show."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from calip_core import world

_SEED = 1_000_000_000  # beyond the seeds of training runs
_DRAWN = 48

HELD_OUT = [" ".join(pair) for pair in world.HELD_OUT_PAIRS]
"""A colour and a shape each, which training never showed together, such as "red circle"."""


def unseen_scenes(numbers: Sequence[int]) -> world.Scenes:
    """Some of the scenes that are drawn, by number."""
    return world.sample_scenes(_DRAWN, _SEED, pairs="seen")[np.array(numbers)]


def pictures_of(scenes: world.Scenes) -> list[Image.Image]:
    """Each scene as a picture."""
    return [Image.fromarray(image) for image in world.render_scenes(scenes)]


def names_of(scenes: world.Scenes) -> list[str]:
    """Colour and shape of each scene's main object: "blue ring"."""
    pairs = zip(scenes.colour, scenes.shape, strict=True)
    return [f"{world.COLOURS[colour]} {world.SHAPES[shape]}" for colour, shape in pairs]
