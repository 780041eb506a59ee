"""Text features on disk: a classifier's weights, encoded once for its prompts."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.features.manifest import precision_of, versions_behind
from calip_core.paths import atomic_path, cache_dir
from calip_core.prompts import class_vectors, prompts_by_class
from calip_core.templates import Templates

VERSION = 1
"""Version of the code from prompts to features: increment it when a change alters the features."""


def text_features(
    backbone: Backbone, classnames: Sequence[str], templates: Templates, *, root: Path | None = None
) -> Float[Tensor, "k c"]:
    """``zero_shot_classifier`` with its result kept on disk, bit for bit.

    A file is reused only if the text encoder's weights, its precision, the packages and all prompts are unchanged, and
    if its content matches its checksum.

    Args:
        backbone: the encoder to use.
        classnames: k names, put into the templates as they are.
        templates: texts with one ``{}`` each, or class descriptions.
        root: folder of all text features; ``texts`` in the user's cache by default.

    Returns:
        Rows of unit length, float32, on the backbone's device.

    Warns:
        UserWarning: a name occurs twice (other than in ImageNet's own list), or the file is damaged and is made again.

    Raises:
        ValueError: as ``zero_shot_classifier``.
        OSError: the folder cannot be written.
    """
    prompts = prompts_by_class(classnames, templates)
    path = (root or cache_dir() / "texts") / f"{_key(backbone, prompts)}.safetensors"
    kept = _read(path, (len(prompts), backbone.embed_dim))
    if kept is None:
        kept = class_vectors(backbone, prompts).cpu()
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({"text": kept.contiguous()}, {"sha256": _digest(kept)}))
    return kept.to(backbone.device)


def _key(backbone: Backbone, prompts: Sequence[Sequence[str]]) -> str:
    made_from = {
        "version": VERSION,
        "weights": backbone.text_weights_sha256,
        "precision": precision_of(backbone),
        "versions": versions_behind(backbone),
        "prompts": prompts,
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path, shape: tuple[int, int]) -> Float[Tensor, "k c"] | None:
    """The content of the file; None if there is no file or it does not match its checksum."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text: Tensor = file.get_tensor("text").clone()
            expected = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError):
        text, expected = torch.empty(0), None
    if tuple(text.shape) == shape and text.dtype == torch.float32 and _digest(text) == expected:
        return text
    warnings.warn(f"{path} does not match its checksum: encoding its prompts again", UserWarning, stacklevel=3)
    return None


def _digest(text: Tensor) -> str:
    return hashlib.sha256(text.contiguous().numpy().data).hexdigest()
