"""Pictures of the procedural world with a fixed pair of colour and shape per class."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from calip_core import world

POOL = 2000
"""Scenes sampled at a time, of which those with the wanted pair are kept."""


class Pictures:
    """Writes pictures; the same seed and the same calls give the same files."""

    def __init__(self, seed: int, resolution: int) -> None:
        """Set the seed, and the resolution in pixels per side."""
        self._seed, self._resolution = seed, resolution

    def write(self, label: int, paths: list[Path]) -> None:
        """Write one picture of a class to each path, in the format given by its suffix."""
        self.save(self.render(label, len(paths)), paths)

    @staticmethod
    def save(pictures: UInt8[np.ndarray, "n h w 3"], paths: list[Path]) -> None:
        """Write each picture to its path."""
        for path, pixels in zip(paths, pictures, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=90)

    def render(self, label: int, count: int) -> UInt8[np.ndarray, "n h w 3"]:
        """``count`` pictures of a class; the first 60 classes show different pairs of colour and shape."""
        shape = label % len(world.SHAPES)
        colour = (label // len(world.SHAPES) + label) % len(world.COLOURS)
        rng = np.random.default_rng((self._seed, label))
        pictures: list[UInt8[np.ndarray, "_ h w 3"]] = []
        while (have := sum(len(batch) for batch in pictures)) < count:
            scenes = world.sample_scenes(POOL, int(rng.integers(2**31)))
            wanted: Bool[np.ndarray, " n"] = (scenes.shape == shape) & (scenes.colour == colour)
            chosen = np.flatnonzero(wanted)[: count - have]
            pictures.append(world.render_scenes(scenes[chosen], resolution=self._resolution))
        return np.concatenate(pictures)
