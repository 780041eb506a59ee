"""Models of the ``open_clip`` package (extra ``openclip``) that have the architecture of OpenAI's CLIP."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import ClipModule
from calip_core.backbones.dense import DenseResNet, DenseTower, attention_values, average_channels, run_and_watch
from calip_core.backbones.names import Precision, TokenSpace
from calip_core.backbones.precision import choose_dtype, prepare


class OpenClipViT:
    """open_clip's VisionTransformer: it applies ``ln_post`` to every token itself, so only ``proj`` remains."""

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


def load_open_clip(
    name: str,
    device: torch.device,
    precision: Precision = "auto",
    tokens: TokenSpace = "joint",
    cache_dir: str | Path | None = None,
) -> Backbone:
    """Load ``open_clip:MODEL/PRETRAINED``; without ``/PRETRAINED`` the weights are random.

    Names and shapes are checked before anything is fetched, as far as the model's configuration allows.

    Warns:
        UserWarning: the weights are random.

    Raises:
        ImportError: the package is not installed.
        ValueError: open_clip does not know the name, or the model's architecture differs from OpenAI's CLIP.
        ConnectionError: the weights cannot be fetched.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(f"{name!r} needs the open_clip package: `pip install calip-core[openclip]`") from error
    model_name, _, pretrained = name.partition(":")[2].partition("/")
    if model_name not in open_clip.list_models():
        raise ValueError(f"open_clip has no model {model_name!r}: choose one of {', '.join(open_clip.list_models())}")
    _check_shape(name, open_clip.get_model_config(model_name))
    _check_weights(name, model_name, pretrained)
    with _fetching(name):
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


def _check_shape(name: str, config: Mapping[str, Any]) -> None:
    """Refuse SigLIP, CoCa, EVA, ConvNeXt, MobileCLIP and Hugging Face text encoders by their configuration."""
    text = [key for key in config["text_cfg"] if key.startswith("hf_")]
    image = [key for key in config["vision_cfg"] if key.startswith("timm_")]
    whole = [key for key in ("custom_text", "multimodal_cfg") if config.get(key)]
    if text or image or whole:
        kind = "image" if image else "text"
        raise ValueError(
            f"{name!r} has another {kind} encoder than OpenAI's CLIP ({', '.join(image + text + whole)} in open_clip's "
            "configuration): choose a model that has the same, such as ViT-B-32 or RN50"
        )


def _check_weights(name: str, model_name: str, pretrained: str) -> None:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if not pretrained:
        warnings.warn(
            f"{name!r} names no weights, so they are random and measure nothing: choose {name}/TAG with one of "
            f"{', '.join(tags) or 'no tags'}",
            stacklevel=4,
        )
    elif not open_clip.pretrained.is_pretrained_cfg(model_name, pretrained) and not Path(pretrained).is_file():
        raise ValueError(f"open_clip has no weights {pretrained!r} of {model_name}: choose one of {', '.join(tags)}")


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:  # open_clip turns what its download raises into a RuntimeError
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ConnectionError(
            f"the weights of {name!r} cannot be fetched or are damaged ({type(error).__name__}: {reason}): check the "
            "network and the file in the cache, or choose a miniature such as 'mini-rn', which needs no download"
        ) from error


def _tower(name: str, visual: ClipModule, tokens: TokenSpace) -> DenseTower:
    """The tower for one of open_clip's own encoders; timm's, and those with other poolings, are refused."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, ModifiedResNet):
        return DenseResNet(visual, tokens)
    if isinstance(visual, VisionTransformer) and visual.pool_type == "tok" and not visual.final_ln_after_pool:
        return OpenClipViT(visual, tokens)
    raise ValueError(f"{name!r} has another image encoder than OpenAI's CLIP: choose a model that has the same")


def _side(image_size: int | tuple[int, int]) -> int:
    return image_size if isinstance(image_size, int) else image_size[0]
