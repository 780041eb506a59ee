"""Gaussian discriminant analysis beside zero-shot CLIP: class means and one covariance make a linear classifier."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from calip_core.methods.base import Head, Labels, Validation, check_support, check_width, fitted
from calip_core.methods.validation import (
    PUBLISHED_SCALE,
    best_ratio,
    check_positive,
    check_validation,
    check_weight,
    exact,
    single,
)
from calip_core.tokens import ImageTokens

FIXED_ALPHA = 0.1
"""Blend weight at the published scale where there is no validation set and none is given: the middle of the seven
published values."""

SEARCHED = (1e-4, 1e2)
"""From where to where alpha is searched at the published scale: the ends of the seven published values."""

# Spread below this share of the features' own length is rounding: all images of a class are one image.
_NO_SPREAD = 1e-12


class Gda(Head):
    """logits = s F_v F_t^T + alpha (F_v W^T + b) (Wang et al., ICLR 2024, arXiv 2402.04087).

    With class means mu_k and the shared precision P of the support set, W = mu P and b_k = -mu_k P mu_k^T / 2 - log K:
    the Bayes classifier of K Gaussians of one covariance. Several augmented views of an image are rows like others.
    Where each class has but one image, nothing is known of the covariance, and as in the published code (a
    pseudo-inverse of zero) the head is the zero-shot classifier.

    Args:
        alpha: weight of the discriminant. Left out, it is searched on the validation set, at all values from 0.0001
            to 100 at once; without a validation set it is 0.1. Both are for a logit scale of 100, and in proportion
            for others.
        logit_scale: s.

    Attributes:
        chosen_by: where alpha comes from, in words, once fitted.
    """

    name = "gda"

    def __init__(self, alpha: float | None = None, logit_scale: float = 100.0) -> None:
        if alpha is not None:
            check_weight("alpha", alpha, self.name)
        check_positive("logit_scale", logit_scale, self.name)
        self.alpha, self.logit_scale = alpha, logit_scale
        self.chosen_by = "not fitted yet"
        self._text: Float[Tensor, "k c"] | None = None
        self._weight: Float[Tensor, "k c"] | None = None
        self._bias: Float[Tensor, " k"] | None = None
        self._chosen = alpha

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
        tokens, targets = check_support(tokens, labels, text, self.name)
        weight, bias = discriminant(exact(tokens.pooled), targets, len(text))
        self._text, self._weight, self._bias = text, weight.to(single(text)), bias.to(single(text))
        if self.alpha is not None:
            self._chosen, self.chosen_by = self.alpha, f"given: alpha = {self.alpha:g}"
        elif val is None:
            self._chosen = FIXED_ALPHA * self.logit_scale / PUBLISHED_SCALE
            self.chosen_by = f"fixed, as there is no validation set: alpha = {self._chosen:g}"
        else:
            val_tokens, val_labels = check_validation(val, text, self.name)
            low, high = (end * self.logit_scale / PUBLISHED_SCALE for end in SEARCHED)
            self._chosen = best_ratio(*self._terms(val_tokens), val_labels, low=low, high=high).t
            self.chosen_by = f"exact search on {len(val_labels)} validation images: alpha = {self._chosen:g}"
        return self

    @property
    def chosen(self) -> float:
        """The alpha of the fitted head.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        fitted(self._text)
        assert self._chosen is not None
        return self._chosen

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus alpha times the discriminant."""
        clip, discriminant = self._terms(tokens)
        return clip + self.chosen * discriminant

    def options(self) -> dict[str, Any]:
        """Alpha as it was given, and the logit scale."""
        return {"alpha": self.alpha, "logit_scale": self.logit_scale}

    def state(self) -> dict[str, Tensor]:
        """Text features, the discriminant and alpha."""
        text, alpha = fitted(self._text), torch.tensor(self.chosen, dtype=torch.float64)
        assert self._weight is not None and self._bias is not None
        return {"text": text, "weight": self._weight, "bias": self._bias, "alpha": alpha}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._text, self._weight, self._bias = state["text"], state["weight"], state["bias"]
        self._chosen = float(state["alpha"])
        self.chosen_by = f"restored: alpha = {self._chosen:g}"

    def shapes(self) -> dict[str, str]:
        """Text features, the discriminant and alpha."""
        return {"text": "k c", "weight": "k c", "bias": "k", "alpha": ""}

    def _terms(self, tokens: ImageTokens) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        text = fitted(self._text)
        check_width(tokens, text, self.name)
        assert self._weight is not None and self._bias is not None
        images = single(tokens.pooled)
        clip = self.logit_scale * (images @ text.to(images).T)
        return clip, images @ self._weight.to(images).T + self._bias.to(images)


def discriminant(
    features: Float64[Tensor, "n c"], labels: Int[np.ndarray, "n"], classes: int
) -> tuple[Float64[Tensor, "k c"], Float64[Tensor, "k"]]:
    """Weights and biases of Gaussian discriminant analysis with equally likely classes.

    The precision is the shrunk estimate of Kubokawa and Srivastava (2008) that the published code takes:
    P = c ((n - 1) S + trace(S) I)^-1 with the sample covariance S of the features about their class means.

    Args:
        features: of the support set.
        labels: their classes; every class occurs.
        classes: how many there are.

    Returns:
        W and b; W is zero where no class shows any spread.
    """
    n, width = features.shape
    member = torch.nn.functional.one_hot(torch.from_numpy(labels).to(features.device), classes).to(features)
    means = (member.T @ features) / member.sum(dim=0).unsqueeze(1)
    centred = features - member @ means
    scatter = centred.T @ centred
    prior = features.new_full((classes,), -math.log(classes))
    if scatter.trace() <= _NO_SPREAD * features.square().sum():
        return torch.zeros_like(means), prior
    shrunk = scatter + scatter.trace() / (n - 1) * torch.eye(width, dtype=features.dtype, device=features.device)
    weight = width * torch.linalg.solve(shrunk, means.T).T
    return weight, prior - (weight * means).sum(dim=1) / 2
