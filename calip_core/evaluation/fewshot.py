"""Few-shot measurements: a head, a number of shots and a seed become a record.

All heads see the same support images, the same few validation images and the same test images, encoded once.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int64
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.datasets.subsets import DrawnImages, DrawnViews
from calip_core.datasets.task import Split, Task
from calip_core.environment import commit, device_name, library_version, package_versions
from calip_core.evaluation.record import Share, pack_hits, unpack_hits
from calip_core.evaluation.support_sets import Short, coop_support, coop_support_and_val
from calip_core.features import FeatureStore
from calip_core.methods import Method, make_method
from calip_core.methods.recipes import Recipe, choosing_recipe, fixed_recipe, published_recipe
from calip_core.methods.registry import accepted_options
from calip_core.methods.trained import TrainedHead
from calip_core.metrics import correct_predictions, wilson_interval
from calip_core.prompts import zero_shot_classifier
from calip_core.tokens import ImageTokens

SHOTS = (1, 2, 4, 8, 16)
"""Images a class, as in published tables."""
SEEDS = (1, 2, 3)
"""CoOp's draws, over which published tables average."""

Hyperparameters = Literal["fixed", "published", "validation", "oracle"]
"""Where a head's hyperparameters come from.

"fixed": one rule for all data sets, by the number of shots alone (``methods.recipes``). "published": values published
for the data set. "validation": as fixed, and what can be chosen is chosen on min(shots, 4) validation images a class.
"oracle": the same on the *test* images: no result, but a bound on what choosing could gain.
"""
_PACKAGES = ("torch", "torchvision", "numpy", "pillow")


