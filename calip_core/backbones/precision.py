"""Number formats, and one-time optimisations of a CLIP at loading."""

from pathlib import Path
from typing import get_args

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.backbones.names import Precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CPU_FEATURES = Path("/proc/cpuinfo")
# How CLIP's ResNets name a convolution and the batch norm that follows it ("0" and "1" in a shortcut).
_CONV_THEN_NORM = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The format of the weights and of the arithmetic inside the encoders; results are always float32.

    ``auto`` chooses float16 on a GPU (OpenAI's own choice), bfloat16 on processors with matrix units for it, else
    float32. The choice depends on the processor's features, never on a timing.

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
    """Whether this processor lists matrix units for bfloat16 (AMX) among its features.

    No timing is involved, so workers on identical processors make the same choice. Instructions without such units
    (AVX512-BF16) do not count: RN50 ran with them at 0.5 times the speed of float32 on a virtual Xeon and at 2 times on
    an EPYC (``make bench encoding``). Ask for "bf16" there if it is faster.
    """
    try:
        return "amx_bf16" in _CPU_FEATURES.read_text().split()
    except OSError:
        return False


def prepare(model: ClipModule, device: torch.device, dtype: torch.dtype) -> ClipModule:
    """Optimise a CLIP for inference, in place.

    Batch norms are folded into the convolutions before them, which changes results by rounding only; images are laid
    out channels last; weights move to ``device`` and are stored as ``dtype``. Batch norms that remain keep float32, as
    torch allows beside inputs of lower precision.
    """
    model.eval().requires_grad_(False).float()
    fold_batch_norms(model)
    for module in model.modules():
        # The first class computes in float32 whatever comes in.
        if not isinstance(module, clip.model.LayerNorm | nn.BatchNorm2d):
            _store_as(module, dtype)
    return model.to(device=device, memory_format=torch.channels_last)


def _store_as(module: nn.Module, dtype: torch.dtype) -> None:
    """Change the format of a module's own parameters, and of the buffers that stand beside them, such as biases.

    Buffers of modules without parameters keep theirs: they hold positions, which need the precision.
    """
    parameters = list(module.parameters(recurse=False))
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)
    for buffer in module.buffers(recurse=False):
        if parameters and buffer.is_floating_point():
            buffer.data = buffer.data.to(dtype)


def fold_batch_norms(model: ClipModule) -> None:
    """Replace each convolution and batch norm of CLIP's ResNets by the one convolution that does both, in place."""
    for module in model.modules():
        for conv_name, norm_name in _CONV_THEN_NORM:
            conv, norm = module._modules.get(conv_name), module._modules.get(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[conv_name] = fuse_conv_bn_eval(conv, norm)
                module._modules[norm_name] = nn.Identity()
