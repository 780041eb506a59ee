"""Few-shot measurements: a head, a number of shots and a seed become a record.

All heads see the same support images, the same few validation images and the same test images, encoded once.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from PIL import Image
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from torch import Tensor
from torchvision import transforms

from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split, Task
from calip_core.features import FeatureStore
from calip_core.features.encode import OwnInput
from calip_core.machine import commit, device_name, library_version, package_versions
from calip_core.methods import Method, make_method
from calip_core.methods.registry import accepted_options
from calip_core.metrics import correct_predictions, wilson_interval
from calip_core.prompts import zero_shot_classifier
from calip_core.records import Share, pack_hits, unpack_hits
from calip_core.support import coop_support_and_val
from calip_core.tokens import ImageTokens

SHOTS = (1, 2, 4, 8, 16)
"""Images a class, as in published tables."""
SEEDS = (1, 2, 3)
"""CoOp's draws, over which published tables average."""

Hyperparameters = Literal["stated", "validation"]
_PACKAGES = ("torch", "torchvision", "numpy", "pillow")
_CROP = (0.5, 1.0)  # share of the area that an augmented view keeps, as in Tip-Adapter's code


class FewShotRecord(BaseModel):
    """One fit of one head, measured on one test set. Shares run from 0 to 1.

    Attributes:
        images: test images (clouds, where the images are views of clouds).
        shots: support images of each class; seed: of the draw, and of the fit where it draws too.
        augmentations: augmented views of each support image; 0 means the image as it is.
        method, options: the head and what it was made with.
        hyperparameters: "validation" where the head was given min(shots, 4) validation images a class to choose on,
            "stated" where all was fixed beforehand.
        parameters: numbers that the fit has found, text features left out.
        seconds: of the fit, encoding left out.
        low, high: ends of the 95 % Wilson interval of ``top1``.
        clip_top1: zero-shot accuracy on the same images.
        hits: which images were right (``records.pack_hits``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = 1
    dataset: str
    split_source: str
    standin: bool
    projection: str | None
    images: int = Field(ge=1)
    classes: int = Field(ge=1)
    limit: int | None
    image_set: str
    support_set: str
    backbone: str
    weights: str
    precision: str
    device: str
    shots: int = Field(ge=1)
    seed: int = Field(ge=0)
    augmentations: int = Field(ge=0)
    method: str
    options: dict[str, Any]
    hyperparameters: Hyperparameters
    parameters: int = Field(ge=0)
    seconds: float = Field(ge=0)
    top1: Share
    low: Share
    high: Share
    clip_top1: Share
    hits: str
    versions: dict[str, str]
    commit: str
    time: AwareDatetime

    @property
    def gain(self) -> float:
        """Over zero-shot CLIP on the same images."""
        return self.top1 - self.clip_top1

    def correct(self) -> Bool[np.ndarray, "n"]:
        """Which images were right."""
        return unpack_hits(self.hits, self.images)


@dataclass(frozen=True)
class Encoded:
    """Features of some images; where ``views`` consecutive ones show one thing, they are classified as one."""

    tokens: ImageTokens
    labels: Int64[np.ndarray, "n"]
    source: str
    views: int

    @property
    def thing_labels(self) -> Int64[np.ndarray, "t"]:
        """One label a thing."""
        return self.labels[:: self.views]


class DrawnImages(Split):
    """Some images of a split, each as it is or in several augmented views: random crops, half of them mirrored.

    Attributes:
        views: rows of each drawn image.
    """

    def __init__(self, split: Split, indices: Sequence[int], augmentations: int = 0, seed: int = 0) -> None:
        """Say which images.

        Args:
            split: a split of images.
            indices: numbers of images in it.
            augmentations: views of each; 0 takes the image as it is.
            seed: of crops and mirrorings; view v of image i depends on (seed, i, v) alone.
        """
        self.views = max(1, augmentations)
        read = partial(_view_of, split, list(indices), augmentations, seed)
        super().__init__(read, np.repeat(split.labels[list(indices)], self.views))


def _view_of(split: Split, indices: Sequence[int], augmentations: int, seed: int, row: int) -> Image.Image:
    place, view = divmod(row, max(1, augmentations))
    image = split[indices[place]][0]
    if not augmentations:
        return image
    rng = np.random.default_rng((seed, indices[place], view))
    state = torch.random.get_rng_state()
    try:  # torchvision's crops draw from torch's own stream, which is given back as it was
        torch.manual_seed(int(rng.integers(2**63)))
        box = transforms.RandomResizedCrop.get_params(image, list(_CROP), [3 / 4, 4 / 3])
    finally:
        torch.random.set_rng_state(state)
    top, left, height, width = box
    cut = image.resize(image.size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else cut


class DrawnViews(Split):
    """Some clouds of a split of views, each with all its views."""

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        """Say which: numbers of images in the split, the views of a cloud together."""
        self._split, self._indices, self.views = split, list(indices), split.views
        self.made_from = f"{getattr(split, 'made_from', '')} {self._indices}"
        super().__init__(lambda row: split[self._indices[row]][0], split.labels[self._indices])

    def encoder_input(self, index: int, resolution: int) -> Float[Tensor, "3 h w"]:
        """As the split gives it."""
        assert isinstance(self._split, OwnInput)
        return self._split.encoder_input(self._indices[index], resolution)


class FewShotBench:
    """A task and a backbone on which heads are fitted and measured; every image is encoded once and kept on disk.

    Attributes:
        text: zero-shot classifier, "k c".
        test: features of the test images.
    """

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        *,
        limit: int | None = None,
        augmentations: int = 0,
        features: Path | None = None,
        progress: bool = True,
    ) -> None:
        """Encode the test images.

        Args:
            task: with a train split, and a val split where heads are to choose on one.
            backbone: who encodes.
            limit: at most so many test images, drawn by seed 0; all when left out.
            augmentations: augmented views of every support image; 0 takes the image as it is. Clouds have none: their
                views are rows of their own.
            features: folder of the feature stores; in the user's cache when left out.
            progress: whether to show bars while encoding.

        Raises:
            ValueError: the task has no train or test images, augmentations are negative or asked for clouds.
        """
        if augmentations < 0 or (augmentations and task.view_set):
            raise ValueError(f"augmentations is {augmentations}, expected 0 or more for images, and 0 for clouds")
        self.task, self.backbone, self.limit, self.augmentations = task, backbone, limit, augmentations
        self._features, self._progress = features, progress
        self.text = zero_shot_classifier(backbone, task.classnames, task.templates)
        store = self._store(task.splits["test"], "test", limit)
        self._weights, self._precision = store.manifest.weights, store.manifest.precision
        self.test = _encoded(store, task.splits["test"].views, backbone.device)
        self._clip_hits = self._hits(backbone.logit_scale * self.test.tokens.pooled @ self.text.T)

    def _store(self, split: Split, name: str, limit: int | None = None) -> FeatureStore:
        return FeatureStore.encode(
            self.backbone, split, root=self._features, name=f"{self.task.name}-{name}", limit=limit,
            progress=self._progress,
        )  # fmt: skip

    def support(self, shots: int, seed: int, *, nested: bool = False) -> tuple[Encoded, Encoded | None]:
        """The support set and, where the task has a val split, min(shots, 4) validation images a class.

        Args:
            shots: images of each class.
            seed: of the draw; published tables average over 1, 2 and 3.
            nested: make the set of 1 shot lie inside that of 2 shots, and so on; another draw than CoOp's.

        Raises:
            ValueError: a class has fewer images than shots.
        """
        train, val = self.task.splits["train"], self.task.splits["val"]
        draw = partial(coop_support_and_val, classes=len(self.task.classnames), views=train.views, nested=nested)
        drawn = draw(train.labels, val.labels if len(val) else train.labels, shots, seed)
        support = self._drawn(train, drawn.train, f"support-{shots}-{seed}", self.augmentations, seed)
        return support, self._drawn(val, drawn.val, f"val-{shots}-{seed}") if len(val) else None

    def _drawn(
        self, split: Split, indices: Int64[np.ndarray, "i"], name: str, augmentations: int = 0, seed: int = 0
    ) -> Encoded:
        chosen: Split = (
            DrawnViews(split, indices.tolist())
            if isinstance(split, OwnInput)
            else DrawnImages(split, indices.tolist(), augmentations, seed)
        )
        return _encoded(self._store(chosen, name), chosen.views, self.backbone.device)

    def run(
        self,
        method: str,
        shots: int,
        seed: int,
        *,
        options: Mapping[str, Any] | None = None,
        hyperparameters: Hyperparameters = "stated",
        nested: bool = False,
    ) -> FewShotRecord:
        """Fit a head on a support set and measure it on the test images.

        Args:
            method: one of ``methods.METHODS``.
            shots: images of each class.
            seed: of the draw, and of the fit where the head has a seed.
            options: of the head; its logit scale, seed, backbone, class names and numbers of views are filled in where
                it has them.
            hyperparameters: "validation" gives the head the validation images to choose on.
            nested: as for ``support``.

        Raises:
            ValueError: unknown method or option, too few images, or no val split to choose on.
        """
        support, val = self.support(shots, seed, nested=nested)
        if hyperparameters == "validation" and val is None:
            raise ValueError(f"{self.task.name} has no val images to choose on: take hyperparameters='stated'")
        start = time.perf_counter()
        head = self.fit(method, support, val if hyperparameters == "validation" else None, options, seed)
        return self._record(head, support, shots, seed, hyperparameters, time.perf_counter() - start)

    def fit(
        self,
        method: str,
        support: Encoded,
        val: Encoded | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 1,
    ) -> Method:
        """A head fitted on a support set.

        Args:
            method: one of ``methods.METHODS``.
            support: of ``support``.
            val: images to choose hyperparameters on; without them the stated ones are used.
            options: as for ``run``.
            seed: of the fit.
        """
        head = make_method(method, **self._filled_in(method, options or {}, seed))
        chosen_on = None if val is None else (val.tokens, val.labels)
        return head.fit(support.tokens, support.labels, self.text, chosen_on)

    def _filled_in(self, method: str, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
        known = {
            "logit_scale": self.backbone.logit_scale,
            "seed": seed,
            "backbone": self.backbone,
            "classnames": self.task.classnames,
            "views": max(1, self.augmentations),
            "cloud_views": self.test.views,
        }
        accepted = accepted_options(method)
        return {name: value for name, value in known.items() if name in accepted} | dict(options)

    def accuracy(self, head: Method, images: Encoded | None = None) -> float:
        """Share of images (clouds) that a head gets right; of the test images when ``images`` is left out."""
        images = images or self.test
        fused = head.logits(images.tokens).unflatten(0, (-1, images.views)).mean(dim=1)
        return float(correct_predictions(fused, images.thing_labels).mean())

    def encode(self, split: Split, name: str) -> Encoded:
        """Features of other images of the same classes, such as shifted ones."""
        return _encoded(self._store(split, name, self.limit), split.views, self.backbone.device)

    def _hits(self, logits: Float[Tensor, "n k"]) -> Bool[np.ndarray, "t"]:
        fused = logits.unflatten(0, (-1, self.test.views)).mean(dim=1)
        hits: Bool[np.ndarray, t] = correct_predictions(fused, self.test.thing_labels)
        return hits

    def _record(
        self, head: Method, support: Encoded, shots: int, seed: int, hyperparameters: Hyperparameters, seconds: float
    ) -> FewShotRecord:
        task, hits = self.task, self._hits(head.logits(self.test.tokens))
        ends = wilson_interval(int(hits.sum()), len(hits))
        return FewShotRecord(
            dataset=task.name, split_source=task.split_source, standin=task.standin, projection=task.projection,
            images=len(hits), classes=len(task.classnames), limit=self.limit, image_set=self.test.source,
            support_set=support.source, backbone=self.backbone.name, weights=self._weights,
            precision=self._precision, device=device_name(self.backbone.device), shots=shots, seed=seed,
            augmentations=self.augmentations, method=head.name, options=head.options(),
            hyperparameters=hyperparameters, parameters=_count(head), seconds=seconds, top1=float(hits.mean()),
            low=ends.low, high=ends.high, clip_top1=float(self._clip_hits.mean()), hits=pack_hits(hits),
            versions={"calip-core": library_version()} | package_versions(_PACKAGES), commit=commit(),
            time=datetime.now(UTC),
        )  # fmt: skip


def _encoded(store: FeatureStore, views: int, device: torch.device) -> Encoded:
    return Encoded(store.tokens().to(device), store.labels, store.manifest.source, views)


def _count(head: Method) -> int:
    """Numbers in a head's state, without the text features, which are CLIP's."""
    return sum(tensor.numel() for name, tensor in head.state().items() if name != "text")
