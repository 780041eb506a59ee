"""How much better a chosen pair of blend weights looks on the images that chose it than on other images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from calip_core.blend.landscape import beta_landscape
from calip_core.blend.selection import Grid
from calip_core.metrics import correct_predictions
from calip_core.tokens import CalipLogits

_SIZES = (50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, eq=False)
class Optimism:
    """Gains over CLIP (differences of shares) of pairs that some of the images chose; one row per size.

    Attributes:
        sizes: numbers of images that chose.
        own: gain on these images, one column per draw.
        others: gain on the remaining images.
    """

    sizes: tuple[int, ...]
    own: Float[np.ndarray, "s r"]
    others: Float[np.ndarray, "s r"]


def optimism(
    logits: CalipLogits, labels: ArrayLike, *, seed: int, sizes: Sequence[int] = (), draws: int = 30,
    grid: Grid | None = None,
) -> Optimism:  # fmt: skip
    """Let some images choose the best pair of a grid, and measure its gain on them and on the others.

    Args:
        logits: the three terms.
        labels: their class numbers.
        seed: of the draws.
        sizes: how many images choose; 50, 100, 200, 500, ... up to half of the images by default.
        draws: how often for each size.
        grid: pairs to choose from; by default, the released grid.

    Raises:
        ValueError: a size leaves no images on one of the sides, or there is no size or no draw.
    """
    target, grid = np.asarray(labels), grid or Grid.released()
    n = len(target)
    sizes = tuple(sizes) or tuple(size for size in _SIZES if size <= n // 2) or (n // 2,)
    if draws < 1 or not all(0 < size < n for size in sizes):
        raise ValueError(f"{draws} draws of {sizes} of {n} images: expected draws, and images on both sides")
    random = np.random.default_rng(seed)
    clip = correct_predictions(logits.clip, target).astype(float)
    gains = np.empty((2, len(sizes), draws))
    for row, size in enumerate(sizes):
        for draw in range(draws):
            order = random.permutation(n)
            own, others = order[:size], order[size:]
            best = beta_landscape(logits[own.tolist()], target[own], beta2=grid.beta2, beta3=grid.beta3).best()
            gain = correct_predictions(logits.combine(beta2=best.beta2, beta3=best.beta3), target) - clip
            gains[:, row, draw] = gain[own].mean(), gain[others].mean()
    return Optimism(sizes, *gains)
