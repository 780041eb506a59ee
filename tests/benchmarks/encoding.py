"""Encoding with RN50 (random weights: speed does not depend on them), and what low precision costs in accuracy."""

import copy

import torch

from calip_core import load_backbone, load_task, zero_shot_classifier
from calip_core.backbones import available_backbones
from calip_core.backbones.base import Backbone
from calip_core.clip_import import clip
from calip_core.features import encode_split
from calip_core.metrics import accuracy
from calip_core.speed import encoding_seconds

RN50 = {
    "embed_dim": 1024, "image_resolution": 224, "vision_layers": (3, 4, 6, 3), "vision_width": 64,
    "vision_patch_size": None, "context_length": 77, "vocab_size": 49408, "transformer_width": 512,
    "transformer_heads": 8, "transformer_layers": 12,
}  # fmt: skip
IMAGES = 16


def run() -> None:
    """Images a second of the plain call and of this library, then the accuracy gap on the miniature's tasks."""
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        _speeds(device)
    _accuracy_gap()


def _speeds(device: str) -> None:
    torch.manual_seed(0)
    plain = clip.model.CLIP(**RN50).eval().float().to(device)
    for precision in ("fp32", "auto"):
        backbone = Backbone.from_clip("RN50", copy.deepcopy(plain), device=device, precision=precision)
        slow, fast = encoding_seconds(backbone, plain, IMAGES)
        print(
            f"  {device} RN50 {precision} ({backbone.dtype}): {IMAGES / fast:.1f} images/s with all tokens, "
            f"{slow / fast:.2f} times the plain fp32 call ({IMAGES / slow:.1f} images/s, pooled vector alone)"
        )
    print("  goal with AMX: 4 times; without it bf16 is slower (AVX512-BF16 included), and auto chooses fp32")


def _accuracy_gap() -> None:
    for name in (b for b in available_backbones() if b.startswith("mini-")):
        for task_name in ("mini-shapes", "mini-pairs", "mini-textures", "digits"):
            exact, low = (_test_accuracy(name, task_name, precision) for precision in ("fp32", "bf16"))
            print(f"  {name} {task_name}: fp32 {exact:.1%}, bf16 {low:.1%}, gap {100 * (low - exact):+.2f} points")


def _test_accuracy(name: str, task_name: str, precision: str) -> float:
    backbone, task = load_backbone(name, precision=precision), load_task(task_name)
    tokens, labels = encode_split(backbone, task.splits["test"], limit=500, progress=False)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    return accuracy(tokens.pooled @ text.T, labels)
