"""The two miniature CLIPs: OpenAI's own ``clip.model.CLIP`` class at small widths."""

from typing import Any, get_args

import torch
from torch import Tensor

from calip_core.backbones.clip_import import clip
from calip_core.backbones.model_card import Architecture

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
CONTEXT_LENGTH = 32

ClipModel = Any
"""A ``clip.model.CLIP``; the package has no type annotations."""

_TEXT = {
    "embed_dim": 128,
    "context_length": CONTEXT_LENGTH,
    "vocab_size": 49408,  # of CLIP's tokenizer; this embedding is two thirds of the parameters
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 3,
}
_VISION: dict[str, dict[str, object]] = {
    # ModifiedResNet: 128 pixels at stride 32 give 4 x 4 tokens.
    "rn": {"image_resolution": 128, "vision_layers": (1, 1, 1, 1), "vision_width": 16, "vision_patch_size": None},
    # VisionTransformer: 112 pixels in patches of 16 give 7 x 7 tokens.
    "vit": {"image_resolution": 112, "vision_layers": 4, "vision_width": 128, "vision_patch_size": 16},
}


def build_miniature(arch: Architecture, seed: int = 0) -> ClipModel:
    """A new miniature in float32 with weights initialised from ``seed``; the global generator is not changed.

    Raises:
        ValueError: ``arch`` is neither "rn" nor "vit".
    """
    if arch not in _VISION:
        raise ValueError(f"arch = {arch!r}: expected one of {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = clip.model.CLIP(**_TEXT, **_VISION[arch])
    _open_residual_branches(model)
    return model.float()


def _open_residual_branches(model: ClipModel) -> None:
    """Initialise the last batch-norm gain of every bottleneck to 1.

    CLIP initialises it to 0, so that a new block is the identity. A run of a thousand steps is too short to learn
    these gains from 0: until they grow, the network sees little but mean colours.
    """
    for module in model.visual.modules():
        if isinstance(module, clip.model.Bottleneck):
            torch.nn.init.ones_(module.bn3.weight)


def half_state_dict(model: ClipModel) -> dict[str, Tensor]:
    """The weights as shipped: contiguous tensors, floating-point ones in half precision."""
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
