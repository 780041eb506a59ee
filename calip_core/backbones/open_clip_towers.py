"""Pooled and spatial features from open_clip's image encoders, by the rule of ``families``.

No encoder and no pool is reimplemented: a place alone goes through the package's own modules, as a sequence of one
token or as a map of one pixel.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from calip_core.backbones.clip_import import ClipModule
from calip_core.backbones.dense import attention_values, average_channels, run_and_watch
from calip_core.backbones.names import TokenSpace


class OpenClipViT:
    """open_clip's VisionTransformer with a class token: it applies ``ln_post`` to every token, so ``proj`` remains."""

    VERSION: ClassVar[int] = 1

    def __init__(self, visual: ClipModule, tokens: TokenSpace) -> None:
        self.visual, self.tokens = visual, tokens
        self.embed_dim: int = visual.proj.shape[1]
        self.grid: tuple[int, int] = tuple(visual.grid_size)

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        block = self.visual.transformer.resblocks[-1]
        module = block.ln_1 if self.tokens == "value" else self.visual.ln_post
        pooled, before, after = run_and_watch(self.visual, images, module)
        if self.tokens == "pre_pool":
            return pooled, average_channels(before[:, 1:], self.embed_dim)
        if self.tokens == "value":
            patches = after if self.visual.transformer.batch_first else after.transpose(0, 1)  # n, 1 + m, d
            values = block.ls_1(attention_values(block.attn, patches[:, 1:]))
            return pooled, self.visual.ln_post(values) @ self.visual.proj
        return pooled, after[:, 1:] @ self.visual.proj


class ClipaViT(OpenClipViT):
    """open_clip's VisionTransformer that applies ``ln_post`` and ``proj`` to the mean of its patches, as CLIPA's do."""

    VERSION: ClassVar[int] = 1

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        pooled, _, tokens = run_and_watch(self.visual, images, self.visual.transformer)
        return pooled, self.visual.ln_post(tokens[:, 1:]) @ self.visual.proj


class TimmTower:
    """Any of timm's encoders inside open_clip's TimmModel: a place alone goes through the encoder's own pool and head.

    This holds for class tokens (one token is its own class token), means and attention pools, for tokens and for maps.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, visual: ClipModule, tokens: TokenSpace, embed_dim: int) -> None:
        self.visual, self.trunk, self.tokens = visual, visual.trunk, tokens
        self.embed_dim = embed_dim
        self.prefix: int = getattr(self.trunk, "num_prefix_tokens", 0)
        self.values = tokens == "value" and getattr(self.trunk, "global_pool", "") == "token"
        self.grid = _grid(visual)

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        if self.values:
            block = self.trunk.blocks[-1]
            pooled, normed, _ = run_and_watch(self.visual, images, block.attn)
            places = self.trunk.norm(_block_values(block, normed[:, self.prefix :]))  # n, m, d
            return pooled, self._each_alone(places[:, :, None])
        features = self.trunk.forward_features(images)
        is_map = features.ndim == 4  # n, d, rows, columns; else n, prefix + m, d
        places = features.flatten(2).mT[..., None, None] if is_map else features[:, self.prefix :, None]
        return self._pool(features), self._each_alone(places)

    def _pool(self, features: Tensor) -> Float[Tensor, "n c"]:
        """What the encoder does after its last feature map; together with that, it is all that it does."""
        pooled: Tensor = self.visual.head(self.trunk.forward_head(features))
        return pooled

    def _each_alone(self, places: Tensor) -> Float[Tensor, "n m c"]:
        """One pixel (d, 1, 1) or one token (1, d) for each place of each image."""
        features: Tensor = self._pool(places.flatten(0, 1)).unflatten(0, places.shape[:2])
        return features


def _block_values(block: ClipModule, tokens: Float[Tensor, "n m d"]) -> Float[Tensor, "n m d"]:
    """What the attention of one of timm's blocks adds to each token if every head attended to that token only.

    A softmax over one key is 1, so the layer itself is run on each token alone; rotary positions turn queries and keys,
    never values.

    Args:
        block: a block of timm's VisionTransformer or Eva.
        tokens: what enters its attention.
    """
    alone: Tensor = block.attn(tokens.flatten(0, 1)[:, None])[:, 0].unflatten(0, tokens.shape[:2])
    if type(block).__name__ == "EvaBlockPostNorm":
        alone = block.norm1(alone)
    elif getattr(block, "gamma_1", None) is not None:  # EvaBlock
        alone = block.gamma_1 * alone
    elif hasattr(block, "ls1"):  # VisionTransformer's
        alone = block.ls1(alone)
    return alone


def _grid(visual: ClipModule) -> tuple[int, int]:
    """Rows and columns of the places, for images of the size that open_clip's preprocessing gives.

    That can differ from timm's: open_clip runs ViTamin-XL-384 on 256 pixels.
    """
    if isinstance(getattr(visual.trunk, "patch_embed", None), nn.Module):
        rows, columns = visual.trunk.patch_embed.dynamic_feat_size(visual.image_size)
    else:
        rows, columns = (side // visual.trunk.feature_info[-1]["reduction"] for side in visual.image_size)
    return rows, columns
