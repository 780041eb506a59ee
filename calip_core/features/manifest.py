"""What a feature store was made from: everything that affects the features."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from calip_core.backbones.base import Backbone
from calip_core.backbones.names import TokenSpace
from calip_core.datasets.task import Split
from calip_core.digests import file_digests
from calip_core.environment import package_versions

StoredType = Literal["float16", "bfloat16", "float32"]
"""The stored dtype. float16 halves the disk space; the error of a cosine is then below 0.001."""

_PACKAGES = ("torch", "torchvision", "pillow")
_ENCODERS = {"clip": ("clip-anytorch",), "open_clip": ("open_clip_torch", "timm")}
"""Module that holds an encoder's code -> the packages that contain it, if it is not one of the above."""
_UNKEYED = {"backbone", "batch_size", "shard_size"}


class Manifest(BaseModel):
    """What was encoded, by which encoder, and how it is stored.

    Attributes:
        backbone: the encoder's name, for readers; ``weights`` and ``encoder`` identify it.
        source: SHA-256 of the labels and of the content of the image files; of all pixels of generated images; or of
            what depth maps are made from. Names and times of files are not part of it.
        encoder: the declared versions of the library's code between an image and its tokens.
        weights: SHA-256 of the image encoder's weights as prepared for inference.
        grid: rows and columns of the spatial tokens; (0, 0) if only pooled features are stored.
        precision: the encoder's precision and device.
        stored: the dtype in which the features are stored.
        versions: versions of the packages that turn a file into features.
        batch_size: images per call of the backbone. Rounding may depend on the batch size, so a resumed store keeps its
            original one.
        shard_size: images per file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: int = Field(ge=1)
    source: str
    backbone: str
    encoder: str
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
        text = self.model_dump_json(exclude=_UNKEYED)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def shards(self) -> int:
        """Number of files that hold the features."""
        return -(-self.images // self.shard_size)

    def images_of(self, shard: int) -> range:
        """The images of the store that a shard holds."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.images))

    @property
    def shard_bytes(self) -> int:
        """Size of a full shard's features, in bytes."""
        tokens = 1 + self.grid[0] * self.grid[1]
        return self.shard_size * tokens * self.width * self.dtype.itemsize

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype in which features are stored."""
        dtype: torch.dtype = getattr(torch, self.stored)
        return dtype


def describe(
    backbone: Backbone, split: Split, chosen: Sequence[int],
    *, spatial: bool, stored: StoredType, batch_size: int, shard_size: int,
) -> Manifest:  # fmt: skip
    """The manifest of encoding the ``chosen`` images of a split.

    Raises:
        OSError: an image file is missing.
    """
    return Manifest(
        images=len(chosen),
        source=source_digest(split, chosen),
        backbone=backbone.published_name,
        encoder=backbone.encoder,
        tokens=backbone.token_space,
        weights=backbone.weights_sha256,
        grid=backbone.grid if spatial else (0, 0),
        width=backbone.embed_dim,
        preprocessing=_readable(backbone.preprocess),
        precision=precision_of(backbone),
        stored=stored,
        versions=versions_behind(backbone),
        batch_size=batch_size,
        shard_size=shard_size,
    )


def versions_behind(backbone: Backbone) -> dict[str, str]:
    """Versions of all packages that turn an image or a text into features."""
    packages = _ENCODERS.get(type(backbone.model).__module__.partition(".")[0], ())
    try:
        by = package_versions(packages)
    except PackageNotFoundError:  # OpenAI's own repository, for one, installs the same module under another name
        by = dict.fromkeys(packages, "another")
    return package_versions(_PACKAGES) | by


def precision_of(backbone: Backbone) -> str:
    """Precision and device of a backbone, such as "float32 on cpu"."""
    return f"{backbone.dtype} on {backbone.device.type}".removeprefix("torch.")


def _readable(preprocess: object) -> str:
    """The printed steps of a preprocessing, without addresses that differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess))


def source_digest(split: Split, chosen: Sequence[int]) -> str:
    """SHA-256 that changes if and only if one of the chosen images or labels does."""
    digest = hashlib.sha256(split.labels[list(chosen)].astype("<i8").tobytes())
    for part in _contents(split, chosen):
        digest.update(part)
    return digest.hexdigest()


def _contents(split: Split, chosen: Sequence[int]) -> Iterator[bytes]:
    paths, identity = split.paths, split.identity
    if paths is None and identity is None:
        yield from _pixels(split, chosen)
    if paths is not None:
        yield from map(bytes.fromhex, file_digests([paths[i] for i in chosen]))
    if identity is not None:
        yield identity.encode() + np.asarray(chosen, "<i8").tobytes()


def _pixels(split: Split, chosen: Sequence[int]) -> Iterator[bytes]:
    for i in chosen:
        image = split[i][0]
        yield f"{image.mode} {image.size} ".encode() + image.tobytes()
