"""Distribution normalization: subtract a part of the mean from images and classes before they are compared."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.methods.base import Head
from calip_core.methods.inputs import (
    Labels,
    Validation,
    check_at_least_one,
    check_positive,
    check_unlabelled,
    check_weight,
    check_width,
    single,
)
from calip_core.tokens import ImageTokens, TokenStream


class DistributionNormalization(Head):
    """logits = s cos(f - lambda f_mean, t - lambda t_mean) (Zhou et al., NeurIPS 2023, arXiv 2302.11084).

    f_mean is the mean of some unlabelled images, t_mean that of the classes. The original subtracts from features as
    the encoder gives them; here all features have unit length before.
    """

    name = "distribution_normalization"
    sees = "unlabelled"

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of distribution normalization.

        Attributes:
            amount: lambda, the share of the means that is subtracted; 0.25 as published.
            sample: how many unlabelled images the mean is taken over, at most; 100 as published.
            seed: draws them.
            logit_scale: the factor s on the cosines.

        Raises:
            ValueError: an option is out of range.
        """

        amount: float = 0.25
        sample: int = 100
        seed: int = 0
        logit_scale: float = 100.0

        def __post_init__(self) -> None:
            check_weight("amount", self.amount, "distribution_normalization")
            check_at_least_one("sample", self.sample, "distribution_normalization")
            check_positive("logit_scale", self.logit_scale, "distribution_normalization")

    options: Options

    def shapes(self) -> dict[str, str]:
        """Text features, and the mean image."""
        return {"text": "k c", "mean": "c"}

    def fit(
        self,
        tokens: TokenStream | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "DistributionNormalization":
        """Keep the text features and the mean of ``sample`` unlabelled images.

        Raises:
            ValueError: there are no images, they come with labels, or features differ in width.
        """
        stream = check_unlabelled(tokens, labels, self.name)
        self._keep("text", text.detach())
        (images,) = self._parts(stream, lambda batch: (single(batch.pooled),), fused=False)  # (n, c)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.options.seed))
        self._keep("mean", images[order[: self.options.sample].to(images.device)].mean(dim=0))
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of the shifted features, times s."""
        images = single(tokens.pooled)  # (n, c)
        check_width(tokens, self._width(), self.name)
        text, mean = self._fitted("text", images), self._fitted("mean", images)
        images = normalize(images - self.options.amount * mean, dim=-1)
        text = normalize(text - self.options.amount * text.mean(dim=0), dim=-1)  # (k, c)
        return self.options.logit_scale * (images @ text.T)
