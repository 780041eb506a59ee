"""One pooled and many spatial features from OpenAI's image encoders, which return only the pooled one.

Neither encoder is reimplemented: both run the package's code up to the point where it drops the other tokens.
"""

import copy
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.backbones.names import TokenSpace, check_token_space


@runtime_checkable
class DenseTower(Protocol):
    """Pooled and spatial features of images, not of unit length, in the precision of the weights."""

    VERSION: ClassVar[int]
    """Version of the tower's code: increment it when a change alters the features, so that they are encoded again."""
    tokens: TokenSpace
    embed_dim: int
    grid: tuple[int, int]

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Features of preprocessed images."""


class DenseResNet:
    """A ``clip.model.ModifiedResNet`` whose attention pool gives the output of every query.

    CLIP's pool uses only the query of the mean token. Here each place of the map is a query as well, and every output
    goes through the output projection, as in CALIP's released code.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, visual: ClipModule, tokens: TokenSpace) -> None:
        self.trunk = _without(visual, "attnpool")
        self.pool = visual.attnpool
        self.tokens = tokens
        self.embed_dim: int = self.pool.c_proj.out_features
        self.grid = _square_grid(self.pool.positional_embedding)

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        places = self.trunk(images).flatten(2).mT  # n, m, width of the last layer
        outputs = attention_pool_outputs(self.pool, places)
        if self.tokens == "joint":
            return outputs[:, 0], outputs[:, 1:]
        if self.tokens == "value":
            return outputs[:, 0], attention_pool_values(self.pool, places)[:, 1:]
        return outputs[:, 0], average_channels(places, self.embed_dim)


class DenseViT:
    """A ``clip.model.VisionTransformer`` that projects every token as CLIP projects the class token."""

    VERSION: ClassVar[int] = 1

    def __init__(self, visual: ClipModule, tokens: TokenSpace) -> None:
        self.visual = visual
        self.tokens = tokens
        self.embed_dim: int = visual.proj.shape[1]
        self.grid = _square_grid(visual.positional_embedding)

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        block = self.visual.transformer.resblocks[-1]
        module = block.ln_1 if self.tokens == "value" else self.visual.transformer
        pooled, _, output = run_and_watch(self.visual, images, module)
        patches = output[1:].transpose(0, 1)  # the transformer's layout is token, image, channel; token 0 is the class
        if self.tokens == "pre_pool":
            return pooled, average_channels(patches, self.embed_dim)
        if self.tokens == "value":
            patches = attention_values(block.attn, patches)
        return pooled, self.visual.ln_post(patches) @ self.visual.proj


def dense_tower(visual: ClipModule, tokens: TokenSpace = "joint") -> DenseTower:
    """Wrap the image encoder of a ``clip.model.CLIP``; it shares the encoder's parameters and does not change it.

    Args:
        visual: ``model.visual``.
        tokens: "joint" for CALIP's spatial features; "value" for what each place contributes to the pool (ResNet) or to
            the class token in the last attention (ViT), in the joint space as well; "pre_pool" for the features of the
            last layer before the pool (ResNet) or before ``ln_post`` and ``proj`` (ViT), averaged over neighbouring
            channels to the joint width. Those are *not* in the joint space: no loss ever compared them with text, so
            the meaning of such a comparison has to be measured. They serve for comparison only.

    Raises:
        ValueError: ``tokens`` is unknown, or the encoder has another class.
    """
    check_token_space(tokens)
    if isinstance(visual, clip.model.ModifiedResNet):
        return DenseResNet(visual, tokens)
    if isinstance(visual, clip.model.VisionTransformer):
        return DenseViT(visual, tokens)
    raise ValueError(
        f"no dense tokens from an image encoder of class {type(visual).__name__}: "
        "expected clip's ModifiedResNet or VisionTransformer"
    )


def run_and_watch(visual: ClipModule, images: Float[Tensor, "n 3 h w"], module: nn.Module) -> tuple[Tensor, ...]:
    """What an encoder returns for images, then the input and the output of one of its modules."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        pooled = visual(images)
    finally:
        hook.remove()
    return pooled, *seen[0]


def attention_pool_outputs(pool: ClipModule, places: Float[Tensor, "n m d"]) -> Float[Tensor, "n m+1 c"]:
    """All outputs of CLIP's attention pool: first the pooled feature, then one per place, row by row."""
    tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    query, key, value = (
        projection(tokens).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
        for projection in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    attended = F.scaled_dot_product_attention(query, key, value)
    outputs: Tensor = pool.c_proj(attended.transpose(1, 2).flatten(2))
    return outputs


def attention_pool_values(pool: ClipModule, places: Float[Tensor, "n m d"]) -> Float[Tensor, "n m+1 c"]:
    """Output of CLIP's attention pool if every head attended to one token only: the mean token, then each place.

    With head h's weights a_hm over the tokens, the pool's output is b + sum_h sum_m a_hm W_h v_hm, where W_h are the
    head's columns of the output projection, b its bias and v_hm the head's value of token m. One token alone gives z_m
    = b + sum_h W_h v_hm, so if all heads agree (a_hm = a_m), the output is the mean of the z_m weighted by a_m. After
    MaskCLIP (Zhou et al., ECCV 2022, arXiv 2112.01071), whose ResNet does not add positions to the tokens.
    """
    tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    values: Tensor = pool.c_proj(pool.v_proj(tokens + pool.positional_embedding.to(tokens.dtype)))
    return values


def attention_values(attention: nn.MultiheadAttention, tokens: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
    """Output of an attention layer for each token if every head attended to that token only.

    In the last block of a ViT this omits the residual and the MLP (as ClearCLIP does, arXiv 2407.12442; MaskCLIP keeps
    both).
    """
    _, _, weight = attention.in_proj_weight.chunk(3)
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)[2]
    values: Tensor = attention.out_proj(F.linear(tokens, weight, bias))
    return values


def attention_pooling(pool: ClipModule) -> Callable[[Float[Tensor, "n m c"]], Float[Tensor, "n c"]]:
    """CLIP's attention pool as a way to pool attended tokens F_s^a, as SuS-X does it (its ``run_calip_baseline.py``).

    The layer expects d channels per place, as in the last layer; F_s^a has c. Each channel is repeated (see
    ``average_channels``), whereas SuS-X regroups channels of adjacent places, which requires d = 2 c.

    Args:
        pool: the layer, ``backbone.model.visual.attnpool`` of a ResNet; it fixes the number m of places.

    Returns:
        A function for ``CalipConfig.susx(pool=...)``; its result has the precision of its argument, and any length.
    """

    def pooled(features: Float[Tensor, "n m c"]) -> Float[Tensor, "n c"]:
        weights = pool.k_proj.weight
        places = average_channels(features, weights.shape[1]).to(weights.dtype)
        return attention_pool_outputs(pool, places)[:, 0].to(features.dtype)

    return pooled


def average_channels(features: Float[Tensor, "n m d"], width: int) -> Float[Tensor, "n m c"]:
    """Means over neighbouring channels, so that ``width`` remain; fewer channels than ``width`` are repeated."""
    return F.adaptive_avg_pool1d(features, width)


def _without(module: ClipModule, child: str) -> ClipModule:
    """A copy of the module (sharing parameters) with one child replaced by the identity; the original is unchanged."""
    other = copy.copy(module)
    other._modules = {**module._modules, child: nn.Identity()}
    return other


def _square_grid(positional_embedding: Tensor) -> tuple[int, int]:
    """Rows and columns, given one position per place and one for the pooled token."""
    side = round((len(positional_embedding) - 1) ** 0.5)
    return side, side
