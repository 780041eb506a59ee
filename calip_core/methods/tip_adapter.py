"""Tip-Adapter: zero-shot CLIP plus a vote of the support images, each weighted by its similarity. Nothing is trained.

Its two numbers are the weight alpha of the vote and its sharpness beta (``blend.tip_adapter`` searches them).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from calip_core.blend.line import line_landscape
from calip_core.blend.tip_adapter import middle_of_longest_run, tip_search
from calip_core.methods.base import Head, Recipe, identity
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_positive,
    check_validation,
    check_weight,
    check_width,
    single,
)
from calip_core.published import published_tip
from calip_core.tokens import ImageTokens

BETA_STEPS = 200
"""Number of sharpnesses that the published search tries, with 20 weights for each."""


class TipAdapter(Head):
    """logits = s F_v F_t^T + alpha exp(-beta (1 - F_v K^T)) V (Zhang et al., ECCV 2022, arXiv 2207.09519).

    The keys K are the support images' pooled features, the values V their labels, one-hot.
    """

    name = "tip_adapter"
    published_protocol = "validation"
    numbers = ("alpha", "beta")

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of Tip-Adapter.

        Attributes:
            alpha: weight of the cache; give both ``alpha`` and ``beta`` or neither. By default, both are chosen on the
                validation set (``tip_search``); without one they are the initial values of the published code on
                ImageNet, 1.17 and 1, alpha in proportion to the logit scale, which is 100 there.
            beta: sharpness of the similarity.
            alpha_max: alpha is searched from 0 to this value. By default, the value published for ImageNet, 3, in
                proportion to the logit scale; ``published_tip`` has the maxima of other datasets.
            beta_max: beta is searched from 0.1 to this value, in 200 steps; 7 is published for ImageNet.
            views: how many consecutive rows of the support tokens are augmented views of one image. Its key is the mean
                of their features, normalised to unit length. The published code uses 10 views.
            logit_scale: the factor s on the cosines.

        Raises:
            ValueError: a number is out of range, or only one of alpha and beta is given.
        """

        alpha: float | None = None
        beta: float | None = None
        alpha_max: float | None = None
        beta_max: float = 7.0
        views: int = 1
        logit_scale: float = 100.0

        def __post_init__(self) -> None:
            check_cache(
                "tip_adapter", self.alpha, self.beta, self.alpha_max, self.beta_max, self.views, self.logit_scale
            )

    options: Options

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """The published initial values, and how far they are searched."""
        return Recipe(*published_blend(dataset, backbone, logit_scale))

    def shapes(self) -> dict[str, str]:
        """Text features, keys, their classes, alpha and beta."""
        return {"text": "k c", "keys": "s c", "classes": "s", "alpha": "", "beta": ""}

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "TipAdapter":
        """Keep the support set as keys and values, then choose alpha and beta.

        Raises:
            ValueError: there is no support set, a class has no image in it, features differ in width, or the rows are
                not a whole number of images with ``views`` views and one label each.
        """
        support, options = Support.of(tokens, labels, text, self.name), self.options
        keys, classes = mean_of_views(support.tokens.pooled, support.labels, options.views)
        self._keep("text", support.text)
        self._keep("keys", keys)
        self._keep("classes", torch.from_numpy(classes).to(keys.device))
        if options.alpha is not None and options.beta is not None:
            self._choose("given", alpha=options.alpha, beta=options.beta)
        elif val is None:
            alpha, beta = first_blend(options.logit_scale)
            self._choose("published for ImageNet; no validation images were used", alpha=alpha, beta=beta)
        else:
            checked, betas = check_validation(val, text, self.name), searched_betas(options.beta_max)
            end = last_alpha(options.alpha_max, options.logit_scale)
            alpha, beta = searched_blend(self, self._terms, classes, checked, betas=betas, alpha_max=end)
            self._choose(f"exact search on {len(checked[1])} validation images", alpha=alpha, beta=beta)
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus alpha times the similarity to the support images of each class."""
        clip, affinity = self._terms(tokens)  # (n, k), (n, s)
        values = one_hot(self._fitted("classes").to(clip.device), clip.shape[1]).to(clip)
        votes = (affinity - 1).mul_(self._number("beta")).exp_() @ values  # (n, k)
        return clip + self._number("alpha") * votes

    def _terms(self, tokens: ImageTokens) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n s"]]:
        """Zero-shot logits, and cosines with the keys."""
        check_width(tokens, self._width(), self.name)
        images = single(tokens.pooled)
        clip = self.options.logit_scale * (images @ self._fitted("text", images).T)
        return clip, images @ self._fitted("keys", images).T


def searched_blend(
    head: Head,
    terms: Callable[[ImageTokens], tuple[Tensor, Tensor]],
    classes: Int[np.ndarray, "s"],
    val: Validation,
    *,
    betas: Float64[np.ndarray, "b"],
    alpha_max: float,
) -> tuple[float, float]:
    """Alpha and beta with the best accuracy on a validation set, for a head with a cache.

    Args:
        head: the head with the cache.
        terms: tokens -> zero-shot logits and products with the keys.
        classes: the class of every key.
        val: a checked validation set.
        betas: sharpnesses to try.
        alpha_max: the largest weight.
    """
    stream, labels = val
    clip, affinity = head._parts(stream, terms, fused=False)
    if head.fuse is identity:
        choice = tip_search(clip, affinity, classes, labels, betas=betas, alpha_max=alpha_max)
        return choice.alpha, choice.beta
    values = one_hot(torch.from_numpy(classes).to(clip.device), clip.shape[1]).to(clip)
    whole = head.fuse(clip)
    votes = (head.fuse(((affinity - 1) * beta).exp() @ values) for beta in betas.tolist())
    plateaus = [line_landscape(whole, vote, labels, low=0.0, high=alpha_max).best() for vote in votes]
    i = middle_of_longest_run(np.array([plateau.accuracy for plateau in plateaus]))
    return plateaus[i].t, float(betas[i])


def published_blend(dataset: str, backbone: str, logit_scale: float) -> tuple[dict[str, Any], str]:
    """Options of a cache, with alpha in proportion to the logit scale, and their published source."""
    known, scale = published_tip(dataset, backbone), logit_scale / PUBLISHED_SCALE
    options = {
        "alpha": known.alpha * scale, "beta": known.beta,
        "alpha_max": known.alpha_max * scale, "beta_max": known.beta_max,
    }  # fmt: skip
    return options, known.source


def check_cache(
    method: str, alpha: float | None, beta: float | None, alpha_max: float | None, beta_max: float, views: int,
    logit_scale: float,
) -> None:  # fmt: skip
    """Refuse options that no cache can have.

    Raises:
        ValueError: only one of alpha and beta is given, or a number is out of range.
    """
    if (alpha is None) != (beta is None):
        raise ValueError(f"{method}: alpha is {alpha} and beta {beta}, expected both, or None for both")
    if alpha is not None and beta is not None:
        check_weight("alpha", alpha, method)
        check_weight("beta", beta, method)
    for name, value in (("alpha_max", alpha_max), ("beta_max", beta_max), ("logit_scale", logit_scale)):
        if value is not None:
            check_positive(name, value, method)
    check_at_least_one("views", views, method)


def first_blend(logit_scale: float) -> tuple[float, float]:
    """Alpha and beta that the published code starts from on ImageNet, alpha in proportion to the logit scale."""
    start = published_tip("imagenet")
    return start.alpha * logit_scale / PUBLISHED_SCALE, start.beta


def last_alpha(given: float | None, logit_scale: float) -> float:
    """Upper end of the search for alpha: as given, else as published for ImageNet, in proportion to the logit scale."""
    return given or published_tip("imagenet").alpha_max * logit_scale / PUBLISHED_SCALE


def mean_of_views(
    features: Float[Tensor, "n c"], labels: Int[np.ndarray, "n"], views: int
) -> tuple[Float[Tensor, "s c"], Int[np.ndarray, "s"]]:
    """One feature of unit length per image, the mean over its views, and one label.

    The published code averages unnormalised features; here unit vectors are averaged, so that every view counts
    equally.

    Args:
        features: ``views`` consecutive rows per image.
        labels: one per row, equal among the views of an image.
        views: number of views of each image.

    Raises:
        ValueError: the rows are not a whole number of images, or the views of an image have different labels.
    """
    if len(labels) % views:
        raise ValueError(f"{len(labels)} support rows with {views} views an image: expected a whole number of images")
    by_image = labels.reshape(-1, views)
    mixed = np.flatnonzero((by_image != by_image[:, :1]).any(axis=1))
    if len(mixed):
        raise ValueError(
            f"the {views} views of support image {mixed[0]} have labels {by_image[mixed[0]].tolist()}: put the views "
            "of one image into consecutive rows, each with the image's label"
        )
    if views == 1:
        return features, labels
    return normalize(features.unflatten(0, (-1, views)).mean(dim=1), dim=1), by_image[:, 0].copy()


def searched_betas(beta_max: float, steps: int = BETA_STEPS) -> Float64[np.ndarray, "b"]:
    """The sharpnesses of the published search: 0.1 + i (beta_max - 0.1) / steps, i < steps."""
    return 0.1 + np.arange(steps) * (beta_max - 0.1) / steps
