"""The linear probe: logistic regression on pooled features, which ignores the text features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
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

_TOLERANCE = 1e-4  # scikit-learn's own, with which CoOp's probe runs

SEARCHED = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
BISECTIONS = 8


class LinearProbe(Head):
    """L2-regularised multinomial logistic regression by L-BFGS, as CLIP's paper and CoOp's ``lpclip`` probe features.

    Its logits are log-odds, on the same scale as those of zero-shot CLIP. The intercept is not regularised; with two
    classes it stays multinomial, whereas scikit-learn switches to one logit.

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
        path = _Path(exact(support.tokens.pooled), support.targets, len(text))
        C, reason = FIXED_C, "fixed; no validation images were used"
        if self.options.C is not None:
            C, reason = self.options.C, "given"
        elif val is not None:
            checked = check_validation(val, text, self.name)
            C, reason = self._searched(path, checked), f"CoOp's search on {len(checked[1])} validation images"
        self._keep("weight", path(C).to(support.text))
        self._choose(reason, C=C)
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """w_k . f + b_k of every image f and class k."""
        check_width(tokens, self._width(), self.name)
        return _affine(single(tokens.pooled), self._fitted("weight").detach())

    def _width(self) -> int:
        return self._fitted("weight").shape[1] - 1

    def _searched(self, path: "_Path", val: Validation) -> float:
        """CoOp's choice of C; the validation set is read once for each C."""
        stream, labels = val
        for C in sorted(SEARCHED):
            path(C)

        def score(C: float) -> float:
            weight = path(C)
            self._keep("weight", weight)
            return accuracy(self._parts(stream, lambda batch: (_affine(exact(batch.pooled), weight),))[0], labels)

        return search_c(score)


def _affine(features: Float[Tensor, "n c"], weight: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    weight = weight.to(features)
    return features @ weight[:, :-1].T + weight[:, -1]


class _Path:
    """The fits for all C that a search asks for; each starts from the fit of the next smaller C, which is close."""

    def __init__(self, features: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"], classes: int) -> None:
        self._features, self._labels = features, labels.to(features.device)
        self._zero = features.new_zeros(classes, features.shape[1] + 1)
        self._fits: dict[float, Float64[Tensor, "k d"]] = {}

    def __call__(self, C: float) -> Float64[Tensor, "k d"]:
        if C not in self._fits:
            smaller = [known for known in self._fits if known < C]
            start = self._fits[max(smaller)] if smaller else self._zero
            what = f"linear_probe at C = {C:g}"
            self._fits[C] = minimise(lambda weight: self._loss(weight, C), start, tolerance=_TOLERANCE, what=what)
        return self._fits[C]

    def _loss(self, weight: Float64[Tensor, "k d"], C: float) -> Tensor:
        """The sum of losses times C plus half the squared norm of the weights, over C n to be of the order of 1."""
        penalty = weight[:, :-1].square().sum() / (2 * C * len(self._labels))
        return cross_entropy(_affine(self._features, weight), self._labels) + penalty


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
