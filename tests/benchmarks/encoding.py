"""Encoding with RN50 (random weights: speed does not depend on them), and what low precision costs in accuracy."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch

from calip_core import load_backbone, load_task, zero_shot_classifier
from calip_core.analysis.speed import encoding_seconds
from calip_core.analysis.speed_records import Measurement
from calip_core.backbones import available_backbones
from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import clip
from calip_core.backbones.precision import choose_dtype
from calip_core.features import encode_split
from calip_core.metrics import accuracy

RN50 = {
    "embed_dim": 1024, "image_resolution": 224, "vision_layers": (3, 4, 6, 3), "vision_width": 64,
    "vision_patch_size": None, "context_length": 77, "vocab_size": 49408, "transformer_width": 512,
    "transformer_heads": 8, "transformer_layers": 12,
}  # fmt: skip
IMAGES = 16
GOAL = 4  # times the plain call, on a processor with AVX512-BF16


def run() -> Iterator[Measurement]:
    """Images a second of the plain call and of this library, then the accuracy gap on the miniature's tasks."""
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        yield from _speeds(device)
    yield from _accuracy_gap()


def _speeds(device: str) -> Iterator[Measurement]:
    torch.manual_seed(0)
    plain = clip.model.CLIP(**RN50).eval().float().to(device)
    for precision in ("fp32", "bf16") if device == "cpu" else ("fp32", "auto"):
        backbone = Backbone.from_clip("RN50", copy.deepcopy(plain), device=device, precision=precision)
        slow, fast = encoding_seconds(backbone, plain, IMAGES)
        what = f"{device}: RN50 in {str(backbone.dtype).removeprefix('torch.')}"
        chosen = ", what auto chooses here" if backbone.dtype == choose_dtype("auto", backbone.device) else ""
        yield Measurement(what=f"{what}, all tokens{chosen}", value=IMAGES / fast, unit="images/s")
        yield Measurement(
            what=f"{what}, all tokens, against the plain fp32 call, pooled vector alone ({IMAGES / slow:.1f} images/s)",
            value=slow / fast, unit="times", goal=GOAL if precision == "bf16" and _multiplies_bfloat16() else None,
        )  # fmt: skip


def _multiplies_bfloat16() -> bool:
    """Whether the processor is of the kind that the goal was set for."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _accuracy_gap() -> Iterator[Measurement]:
    for name in (b for b in available_backbones() if b.startswith("mini-")):
        for task_name in ("mini-shapes", "mini-pairs", "mini-textures", "digits"):
            exact, low = (_test_accuracy(name, task_name, precision) for precision in ("fp32", "bf16"))
            yield Measurement(what=f"{name} on {task_name}: accuracy in float32", value=100 * exact, unit="%")
            gap = 100 * (low - exact)
            yield Measurement(what=f"{name} on {task_name}: bfloat16 less float32", value=gap, unit="points")


def _test_accuracy(name: str, task_name: str, precision: str) -> float:
    backbone, task = load_backbone(name, precision=precision), load_task(task_name)
    tokens, labels = encode_split(backbone, task.splits["test"], limit=500, progress=False)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    return accuracy(tokens.pooled @ text.T, labels)
