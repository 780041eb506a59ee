"""Load a backbone by its name or its file."""

from pathlib import Path
from typing import get_args

import torch

from calip_core.backbones.base import Backbone
from calip_core.backbones.names import (
    MINIATURES,
    OPEN_CLIP,
    OPENAI,
    Gelu,
    Precision,
    TokenSpace,
    available_backbones,
    check_backbone_name,
    check_token_space,
)
from calip_core.backbones.openai import download, load_clip, published_sha256
from calip_core.backbones.precision import choose_dtype
from calip_core.digests import file_digest
from calip_core.paths import expanded


def load_backbone(
    name: str | Path,
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    tokens: TokenSpace = "joint",
    download_root: str | Path | None = None,
    gelu: Gelu = "quick",
) -> Backbone:
    """Load a CLIP that returns spatial tokens.

    Args:
        name: "mini-rn" or "mini-vit" (shipped, no network), one of OpenAI's names such as "RN50" (fetched once, several
            hundred megabytes), "open_clip:MODEL/TAG" (the ``openclip`` extra; ``families`` says which models,
            and what their spatial tokens are), or the path of a checkpoint in OpenAI's layout.
        device: "auto" uses a GPU if there is one; otherwise a torch device name.
        precision: "fp32", "bf16" or "fp16"; "auto" chooses a fast one for the device (``precision.choose_dtype``).
        tokens: which spatial tokens: "joint", "value" or "pre_pool" (``names.TokenSpace``).
        download_root: folder of downloaded weights; ``~/.cache/clip`` by default.
        gelu: the GELU of a checkpoint given by its path. OpenAI's models use "quick", which is also assumed for every
            file in their layout unless you pass "exact": many later CLIPs were trained with the exact GELU, but their
            files do not say so. The wrong one silently lowers accuracy.

    Raises:
        ValueError: the name or an option is unknown (the message lists the choices), or the checkpoint is damaged, not
            a CLIP, or differs from the published one.
        FileNotFoundError: the checkpoint file is missing.
        ConnectionError: weights cannot be fetched.
        ImportError: the extra is not installed.
    """
    chosen = _choose_device(device)
    choose_dtype(precision, chosen)  # every option is checked before anything is fetched
    check_token_space(tokens)
    if gelu not in get_args(Gelu):
        raise ValueError(f"gelu is {gelu!r}, expected one of {', '.join(get_args(Gelu))}")
    if gelu == "exact" and (name in available_backbones() or str(name).startswith(OPEN_CLIP)):
        raise ValueError(f"gelu is 'exact', but {name} has its own: it is for a checkpoint by its path")
    if str(name).startswith(OPEN_CLIP):
        from calip_core.backbones.open_clip import load_open_clip  # an extra: not everyone has the package

        return load_open_clip(str(name), device=chosen, precision=precision, tokens=tokens, cache_dir=download_root)
    path = _checkpoint(name, download_root)
    model = load_clip(path, gelu)
    published = str(name) if name in available_backbones() else published_model(path)
    if gelu == "exact":
        if published:
            raise ValueError(f"gelu is 'exact', but {path} is the published {published}, which has 'quick'")
        published = f"{name} (exact GELU)"  # so that its records are not those of the same file with the other
    return Backbone.from_clip(
        str(name), model, device=chosen, precision=precision, tokens=tokens, published_name=published
    )


def published_model(checkpoint: Path) -> str | None:
    """Name of the miniature or OpenAI model with a checkpoint's SHA-256; None if there is none.

    Raises:
        OSError: the file cannot be read.
    """
    from calip_core.backbones.model_card import load_card

    known = {published_sha256(model): model for model in OPENAI}
    known |= {load_card(miniature).sha256: miniature for miniature in MINIATURES}
    return known.get(file_digest(checkpoint))


def _checkpoint(name: str | Path, download_root: str | Path | None) -> Path:
    if name in MINIATURES:
        from calip_core.backbones.model_card import checkpoint_path  # its card's checks are for it alone

        return checkpoint_path(str(name))
    if name in OPENAI:
        return download(str(name), download_root)
    check_backbone_name(name)
    return expanded(name)


def _choose_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device is {device!r}, expected 'auto', 'cpu', 'cuda' or another that torch knows")
    try:
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()
    except Exception as error:  # each kind of device has its own for a missing driver, build or number
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"device is {str(device)!r}, but torch cannot compute there ({type(error).__name__}: {reason}): choose "
            "'auto', 'cpu', or a device that this machine has"
        ) from error
    return chosen
