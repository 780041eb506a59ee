"""InMaP: class vectors of images, learned from a batch's own pseudo-labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from calip_core.methods.inputs import check_at_least_one, check_positive
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens


class InMap(TextOnly):
    """logits = s f W^T with class vectors W that explain the pseudo-labels P of the batch (Qian et al., NeurIPS 2023).

    P are CLIP's probabilities, balanced among classes by Sinkhorn's iteration; sure ones are made one-hot. W starts at
    the text features and descends the gradient of the cross-entropy between P and softmax(f W^T / tau)
    (arXiv 2310.19752, sections 3.2 and 3.3).
    """

    name = "inmap"
    sees = "batch"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of InMaP; the defaults are those of the published code.

        Attributes:
            text_temperature: temperature of the probabilities that P starts from.
            image_temperature: tau.
            sure: probabilities above this become labels.
            balancing: steps of Sinkhorn's iteration; every class gets an equal share of the batch.
            steps: steps of the descent.
            rate: its first rate, halved whenever the gradient has grown.

        Raises:
            ValueError: an option is out of range.
        """

        text_temperature: float = 0.01
        image_temperature: float = 0.04
        sure: float = 0.6
        balancing: int = 20
        steps: int = 2000
        rate: float = 10.0

        def __post_init__(self) -> None:
            for name in ("text_temperature", "image_temperature", "sure", "rate"):
                check_positive(name, getattr(self, name), "inmap")
            for name in ("balancing", "steps"):
                check_at_least_one(name, getattr(self, name), "inmap")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The images are the batch: their labels are guessed together."""
        images, text = self._pair(tokens)
        start = torch.softmax(images @ text.T / self.options.text_temperature, dim=1)
        targets = harden(balance(start, self.options.balancing), self.options.sure)  # (n, k)
        return self.options.logit_scale * (images @ self._vectors(images, text, targets).T)

    def _vectors(
        self, images: Float[Tensor, "n c"], text: Float[Tensor, "k c"], targets: Float[Tensor, "n k"]
    ) -> Float[Tensor, "k c"]:
        """W by gradient descent on the sphere."""
        tau, rate, before = self.options.image_temperature, self.options.rate, float("inf")
        wanted = targets.T @ images  # (k, c)
        vectors = text
        for _ in range(self.options.steps):
            found = torch.softmax(images @ vectors.T / tau, dim=1)  # (n, c) @ (c, k) -> (n, k)
            gradient = (found.T @ images - wanted) / (len(images) * tau)  # (k, n) @ (n, c) -> (k, c)
            norm = float(gradient.norm())
            rate, before = (rate / 2 if norm > before else rate), norm
            vectors = normalize(vectors - rate * gradient, dim=1)
        return vectors


def balance(probabilities: Float[Tensor, "n k"], steps: int) -> Float[Tensor, "n k"]:
    """Sinkhorn's iteration: rows that sum to 1, and columns that sum to about n / k."""
    n, k = probabilities.shape
    for _ in range(steps):
        columns = probabilities.sum(dim=0, keepdim=True).clamp_min(torch.finfo(probabilities.dtype).tiny)
        probabilities = probabilities / columns * (n / k)
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
    return probabilities


def harden(probabilities: Float[Tensor, "n k"], sure: float) -> Float[Tensor, "n k"]:
    """Rows whose largest entry exceeds ``sure`` become one-hot."""
    largest, best = probabilities.max(dim=1, keepdim=True)
    hard = one_hot(best.squeeze(1), probabilities.shape[1]).to(probabilities)
    return torch.where(largest > sure, hard, probabilities)
