"""Small CLIPs of both families with random weights, built from the package's own classes."""

import warnings
from pathlib import Path

import torch
from torch import nn

from calip_core.backbones.clip_import import clip

FAMILIES = ("rn", "vit")
WIDTH = 32  # of the joint space
GRIDS = {"rn": (2, 2), "vit": (3, 3)}
RESOLUTIONS = {"rn": 64, "vit": 48}

_TEXT = {"context_length": 16, "vocab_size": 49408, "transformer_width": 64, "transformer_heads": 1,
         "transformer_layers": 1}  # fmt: skip
_VISION = {
    "rn": {"vision_layers": (1, 2, 1, 1), "vision_width": 8, "vision_patch_size": None},
    "vit": {"vision_layers": 2, "vision_width": 64, "vision_patch_size": 16},
}


def random_clip(family: str, seed: int = 0) -> nn.Module:
    """A ``clip.model.CLIP`` for inference; every batch norm has statistics and an affine map of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = clip.model.CLIP(
            embed_dim=WIDTH, image_resolution=RESOLUTIONS[family], **_VISION[family], **_TEXT
        )
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                _fill(module)
    return model.eval()


def random_images(family: str, n: int = 3, seed: int = 1) -> torch.Tensor:
    """What ``preprocess`` could have returned for ``n`` images."""
    size = RESOLUTIONS[family]
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Archive(nn.Module):
    """Weights under CLIP's names, and the three numbers that OpenAI's TorchScript archives hold beside them."""

    def __init__(self, model):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, value in (("input_resolution", 64), ("context_length", 16), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image):
        return self.visual(image)


def save_as_shipped(family: str, kind: str, path: Path) -> None:
    """What OpenAI publishes, small: half precision where the package has it, as a TorchScript archive or its weights.

    Args:
        family: rn or vit.
        kind: "archive" or "weights".
        path: of the new file.
    """
    half = random_clip(family)
    clip.model.convert_weights(half)
    if kind == "weights":
        torch.save(half.state_dict(), path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Archive(random_clip(family)), random_images(family), check_trace=False)
    shipped = dict(half.named_parameters())
    for name, parameter in traced.named_parameters():  # tracing in half precision needs kernels that a CPU may lack
        parameter.data = shipped[name].data
    torch.jit.save(traced, path)


def _fill(norm: nn.BatchNorm2d) -> None:
    """Far from the identity; OpenAI starts the last norm of each block at zero, which would hide its branch."""
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, std=0.2)
    nn.init.normal_(norm.running_mean, std=0.2)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
