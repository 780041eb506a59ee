"""CLIP's pool as an attention: how far it is from one head, and what happens when it is spoiled on purpose."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.backbones.clip_import import ClipModule
from calip_core.backbones.dense import attention_pool_outputs, attention_pool_values
from calip_core.tokens import ImageTokens


def spoil_pool(tokens: ImageTokens, values: Float[Tensor, "n m c"], amount: float) -> ImageTokens:
    """Mix the pooled feature with the mean value token: F_v <- unit((1 - amount) F_v + amount mean_m z_m).

    An intervention that asks what a free attention would be worth to a worse pool. It is not a worse network: nothing
    was trained so, and joint tokens, which are copies of the good pooled feature, carry that feature back in.

    Args:
        tokens: of n images, of any kind.
        values: the value tokens of the same images.
        amount: lambda, from 0 (nothing changes) to 1 (the pooled feature is the mean value token).

    Raises:
        ValueError: the amount is not from 0 to 1, or the mixture of an image vanishes.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"amount is {amount}, expected a share from 0 to 1")
    if amount == 0:
        return tokens
    mixed = torch.lerp(tokens.pooled, values.mean(dim=1).to(tokens.pooled), amount)  # (n, c)
    lengths = mixed.norm(dim=1, keepdim=True)
    if not (lengths > 0).all():
        raise ValueError(f"amount is {amount}: the mixture of an image is zero and has no direction")
    return ImageTokens(mixed / lengths, tokens.spatial, tokens.grid)


def one_head_pool(
    pool: ClipModule, places: Float[Tensor, "n m d"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """The attention pool's output, and what it would be if every head had the mean of all heads' weights.

    Args:
        pool: ``backbone.model.visual.attnpool`` of a ResNet.
        places: the last layer's map, one row per place.

    Returns:
        Both of unit length. Their cosine says how far the pool is from a weighted mean of its value tokens.
    """
    tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)  # (n, m+1, d)
    query = pool.q_proj(tokens[:, :1]).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)  # (n, h, 1, d/h)
    key = pool.k_proj(tokens).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)  # (n, h, m+1, d/h)
    weights = torch.softmax(query @ key.mT / key.shape[-1] ** 0.5, dim=-1).mean(dim=1)  # (n, 1, m+1)
    one_head = (weights @ attention_pool_values(pool, places)).squeeze(1)
    return normalize(attention_pool_outputs(pool, places)[:, 0], dim=-1), normalize(one_head, dim=-1)
