"""TransCLIP: a Gaussian per class, fitted to a batch, with neighbours that agree and CLIP as a prior."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.methods.inputs import check_at_least_one, check_weight
from calip_core.methods.neighbours import neighbour_cosines
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens

_LIKELIHOOD = 50.0  # what the log-likelihood is divided by, in the published code
_SMALLEST = 1e-6  # variance per dimension: below it, the rounding of float32 would decide (one image has none)


class TransClip(TextOnly):
    """logits = log z, the class assignments of a batch (Zanella et al., NeurIPS 2024, arXiv 2406.01837).

    z_i is proportional to y_i^lambda exp(log N(f_i; mu, sigma) / 50 + sum_j w_ij z_j / k): y are CLIP's
    probabilities, N a Gaussian of class mean mu and a variance sigma per dimension that all classes share, and w the
    cosines of the k nearest neighbours, made symmetric.
    """

    name = "transclip"
    sees = "batch"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of TransCLIP; the defaults are those of the published code.

        Attributes:
            prior: lambda, the weight of CLIP's answer.
            neighbours: k.
            rounds: alternations between assignments and Gaussians.
            inner: updates of the assignments in each.

        Raises:
            ValueError: an option is out of range.
        """

        prior: float = 1.0
        neighbours: int = 3
        rounds: int = 10
        inner: int = 5

        def __post_init__(self) -> None:
            check_weight("prior", self.prior, "transclip")
            for name in ("neighbours", "rounds", "inner"):
                check_at_least_one(name, getattr(self, name), "transclip")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The images are the batch: they are assigned to classes together."""
        images, text = self._pair(tokens)
        log_prior = self.options.prior * torch.log_softmax(self.options.logit_scale * images @ text.T, dim=1)
        graph = self._graph(images)  # (n, n), sparse
        assigned = torch.softmax(log_prior, dim=1)
        for _ in range(self.options.rounds):
            means = self._means(assigned, images, text)
            likelihood = log_gaussian(images, means, assigned) / _LIKELIHOOD  # (n, k)
            for _ in range(self.options.inner):
                assigned = torch.softmax(log_prior + likelihood + graph @ assigned, dim=1)
        return assigned.clamp_min(torch.finfo(assigned.dtype).tiny).log()

    def _graph(self, images: Float[Tensor, "n c"]) -> Tensor:
        found = neighbour_cosines(images, None, self.options.neighbours)
        both = ((found + found.T) / (2 * self.options.neighbours)).tocoo()
        places = torch.from_numpy(np.stack([both.row, both.col]).astype(np.int64))
        graph = torch.sparse_coo_tensor(places, torch.from_numpy(both.data), both.shape, check_invariants=True)
        return graph.to(images)

    def _means(
        self, assigned: Float[Tensor, "n k"], images: Float[Tensor, "n c"], text: Float[Tensor, "k c"]
    ) -> Float[Tensor, "k c"]:
        """Mean image of each class, of unit length."""
        return weighted_means(assigned, images)


def weighted_means(assigned: Float[Tensor, "n k"], images: Float[Tensor, "n c"]) -> Float[Tensor, "k c"]:
    """The mean of the images, weighted by their assignments, of unit length."""
    return normalize(assigned.T @ images, dim=1)  # (k, n) @ (n, c)


def log_gaussian(
    images: Float[Tensor, "n c"], means: Float[Tensor, "k c"], assigned: Float[Tensor, "n k"]
) -> Float[Tensor, "n k"]:
    """-1/2 sum (f - mu)^2 / sigma, without the determinant, which all classes share.

    sigma is the variance per dimension about the classes' means, weighted by the assignments.
    """
    total = assigned.sum()
    # sum_ik z_ik (f_i - mu_k)^2, multiplied out, so that no (n, k, c) is formed
    squares = (assigned.sum(dim=1) @ images.square()) - 2 * (means * (assigned.T @ images)).sum(dim=0)
    squares = squares + assigned.sum(dim=0) @ means.square()
    precision = 1 / (squares / total).clamp_min(_SMALLEST)  # (c)
    scaled = images * precision  # (n, c)
    distances = (scaled * images).sum(dim=1, keepdim=True) - 2 * scaled @ means.T + means.square() @ precision
    return -distances / 2
