"""CALIP's attended terms to first order in A / alpha: what they say while the attention is nearly even, and how even.

All cosines here are without the logit scale. Chapter 3 derives the two expansions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.tokens import ImageTokens


def text_covariance(tokens: ImageTokens, text: Float[Tensor, "k c"]) -> Float[Tensor, "n k"]:
    """Cov_m(q_m, A_mk): do the tokens that resemble F_v also fit class k? ``q = F_s F_v`` are cosines with F_v."""
    q = (tokens.spatial @ tokens.pooled.unsqueeze(2)).squeeze(2)  # (n, m)
    affinity = tokens.spatial @ text.T  # (n, m, k)
    centred = q - q.mean(dim=1, keepdim=True)
    return torch.einsum("nm,nmk->nk", centred, affinity) / q.shape[1]


def text_first_order(tokens: ImageTokens, text: Float[Tensor, "k c"], alpha: float) -> Float[Tensor, "n k"]:
    """F_v F_t^aT to first order: mean_m q_m + Cov_m(q, A_k) / alpha."""
    q = tokens.spatial @ tokens.pooled.unsqueeze(2)  # (n, m, 1)
    return q.mean(dim=1) + text_covariance(tokens, text) / alpha


def visual_first_order(tokens: ImageTokens, text: Float[Tensor, "k c"], alpha: float) -> Float[Tensor, "n k"]:
    """The mean-pooled F_v^a F_t^T to first order: a prior that is the same for every image, plus a smeared answer.

    With the mean class vector t and G = F_t F_t^T: t . F_t,k + (a - mean of a) G / (alpha K), where a_k is the mean
    over the tokens of A_mk, CLIP's own answer averaged over the grid.
    """
    prior = text.mean(dim=0) @ text.T  # (k)
    answer = tokens.spatial.mean(dim=1) @ text.T  # (n, k)
    centred = answer - answer.mean(dim=1, keepdim=True)
    return prior + centred @ (text @ text.T) / (alpha * len(text))


def effective_share(weights: Tensor, dim: int) -> float:
    """The exponential of the entropy of the weights along a dimension, over their number; the mean over the rest.

    1 for even weights, and 1 / their number if a single one takes all.
    """
    entropy = -torch.special.xlogy(weights, weights).sum(dim)
    return float(entropy.exp().mean() / weights.shape[dim])
