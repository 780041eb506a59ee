"""Gaussian discriminant analysis added to zero-shot CLIP: class means and one covariance give a linear classifier."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from calip_core.blend.line import LinePlateau, line_landscape
from calip_core.methods.base import Head, Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_positive,
    check_validation,
    check_weight,
    check_width,
    exact,
    single,
)
from calip_core.tokens import ImageTokens

FIXED_ALPHA = 0.1
"""Blend weight at the published scale if none is given and there is no validation set: the median of the seven
published values."""

SEARCHED = (1e-4, 1e2)
"""Range in which alpha is searched at the published scale: the smallest and largest of the seven published values."""

# Spread below this share of the features' own length is rounding: all images of a class are one image.
_NO_SPREAD = 1e-12


class Gda(Head):
    """logits = s F_v F_t^T + alpha (F_v W^T + b) (Wang et al., ICLR 2024, arXiv 2402.04087).

    With class means mu_k and the shared precision P of the support set, W = mu P and b_k = -mu_k P mu_k^T / 2 - log K:
    the Bayes classifier for K Gaussians with one covariance. Augmented views of an image are separate rows. With only
    one image per class the covariance is unknown, and the head is the zero-shot classifier, as in the published code (a
    pseudo-inverse of zero).
    """

    name = "gda"
    published_protocol = "validation"
    numbers = ("alpha",)

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of Gaussian discriminant analysis.

        Attributes:
            alpha: weight of the discriminant. By default, it is searched on the validation set, over all values from
                0.0001 to 100 at once; without a validation set it is 0.1. These values hold for a logit scale of 100
                and are scaled in proportion for others.
            logit_scale: the factor s on the cosines.

        Raises:
            ValueError: a number is out of range.
        """

        alpha: float | None = None
        logit_scale: float = 100.0

        def __post_init__(self) -> None:
            if self.alpha is not None:
                check_weight("alpha", self.alpha, "gda")
            check_positive("logit_scale", self.logit_scale, "gda")

    options: Options

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """Always raises: the published code chooses alpha on data."""
        raise cls._unpublished("its code searches alpha on validation images")

    def shapes(self) -> dict[str, str]:
        """Text features, the discriminant and alpha."""
        return {"text": "k c", "weight": "k c", "bias": "k", "alpha": ""}

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Gda":
        """Means and covariance of the support set, then the blend weight.

        Raises:
            ValueError: there is no support set, a class has no image in it, or features differ in width.
        """
        support = Support.of(tokens, labels, text, self.name)
        weight, bias = discriminant(exact(support.tokens.pooled), support.targets, len(text))
        self._keep("text", support.text)
        self._keep("weight", weight.to(support.text))
        self._keep("bias", bias.to(support.text))
        scale = self.options.logit_scale / PUBLISHED_SCALE
        if self.options.alpha is not None:
            self._choose("given", alpha=self.options.alpha)
        elif val is None:
            self._choose("fixed; no validation images were used", alpha=FIXED_ALPHA * scale)
        else:
            stream, val_labels = check_validation(val, text, self.name)
            low, high = (end * scale for end in SEARCHED)
            clip, discriminants = self._parts(stream, self._terms)
            found = best_ratio(clip, discriminants, val_labels, low=low, high=high)
            self._choose(f"exact search on {len(val_labels)} validation images", alpha=found.t)
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus alpha times the discriminant."""
        clip, discriminant = self._terms(tokens)
        return clip + self._number("alpha") * discriminant

    def _terms(self, tokens: ImageTokens) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        check_width(tokens, self._width(), self.name)
        images = single(tokens.pooled)
        text, weight, bias = (self._fitted(name, images) for name in ("text", "weight", "bias"))
        return self.options.logit_scale * (images @ text.T), images @ weight.T + bias


def discriminant(
    features: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"], classes: int
) -> tuple[Float64[Tensor, "k c"], Float64[Tensor, "k"]]:
    """Weights and biases of Gaussian discriminant analysis with equally likely classes.

    The precision is the shrunk estimate of Kubokawa and Srivastava (2008) that the published code takes:
    P = c ((n - 1) S + trace(S) I)^-1 with the sample covariance S of the features about their class means.

    Args:
        features: the features of the support set.
        labels: their classes; every class occurs.
        classes: number of classes.

    Returns:
        W and b; W is zero if no class shows any spread.
    """
    n, width = features.shape
    member = torch.nn.functional.one_hot(labels.to(features.device), classes).to(features)
    means = (member.T @ features) / member.sum(dim=0).unsqueeze(1)
    centred = features - member @ means
    scatter = centred.T @ centred
    prior = features.new_full((classes,), -math.log(classes))
    if scatter.trace() <= _NO_SPREAD * features.square().sum():
        return torch.zeros_like(means), prior
    shrunk = scatter + scatter.trace() / (n - 1) * torch.eye(width, dtype=features.dtype, device=features.device)
    weight = width * torch.linalg.solve(shrunk, means.T).T
    return weight, prior - (weight * means).sum(dim=1) / 2


def best_ratio(
    base: Float[Tensor, "n k"],
    direction: Float[Tensor, "n k"],
    labels: Int[np.ndarray, "n"],
    *,
    low: float,
    high: float,
) -> LinePlateau:
    """The weight t from ``low`` to ``high`` with the best accuracy of ``base + t * direction``, where t has no scale.

    All t are known exactly (``blend.line.line_landscape``). Of the stretches with the best accuracy it takes the
    one whose ends have the largest ratio, and the geometric mean of its ends.

    Raises:
        ValueError: ``low`` is not above 0, or as ``line_landscape`` does.
    """
    check_positive("low", low, "best_ratio")
    landscape = line_landscape(base, direction, labels, low=low, high=high)
    starts = np.flatnonzero(np.diff(landscape.correct, prepend=-1))
    lows, highs = landscape.edges[starts], np.append(landscape.edges[starts[1:]], landscape.edges[-1])
    count = landscape.correct[starts]
    i = int(np.where(count == count.max(), highs / lows, 0.0).argmax())
    middle = math.sqrt(float(lows[i]) * float(highs[i]))
    return LinePlateau(middle, float(count[i] / landscape.images), float(lows[i]), float(highs[i]))
