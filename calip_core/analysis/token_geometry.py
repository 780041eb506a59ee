"""How much an image's tokens differ from one another, and why."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class VarianceShares:
    """Decomposition of the variance of spatial tokens; the three shares add up to 1.

    Attributes:
        place: share due to the position in the grid, the same in every image.
        image: share due to the image, the same at every position.
        rest: interaction of the two: what a position shows in one image only, and what pooling discards.
    """

    place: float
    image: float
    rest: float


def variance_shares(spatial: Float[Tensor, "n m c"]) -> VarianceShares:
    """Two-way analysis of variance of the tokens, summed over the c coordinates.

    Raises:
        ValueError: fewer than two images or tokens, or tokens that are all equal.
    """
    n, m, _ = spatial.shape
    if n < 2 or m < 2:
        raise ValueError(f"{n} images with {m} tokens: variance shares need at least two of each")
    tokens = spatial.double()
    centred = tokens - tokens.mean(dim=(0, 1))  # (n, m, c) - (c)
    total = centred.square().mean(dim=(0, 1)).sum().item()
    if total == 0:
        raise ValueError("all tokens are equal: they have no variance to share out")
    place = centred.mean(dim=0).square().mean(dim=0).sum().item() / total  # from (m, c)
    image = centred.mean(dim=1).square().mean(dim=0).sum().item() / total  # from (n, c)
    return VarianceShares(place, image, 1 - place - image)


def mean_token_cosines(spatial: Float[Tensor, "n m c"]) -> Float[Tensor, "m m"]:
    """Cosine between the tokens at each pair of positions in one image, averaged over images."""
    unit = normalize(spatial, dim=-1)
    return torch.einsum("nac,nbc->ab", unit, unit) / len(spatial)


def off_diagonal_mean(matrix: Float[Tensor, "m m"]) -> float:
    """Mean of a square matrix without its diagonal; NaN for a single row."""
    outside = ~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    return float(matrix[outside].mean())
