"""OpenAI's checkpoints, and anyone's in their layout: fetched by name or read from a file, checked, built.

Files are read as weights only: a checkpoint from a stranger cannot run code here.
"""

import os
import pickle
import ssl
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from calip_core.backbones.base import VOCABULARY
from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.paths import check_writable

_ALWAYS = ("visual.conv1.weight", "text_projection", "positional_embedding", "token_embedding.weight",
           "ln_final.weight", "logit_scale", "transformer.resblocks.0.attn.in_proj_weight")
_VIT = ("visual.positional_embedding", "visual.proj")
_RESNET = ("visual.layer4.0.conv1.weight", "visual.attnpool.positional_embedding")


def download(name: str, root: str | Path | None = None) -> Path:
    """Path of one of OpenAI's checkpoints, fetched if need be and verified by its SHA-256.

    Args:
        name: one of ``clip.available_models()``.
        root: folder of the files; clip's own, ``~/.cache/clip``, when left out.

    Raises:
        ValueError: the file is not what OpenAI published, and fetching it anew did not help.
        ConnectionError: it cannot be fetched.
        OSError: the folder cannot be written.
    """
    url = clip.clip._MODELS[name]
    folder = Path(root) if root is not None else Path("~/.cache/clip").expanduser()
    target = folder / url.rsplit("/", 1)[-1]
    if not target.exists():
        check_writable(folder)
    try:
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


def load_clip(path: str | Path) -> ClipModule:
    """Build the CLIP whose weights a file holds, in float32 on the CPU, equal to what ``clip.load`` builds.

    Args:
        path: a TorchScript archive, as OpenAI publishes, or a saved state dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds more than weights, or is not a CLIP.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: check the path")
    weights = _read_weights(path)
    _check_is_clip(path, weights)
    try:
        model: ClipModule = clip.model.build_model(weights)
    except (RuntimeError, KeyError, AssertionError, IndexError) as error:
        raise ValueError(f"{path} has the names of a CLIP but not its shapes: {error}") from error
    return model.float()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if _is_torchscript(path):
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as weights: it is truncated, damaged, or holds other "
            f"things than tensors ({reason}). Fetch or save it again"
        ) from error
    if not isinstance(weights, Mapping):
        raise ValueError(f"{path} holds a {type(weights).__name__}, expected the state dict of a CLIP")
    return dict(weights)


def _is_torchscript(path: Path) -> bool:
    """Both kinds of file are zip archives; a program's constants are in TorchScript's alone. Also finds damaged bytes.

    Raises:
        BadZipFile: a member of the archive fails its own checksum.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} fails its checksum")
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _check_is_clip(path: Path, weights: Mapping[str, object]) -> None:
    family = _VIT if "visual.proj" in weights else _RESNET
    missing = [key for key in (*_ALWAYS, *family) if not isinstance(weights.get(key), Tensor)]
    if missing:
        raise ValueError(
            f"{path} is not a CLIP in OpenAI's layout: {', '.join(missing)} missing among its {len(weights)} entries "
            f"({', '.join(map(str, list(weights)[:3]))}, ...)"
        )
    entries = len(weights["token_embedding.weight"])  # type: ignore[arg-type]
    if entries != VOCABULARY:
        raise ValueError(f"{path} has a vocabulary of {entries} entries, expected the {VOCABULARY} of CLIP's tokenizer")
