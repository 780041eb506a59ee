"""What heads without labels make of batches that lack classes or have them in unequal numbers, and of streams."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64

from calip_core.methods.base import Head
from calip_core.methods.neighbours import neighbour_cosines
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

Shares = Callable[[np.random.Generator], Float[np.ndarray, " k"]]
"""Draws the weight of each class, 0 for an absent one."""

BASELINE = "zero_shot"


def some_classes(classes: int, present: int) -> Shares:
    """Equal weights for ``present`` of the classes, drawn at random; the others are absent.

    Raises:
        ValueError: there are not that many classes, or none is present.
    """
    if not 1 <= present <= classes:
        raise ValueError(f"present is {present}, expected 1 to {classes} classes")

    def draw(rng: np.random.Generator) -> Float[np.ndarray, " k"]:
        shares = np.zeros(classes)
        shares[rng.permutation(classes)[:present]] = 1
        return shares

    return draw


def numbers_present(labels: Int64[np.ndarray, " n"], classes: int, size: int) -> dict[int, Shares]:
    """``some_classes`` for 2, 8, 32, ... and all classes: those numbers of which any classes have ``size`` images.

    Raises:
        ValueError: there are fewer images than ``size``.
    """
    if len(labels) < size:
        raise ValueError(f"size is {size}, but there are {len(labels)} images: ask for smaller batches")
    fewest = np.cumsum(np.sort(np.bincount(labels, minlength=classes)))  # images of the 1, 2, ... rarest classes
    rising = [2 * 4**power for power in range(classes.bit_length()) if 2 * 4**power < classes]
    enough = [number for number in rising if fewest[number - 1] >= size]
    return {number: some_classes(classes, number) for number in [*enough, classes]}


def long_tail(classes: int, ratio: float) -> Shares:
    """Weights that fall geometrically from the most frequent class to the rarest, in a random order of the classes.

    Args:
        classes: number of classes.
        ratio: how many times more frequent the first is than the last, at least 1.

    Raises:
        ValueError: the ratio is below 1.
    """
    if not ratio >= 1:
        raise ValueError(f"ratio is {ratio}, expected at least 1")

    def draw(rng: np.random.Generator) -> Float[np.ndarray, " k"]:
        falling = np.asarray(ratio ** -np.linspace(0, 1, classes))
        return falling[rng.permutation(classes)]

    return draw


def draw_batch(
    labels: Int64[np.ndarray, " n"], shares: Float[np.ndarray, " k"], size: int, rng: np.random.Generator
) -> Int64[np.ndarray, " b"]:
    """Numbers of ``size`` images, without replacement, whose classes have about these shares.

    Raises:
        ValueError: classes with a weight have fewer images together.
    """
    counts = np.bincount(labels, minlength=len(shares))
    weights = (shares / np.maximum(counts, 1))[labels]
    if (available := int((weights > 0).sum())) < size:
        raise ValueError(f"size is {size}, but the drawn classes have {available} images: ask for smaller batches")
    return np.asarray(rng.choice(len(labels), size, replace=False, p=weights / weights.sum()), dtype=np.int64)


def by_composition(
    tokens: ImageTokens,
    labels: Int64[np.ndarray, " n"],
    heads: Mapping[str, Head],
    levels: Mapping[Any, Shares],
    *,
    size: int,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Accuracy of fitted heads on batches of the same size and another composition; all heads get the same batches.

    Args:
        tokens: test images to draw from.
        labels: their classes.
        heads: method -> fitted head; "zero_shot" is among them.
        levels: level, such as the number of classes present -> how to draw the classes' shares.
        size: images per batch.
        seeds: one batch each, per level.

    Returns:
        One row per head, level and seed: method, sees, level, seed, top1, and gain over zero-shot CLIP on that batch.

    Raises:
        ValueError: a batch is larger than the images of its classes.
    """
    rows = []
    for number, (level, shares) in enumerate(levels.items()):
        for seed in seeds:
            rng = np.random.default_rng((seed, number))
            batch = draw_batch(labels, shares(rng), size, rng)
            rows += _answers(tokens, labels, heads, batch, level=level, seed=seed)
    return pd.DataFrame(rows)


def by_stream(
    tokens: ImageTokens,
    labels: Int64[np.ndarray, " n"],
    heads: Mapping[str, Head],
    *,
    lengths: Sequence[int],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Accuracy of fitted heads on streams of several lengths, once shuffled and once class after class.

    Args:
        tokens: test images to draw from.
        labels: their classes.
        heads: method -> fitted head; "zero_shot" is among them.
        lengths: images per stream.
        seeds: one stream each, per length; both orders have the same images.

    Returns:
        One row per head, length, order and seed: method, sees, level (the length), order, seed, top1 and gain.

    Raises:
        ValueError: a stream is longer than there are images.
    """
    rows = []
    for length in lengths:
        for seed in seeds:
            if length > len(labels):
                raise ValueError(f"length is {length}, but there are {len(labels)} images: ask for shorter streams")
            shuffled = np.random.default_rng(seed).permutation(len(labels))[:length]
            orders = {"shuffled": shuffled, "class after class": shuffled[np.argsort(labels[shuffled], kind="stable")]}
            for order, stream in orders.items():
                rows += _answers(tokens, labels, heads, stream, level=length, order=order, seed=seed)
    return pd.DataFrame(rows)


def neighbours_agree(tokens: ImageTokens, labels: Int64[np.ndarray, " n"], count: int = 3) -> float:
    """How often one of an image's ``count`` nearest images shows the same class, by the cosine of pooled features."""
    nearest = neighbour_cosines(tokens.pooled, None, count).tocoo()
    return float((labels[nearest.row] == labels[nearest.col]).mean())


def _answers(
    tokens: ImageTokens,
    labels: Int64[np.ndarray, " n"],
    heads: Mapping[str, Head],
    images: Int64[np.ndarray, " b"],
    **setting: Any,
) -> list[dict[str, Any]]:
    """The row of each head for these images in this order."""
    shown = tokens[torch.from_numpy(images)]
    scores = {method: accuracy(head.logits(shown), labels[images]) for method, head in heads.items()}
    return [
        {"method": method, "sees": heads[method].sees, **setting, "top1": top1, "gain": top1 - scores[BASELINE]}
        for method, top1 in scores.items()
    ]
