"""Names of backbones, token spaces and precisions, known without loading one."""

from pathlib import Path
from typing import Literal, get_args

from calip_core.paths import expanded

TokenSpace = Literal["joint", "value", "pre_pool"]
"""Which spatial tokens an encoder gives.

"joint": what CLIP's last attention answers at each place, as CALIP's code takes it. "value": what each place would
contribute if it alone were attended to, after MaskCLIP (arXiv 2112.01071); in the joint space, too. "pre_pool": the
features before they get there, as two ports of CALIP take them.
"""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Gelu = Literal["quick", "exact"]
"""The nonlinearity of CLIP's transformers: OpenAI's x * sigmoid(1.702 x), or GELU as it is defined."""

MINIATURES = ("mini-rn", "mini-vit")
"""The models that this repository trains and ships."""
OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
"""OpenAI's models, as its package lists them."""
OPEN_CLIP = "open_clip:"
"""How the names of open_clip's models begin."""


def available_backbones() -> tuple[str, ...]:
    """Names that ``load_backbone`` knows: the miniatures of this repository, then OpenAI's models."""
    return (*MINIATURES, *OPENAI)


def check_backbone_name(name: str | Path) -> None:
    """Refuse what ``load_backbone`` would not know, without loading anything.

    Raises:
        ValueError: the text is neither a known name nor looks like the path of a checkpoint; the message lists the
            choices.
    """
    if name in available_backbones() or str(name).startswith(OPEN_CLIP) or isinstance(name, Path):
        return
    if not isinstance(name, str) or not (Path(name).suffix or expanded(name).is_file()):
        raise ValueError(
            f"unknown backbone {name!r}: choose one of {', '.join(available_backbones())}, "
            "'open_clip:MODEL/PRETRAINED', or the path of a checkpoint"
        )


def check_token_space(tokens: str) -> None:
    """Refuse an unknown space of the tokens.

    Raises:
        ValueError: it is not one of ``TokenSpace``.
    """
    if tokens not in get_args(TokenSpace):
        raise ValueError(f"tokens is {tokens!r}, expected one of {', '.join(get_args(TokenSpace))}")
