"""The linear probe: logistic regression on pooled features, which knows nothing of the text."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from calip_core.methods.base import Head, Labels, Validation, check_support, check_width
from calip_core.methods.lbfgs import minimise
from calip_core.methods.validation import check_positive, check_validation, exact, single
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

FIXED_C = 10.0
"""C where there is no validation set and none is given: one value for every task.

It was settled after looking at accuracies on the miniatures, so on these it may flatter; for other data it is fixed in
advance.
"""

_TOLERANCE = 1e-4  # scikit-learn's own, with which CoOp's probe runs

SEARCHED = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
BISECTIONS = 8


class LinearProbe(Head):
    """L2-regularised multinomial logistic regression by L-BFGS, as CLIP's paper and CoOp's ``lpclip`` probe features.

    Its logits are log-odds of their own, on the scale on which zero-shot logits are log-odds too. The intercept is not
    regularised; with two classes it stays multinomial, where scikit-learn changes to one logit.

    Args:
        C: weight of the data against the regulariser, as in scikit-learn. Left out, it is searched on the validation
            set as CoOp does; without a validation set it is ``FIXED_C``.

    Attributes:
        chosen_by: where C comes from, in words, once fitted.
    """

    name = "linear_probe"

    def __init__(self, C: float | None = None) -> None:
        if C is not None:
            check_positive("C", C, self.name)
        self.C = C
        self.chosen_by = "not fitted yet"
        self._weight: Float[Tensor, "k d"] | None = None
        self._chosen = C

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
        tokens, targets = check_support(tokens, labels, text, self.name)
        path = _Path(exact(tokens.pooled), targets, len(text))
        if self.C is not None:
            self._chosen, self.chosen_by = self.C, f"given: C = {self.C:g}"
        elif val is None:
            self._chosen, self.chosen_by = FIXED_C, f"fixed, as there is no validation set: C = {FIXED_C:g}"
        else:
            self._chosen = _searched_on(val, text, path)
            self.chosen_by = f"CoOp's search on {len(val[0])} validation images: C = {self._chosen:g}"
        self._weight = path(self._chosen).to(single(text))
        return self

    @property
    def chosen(self) -> float:
        """The C of the fitted head.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        self._fitted()
        assert self._chosen is not None
        return self._chosen

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """w_k . f + b_k of every image f and class k."""
        weight = self._fitted()
        check_width(tokens, weight[:, :-1], self.name)
        return _affine(single(tokens.pooled), weight)

    def options(self) -> dict[str, Any]:
        """C as it was given."""
        return {"C": self.C}

    def state(self) -> dict[str, Tensor]:
        """Weights and C; the last column of the weights is the intercept."""
        return {"weight": self._fitted(), "C": torch.tensor(self.chosen, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take weights and C back."""
        self._weight, self._chosen = state["weight"], float(state["C"])
        self.chosen_by = f"restored: C = {self._chosen:g}"

    def shapes(self) -> dict[str, str]:
        """Weights and C."""
        return {"weight": "k d", "C": ""}

    def _fitted(self) -> Float[Tensor, "k d"]:
        if self._weight is None:
            raise RuntimeError("this linear probe has no weights yet: call fit(tokens, labels, text) first")
        return self._weight


def _affine(features: Float[Tensor, "n c"], weight: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    weight = weight.to(features)
    return features @ weight[:, :-1].T + weight[:, -1]


class _Path:
    """The fits for all C that a search asks for; each starts from the fit of the next smaller C, which is near."""

    def __init__(self, features: Float64[Tensor, "n c"], labels: Int[np.ndarray, "n"], classes: int) -> None:
        self._features, self._labels = features, torch.from_numpy(labels).to(features.device)
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
        """The sum of losses times C plus half the squared length of the weights, over C n to be of the order of 1."""
        penalty = weight[:, :-1].square().sum() / (2 * C * len(self._labels))
        return cross_entropy(_affine(self._features, weight), self._labels) + penalty


def _searched_on(val: Validation, text: Float[Tensor, "k c"], path: _Path) -> float:
    tokens, labels = check_validation(val, text, LinearProbe.name)
    features = exact(tokens.pooled)
    for C in sorted(SEARCHED):
        path(C)
    return search_c(lambda C: accuracy(_affine(features, path(C)), labels))


def search_c(score: Callable[[float], float]) -> float:
    """CoOp's search for C: seven powers of ten, then eight bisections around the best of them.

    The first best power p gives the interval from p/10 to 10p. Each bisection keeps the half, in the logarithm, at the
    better end, the lower one where both ends are equal; the better end of the last one is chosen, as CoOp's
    ``lpclip/linear_probe.py`` reports it.

    Args:
        score: accuracy on validation at a C.
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
