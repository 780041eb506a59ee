"""Images a second of OpenAI's backbones with all their tokens (random weights: speed does not depend on them)."""

from collections.abc import Iterator
from typing import Any

import torch

from calip_core.analysis.speed import paired_seconds
from calip_core.analysis.speed_records import Measurement
from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import clip

_TEXT = {"context_length": 77, "vocab_size": 49408, "transformer_layers": 12, "image_resolution": 224}
_SMALL = {**_TEXT, "transformer_width": 512, "transformer_heads": 8}
_RESNET = {**_SMALL, "vision_width": 64, "vision_patch_size": None}
_VIT = {**_SMALL, "embed_dim": 512, "vision_layers": 12, "vision_width": 768}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "RN50": {**_RESNET, "embed_dim": 1024, "vision_layers": (3, 4, 6, 3)},
    "RN101": {**_RESNET, "embed_dim": 512, "vision_layers": (3, 4, 23, 3)},
    "ViT-B/32": {**_VIT, "vision_patch_size": 32},
    "ViT-B/16": {**_VIT, "vision_patch_size": 16},
    "ViT-L/14": {
        **_TEXT, "embed_dim": 768, "vision_layers": 24, "vision_width": 1024, "vision_patch_size": 14,
        "transformer_width": 768, "transformer_heads": 12,
    },
}  # fmt: skip
IMAGES = {"cpu": 8, "cuda": 256}


def run() -> Iterator[Measurement]:
    """One speed per backbone and device, in the precision that is chosen there without being asked."""
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for name, architecture in ARCHITECTURES.items():
            torch.manual_seed(0)
            backbone = Backbone.from_clip(name, clip.model.CLIP(**architecture).eval().float(), device=device)
            images = torch.randn(IMAGES[device], 3, 224, 224, device=backbone.device)
            seconds = paired_seconds({name: lambda images=images, encode=backbone.encode_image: encode(images)}, 3)
            precision = str(backbone.dtype).removeprefix("torch.")
            yield Measurement(
                what=f"{device}: {name} in {precision}, all tokens", value=len(images) / seconds[name], unit="images/s"
            )
