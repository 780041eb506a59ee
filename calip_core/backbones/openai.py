"""OpenAI's checkpoints, and others in their layout: fetched by name or read from a file, checked, built.

Files are read by ``archive``, which executes nothing: an untrusted checkpoint cannot run code.
"""

import os
import ssl
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from calip_core.backbones.checkpoint import clip_weights
from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.backbones.names import Gelu
from calip_core.backbones.network import silent_for_seconds_only
from calip_core.paths import check_writable
from calip_core.reading import reading


def weights_file(name: str, root: str | Path | None = None) -> Path:
    """Where the checkpoint of one of OpenAI's models is, once fetched: by default, in clip's own ``~/.cache/clip``."""
    folder = Path(root) if root is not None else Path("~/.cache/clip").expanduser()
    return folder / _address(name).rsplit("/", 1)[-1]


def published_sha256(name: str) -> str:
    """The SHA-256 of the checkpoint of one of OpenAI's models: clip's download addresses contain it."""
    return _address(name).split("/")[-2]


def _address(name: str) -> str:
    url: str = clip.clip._MODELS[name]
    return url


def download(name: str, root: str | Path | None = None) -> Path:
    """Path of one of OpenAI's checkpoints, fetched if necessary and verified by its SHA-256.

    Args:
        name: one of ``clip.available_models()``.
        root: folder of the files; by default clip's own, ``~/.cache/clip``.

    Raises:
        ValueError: the file differs from the one OpenAI published, even after fetching it again.
        ConnectionError: it cannot be fetched.
        OSError: the folder cannot be written.
    """
    url = _address(name)
    target = weights_file(name, root)
    folder = target.parent
    if not target.exists():
        check_writable(folder)
    try:
        with silent_for_seconds_only():
            return Path(clip.clip._download(url, os.fspath(folder)))
    except RuntimeError as error:  # clip compares checksums before and after its download
        raise ValueError(
            f"{target} is not the checkpoint that OpenAI published as {name}, its SHA-256 differs ({error}): "
            "delete the file and try again"
        ) from error
    except (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        found = "the file there has another SHA-256" if target.is_file() else "no file is there yet"
        raise ConnectionError(
            f"cannot fetch {name} from {url} into {folder} ({error}); {found}. Fetch it on a machine with a network "
            f"and put it at {target}, or choose a miniature such as 'mini-rn', which needs no download"
        ) from error


def load_clip(path: str | Path, gelu: Gelu = "quick") -> ClipModule:
    """Build the CLIP whose weights a file holds, in float32 on the CPU, as ``clip.load`` would.

    Args:
        path: a TorchScript archive, as OpenAI publishes, or a saved state dict (``checkpoint.clip_weights``).
        gelu: "exact" for weights that were trained with the exact GELU, which ``clip.load`` cannot build; files do not
            record which one was used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or does not hold exactly one CLIP.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: check the path")
    weights = clip_weights(path)
    with reading(path, "the weights of one CLIP"):
        with torch.device("meta"):  # shapes are compared before the memory for them is taken
            clip.model.build_model({name: value.to("meta") for name, value in weights.items()})
        model: ClipModule = clip.model.build_model(weights)
    if gelu == "exact":
        _use_exact_gelu(model)
    return model.float()


def _use_exact_gelu(model: ClipModule) -> None:
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, clip.model.QuickGELU):
                setattr(module, name, nn.GELU())
