"""What a feature store was made from: everything that, once changed, makes other features."""

import hashlib
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calip_core.backbones import base, dense, precision
from calip_core.backbones.base import Backbone
from calip_core.backbones.dense import TokenSpace
from calip_core.environment import library_version, package_versions
from calip_core.features.encode import LabelledImages, OwnInput

StoredType = Literal["float16", "bfloat16", "float32"]
"""How features are kept. float16 halves the disk; a cosine then errs by less than 0.001."""

_PACKAGES = ("torch", "torchvision", "pillow")
_ENCODERS = {"clip": "clip-anytorch", "open_clip": "open_clip_torch"}
"""Module that holds an encoder's code -> the package that brings it, where that is not one of the above."""
_LAYOUT = {"batch_size", "shard_size"}


class SourceFile(BaseModel):
    """One image file as it was when the store was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    bytes: int
    modified_ns: int


class Manifest(BaseModel):
    """What was encoded, by what, and how it is kept.

    Attributes:
        source: SHA-256 of the labels and of the files' names, sizes and times; of all pixels of generated images; or of
            what depth maps are made from.
        files: the image files, relative to their common folder; None for generated images.
        weights: SHA-256 of the image encoder's weights as they compute.
        precision: in what and where the encoder computes.
        stored: in what the features are kept.
        versions: of the packages that turn a file into features; of this library, the version and a digest of the
            code that does it.
        batch_size: images a call of the backbone. Sums may round differently in another batch, so a store that is
            resumed keeps the size that it began with.
        shard_size: images a file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: int = Field(ge=1)
    source: str
    files: tuple[SourceFile, ...] | None
    backbone: str
    tokens: TokenSpace
    weights: str
    grid: tuple[int, int]
    width: int
    preprocessing: str
    precision: str
    stored: StoredType
    versions: dict[str, str]
    batch_size: int = Field(ge=1)
    shard_size: int = Field(ge=1)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that change with anything that changes the features."""
        text = self.model_dump_json(exclude=_LAYOUT)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def shards(self) -> int:
        """How many files the features take."""
        return -(-self.images // self.shard_size)

    def images_of(self, shard: int) -> range:
        """Which images of the store a shard holds."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.images))

    @property
    def shard_bytes(self) -> int:
        """Bytes of a full shard's features."""
        tokens = 1 + self.grid[0] * self.grid[1]
        return self.shard_size * tokens * self.width * self.dtype.itemsize

    @property
    def dtype(self) -> torch.dtype:
        """The torch type in which features are kept."""
        dtype: torch.dtype = getattr(torch, self.stored)
        return dtype


def describe(
    backbone: Backbone, split: LabelledImages, chosen: Sequence[int],
    *, stored: StoredType, batch_size: int, shard_size: int,
) -> Manifest:  # fmt: skip
    """The manifest of encoding the ``chosen`` images of a split.

    Raises:
        OSError: an image file is missing.
    """
    files = _source_files(split, chosen)
    return Manifest(
        images=len(chosen),
        source=_source_digest(split, chosen, files),
        files=files,
        backbone=backbone.name,
        tokens=backbone.token_space,
        weights=weights_checksum(backbone.model.visual),
        grid=backbone.grid,
        width=backbone.embed_dim,
        preprocessing="the images' own" if isinstance(split, OwnInput) else _readable(backbone.preprocess),
        precision=precision_of(backbone),
        stored=stored,
        versions=_versions(backbone.model.visual),
        batch_size=batch_size,
        shard_size=shard_size,
    )


def _versions(encoder: nn.Module) -> dict[str, str]:
    """Of this library, of the digest of its code and of all packages that turn a file into features."""
    package = _ENCODERS.get(type(encoder).__module__.partition(".")[0])
    try:
        by = package_versions([package]) if package else {}
    except PackageNotFoundError:  # OpenAI's own repository, for one, installs the same module under another name
        by = {str(package): "another"}
    return {"calip-core": library_version(), "encoder": _code_digest()} | package_versions(_PACKAGES) | by


def precision_of(backbone: Backbone) -> str:
    """In what and where a backbone computes, such as "float32 on cpu"."""
    return f"{backbone.dtype} on {backbone.device.type}".removeprefix("torch.")


def weights_checksum(model: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _code_digest() -> str:
    digest = hashlib.sha256()
    for module in (base, dense, precision):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _readable(preprocess: object) -> str:
    """The steps of a preprocessing as they print, without the addresses that differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess))


def _source_files(split: LabelledImages, chosen: Sequence[int]) -> tuple[SourceFile, ...] | None:
    paths: Sequence[Path] | None = getattr(split, "paths", None)
    if paths is None:
        return None
    # Relative names: a data root that is moved as a whole keeps its stores.
    folder = os.path.commonpath([paths[i].absolute().parent for i in chosen])
    return tuple(_source_file(paths[i].absolute(), folder) for i in chosen)


def _source_file(path: Path, folder: str) -> SourceFile:
    status = path.stat()
    name = path.relative_to(folder).as_posix()
    return SourceFile(name=name, bytes=status.st_size, modified_ns=status.st_mtime_ns)


def _source_digest(
    split: LabelledImages, chosen: Sequence[int], files: tuple[SourceFile, ...] | None
) -> str:
    digest = hashlib.sha256(np.asarray(split.labels)[list(chosen)].astype("<i8").tobytes())
    for part in _contents(split, chosen, files):
        digest.update(part)
    return digest.hexdigest()


def _contents(
    split: LabelledImages, chosen: Sequence[int], files: tuple[SourceFile, ...] | None
) -> Iterator[bytes]:
    made_from: str | None = getattr(split, "made_from", None)
    if made_from is not None:
        return iter([made_from.encode(), np.asarray(chosen, "<i8").tobytes()])
    return (file.model_dump_json().encode() for file in files) if files else _pixels(split, chosen)


def _pixels(split: LabelledImages, chosen: Sequence[int]) -> Iterator[bytes]:
    for i in chosen:
        image = split[i][0]
        yield f"{image.mode} {image.size} ".encode() + image.tobytes()
