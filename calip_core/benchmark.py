"""One measurement: a task, a backbone, a method, a protocol and a seed become a record that says all of it."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from calip_core import selection
from calip_core.attention import CalipConfig
from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Task
from calip_core.features import FeatureStore, Manifest
from calip_core.machine import commit, device_name, library_version, package_versions
from calip_core.metrics import bootstrap_interval, correct_predictions, mcnemar, wilson_interval
from calip_core.prompts import zero_shot_classifier
from calip_core.selection import PROTOCOLS, Grid, LabelsSeen, OracleControl, Protocol, Selection
from calip_core.tokens import CalipLogits

MethodName = Literal["calip", "zero_shot"]
CONFIGS: Mapping[str, CalipConfig] = {
    "official": CalipConfig.official(),
    "paper": CalipConfig.paper(),
    "susx": CalipConfig.susx(),
    "dassl": CalipConfig.dassl(),
    "ttabc": CalipConfig.ttabc(),
}
"""CALIP's published readings by the names that records carry."""

Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
_PACKAGES = ("torch", "torchvision", "numpy", "pillow")


SCHEMA: Literal[2] = 2
"""Number of the form below; it grows whenever a field is added or changes its meaning."""


class RunRecord(BaseModel):
    """One measurement on one test set, and everything that it depends on. Shares run from 0 to 1.

    Attributes:
        dataset: name of the task.
        split_source: who cut the data into train, validation and test.
        images: how many test images were classified, of ``limit`` at most.
        limit: the asked number of images, drawn by the seed; None for the whole split.
        standin: whether procedural pictures stood in for the dataset's images.
        image_set: SHA-256 of the images and labels; records of one set can be compared image by image.
        weights: SHA-256 of the image encoder's weights: a name such as mini-rn can change its weights.
        token_space: where the backbone's spatial tokens live.
        precision: of the image encoder, and where it computed.
        protocol: how the blend weights were chosen; "oracle" is the one that has seen test labels.
        chosen_by: the criterion or source of the weights, in words.
        chosen_on: on how many images they were chosen.
        labels_seen: which labels the choice has seen.
        low, high: ends of the 95 % Wilson interval of ``top1``.
        per_class_mean: mean of the classes' own accuracies, over the classes that have images.
        clip_top1: CLIP's zero-shot accuracy on the same images.
        gain: ``top1 - clip_top1``; gain_low, gain_high: ends of its paired 95 % bootstrap interval.
        only_method, only_clip: images that only one of the two gets right.
        mcnemar_p: exact two-sided p of so uneven a split if both were equally good.
        control_gain: for the oracle, the mean gain of the same search with permuted attention terms.
        control_p: for the oracle, the share of such searches that gain as much.
        time: when the run ended; seconds: how long it took, encoding included where it was needed.
        hits, clip_hits: which images were right, packed bits in base64 (``correct``); None where they were not kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[2] = SCHEMA
    dataset: str
    split: Literal["test"] = "test"
    split_source: str
    images: int = Field(ge=1)
    classes: int = Field(ge=1)
    limit: int | None
    standin: bool
    image_set: str
    backbone: str
    weights: str
    token_space: str
    precision: str
    device: str
    method: MethodName
    config: str
    protocol: Protocol
    chosen_by: str
    chosen_on: int = Field(ge=0)
    labels_seen: LabelsSeen
    beta1: float
    beta2: float
    beta3: float
    seed: int
    top1: Share
    low: Share
    high: Share
    per_class_mean: Share
    clip_top1: Share
    gain: Difference
    gain_low: Difference
    gain_high: Difference
    only_method: int = Field(ge=0)
    only_clip: int = Field(ge=0)
    mcnemar_p: Share
    control_gain: Difference | None = None
    control_p: Share | None = None
    versions: dict[str, str]
    commit: str
    time: AwareDatetime
    seconds: float = Field(ge=0)
    hits: str | None = None
    clip_hits: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "RunRecord":
        if not self.low <= self.top1 <= self.high:
            raise ValueError(f"top1 is {self.top1}, outside its interval from {self.low} to {self.high}")
        if (self.labels_seen == "test") != (self.protocol == "oracle"):
            raise ValueError(f"protocol is {self.protocol!r}, but the choice has seen {self.labels_seen} labels")
        for name in ("hits", "clip_hits"):
            packed = getattr(self, name)
            if packed is not None and len(base64.b64decode(packed, validate=True)) != -(-self.images // 8):
                raise ValueError(f"{name} does not hold one bit for each of {self.images} images")
        return self

    def correct(self) -> Bool[np.ndarray, "n"]:
        """Which images the method got right, in the order of the image set.

        Raises:
            ValueError: the record was made without its hits.
        """
        return self._unpacked(self.hits)

    def correct_by_clip(self) -> Bool[np.ndarray, "n"]:
        """Which images CLIP alone got right, in the same order.

        Raises:
            ValueError: the record was made without its hits.
        """
        return self._unpacked(self.clip_hits)

    def _unpacked(self, packed: str | None) -> Bool[np.ndarray, "n"]:
        if packed is None:
            raise ValueError(f"the record of {self.dataset}, {self.backbone} keeps no hits: run it with keep_hits=True")
        return _unpack(packed, self.images)


def run(
    task: Task,
    backbone: Backbone,
    method: MethodName = "calip",
    protocol: Protocol = "fixed",
    seed: int = 0,
    *,
    config: str = "official",
    limit: int | None = None,
    criterion: str = "term_agreement",
    grid: Grid | None = None,
    features: Path | None = None,
    keep_hits: bool = True,
    control_repeats: int = 20,
    progress: bool = True,
) -> RunRecord:
    """Measure a method on the test split of a task.

    Args:
        task: what is asked.
        backbone: who encodes.
        method: "calip", or "zero_shot" for CLIP itself.
        protocol: how CALIP's blend weights are chosen, one of ``selection.PROTOCOLS``.
        seed: draws the images of a limit, the resamples of the interval, and the oracle control's permutations.
        config: temperatures and pooling, one of ``CONFIGS``.
        limit: at most so many test images, and as many validation images; all when left out.
        criterion: of the label-free protocol, one of ``selection.CRITERIA``.
        grid: pairs to choose from; the released grid when left out.
        features: folder of the feature stores; in the user's cache when left out.
        keep_hits: whether the record says which images were right.
        control_repeats: permutations of the oracle's control.
        progress: whether to show bars while encoding.

    Raises:
        ValueError: a name is unknown, a split that is needed has no images, or the paper has no pair for this task.
        OSError: an image cannot be read, or features cannot be written.
    """
    _check_names(method, protocol, config)
    start = time.perf_counter()
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    bench = _Bench(task, backbone, text, CONFIGS[config], seed, limit, features, progress)
    test = bench.measure("test")
    chosen, control = _NO_BLEND, None
    if method == "calip":
        chosen = _select(bench, test, protocol, criterion, grid)
    if method == "calip" and protocol == "oracle":
        control = selection.oracle_control(test.logits, test.labels, seed=seed, repeats=control_repeats, grid=grid)
    blend = test.logits.combine(beta2=chosen.beta2, beta3=chosen.beta3)
    return RunRecord.model_validate(
        _what_was_run(bench, test, method, config, protocol, chosen)
        | _statistics(blend, test.logits.clip, test.labels, seed, keep_hits)
        | _control(control)
        | {"time": datetime.now(UTC), "seconds": time.perf_counter() - start}
    )


_NO_BLEND = Selection(0.0, 0.0, "fixed", "CLIP's own logits, nothing to choose")


@dataclass(frozen=True)
class _Measured:
    logits: CalipLogits
    labels: Int64[np.ndarray, "n"]
    manifest: Manifest


@dataclass(frozen=True)
class _Bench:
    task: Task
    backbone: Backbone
    text: Float[Tensor, "k c"]
    config: CalipConfig
    seed: int
    limit: int | None
    features: Path | None
    progress: bool

    def measure(self, split: str) -> _Measured:
        """The three logits of a split, from its feature store."""
        images = self.task.splits[split]
        if len(images) == 0:
            raise ValueError(
                f"task {self.task.name} has no {split} images, which this protocol needs: choose another protocol, "
                f"such as 'fixed' of {', '.join(PROTOCOLS)}, or another task"
            )
        store = FeatureStore.encode(
            self.backbone, images, root=self.features, name=f"{self.task.name}-{split}", limit=self.limit,
            seed=self.seed, progress=self.progress,
        )  # fmt: skip
        logits = store.logits(self.text, self.config, self.backbone.logit_scale)
        return _Measured(logits, store.labels, store.manifest)


def _select(bench: _Bench, test: _Measured, protocol: Protocol, criterion: str, grid: Grid | None) -> Selection:
    """Test labels go to the oracle alone."""
    if protocol == "validation":
        val = bench.measure("val")
        return selection.validation(val.logits, val.labels, grid)
    if protocol == "oracle":
        return selection.oracle(test.logits, test.labels, grid)
    if protocol == "label-free":
        return selection.label_free(test.logits, criterion, grid)
    if protocol == "published":
        return selection.published(bench.task.name, bench.backbone.name)
    return selection.fixed()


def _what_was_run(
    bench: _Bench, test: _Measured, method: MethodName, config: str, protocol: Protocol, chosen: Selection
) -> dict[str, object]:
    task, backbone = bench.task, bench.backbone
    return {
        "dataset": task.name,
        "split_source": task.split_source,
        "images": len(test.labels),
        "classes": len(task.classnames),
        "limit": bench.limit,
        "standin": task.standin,
        "image_set": test.manifest.source,
        "weights": test.manifest.weights,
        "backbone": backbone.name,
        "token_space": test.manifest.tokens,
        "precision": test.manifest.precision,
        "device": device_name(backbone.device),
        "method": method,
        "config": config,
        "protocol": protocol if method == "calip" else "fixed",
        "chosen_by": chosen.chosen_by,
        "chosen_on": chosen.images,
        "labels_seen": chosen.labels,
        "beta1": 1.0,
        "beta2": chosen.beta2,
        "beta3": chosen.beta3,
        "seed": bench.seed,
        "versions": {"calip-core": library_version()} | package_versions(_PACKAGES),
        "commit": commit(),
    }


def _statistics(
    blend: Float[Tensor, "n k"], clip: Float[Tensor, "n k"], labels: Int64[np.ndarray, "n"], seed: int, keep_hits: bool
) -> dict[str, object]:
    hits, clip_hits = correct_predictions(blend, labels), correct_predictions(clip, labels)
    interval = wilson_interval(int(hits.sum()), len(hits))
    gain = bootstrap_interval(hits.astype(float) - clip_hits, seed=seed)
    test = mcnemar(hits, clip_hits)
    return {
        "top1": float(hits.mean()),
        "low": interval.low,
        "high": interval.high,
        "per_class_mean": _per_class_mean(hits, labels),
        "clip_top1": float(clip_hits.mean()),
        "gain": float(hits.mean() - clip_hits.mean()),
        "gain_low": gain.low,
        "gain_high": gain.high,
        "only_method": test.only_a,
        "only_clip": test.only_b,
        "mcnemar_p": test.p_value,
        "hits": _pack(hits) if keep_hits else None,
        "clip_hits": _pack(clip_hits) if keep_hits else None,
    }


def _per_class_mean(hits: Bool[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> float:
    counts = np.bincount(labels)
    shown = counts > 0
    return float((np.bincount(labels, weights=hits)[shown] / counts[shown]).mean())


def _control(control: OracleControl | None) -> dict[str, object]:
    if control is None:
        return {}
    return {"control_gain": float(control.by_selection.mean()), "control_p": control.p_value}


def _pack(hits: Bool[np.ndarray, "n"]) -> str:
    return base64.b64encode(np.packbits(hits).tobytes()).decode("ascii")


def _unpack(packed: str, images: int) -> Bool[np.ndarray, "n"]:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=images)
    return bits.astype(bool)


def _check_names(method: str, protocol: str, config: str) -> None:
    for name, value, known in (
        ("method", method, ("calip", "zero_shot")),
        ("protocol", protocol, PROTOCOLS),
        ("config", config, tuple(CONFIGS)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
