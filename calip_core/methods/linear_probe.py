"""The linear probe: logistic regression on pooled features, which ignores the text features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from calip_core.methods.base import Head, Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_positive,
    check_validation,
    check_width,
    exact,
    single,
)
from calip_core.methods.lbfgs import minimise
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

FIXED_C = 10.0
"""C if none is given and there is no validation set: one value for every task.

It was chosen after looking at accuracies on the miniatures, so results on these may be optimistic; for other data it
was fixed in advance.
"""

EXCESS = 1e-4
"""A fit ends when its loss is at most this share above the minimum."""

_INTERCEPT = 0.3  # the column of the intercept while fitting: features have unit length, and less once centred

SEARCHED = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
BISECTIONS = 8


class LinearProbe(Head):
    """L2-regularised multinomial logistic regression by L-BFGS, as CLIP's paper and CoOp's ``lpclip`` probe features.

    Its logits are log-odds, on the same scale as those of zero-shot CLIP. The intercept is not regularised; with two
    classes it stays multinomial, whereas scikit-learn switches to one logit.

    Every fit starts from zero and ends when its loss is at most ``EXCESS`` above the minimum, relatively, by a bound
    from the gradient. Measured on 100 classes of 512 numbers with 16 shots, the losses were at most 6e-5 above the
    minima that long runs found, for C from 1e-6 to 1e6.

    CoOp's code (``lpclip``) makes the same search of C, with three differences:

    - It takes features as the encoder returns them, here of unit length. C on features of length l is C l^2 here.
    - Its fits end when no entry of the gradient exceeds 1e-4 (scikit-learn's default). Where C is large, that is far
      above the minimum: losses here would be 1.6 to 1.9 times the minimum at C = 1e4, and 14 to 68 times at 1e6.
    - It draws the images with NumPy's generator, class by class: others than CoOp's sampler draws with the same seed.

    Attributes:
        weight: "k d"; the last column is the intercept.
    """

    name = "linear_probe"
    published_protocol = "validation"
    numbers = ("C",)

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of the linear probe.

        Attributes:
            C: weight of the data against the regulariser, as in scikit-learn. By default, it is searched on the
                validation set as in CoOp's code; without one, it is ``FIXED_C``.

        Raises:
            ValueError: C is not positive and finite.
        """

        C: float | None = None

        def __post_init__(self) -> None:
            if self.C is not None:
                check_positive("C", self.C, "linear_probe")

    options: Options

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """Always raises: the published code chooses C on data."""
        raise cls._unpublished("CoOp's code searches its C on validation images")

    def shapes(self) -> dict[str, str]:
        """Weights and C."""
        return {"weight": "k d", "C": ""}

    def learned(self) -> tuple[str, ...]:
        """The weights."""
        return ("weight",)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "LinearProbe":
        """Fit the regression on the support set; of ``text`` only the number of classes matters.

        Raises:
            ValueError: there is no support set, a class has no image in it, or features differ in width.
        """
        support = Support.of(tokens, labels, text, self.name)
        regression = cache(partial(_regression, exact(support.tokens.pooled), support.targets, len(text)))
        C, reason = FIXED_C, "fixed; no validation images were used"
        if self.options.C is not None:
            C, reason = self.options.C, "given"
        elif val is not None:
            checked = check_validation(val, text, self.name)
            C, reason = self._searched(regression, checked), f"CoOp's search on {len(checked[1])} validation images"
        self._keep("weight", regression(C).to(support.text))
        self._choose(reason, C=C)
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """w_k . f + b_k of every image f and class k."""
        check_width(tokens, self._width(), self.name)
        return _affine(single(tokens.pooled), self._fitted("weight").detach())

    def _width(self) -> int:
        return self._fitted("weight").shape[1] - 1

    def _searched(self, regression: Callable[[float], Float64[Tensor, "k d"]], val: Validation) -> float:
        """CoOp's choice of C; the validation set is read once for each C."""
        stream, labels = val

        def score(C: float) -> float:
            weight = regression(C)
            self._keep("weight", weight)
            return accuracy(self._parts(stream, lambda batch: (_affine(exact(batch.pooled), weight),))[0], labels)

        return search_c(score)


def _affine(features: Float[Tensor, "n c"], weight: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    weight = weight.to(features)
    return features @ weight[:, :-1].T + weight[:, -1]


def _regression(
    features: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"], classes: int, C: float
) -> Float64[Tensor, "k d"]:
    """Weights and intercept that minimise mean cross-entropy + |W|^2 / (2 C n), from zero to ``EXCESS``.

    The penalty makes the loss strongly convex in W, with modulus m = 1 / (C n): with a gradient g it is at most
    |g|^2 / (2 m) above its minimum. The intercept has no penalty: for it, m is half the curvature where all images have
    the classes' shares as probabilities, if that is less.

    Centred features and a small column for the intercept change nothing but the number of iterations, to about half.
    """
    labels, modulus, mean = labels.to(features.device), 1 / (C * len(labels)), features.mean(dim=0, keepdim=True)
    rows = torch.cat([features - mean, features.new_full((len(features), 1), _INTERCEPT)], dim=1)  # (n, d)
    moduli = np.full((classes, rows.shape[1]), modulus)
    shares = torch.bincount(labels, minlength=classes).cpu().numpy() / len(labels)
    moduli[:, -1] = np.minimum(modulus, _INTERCEPT**2 * shares / 2)

    def loss(weight: Float64[Tensor, "k d"]) -> Tensor:
        return cross_entropy(rows @ weight.T, labels) + modulus * weight[:, :-1].square().sum() / 2

    found = minimise(
        loss, rows.new_zeros(classes, rows.shape[1]), tolerance=EXCESS,
        error=lambda gradient: float((gradient**2 / moduli.ravel()).sum() / 2),
        what=f"linear_probe at C = {C:g}",
    )  # fmt: skip
    slopes = found[:, :-1]  # (k, c)
    return torch.cat([slopes, _INTERCEPT * found[:, -1:] - slopes @ mean.T], dim=1)


def search_c(score: Callable[[float], float]) -> float:
    """CoOp's search for C: seven powers of ten, then eight bisections around the best of them.

    The first best power p gives the interval from p/10 to 10p. Each bisection keeps the half, in the logarithm, at the
    better end, the lower one if both ends are equal; the better end of the last one is chosen, as CoOp's
    ``lpclip/linear_probe.py`` reports it.

    Args:
        score: accuracy on the validation set for a given C.
    """
    known = cache(score)
    peak = max(SEARCHED, key=known)
    low, high = 0.1 * peak, 10 * peak
    chosen = low
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        if known(low) < known(high):
            chosen, low = high, middle
        else:
            chosen, high = low, middle
    return chosen
