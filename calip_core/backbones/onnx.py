"""Backbones as ONNX files, for programs without PyTorch: written, then run by onnxruntime and compared."""

import importlib.util
import json
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from calip_core.backbones.base import Backbone
from calip_core.paths import check_writable

TOLERANCE = 1e-4
"""How far any number of a unit vector may differ between onnxruntime and PyTorch, both in float32 on a CPU."""
IMAGE_FILE, TEXT_FILE, DESCRIPTION = "image.onnx", "text.onnx", "backbone.json"

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_INLINE_BYTES = 1_500_000_000  # a protobuf file ends at 2 GB; weights of larger towers lie in a file beside it
_PROMPTS = ("a photo of a dog.", "two red cubes", "x")


class ImageTower(nn.Module):
    """Preprocessed images -> F_v and F_s, of unit length, as ``Backbone.encode_image`` gives them."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.visual, self._tower = backbone.model.visual, backbone._tower

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n m c"]]:
        """Pooled and spatial features."""
        pooled, spatial = self._tower(images)
        return normalize(pooled, dim=-1), normalize(spatial, dim=-1)


class TextTower(nn.Module):
    """Numbers of tokens, padded to the whole context -> features of unit length, as ``Backbone.encode_text``'s."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model

    def forward(self, tokens: Int[Tensor, "p length"]) -> Float[Tensor, "p c"]:
        """Features of texts."""
        return normalize(self.model.encode_text(tokens), dim=-1)


def check_export(folder: Path) -> None:
    """Refuse an export that could not be finished, before a backbone is loaded.

    Raises:
        ImportError: a package of the extra ``onnx`` is missing.
        FileExistsError: the folder holds something.
        OSError: the folder beside it cannot be written.
    """
    if missing := [package for package in _PACKAGES if importlib.util.find_spec(package) is None]:
        raise ImportError(f"export to ONNX needs {', '.join(missing)}: `pip install 'calip-core[onnx]'`")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: choose a folder that is new or empty")
    check_writable(folder.parent)


def export_onnx(backbone: Backbone, folder: Path) -> dict[str, float]:
    """Write both towers and a description, check them, and only then put the folder into its place.

    ``image.onnx`` maps ``images`` ("n 3 h w", float32, preprocessed) to ``pooled`` ("n c") and ``spatial`` ("n m c").
    ``text.onnx`` maps ``tokens`` ("p length", int64, padded to the whole context) to ``text`` ("p c"). All features
    have unit length; n and p are free. Weights of large towers lie in a file of their own, ``.onnx.data``.
    ``backbone.json`` says what they were made from, and what else a program needs: logit scale and bias, grid,
    resolution, preprocessing. The tokenizer is not part of it.

    Args:
        backbone: in float32, on the CPU.
        folder: new or empty.

    Returns:
        Name of each output -> largest difference from PyTorch, over several batch sizes.

    Raises:
        ImportError: a package of the extra ``onnx`` is missing.
        ValueError: the backbone is elsewhere or in another precision, or the files give other features than PyTorch;
            then nothing is left of them.
        FileExistsError: the folder holds something.
    """
    check_export(folder)
    if backbone.dtype != torch.float32 or backbone.device.type != "cpu":
        raise ValueError(
            f"{backbone.name} is in {backbone.dtype} on {backbone.device}, and exports are checked in float32 on the "
            "CPU: load it with device='cpu', precision='fp32'"
        )
    with _folder_at_once(folder) as temporary:
        images = torch.randn(2, 3, backbone.resolution, backbone.resolution, generator=torch.Generator().manual_seed(0))
        tokens = backbone.tokenize(_PROMPTS)
        tokens = pad(tokens, (0, backbone.context_length - tokens.shape[1]))
        image, text = ImageTower(backbone).eval(), TextTower(backbone).eval()
        _write(image, images, "images", ("pooled", "spatial"), temporary / IMAGE_FILE)
        _write(text, tokens, "tokens", ("text",), temporary / TEXT_FILE)
        (temporary / DESCRIPTION).write_text(json.dumps(_description(backbone), indent=2) + "\n", encoding="utf-8")
        differences = _differences(image, images, temporary / IMAGE_FILE)
        differences |= _differences(text, tokens, temporary / TEXT_FILE)
        worst = max(differences, key=differences.__getitem__)
        if differences[worst] > TOLERANCE:
            raise ValueError(
                f"{backbone.name} as ONNX differs from PyTorch by {differences[worst]:.2g} in {worst!r}, expected at "
                f"most {TOLERANCE:g}, so {folder} was not written: try other versions of torch and onnxruntime"
            )
    return differences


@torch.no_grad()
def _write(tower: nn.Module, example: Tensor, entry: str, outputs: tuple[str, ...], path: Path) -> None:
    """Export one tower whose first dimension is free."""
    size = sum(value.nbytes for value in tower.state_dict().values())
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of each constant that several blocks share
    try:
        torch.onnx.export(
            tower,
            (example,),
            path,
            input_names=[entry],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=size > _INLINE_BYTES,
            verbose=False,
        )
    finally:
        logger.setLevel(level)


@torch.no_grad()
def _differences(tower: nn.Module, example: Tensor, path: Path) -> dict[str, float]:
    """Name of each output -> largest absolute difference, for batches of one, and of one more than was exported."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = (node.name for node in session.get_inputs())
    names = [node.name for node in session.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for batch in (example[:1], torch.cat([example, example[:1].flip(-1)])):
        found = session.run(names, {entry: batch.numpy()})
        expected = tower(batch)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, ours, theirs in zip(names, expected, found, strict=True):
            difference = float(np.abs(ours.numpy() - theirs).max()) if ours.shape == theirs.shape else math.inf
            worst[name] = max(worst[name], math.inf if math.isnan(difference) else difference)
    return worst


def _description(backbone: Backbone) -> dict[str, object]:
    return {
        "backbone": backbone.name,
        "tokens": backbone.token_space,
        "resolution": backbone.resolution,
        "grid": list(backbone.grid),
        "embed_dim": backbone.embed_dim,
        "context_length": backbone.context_length,
        "logit_scale": backbone.logit_scale,
        "logit_bias": backbone.logit_bias,
        "preprocess": re.sub(r" at 0x[0-9a-f]+", "", str(backbone.preprocess)),
        "image_weights_sha256": backbone.weights_sha256,
        "text_weights_sha256": backbone.text_weights_sha256,
        "torch": str(torch.__version__),
    }


@contextmanager
def _folder_at_once(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside it; move it into place when the block succeeds, remove it when it fails."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_mask())  # mkdtemp's 0700 would keep others out
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
