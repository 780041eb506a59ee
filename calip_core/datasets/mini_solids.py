"""Clouds of procedural solids: the task of chapter 6 that needs no download."""

from collections.abc import Mapping
from pathlib import Path

from calip_core.backbones.miniature import world
from calip_core.datasets.array_cache import fingerprint
from calip_core.datasets.cards import load_card
from calip_core.datasets.cloud_task import CloudSplit, CloudTask
from calip_core.datasets.miniature import split_seed
from calip_core.pointclouds.solids import SolidClouds, sample_kinds

NAME = "mini-solids"


def load_mini_solids(sizes: Mapping[str, int] | None = None) -> CloudTask:
    """Which solid is this cloud of? Every cloud has its own proportion, pose, stretch, noise and missing parts.

    Args:
        sizes: clouds a split, if other than the card's.
    """
    card = load_card(NAME)
    splits = {split: _split(split, count) for split, count in {**card.sizes, **(sizes or {})}.items()}
    return CloudTask(NAME, card.title, world.SOLIDS, card.templates, splits, card.licence, card.source)


def _split(split: str, size: int) -> CloudSplit:
    seed = split_seed("solids", split)
    kinds = sample_kinds(size, seed)
    # The clouds depend on the code that samples them, which the cache's own fingerprint covers, and on the world's.
    return CloudSplit(SolidClouds(kinds, seed), kinds, fingerprint(Path(world.__file__).parent, {"seed": seed}))
