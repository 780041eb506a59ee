"""Clouds of procedural solids: the task of chapter 7 that needs no download."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from calip_core import pointclouds, world
from calip_core.datasets.array_cache import CachedArray, fingerprint
from calip_core.datasets.builtin.shapes import split_seed
from calip_core.datasets.cards import load_card
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.environment import package_versions
from calip_core.paths import cache_dir
from calip_core.world.solid_clouds import STORED_POINTS, SolidClouds, sample_kinds

NAME = "mini-solids"
_MAKERS = "torch", "trimesh", "scikit-image", "scipy"  # besides NumPy: another version may sample different points


def load_mini_solids(root: Path | None = None, sizes: Mapping[str, int] | None = None) -> CloudTask:
    """Which solid is this cloud of? Every cloud has its own proportion, pose, stretch, noise and missing parts.

    Args:
        root: folder under which ``solids/<fingerprint>/<split>.npy`` keeps the clouds; the user's cache by default.
        sizes: clouds a split, if other than the card's.
    """
    card = load_card(NAME)
    counts = {**card.sizes, **(sizes or {})}
    splits = {split: _split(split, count, root or cache_dir()) for split, count in counts.items()}
    drawn = "every split drawn anew: no cloud is in two"
    return CloudTask(
        NAME, card.title, world.SOLIDS, card.templates, splits, card.licence, card.source, split_source=drawn
    )


def _split(split: str, size: int, root: Path) -> CloudSplit:
    seed = split_seed("solids", split)
    kinds = sample_kinds(size, seed)
    rules = {"world": world.VERSION, "pointclouds": pointclouds.VERSION}
    made_from = fingerprint({"seed": seed, "size": size, "by": package_versions(_MAKERS)} | rules)
    clouds = CachedArray(
        root / "solids" / made_from / f"{split}.npy",
        (size, STORED_POINTS, 3),
        partial(_sample, SolidClouds(kinds, seed)),
        dtype=np.float32,
        doing="sampling",
    )
    return CloudSplit(clouds.__getitem__, kinds, made_from)


def _sample(clouds: SolidClouds, start: int, stop: int) -> Float32[np.ndarray, "_ p 3"]:
    return np.stack([clouds(i) for i in range(start, stop)])
