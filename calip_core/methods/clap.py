"""CLAP: a linear probe that starts at the text features and pays for leaving them, each class at its own price."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from calip_core.methods.base import Head, Labels, Validation, check_support, check_width
from calip_core.methods.lbfgs import minimise
from calip_core.methods.validation import check_positive, check_weight, exact, single
from calip_core.tokens import ImageTokens


class Clap(Head):
    """logits = s F_v w_k / |w_k| (Silva-Rodriguez et al., CVPR 2024, arXiv 2312.12730).

    The weights minimise cross-entropy on the support set plus ``strength`` times the mean over classes of
    lambda_k |w_k - t_k|^2. They start at the text features t_k, and lambda_k is the mean zero-shot probability of class
    k on its own support images: where the text already knows a class, leaving it costs more. Nothing is chosen on
    validation images.

    The released code makes 300 epochs of SGD; here L-BFGS goes to the minimum, so there is no learning rate and no
    seed. And it measures the drift of text features as the encoder gives them, of some length l, where these have unit
    length: that is a factor of l * l.

    Args:
        strength: a factor on all penalties: l * l, and 100 stands for a length of 10. With 0 the text features are
            where the weights start and nothing else.
        logit_scale: s.
        iterations: of L-BFGS, at most.
    """

    name = "clap"

    def __init__(self, strength: float = 100.0, logit_scale: float = 100.0, iterations: int = 1000) -> None:
        check_weight("strength", strength, self.name)
        check_positive("logit_scale", logit_scale, self.name)
        if iterations < 1:
            raise ValueError(f"{self.name}: iterations is {iterations}, expected at least 1")
        self.strength, self.logit_scale, self.iterations = strength, logit_scale, iterations
        self._weight: Float[Tensor, "k c"] | None = None
        self._prices: Float[Tensor, " k"] | None = None

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Clap":
        """Move the text features towards the support set; the validation set is not used.

        Raises:
            ValueError: there is no support set, a class has no image in it, or features differ in width.
        """
        tokens, targets = check_support(tokens, labels, text, self.name)
        images, start = exact(tokens.pooled), exact(text)
        start = start.to(images.device)
        prices = class_prices(images, targets, start, self.logit_scale)
        target = torch.from_numpy(targets).to(images.device)

        def loss(weight: Float64[Tensor, "k c"]) -> Tensor:
            drift = (weight - start).square().sum(dim=1)
            fit = cross_entropy(self.logit_scale * images @ normalize(weight, dim=1).T, target)
            return fit + self.strength * (prices * drift).mean()

        weight = minimise(loss, start, iterations=self.iterations, what=self.name)
        self._weight, self._prices = normalize(weight, dim=1).to(single(text)), prices.to(single(text))
        return self

    @property
    def prices(self) -> Float[Tensor, "k"]:
        """lambda_k of every class of the fitted head.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        self._fitted()
        assert self._prices is not None
        return self._prices

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled features and adapted weights, times s."""
        weight = self._fitted()
        check_width(tokens, weight, self.name)
        images = single(tokens.pooled)
        return self.logit_scale * (images @ weight.to(images).T)

    def options(self) -> dict[str, Any]:
        """Strength, logit scale and number of iterations."""
        return {"strength": self.strength, "logit_scale": self.logit_scale, "iterations": self.iterations}

    def state(self) -> dict[str, Tensor]:
        """The weights, of unit length, and the penalties."""
        return {"weight": self._fitted(), "prices": self.prices}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._weight, self._prices = state["weight"], state["prices"]

    def shapes(self) -> dict[str, str]:
        """The weights and the penalties."""
        return {"weight": "k c", "prices": "k"}

    def _fitted(self) -> Float[Tensor, "k c"]:
        if self._weight is None:
            raise RuntimeError("this head has no weights yet: call fit(tokens, labels, text) first")
        return self._weight


def class_prices(
    features: Float64[Tensor, "n c"], labels: Int[np.ndarray, "n"], text: Float64[Tensor, "k c"], logit_scale: float
) -> Float64[Tensor, "k"]:
    """lambda_k: the mean zero-shot probability of class k on the support images of class k."""
    target = torch.from_numpy(labels).to(features.device)
    probability = (logit_scale * features @ text.T).softmax(dim=1)
    own = probability.gather(1, target.unsqueeze(1)).squeeze(1)
    counts = torch.bincount(target, minlength=len(text))
    return torch.zeros_like(text[:, 0]).index_add_(0, target, own) / counts
