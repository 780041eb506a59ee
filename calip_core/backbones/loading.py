"""Loading a backbone by its name or its file."""

from pathlib import Path

import torch

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import clip
from calip_core.backbones.names import (
    MINIATURES,
    OPEN_CLIP,
    OPENAI,
    Precision,
    TokenSpace,
    available_backbones,
    check_backbone_name,
    check_token_space,
)
from calip_core.backbones.openai import download, load_clip
from calip_core.backbones.precision import choose_dtype
from calip_core.digests import file_digest


def load_backbone(
    name: str | Path,
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    tokens: TokenSpace = "joint",
    download_root: str | Path | None = None,
) -> Backbone:
    """Load a CLIP that gives spatial tokens.

    Args:
        name: "mini-rn" or "mini-vit" (shipped, no network), one of OpenAI's names such as "RN50" (fetched once, several
            hundred megabytes), "open_clip:MODEL/PRETRAINED" (the ``openclip`` extra), or the path of a checkpoint in
            OpenAI's layout.
        device: "auto" takes a GPU where there is one; else a name that torch knows.
        precision: "fp32", "bf16" or "fp16"; "auto" takes what is fast on the device (``precision.choose_dtype``).
        tokens: which spatial tokens: "joint", "value" or "pre_pool" (``names.TokenSpace``).
        download_root: where downloaded weights lie; ``~/.cache/clip`` when left out.

    Raises:
        ValueError: the name or an option is unknown (the message lists the choices), or the checkpoint is damaged, not
            a CLIP, or not the one that was published.
        FileNotFoundError: the checkpoint file is missing.
        ConnectionError: weights cannot be fetched.
    """
    chosen = _choose_device(device)
    choose_dtype(precision, chosen)  # every option is checked before anything is fetched
    check_token_space(tokens)
    if str(name).startswith(OPEN_CLIP):
        from calip_core.backbones.open_clip import load_open_clip  # an extra: not everyone has the package

        return load_open_clip(str(name), device=chosen, precision=precision, tokens=tokens, cache_dir=download_root)
    path = _checkpoint(name, download_root)
    model = load_clip(path)
    published = str(name) if name in available_backbones() else published_model(path)
    return Backbone.from_clip(
        str(name), model, device=chosen, precision=precision, tokens=tokens, published_name=published
    )


def published_model(checkpoint: Path) -> str | None:
    """The miniature or the model of OpenAI's that a checkpoint is, by its SHA-256; None where it is neither.

    Raises:
        OSError: the file cannot be read.
    """
    from calip_core.backbones.model_card import load_card

    known = {url.split("/")[-2]: model for model, url in clip.clip._MODELS.items()}
    known |= {load_card(miniature).sha256: miniature for miniature in MINIATURES}
    return known.get(file_digest(checkpoint))


def _checkpoint(name: str | Path, download_root: str | Path | None) -> Path:
    if name in MINIATURES:
        from calip_core.backbones.model_card import checkpoint_path  # its card's checks are for it alone

        return checkpoint_path(str(name))
    if name in OPENAI:
        return download(str(name), download_root)
    check_backbone_name(name)
    return Path(name).expanduser()


def _choose_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: choose 'auto', 'cpu' or 'cuda'") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {str(device)!r}, but torch finds no GPU here: choose 'auto' or 'cpu'")
    return chosen
