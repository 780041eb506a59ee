"""Models of the ``open_clip`` package (extra ``openclip``) that have the shape of OpenAI's CLIP."""

from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import ClipModule
from calip_core.backbones.dense import DenseResNet, DenseTower, attention_values, average_channels
from calip_core.backbones.names import Precision, TokenSpace
from calip_core.backbones.precision import choose_dtype, prepare


class OpenClipViT:
    """open_clip's VisionTransformer: its ``ln_post`` already sees every token, so only ``proj`` is left to apply."""

    VERSION: ClassVar[int] = 1

    def __init__(self, visual: ClipModule, tokens: TokenSpace) -> None:
        self.visual, self.tokens = visual, tokens
        self.embed_dim: int = visual.proj.shape[1]
        self.grid: tuple[int, int] = tuple(visual.grid_size)

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features, not of unit length."""
        block = self.visual.transformer.resblocks[-1]
        kept: list[tuple[Tensor, Tensor]] = []
        module = block.ln_1 if self.tokens == "value" else self.visual.ln_post
        hook = module.register_forward_hook(lambda _, inputs, output: kept.append((inputs[0], output)))
        try:
            pooled = self.visual(images)
        finally:
            hook.remove()
        before, after = kept[0]
        if self.tokens == "pre_pool":
            return pooled, average_channels(before[:, 1:], self.embed_dim)
        if self.tokens == "value":
            patches = after if self.visual.transformer.batch_first else after.transpose(0, 1)  # n, 1 + m, d
            values = block.ls_1(attention_values(block.attn, patches[:, 1:]))
            return pooled, self.visual.ln_post(values) @ self.visual.proj
        return pooled, after[:, 1:] @ self.visual.proj


def load_open_clip(
    name: str,
    device: torch.device,
    precision: Precision = "auto",
    tokens: TokenSpace = "joint",
    cache_dir: str | Path | None = None,
) -> Backbone:
    """Load ``open_clip:MODEL/PRETRAINED``; without ``/PRETRAINED`` the weights are random.

    Raises:
        ImportError: the package is not installed.
        ValueError: open_clip does not know the name, or the model has another shape than OpenAI's CLIP.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(f"{name!r} needs the open_clip package: `pip install calip-core[openclip]`") from error
    model_name, _, pretrained = name.partition(":")[2].partition("/")
    if model_name not in open_clip.list_models():
        raise ValueError(f"open_clip has no model {model_name!r}: choose one of {', '.join(open_clip.list_models())}")
    model, _, preprocess = open_clip.create_model_and_transforms(
        model_name, pretrained=pretrained or None, cache_dir=cache_dir and str(cache_dir)
    )
    tokenizer = open_clip.get_tokenizer(model_name)
    if not isinstance(model, open_clip.CLIP) or not isinstance(tokenizer, open_clip.SimpleTokenizer):
        raise ValueError(f"{name!r} has another text encoder than OpenAI's CLIP: choose a model that has the same")
    logit_scale: float = model.logit_scale.detach().exp().item()
    prepare(model, device, choose_dtype(precision, device))
    return Backbone(
        name,
        model,
        _tower(name, model.visual, tokens),
        preprocess=preprocess,
        tokenizer=tokenizer,
        resolution=_side(model.visual.image_size),
        logit_scale=logit_scale,
    )


def _tower(name: str, visual: ClipModule, tokens: TokenSpace) -> DenseTower:
    """The tower for one of open_clip's own encoders; timm's, and those with other poolings, have no such tokens."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, ModifiedResNet):
        return DenseResNet(visual, tokens)
    if isinstance(visual, VisionTransformer) and visual.pool_type == "tok" and not visual.final_ln_after_pool:
        return OpenClipViT(visual, tokens)
    raise ValueError(f"{name!r} has another image encoder than OpenAI's CLIP: choose a model that has the same")


def _side(image_size: int | tuple[int, int]) -> int:
    return image_size if isinstance(image_size, int) else image_size[0]
