"""Features on disk: encoded once, read back shard by shard."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from calip_core.attention import CalipConfig, calip_logits
from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split
from calip_core.features.encode import choose_images
from calip_core.features.fill import EncodingReport, fill
from calip_core.features.manifest import Manifest, StoredType, describe
from calip_core.features.shards import Shards, begin, read_manifest
from calip_core.paths import cache_dir
from calip_core.tokens import CalipLogits, ImageTokens

_READ_TOGETHER = 64  # images that are in memory at a time: of RN50's 50 tokens in float32, 13 MB


class FeatureStore:
    """The features of a set of images, on disk.

    Attributes:
        folder: the folder of its files.
        manifest: what was encoded, by which encoder, and how it is stored.
        report: how fast this process encoded; all zeros if nothing was missing.
    """

    def __init__(self, shards: Shards, report: EncodingReport) -> None:
        self.folder: Path = shards.folder
        self.manifest: Manifest = shards.manifest
        self.report = report
        self._shards = shards

    @classmethod
    def encode(
        cls,
        backbone: Backbone,
        split: Split,
        *,
        root: Path | None = None,
        name: str = "split",
        limit: int | None = None,
        seed: int = 0,
        stored: StoredType = "float16",
        batch_size: int = 64,
        shard_size: int = 256,
        workers: int | None = None,
        progress: bool = True,
    ) -> "FeatureStore":
        """Return the store of a split, encoding what is missing.

        A store is reused only if the images, the weights, the preprocessing, the precision and the packages are
        unchanged; otherwise a new folder is used. If interrupted, it resumes at the first missing shard and ends with
        the same bytes. Several processes may call this at once and then share the work.

        Args:
            backbone: the encoder to use.
            split: labelled images, for instance ``task.splits["test"]``.
            root: folder of all stores; ``features`` in the user's cache by default.
            name: readable prefix of the folder's name, such as "eurosat-test".
            limit: maximum number of images, drawn by ``seed``; all by default.
            seed: determines which images a limit selects.
            stored: the dtype in which features are stored.
            batch_size: images per call of the backbone, if the store is new.
            shard_size: images per file, if the store is new. A killed run loses at most two of them.
            workers: number of decoding threads; by default, the number of cores, at most 16.
            progress: whether to show a progress bar.

        Warns:
            UserWarning: a shard is damaged; its images are encoded again.

        Raises:
            ValueError: the split is empty or the limit is not positive.
            OSError: an image cannot be read, or the disk is full; the shards written so far are kept.
        """
        planned = cls.plan(
            backbone, split, root=root, name=name, limit=limit, seed=seed,
            stored=stored, batch_size=batch_size, shard_size=shard_size,
        )  # fmt: skip
        return planned.encode(workers=workers, progress=progress)

    @classmethod
    def plan(
        cls,
        backbone: Backbone,
        split: Split,
        *,
        root: Path | None = None,
        name: str = "split",
        limit: int | None = None,
        seed: int = 0,
        spatial: bool = True,
        stored: StoredType = "float16",
        batch_size: int = 64,
        shard_size: int = 256,
    ) -> "PlannedStore":
        """What ``encode`` would store, before anything is encoded; the arguments are those of ``encode``.

        Without ``spatial``, only pooled features are stored, and read with an empty grid.

        Raises:
            ValueError: the split is empty or the limit is not positive.
            OSError: an image cannot be read.
        """
        chosen = choose_images(split, limit, seed)
        manifest = describe(
            backbone, split, chosen, spatial=spatial, stored=stored, batch_size=batch_size, shard_size=shard_size
        )
        parts = (name, backbone.published_name, manifest.key)
        folder = (root or cache_dir() / "features") / "-".join(re.sub(r"[^\w.@]+", "_", part) for part in parts)
        return PlannedStore(backbone, split, chosen, manifest, folder)

    @classmethod
    def open(cls, folder: Path | str) -> "FeatureStore":
        """Open a finished store, without the backbone or the images that it was made from.

        Raises:
            FileNotFoundError: there is no store in this folder.
            ValueError: shards are missing or damaged.
        """
        folder = Path(folder)
        shards = Shards(folder, read_manifest(folder))
        count, first = shards.faults(most=5)
        if count:
            raise ValueError(
                f"{folder} lacks {count} of {shards.manifest.shards} shards: {', '.join(first)}. Call "
                "FeatureStore.encode with the backbone and the images, it encodes what is missing"
            )
        return cls(shards, EncodingReport())

    def __len__(self) -> int:
        return self.manifest.images

    @property
    def labels(self) -> Int64[np.ndarray, "n"]:
        """The class number of every image."""
        parts = []
        for shard in range(self.manifest.shards):
            with self._shards.open(shard) as tensors:
                parts.append(tensors.get_tensor("labels").numpy())
        return np.concatenate(parts)

    def batches(self, size: int = _READ_TOGETHER, spatial: bool = True) -> Iterator[ImageTokens]:
        """All tokens in order, at most ``size`` images at a time, in the stored dtype.

        Args:
            size: maximum number of images per batch.
            spatial: whether to read spatial tokens. If not, batches have an empty grid: ``spatial`` of shape (n, 0, c),
                ``grid`` (0, 0).

        Raises:
            ValueError: the size is not positive.
        """
        if size < 1:
            raise ValueError(f"size is {size}, expected at least one image per batch")
        for shard in range(self.manifest.shards):
            with self._shards.open(shard) as tensors:
                pooled, places = tensors.get_slice("pooled"), tensors.get_slice("spatial")
                for start in range(0, len(self.manifest.images_of(shard)), size):
                    rows = slice(start, start + size)
                    if spatial:
                        yield ImageTokens(pooled[rows], places[rows], self.manifest.grid)  # (size, c), (size, m, c)
                    else:
                        yield ImageTokens.without_places(pooled[rows])

    def tokens(self, dtype: torch.dtype = torch.float32) -> ImageTokens:
        """All tokens in memory, on the CPU. For small sets."""
        return ImageTokens.cat([batch.to(dtype) for batch in self.batches()])

    def logits(
        self, text: Float[Tensor, "k c"], config: CalipConfig | None = None, logit_scale: float = 100.0
    ) -> CalipLogits:
        """CALIP's three logits of all images, streamed: besides the result, only one small batch is in memory.

        Args:
            text: F_t, rows of unit length; its device and precision are used for the computation.
            config: temperatures and pooling; by default, those of the released code.
            logit_scale: the factor s on the cosines.

        Returns:
            Logits "n k" on the device of ``text``, as ``calip_logits`` gives them.

        Raises:
            ValueError: feature widths differ, there are no classes, or features are NaN or infinite.
        """
        dtype = torch.promote_types(text.dtype, torch.float32)
        clip, text_attended, visual_attended = (
            torch.empty(len(self), len(text), dtype=dtype, device=text.device) for _ in range(3)
        )
        start = 0
        for batch in self.batches():
            part = calip_logits(batch.to(text.device).to(text.dtype), text, config, logit_scale)
            rows = slice(start, start + len(part))
            clip[rows], text_attended[rows], visual_attended[rows] = part.clip, part.text_attended, part.visual_attended
            start += len(part)
        return CalipLogits(clip, text_attended, visual_attended)


@dataclass(frozen=True)
class PlannedStore:
    """A store that may not have been encoded yet.

    Attributes:
        backbone: the encoder to use.
        split: the images.
        chosen: the numbers of the images that the store holds.
        manifest: what is encoded, and by which encoder.
        folder: the store's folder, which may not exist yet.
    """

    backbone: Backbone
    split: Split
    chosen: Sequence[int]
    manifest: Manifest
    folder: Path

    @property
    def labels(self) -> Int64[np.ndarray, "n"]:
        """The class number of every image."""
        return self.split.labels[list(self.chosen)]

    def encode(self, *, workers: int | None = None, progress: bool = True) -> FeatureStore:
        """Return the store, encoding what is missing; the arguments are those of ``FeatureStore.encode``."""
        shards = begin(self.folder, self.manifest)
        report = fill(shards, self.backbone, self.split, self.chosen, workers=workers, progress=progress)
        return FeatureStore(shards, report)