class FewShotRecord(BaseModel):
    """One fit of one head, measured on one test set. Shares run from 0 to 1.

    Attributes:
        images: test images (clouds, where the images are views of clouds).
        shots: support images of each class; seed: of the draw, and of the fit where it draws too.
        augmentations: augmented views of each support image; 0 means the image as it is.
        method, options: the head and what it was made with.
        nested: whether smaller support sets lie inside larger ones, which is another draw than CoOp's.
        short: what was done with classes of fewer images than shots.
        hyperparameters: where they come from (``Hyperparameters``); "oracle" has looked at test labels.
        recipe: in words, where the values come from that were not given as options.
        chosen_by: what the head has chosen, and on what; or that it has nothing to choose.
        parameters: numbers that the fit has found, text features left out.
        seconds: of the fit, encoding left out.
        samples_per_second: rows that went forward and back while training; None where nothing is trained.
        low, high: ends of the 95 % Wilson interval of ``top1``.
        clip_top1: zero-shot accuracy on the same images.
        hits: which images were right (``records.pack_hits``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[2] = 2
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
    nested: bool
    short: Short
    hyperparameters: Hyperparameters
    recipe: str
    chosen_by: str
    parameters: int = Field(ge=0)
    seconds: float = Field(ge=0)
    samples_per_second: float | None
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
    """Features of some images; where ``views`` consecutive ones show one thing, they are classified as one.

    Attributes:
        source: SHA-256 of what was encoded.
        backbone: name of who encoded it; empty where nobody said.
    """

    tokens: ImageTokens
    labels: Int64[np.ndarray, "n"]
    source: str
    views: int
    backbone: str = ""

    @property
    def thing_labels(self) -> Int64[np.ndarray, "t"]:
        """One label a thing."""
        return self.labels[:: self.views]

    @property
    def shots(self) -> int:
        """Things of the class that has most of them."""
        return int(np.bincount(self.thing_labels).max())


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
        self._stores: dict[tuple[object, ...], tuple[FeatureStore, int]] = {}
        self.text = zero_shot_classifier(backbone, task.classnames, task.templates)
        store = self._store(task.splits["test"], "test", limit)
        self._weights, self._precision = store.manifest.weights, store.manifest.precision
        self.test = self._encoded(store, task.splits["test"].views)
        self._clip_hits = self._hits(backbone.logit_scale * self.test.tokens.pooled @ self.text.T)

    def _store(self, split: Split, name: str, limit: int | None = None) -> FeatureStore:
        return FeatureStore.encode(
            self.backbone, split, root=self._features, name=f"{self.task.name}-{name}", limit=limit,
            progress=self._progress,
        )  # fmt: skip

    def _encoded(self, store: FeatureStore, views: int) -> Encoded:
        tokens = store.tokens().to(self.backbone.device)
        return Encoded(tokens, store.labels, store.manifest.source, views, self.backbone.name)

    def support(
        self, shots: int, seed: int, *, nested: bool = False, short: Short = "error", val: bool = True
    ) -> tuple[Encoded, Encoded | None]:
        """The support set and, where the task has a val split, min(shots, 4) validation images a class.

        Args:
            shots: images of each class.
            seed: of the draw; published tables average over 1, 2 and 3.
            nested: make the set of 1 shot lie inside that of 2 shots, and so on; another draw than CoOp's.
            short: what to do with a class of fewer images than shots, as ``support.coop_support`` has it.
            val: whether the validation images are wanted too.

        Raises:
            ValueError: a class has fewer images than are to be drawn, and ``short`` is "error".
        """
        wanted = val and len(self.task.splits["val"]) > 0
        support = self._drawn("train", shots, seed, nested, short)
        return support, self._drawn("val", shots, seed, nested, short) if wanted else None

    def _drawn(self, name: str, shots: int, seed: int, nested: bool, short: Short) -> Encoded:
        """Drawn and encoded once a set; after that it is read from the disk."""
        key = (name, shots, seed, nested, short)
        if key not in self._stores:
            chosen = self._chosen(name, shots, seed, nested, short)
            title = f"{'support' if name == 'train' else name}-{shots}-{seed}"
            self._stores[key] = self._store(chosen, title), chosen.views
        return self._encoded(*self._stores[key])

    def _chosen(self, name: str, shots: int, seed: int, nested: bool, short: Short) -> DrawnImages | DrawnViews:
        split, train = self.task.splits[name], self.task.splits["train"]
        how: dict[str, Any] = {"classes": len(self.task.classnames), "views": train.views}
        how |= {"nested": nested, "short": short}
        if name == "train":  # CoOp draws these first: the validation images need not even exist
            indices = coop_support(train.labels, shots, seed, **how).tolist()
        else:
            indices = coop_support_and_val(train.labels, split.labels, shots, seed, **how).val.tolist()
        if split.depth_maps:
            return DrawnViews(split, indices)
        return DrawnImages(split, indices, self.augmentations if name == "train" else 0, seed)

    def run(
        self,
        method: str,
        shots: int,
        seed: int,
        *,
        options: Mapping[str, Any] | None = None,
        hyperparameters: Hyperparameters = "fixed",
        nested: bool = False,
        short: Short = "error",
    ) -> FewShotRecord:
        """Fit a head on a support set and measure it on the test images.

        Args:
            method: one of ``methods.METHODS``.
            shots: images of each class.
            seed: of the draw, and of the fit where the head has a seed.
            options: of the head; they go before what the recipe says. Its logit scale, seed, backbone, class names and
                numbers of views are filled in where it has them.
            hyperparameters: where the others come from. "validation" gives the head the validation images to choose
                on, "oracle" the test images; only then does a head see test labels, and the record says so.
            nested: as for ``support``.
            short: as for ``support``.

        Raises:
            ValueError: unknown method, option or hyperparameters, too few images, no val split to choose on, or no
                published values for this method, data set or number of shots.
        """
        if hyperparameters not in get_args(Hyperparameters):
            choices = list(get_args(Hyperparameters))
            raise ValueError(f"hyperparameters is {hyperparameters!r}, expected one of {choices}")
        choosing = hyperparameters == "validation"
        if choosing and not len(self.task.splits["val"]):
            raise ValueError(f"{self.task.name} has no val images to choose on: take hyperparameters='fixed'")
        recipe = self._recipe(method, shots, hyperparameters)
        support, val = self.support(shots, seed, nested=nested, short=short, val=choosing)
        judge = self.test if hyperparameters == "oracle" else val
        start = time.perf_counter()
        head = self.fit(method, support, judge, {**recipe.options, **(options or {})}, seed)
        seconds = time.perf_counter() - start
        drawn = {"shots": shots, "seed": seed, "nested": nested, "short": short, "support_set": support.source}
        return self._record(head, hyperparameters=hyperparameters, recipe=recipe.source, seconds=seconds, **drawn)

    def _recipe(self, method: str, shots: int, hyperparameters: Hyperparameters) -> Recipe:
        accepted_options(method)  # an unknown method is named before anything is drawn
        if hyperparameters == "fixed":
            return fixed_recipe(method, shots)
        if hyperparameters != "published":
            return choosing_recipe(method, shots)
        task, backbone = self.task.name, self.backbone
        return published_recipe(
            method, dataset=task, shots=shots, backbone=backbone.name, logit_scale=backbone.logit_scale
        )

    def fit(
        self,
        method: str,
        support: Encoded,
        val: Encoded | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 1,
        *,
        profile: bool = False,
    ) -> Method:
        """A head fitted on a support set.

        Args:
            method: one of ``methods.METHODS``.
            support: of ``support``.
            val: images to choose hyperparameters on; without them fixed ones are used.
            options: as for ``run``; what they leave open is "fixed", by the shots of the support set.
            seed: of the fit.
            profile: whether ``head.report`` of a trained head shall say what share of the time went into matrix
                products (``product_share``). Measuring slows short steps down.

        Raises:
            ValueError: the support or validation features are from another backbone, or as the head's ``fit``.
        """
        for images in (support, val):
            if images is not None:
                self._check_backbone(images.backbone, "features")
        recipe = fixed_recipe(method, support.shots).options
        head = make_method(method, **self._filled_in(method, {**recipe, **(options or {})}, seed))
        if isinstance(head, TrainedHead):
            head.profile = profile
        chosen_on = None if val is None else (val.tokens, val.labels)
        fitted = head.fit(support.tokens, support.labels, self.text, chosen_on)
        fitted.features_of = self.backbone.name
        return fitted

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
        """Share of images (clouds) that a head gets right; of the test images when ``images`` is left out.

        Raises:
            ValueError: the head or the images are of another backbone.
        """
        images = images or self.test
        self._check_backbone(images.backbone, "features")
        self._check_backbone(head.features_of or "", "a head")
        fused = head.logits(images.tokens).unflatten(0, (-1, images.views)).mean(dim=1)
        return float(correct_predictions(fused, images.thing_labels).mean())

    def _check_backbone(self, name: str, what: str) -> None:
        """Two backbones may be equally wide: only a name tells them apart."""
        if name and name != self.backbone.name:
            raise ValueError(f"{what} of {name} met a bench of {self.backbone.name}: encode all with one backbone")

    def encode(self, split: Split, name: str) -> Encoded:
        """Features of other images of the same classes, such as shifted ones."""
        return self._encoded(self._store(split, name, self.limit), split.views)

    def _hits(self, logits: Float[Tensor, "n k"]) -> Bool[np.ndarray, "t"]:
        fused = logits.unflatten(0, (-1, self.test.views)).mean(dim=1)
        hits: Bool[np.ndarray, t] = correct_predictions(fused, self.test.thing_labels)
        return hits

    def _record(self, head: Method, **known: Any) -> FewShotRecord:
        task, hits = self.task, self._hits(head.logits(self.test.tokens))
        ends = wilson_interval(int(hits.sum()), len(hits))
        return FewShotRecord(
            dataset=task.name, split_source=task.split_source, standin=task.standin, projection=task.projection,
            images=len(hits), classes=len(task.classnames), limit=self.limit, image_set=self.test.source,
            backbone=self.backbone.name, weights=self._weights, precision=self._precision,
            device=device_name(self.backbone.device), augmentations=self.augmentations, method=head.name,
            options=head.options(), chosen_by=head.chosen_by, parameters=_count(head),
            samples_per_second=_samples_per_second(head), top1=float(hits.mean()), low=ends.low, high=ends.high,
            clip_top1=float(self._clip_hits.mean()), hits=pack_hits(hits),
            versions={"calip-core": library_version()} | package_versions(_PACKAGES), commit=commit(),
            time=datetime.now(UTC), **known,
        )  # fmt: skip


def _samples_per_second(head: Method) -> float | None:
    report = head.report if isinstance(head, TrainedHead) else None
    return report.samples_per_second if report else None


def _count(head: Method) -> int:
    """Numbers in a head's state, without the text features, which are CLIP's."""
    return sum(tensor.numel() for name, tensor in head.state().items() if name != "text")
