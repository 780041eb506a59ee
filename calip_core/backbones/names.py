"""Names of backbones, token spaces and precisions, known without loading one."""

from pathlib import Path
from typing import Literal, get_args

from calip_core.errors import did_you_mean
from calip_core.paths import expanded

TokenSpace = Literal["joint", "value", "pre_pool"]
"""Which spatial tokens an encoder returns.

"joint": the output of CLIP's last attention at each place, as in CALIP's code. "value": the contribution of each place
if only it were attended to, after MaskCLIP (arXiv 2112.01071); also in the joint space. "pre_pool": the features before
that attention, as used by two ports of CALIP. ``families`` says what they are for open_clip's encoders.
"""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Gelu = Literal["quick", "exact"]
"""The nonlinearity of CLIP's transformers: OpenAI's x * sigmoid(1.702 x), or the exact GELU."""

MINIATURES = ("mini-rn", "mini-vit")
"""The models that this repository trains and ships."""
OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
"""OpenAI's models, as listed by its package."""
OPEN_CLIP = "open_clip:"
"""Prefix of the names of open_clip's models."""


def available_backbones() -> tuple[str, ...]:
    """Names that ``load_backbone`` knows: the miniatures of this repository, then OpenAI's models."""
    return (*MINIATURES, *OPENAI)


def backbone_label(name: str) -> str:
    """A backbone's name for a label: of a checkpoint's path only the file's name."""
    return name if name in available_backbones() or name.startswith(OPEN_CLIP) else Path(name).name


def check_backbone_name(name: str | Path) -> None:
    """Refuse a name that ``load_backbone`` does not know, without loading anything.

    Raises:
        ValueError: the text is neither a known name nor like the path of a checkpoint; the message lists the choices.
    """
    if name in available_backbones() or str(name).startswith(OPEN_CLIP) or isinstance(name, Path):
        return
    if not isinstance(name, str) or not (Path(name).suffix or expanded(name).is_file()):
        raise ValueError(
            f"unknown backbone {name!r}{did_you_mean(str(name), available_backbones())}: choose one of "
            f"{', '.join(available_backbones())}, "
            "'open_clip:MODEL/TAG', or the path of a checkpoint"
        )


def check_names_weights(name: str | Path) -> None:
    """Refuse a name of open_clip without weights, where a result of random ones would be kept.

    Raises:
        ValueError: the name has no tag.
    """
    model, _, weights = str(name).partition("/")
    if model.startswith(OPEN_CLIP) and not weights:
        raise ValueError(
            f"{str(name)!r} names no weights, so they would be random: write {model}/TAG (open_clip.list_pretrained() "
            "lists the tags), or the path of a file in place of TAG"
        )


def check_token_space(tokens: str) -> None:
    """Refuse an unknown space of the tokens.

    Raises:
        ValueError: it is not one of ``TokenSpace``.
    """
    if tokens not in get_args(TokenSpace):
        raise ValueError(f"tokens is {tokens!r}, expected one of {', '.join(get_args(TokenSpace))}")
