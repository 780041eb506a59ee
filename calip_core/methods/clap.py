"""CLAP: a linear probe that starts at the text features and is penalised for moving away, with a weight per class."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from calip_core.methods.base import Head, Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_positive,
    check_weight,
    check_width,
    exact,
    single,
)
from calip_core.methods.lbfgs import minimise
from calip_core.tokens import ImageTokens


class Clap(Head):
    """logits = ``s F_v w_k / |w_k|`` (Silva-Rodriguez et al., CVPR 2024, arXiv 2312.12730).

    The weights minimise cross-entropy on the support set plus ``strength`` times the mean over classes of ``lambda_k
    |w_k - t_k|^2``. They start at the text features t_k, and lambda_k is the mean zero-shot probability of class k on
    its own support images: the better the text features already classify a class, the higher its penalty. Nothing is
    chosen on validation images.

    The released code runs 300 epochs of SGD; here L-BFGS goes from the text features to a minimum, so there is no
    learning rate and no seed. The loss is not convex, because only the direction of w_k counts in the logits: this is
    the minimum that lies downhill from the text features. The search ends when no entry of the gradient exceeds a
    millionth of the loss. Measured on 100 classes of 512 numbers with 1, 4 and 16 shots, the loss was then at most 1e-9
    above that of runs down to rounding, relatively. Without a penalty (``strength`` 0), the loss falls to almost zero,
    and the search ends when it no longer changes but for rounding.

    The released code also penalises the change of unnormalised text features, of some length l; these have unit length.
    The difference is a factor of l * l.

    Attributes:
        weight: the weights w_k, of unit length.
        prices: lambda_k for every class.
    """

    name = "clap"

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of CLAP.

        Attributes:
            strength: a factor on all penalties: l * l, and 100 stands for a length of 10. With 0 the text features
                serve only as the initial weights.
            logit_scale: the factor s on the cosines.
            iterations: maximum number of L-BFGS iterations.

        Raises:
            ValueError: a number is out of range.
        """

        strength: float = 100.0
        logit_scale: float = 100.0
        iterations: int = 1000

        def __post_init__(self) -> None:
            check_weight("strength", self.strength, "clap")
            check_positive("logit_scale", self.logit_scale, "clap")
            check_at_least_one("iterations", self.iterations, "clap")

    options: Options

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """Always raises: the published code uses another optimiser."""
        raise cls._unpublished("its code makes 300 epochs of SGD where this head goes to the minimum")

    def shapes(self) -> dict[str, str]:
        """The weights and the penalties."""
        return {"weight": "k c", "prices": "k"}

    def learned(self) -> tuple[str, ...]:
        """The weights."""
        return ("weight",)

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
        support = Support.of(tokens, labels, text, self.name)
        images, start = exact(support.tokens.pooled), exact(support.text)  # (n, c), (k, c)
        target, scale, strength = support.targets.to(images.device), self.options.logit_scale, self.options.strength
        prices = class_prices(images, target, start, scale)

        def loss(weight: Float64[Tensor, "k c"]) -> Tensor:
            drift = (weight - start).square().sum(dim=1)
            fit = cross_entropy(scale * images @ normalize(weight, dim=1).T, target)
            return fit + strength * (prices * drift).mean()

        weight = minimise(loss, start, iterations=self.options.iterations, what=self.name)
        self._keep("weight", normalize(weight, dim=1).to(support.text))
        self._keep("prices", prices.to(support.text))
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled features and adapted weights, times s."""
        check_width(tokens, self._width(), self.name)
        images = single(tokens.pooled)
        return self.options.logit_scale * (images @ self._fitted("weight", images).detach().T)

    def _width(self) -> int:
        return self._fitted("weight").shape[1]


def class_prices(
    features: Float64[Tensor, "n c"], labels: Int64[Tensor, " n"], text: Float64[Tensor, "k c"], logit_scale: float
) -> Float64[Tensor, "k"]:
    """lambda_k: the mean zero-shot probability of class k on the support images of class k."""
    probability = (logit_scale * features @ text.T).softmax(dim=1)
    own = probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    counts = torch.bincount(labels, minlength=len(text))
    return torch.zeros_like(text[:, 0]).index_add_(0, labels, own) / counts
