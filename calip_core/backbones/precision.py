"""Number formats, and what can be done to a CLIP once, at loading, so that every image costs less."""

import json
import math
import time
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.environment import processor_name
from calip_core.paths import atomic_path, cache_dir

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CPU_FEATURES = Path("/proc/cpuinfo")
# Between the processors measured so far, of which the slow ones lose and the fast ones gain twofold.
_WORTHWHILE_SPEEDUP = 1.2
_TURNS = 20
# How CLIP's ResNets name a convolution and the batch norm that follows it ("0" and "1" in a shortcut).
_CONV_THEN_NORM = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The format of the weights and of the arithmetic inside the encoders; results are float32 in any case.

    ``auto`` takes float16 on a GPU (OpenAI's own choice), bfloat16 on processors that are faster with it, else
    float32.

    Raises:
        ValueError: the precision is unknown.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}, expected one of {list(get_args(Precision))}")
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_fast_bfloat16() else torch.float32


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32.

    With matrix units (AMX) it does, without any instruction for it (AVX512-BF16) it does not. Processors that have
    the instruction alone differ: RN50 ran at 0.5 times the speed of float32 on a virtual Xeon, at 2 times on an EPYC
    (``make bench encoding``). There a convolution is timed, once: the answer is kept in the cache folder, so that it
    does not change from run to run and a seed stays a seed.
    """
    try:
        features = set(_CPU_FEATURES.read_text().split())
    except OSError:
        return False
    if "amx_bf16" in features:
        return True
    return "avx512_bf16" in features and _bfloat16_speedup(cache_dir()) >= _WORTHWHILE_SPEEDUP


@cache
def _bfloat16_speedup(folder: Path) -> float:
    """How many times as fast as in float32 a convolution is here: as kept from an earlier measurement, or measured."""
    here = {"processor": processor_name(), "torch": torch.__version__}
    kept = folder / "bfloat16_speedup.json"
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
        if {name: known[name] for name in here} == here:
            return float(known["speedup"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is kept that can be read: measure
    speedup = _measure_bfloat16_speedup()
    try:
        with atomic_path(kept) as temporary:
            temporary.write_text(json.dumps(here | {"speedup": round(speedup, 2)}) + "\n", encoding="utf-8")
    except OSError:
        pass  # a cache that cannot be written costs the next process a tenth of a second
    return speedup


@torch.no_grad()
@torch.random.fork_rng(devices=[])  # whether it is measured or known must not move anybody's random numbers
def _measure_bfloat16_speedup() -> float:
    """On one thread and by the fastest of several turns, so that whatever else runs here matters little."""
    cases, seconds = {}, {torch.float32: math.inf, torch.bfloat16: math.inf}
    for dtype in seconds:
        layer = nn.Conv2d(256, 256, 3, padding=1, dtype=dtype).to(memory_format=torch.channels_last)
        cases[dtype] = layer, torch.randn(8, 256, 14, 14, dtype=dtype).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_TURNS):
            for dtype, (layer, images) in cases.items():
                started = time.perf_counter()
                layer(images)
                seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def prepare(model: ClipModule, device: torch.device, dtype: torch.dtype) -> ClipModule:
    """Turn a CLIP into its fastest equal for inference, in place.

    Batch norms are folded into the convolutions before them, which changes results by rounding only; images are laid
    out channels last; weights move to ``device`` and are stored as ``dtype``.
    """
    model.eval().requires_grad_(False).float()
    fold_batch_norms(model)
    for module in model.modules():
        if not isinstance(module, clip.model.LayerNorm):  # that class computes in float32 whatever comes in
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return model.to(device=device, memory_format=torch.channels_last)


def fold_batch_norms(model: ClipModule) -> None:
    """Replace each convolution and batch norm of CLIP's ResNets by the one convolution that does both, in place."""
    for module in model.modules():
        for conv_name, norm_name in _CONV_THEN_NORM:
            conv, norm = module._modules.get(conv_name), module._modules.get(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[conv_name] = fuse_conv_bn_eval(conv, norm)
                module._modules[norm_name] = nn.Identity()
