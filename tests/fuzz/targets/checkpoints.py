"""Checkpoints of CLIP and saved heads."""

import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from calip_core.backbones import archive, checkpoint
from calip_core.backbones.clip_import import clip
from calip_core.backbones.openai import load_clip
from calip_core.methods import load_method, make_method, save_method
from calip_core.miniature import trainer
from calip_core.miniature.trainer import Length, Progress, Recipe, Trainer
from calip_core.tokens import ImageTokens
from tests.fuzz.harness import Target

_WORDS = 4  # of the vocabulary: the whole one would make files of megabytes
_NAMES = ("cat", "dog")


def _small_clip() -> nn.Module:
    """With the fewest parts that OpenAI's layout allows; 64 is the width of one attention head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return clip.model.CLIP(2, 4, 0, 64, 2, 3, _WORDS, 64, 1, 1)


def _light(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights of the model's shapes that all lie in one storage, so that a file of them is small."""
    sizes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    storage = torch.linspace(0, 1, max(size.numel() for size in sizes.values())).to(dtype)
    return {name: storage[: size.numel()].view(size) for name, size in sizes.items()}


def _saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _torch_files() -> Sequence[bytes]:
    content = {"weight": torch.arange(6.0).view(2, 3), "half": torch.ones(3).half(), "epoch": 3, "best": np.float64(1)}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather be rid of TorchScript
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))), buffer)
    return _saved(content), _saved(content, _use_new_zipfile_serialization=False), buffer.getvalue()


def _read_torch_file(path: Path) -> object:
    content = archive.read_torch(path)
    return archive.scripted_tensors(content) or content


def _clips() -> Sequence[bytes]:
    weights = _light(_small_clip(), torch.float16)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}
    return _saved(weights), _saved(wrapped, _use_new_zipfile_serialization=False)


def _load_clip(path: Path) -> object:
    with patch.object(checkpoint, "VOCABULARY", _WORDS):
        return load_clip(path)


def _heads() -> Sequence[bytes]:
    features = torch.nn.functional.normalize(torch.arange(1.0, 9.0).view(2, 4), dim=1)
    support = ImageTokens(features.clone(), features.unsqueeze(1), (1, 1))
    heads = (
        make_method("calip", beta2=0.4, beta3=0.2).fit(None, None, features),
        make_method("tip_adapter", alpha=1.0, beta=1.0).fit(support, np.arange(2), features),
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{head.name}.safetensors") for head in heads]
        for head, path in zip(heads, paths, strict=True):
            save_method(head, path, backbone="RN50", classnames=_NAMES)
        return [path.read_bytes() for path in paths]


def _load_head(path: Path) -> object:
    return load_method(path, backbone="RN50", classnames=_NAMES)


def _states() -> Sequence[bytes]:
    recipe, length = asdict(Recipe("rn")), asdict(Length(samples=64))
    with patch.object(trainer, "build_miniature", lambda *_: _small_clip()):
        optimizer = Trainer(Recipe("rn"), Length(samples=64)).optimizer.state_dict()
    model = _light(_small_clip(), torch.float32)
    progress = asdict(Progress(step=1, seconds=0.5, loss=2.0, curve=[{"loss": 2.0}]))
    state = {"recipe": recipe, "length": length, "progress": progress, "model": model, "optimizer": optimizer}
    return [_saved(state)]


def _load_state(path: Path) -> object:
    with patch.object(trainer, "build_miniature", lambda *_: _small_clip()):
        return Trainer.load(path)


TARGETS: list[Target] = [
    Target("torch file", "x.pt", _torch_files, _read_torch_file),
    Target("CLIP checkpoint", "x.pt", _clips, _load_clip),
    Target("saved head", "x.safetensors", _heads, _load_head),
    Target("training state", "x.checkpoint", _states, _load_state),
]
