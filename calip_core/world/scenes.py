"""Scenes as arrays of parameters: one main object among small distractors on a background."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64

from calip_core.world.vocabulary import (
    BACKGROUNDS,
    COLOUR_RGB,
    COLOURS,
    SHAPES,
    TEXTURES,
    is_held_out,
)

Pairs = Literal["seen", "held_out", "all"]

MAX_DISTRACTORS = 3
_TILT = 0.6  # radians to either side of upright


@dataclass(frozen=True)
class Objects:
    """Flat objects as arrays of a common shape ``s``: positions as fractions of the image side, angles in radians."""

    shape: Int64[np.ndarray, "*s"]
    colour: Int64[np.ndarray, "*s"]
    texture: Int64[np.ndarray, "*s"]
    x: Float32[np.ndarray, "*s"]
    y: Float32[np.ndarray, "*s"]
    radius: Float32[np.ndarray, "*s"]
    angle: Float32[np.ndarray, "*s"]
    texture_period: Float32[np.ndarray, "*s"]
    rgb: Float32[np.ndarray, "*s 3"]

    def __getitem__(self, index: Any) -> "Objects":
        return Objects(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class Scenes:
    """``n`` scenes as arrays; ``scenes[i:j]`` or ``scenes[index_array]`` are scenes again."""

    main: Objects
    distractors: Objects
    n_distractors: Int64[np.ndarray, " n"]
    background: Int64[np.ndarray, " n"]
    background_rgb: Float32[np.ndarray, "n 2 3"]
    background_wave: Float32[np.ndarray, "n 3"]
    noise_level: Float32[np.ndarray, " n"]
    noise_offset: Int64[np.ndarray, "n 2"]

    def __len__(self) -> int:
        return len(self.background)

    def __getitem__(self, index: Any) -> "Scenes":
        if isinstance(index, int | np.integer):
            index = [int(index)]
        return Scenes(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    @property
    def shape(self) -> Int64[np.ndarray, " n"]:
        """Index into ``SHAPES`` of the main object."""
        return self.main.shape

    @property
    def colour(self) -> Int64[np.ndarray, " n"]:
        """Index into ``COLOURS`` of the main object."""
        return self.main.colour

    @property
    def texture(self) -> Int64[np.ndarray, " n"]:
        """Index into ``TEXTURES`` of the main object."""
        return self.main.texture

    @property
    def side(self) -> Int64[np.ndarray, " n"]:
        """Index into ``SIDES``: the third of the picture in which the main object's centre lies."""
        return np.asarray(np.digitize(self.main.x, [0.4, 0.6]), dtype=np.int64)

    def facts(self) -> dict[str, Int64[np.ndarray, " n"]]:
        """The true attributes of each scene: attribute name -> index of its word."""
        return {
            "shape": self.shape,
            "colour": self.colour,
            "texture": self.texture,
            "background": self.background,
            "side": self.side,
        }


def sample_scenes(n: int, seed: int, pairs: Pairs = "all") -> Scenes:
    """Sample ``n`` scenes; the same seed gives the same scenes.

    Args:
        n: number of scenes.
        seed: seed of numpy's default generator.
        pairs: which (colour, shape) pairs the main object may show. Distractors never show a held-out pair.

    Raises:
        ValueError: ``n`` is negative, or ``pairs`` is not one of the three names.
    """
    if n < 0:
        raise ValueError(f"n = {n}: expected a number of scenes of at least 0")
    rng = np.random.default_rng(seed)
    main = _sample_objects(rng, (n,), pair_table(pairs), radius=(0.18, 0.38))
    distractors = _sample_objects(rng, (n, MAX_DISTRACTORS), pair_table("seen"), radius=(0.05, 0.09))
    grey = rng.uniform(0.08, 0.78, (n, 1, 1)) + rng.uniform(-0.2, 0.2, (n, 2, 1))
    tinted = grey + rng.uniform(-0.1, 0.1, (n, 2, 3))
    return Scenes(
        main=main,
        distractors=distractors,
        n_distractors=rng.integers(0, MAX_DISTRACTORS + 1, n),
        background=rng.integers(0, len(BACKGROUNDS), n),
        background_rgb=np.clip(tinted, 0.02, 0.85).astype(np.float32),
        background_wave=rng.uniform([0, 8, 0], [2 * np.pi, 30, 2 * np.pi], (n, 3)).astype(np.float32),
        noise_level=rng.uniform(0.0, 0.06, n).astype(np.float32),
        noise_offset=rng.integers(0, 2**31, (n, 2)),
    )


def pair_table(pairs: Pairs) -> Int[np.ndarray, "p 2"]:
    """Rows (colour, shape) of the pairs that ``pairs`` names.

    Raises:
        ValueError: the name is not "seen", "held_out" or "all".
    """
    if pairs not in ("seen", "held_out", "all"):
        raise ValueError(f'pairs = {pairs!r}: expected "seen", "held_out" or "all"')
    rows = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))]
    if pairs != "all":
        rows = [row for row in rows if is_held_out(*row) == (pairs == "held_out")]
    return np.array(rows, dtype=np.int64)


def _sample_objects(
    rng: np.random.Generator,
    size: tuple[int, ...],
    table: Int[np.ndarray, "p 2"],
    radius: tuple[float, float],
) -> Objects:
    colour, shape = np.moveaxis(table[rng.integers(0, len(table), size)], -1, 0)
    r = rng.uniform(*radius, size)
    margin = 0.8 * r  # corners may leave the picture, but the body stays in it
    x, y = (margin + (1 - 2 * margin) * rng.random(size) for _ in range(2))
    palette = np.array(list(COLOUR_RGB.values()))
    rgb = np.clip(palette[colour] + rng.normal(0, 0.03, (*size, 3)), 0, 1)
    return Objects(
        shape=shape,
        colour=colour,
        texture=rng.integers(0, len(TEXTURES), size),
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        radius=r.astype(np.float32),
        angle=rng.uniform(-_TILT, _TILT, size).astype(np.float32),
        texture_period=rng.uniform(0.38, 0.6, size).astype(np.float32),
        rgb=rgb.astype(np.float32),
    )


def object_is_distractor(scenes: Scenes) -> Bool[np.ndarray, "n d"]:
    """Which distractor slots are drawn."""
    return np.arange(MAX_DISTRACTORS)[None] < scenes.n_distractors[:, None]
