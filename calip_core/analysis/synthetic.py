"""A small generative model of tokens, in which the window of CALIP's gain can be derived and mapped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.analysis.window import Sample, temperature_sweep
from calip_core.blend.selection import Grid
from calip_core.tokens import ImageTokens


@dataclass(frozen=True)
class TokenModel:
    """Tokens of images of which a share shows an object: z_m = b + x_m a t_y + d_m a t_j + noise.

    b is the image's background direction, x_m is 1 for tokens on the object of class y, and d_m is 1 for tokens on a
    distractor of another class j. The pooled feature is the mean of the tokens. ``spread`` then moves every token
    towards that mean, which does not change the mean: 1 leaves the tokens as they are, 0 makes them copies of it.
    Finally all rows get unit length.

    Attributes:
        share: rho, expected share of the tokens that are on the object.
        spread: how much of its own each token keeps, from 0 to 1.
        distractors: expected share of the tokens that are on the distractor.
        strength: a, length of the class vector that such tokens add to a background of length 1.
        noise: expected length of each token's own noise.
        common: cosine between the classes, from a direction that they share.
        classes: number of classes.
        tokens: number of tokens per image, a square.
        width: number of dimensions.

    Raises:
        ValueError: a share, the spread or the cosine is outside [0, 1], the two shares exceed 1, or the number of
            tokens is not a square.
    """

    share: float = 0.25
    spread: float = 1.0
    distractors: float = 0.0
    strength: float = 1.0
    noise: float = 1.0
    common: float = 0.5
    classes: int = 10
    tokens: int = 49
    width: int = 64

    def __post_init__(self) -> None:
        for name in ("share", "spread", "distractors", "common"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from 0 to 1")
        if self.share + self.distractors > 1:
            raise ValueError(f"share {self.share} and distractors {self.distractors} exceed 1 together")
        if round(self.tokens**0.5) ** 2 != self.tokens:
            raise ValueError(f"tokens is {self.tokens}, expected a square such as 49")

    def draw(self, images: int, seed: int = 0) -> Sample:
        """Draw the classes, then ``images`` validation and as many test images; the same seed repeats them.

        Models that differ only in ``share``, ``spread`` or ``distractors`` get the same backgrounds, labels and noise.
        """
        random = torch.Generator().manual_seed(seed)
        shared, own = _directions(random, 1, self.width), _directions(random, self.classes, self.width)
        own = normalize(own - own @ shared.T * shared, dim=-1)  # orthogonal to the common direction
        text = self.common**0.5 * shared + (1 - self.common) ** 0.5 * own  # (k, c)
        return Sample(text, *self._images(images, text, random), *self._images(images, text, random))

    def _images(
        self, n: int, text: Float[Tensor, "k c"], random: torch.Generator
    ) -> tuple[ImageTokens, Int64[np.ndarray, " n"]]:
        labels = torch.randint(self.classes, (n,), generator=random)
        wrong = (labels + torch.randint(1, self.classes, (n,), generator=random)) % self.classes
        place = torch.rand(n, self.tokens, 1, generator=random)  # decides what each token shows
        on_object = (place < self.share).float()  # (n, m, 1)
        on_distractor = (place > 1 - self.distractors).float()
        background = _directions(random, n, self.width).unsqueeze(1)  # (n, 1, c)
        noise = torch.randn(n, self.tokens, self.width, generator=random) * self.noise / self.width**0.5
        signal = on_object * text[labels].unsqueeze(1) + on_distractor * text[wrong].unsqueeze(1)  # (n, m, c)
        tokens = background + self.strength * signal + noise
        mean = tokens.mean(dim=1, keepdim=True)
        side = round(self.tokens**0.5)
        spatial = normalize(mean + self.spread * (tokens - mean), dim=-1)
        return ImageTokens(normalize(mean.squeeze(1), dim=-1), spatial, (side, side)), labels.numpy()


def _directions(random: torch.Generator, n: int, width: int) -> Float[Tensor, "n c"]:
    return normalize(torch.randn(n, width, generator=random), dim=-1)


def weight_on_object(
    share: Float[Tensor, "..."] | float, advantage: Float[Tensor, "..."] | float, alpha: Float[Tensor, "..."] | float
) -> Float[Tensor, "..."]:
    """Total weight of the object's tokens in a softmax over tokens of two kinds: a logistic curve.

    Args:
        share: rho, share of the tokens that are on the object, between 0 and 1.
        advantage: their affinity with the class minus that of the others.
        alpha: temperature.
    """
    share, advantage, alpha = (torch.as_tensor(value, dtype=torch.float64) for value in (share, advantage, alpha))
    return torch.sigmoid(torch.logit(share) + advantage / alpha)


def text_lead(
    share: Float[Tensor, "..."] | float, alpha: Float[Tensor, "..."] | float, *, strength: float, common: float
) -> Float[Tensor, "..."]:
    """Expected lead of the right class over another one in the text-attended term, without noise.

    a (rho a) (w_y - w_k), up to the length of the pooled feature: the query F_v^T t_y is rho a on average, because
    backgrounds have no preferred side.

    Args:
        share: rho, between 0 and 1.
        alpha: temperature.
        strength: a, see ``TokenModel``.
        common: cosine between the classes.
    """
    share = torch.as_tensor(share, dtype=torch.float64)
    right, other = (weight_on_object(share, gap, alpha) for gap in (strength, common * strength))
    return strength * (share * strength) * (right - other)


SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 0.9)
"""Shares of the image that are object, for the phase diagram."""

SPREADS = (0.1, 0.3, 1.0)
"""From tokens that are nearly copies of the pooled feature to tokens with all their own."""


def phase_diagram(
    model: TokenModel | None = None,
    *,
    temperatures: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    shares: Iterable[float] = SHARES,
    spreads: Sequence[float] = SPREADS,
    images: int = 1000,
    seed: int = 0,
    grid: Grid | None = None,
) -> pd.DataFrame:
    """CALIP's gain over temperature, share of the image that is object, and spread of the tokens.

    Args:
        model: everything else.
        temperatures: values of alpha, for both softmaxes.
        shares: values of rho.
        spreads: values of the spread.
        images: number of validation images, and of test images.
        seed: of classes, backgrounds and noise, the same in every cell.
        grid: pairs of blend weights to choose from; ``wide_grid`` by default.

    Returns:
        One row per spread, share and temperature (alpha), with the results of ``measured_gain``.
    """
    model, parts = model or TokenModel(), []
    for share in shares:
        for spread in spreads:
            sample = replace(model, share=share, spread=spread).draw(images, seed)
            swept = temperature_sweep(sample, temperatures, grid)
            parts.append(swept.assign(spread=spread, share=share))
    return pd.concat(parts, ignore_index=True)
