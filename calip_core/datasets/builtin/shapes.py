"""Three questions about the miniature's own world: which shape, which texture, which pair of colour and shape?"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from calip_core import world
from calip_core.datasets.array_cache import CachedImages, fingerprint
from calip_core.datasets.cards import load_card
from calip_core.datasets.task import Split, Task
from calip_core.paths import cache_dir
from calip_core.world.scenes import Pairs

RESOLUTION = 128


@dataclass(frozen=True)
class Question:
    """What a task of the miniature asks about its scenes.

    Attributes:
        pairs: which pairs of colour and shape the scenes show, ``"seen"`` in training or ``"held_out"`` of it.
        classnames: the possible answers.
        answer: the class number of every scene.
    """

    pairs: Pairs
    classnames: tuple[str, ...]
    answer: Callable[[world.Scenes], Int64[np.ndarray, " n"]]


def _which_pair(scenes: world.Scenes) -> Int64[np.ndarray, " n"]:
    table = np.full((len(world.COLOURS), len(world.SHAPES)), -1)
    for label, (colour, shape) in enumerate(world.HELD_OUT_PAIRS):
        table[world.COLOURS.index(colour), world.SHAPES.index(shape)] = label
    labels: Int64[np.ndarray, " n"] = table[scenes.colour, scenes.shape]
    return labels


QUESTIONS = {
    "mini-shapes": Question("seen", world.SHAPES, lambda scenes: scenes.shape),
    "mini-pairs": Question("held_out", tuple(" ".join(pair) for pair in world.HELD_OUT_PAIRS), _which_pair),
    "mini-textures": Question("seen", world.TEXTURES, lambda scenes: scenes.texture),
}


@dataclass(frozen=True)
class Render:
    """Renders part of a split."""

    scenes: world.Scenes

    def __call__(self, start: int, stop: int) -> UInt8[np.ndarray, "_ h w 3"]:
        return world.render_scenes(self.scenes[start:stop], resolution=RESOLUTION)


def load_miniature(name: str, root: Path | None = None, sizes: Mapping[str, int] | None = None) -> Task:
    """One of the tasks on procedural scenes; they are rendered when the first image of a split is asked for.

    mini-shapes and mini-textures ask about the same scenes, whose pairs of colour and shape occur in the miniature's
    training, though no scene does. mini-pairs asks about pairs that training never showed: it is truly zero-shot.

    Args:
        name: mini-shapes, mini-pairs or mini-textures.
        root: folder under which ``worlds/<fingerprint>/<split>.npy`` keeps the images; by default the user's cache.
        sizes: scenes a split, if other than the card's.
    """
    card, question = load_card(name), QUESTIONS[name]
    counts = {**card.sizes, **(sizes or {})}
    splits = {split: _split(question, split, count, root or cache_dir()) for split, count in counts.items()}
    return Task.from_card(card, splits, question.classnames)


def _split(question: Question, split: str, size: int, root: Path) -> Split:
    seed = split_seed(question.pairs, split)
    scenes = world.sample_scenes(size, seed, pairs=question.pairs)
    made_from = {"pairs": question.pairs, "size": size, "seed": seed, "resolution": RESOLUTION}
    folder = root / "worlds" / fingerprint({"world": world.VERSION} | made_from)
    images = CachedImages(folder / f"{split}.npy", (size, RESOLUTION, RESOLUTION, 3), Render(scenes))
    return Split(images, question.answer(scenes), identity=images.sha256)


def split_seed(pairs: str, split: str) -> int:
    """A seed of 63 bits of its own for every split: far from the small numbers that training runs are started with."""
    return int.from_bytes(hashlib.sha256(f"{pairs}/{split}".encode()).digest()[:8]) >> 1
