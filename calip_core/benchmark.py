"""One measurement: a task, a backbone, a method, a protocol and a seed become a record that says all of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from calip_core import selection, view_weights
from calip_core.attention import CalipConfig
from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Task
from calip_core.features import FeatureStore, Manifest
from calip_core.machine import commit, device_name, library_version, package_versions
from calip_core.metrics import bootstrap_interval, correct_predictions, mcnemar, wilson_interval
from calip_core.prompts import zero_shot_classifier
from calip_core.records import MethodName, RunRecord, ViewWeighting, pack_hits
from calip_core.selection import PROTOCOLS, Grid, LabelsSeen, OracleControl, Protocol, Selection
from calip_core.tokens import CalipLogits
from calip_core.view_weights import ViewWeights

CONFIGS: Mapping[str, CalipConfig] = {
    "official": CalipConfig.official(),
    "paper": CalipConfig.paper(),
    "susx": CalipConfig.susx(),
    "dassl": CalipConfig.dassl(),
    "ttabc": CalipConfig.ttabc(),
}
"""CALIP's published readings by the names that records carry."""

_PACKAGES = ("torch", "torchvision", "numpy", "pillow")


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
    view_weighting: ViewWeighting = "uniform",
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
        view_weighting: for point clouds, how the views of a cloud are weighted; "searched" finds the weights of CLIP's
            own logits on the labels that the protocol may see, before it chooses the blend.
        features: folder of the feature stores; in the user's cache when left out.
        keep_hits: whether the record says which images were right.
        control_repeats: permutations of the oracle's control.
        progress: whether to show bars while encoding.

    Raises:
        ValueError: a name is unknown, a split that is needed has no images, or the paper has no pair for this task.
        OSError: an image cannot be read, or features cannot be written.
    """
    _check_names(method, protocol, config)
    _check_view_weighting(task, backbone, protocol, view_weighting)
    start = time.perf_counter()
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    bench = _Bench(task, backbone, text, CONFIGS[config], seed, limit, features, progress)
    test = bench.measure("test")
    choices = _labelled_choices(bench, test, method, protocol, view_weighting)
    weights = _weigh_views(bench, choices, view_weighting) if task.view_set else None
    if weights is not None:
        test, choices = test.fused(weights), choices and choices.fused(weights)
    chosen, control = replace(_NO_BLEND, labels=_LABELS_SEEN[protocol] if choices else "none"), None
    if method == "calip":
        chosen = _select(bench, test, choices, protocol, criterion, grid)
    if method == "calip" and protocol == "oracle":
        control = selection.oracle_control(test.logits, test.labels, seed=seed, repeats=control_repeats, grid=grid)
    blend = test.logits.combine(beta2=chosen.beta2, beta3=chosen.beta3)
    return RunRecord.model_validate(
        _what_was_run(bench, test, method, config, protocol if choices or method == "calip" else "fixed", chosen)
        | _what_was_viewed(task, view_weighting, weights)
        | _statistics(blend, test.logits.clip, test.labels, seed, keep_hits)
        | _control(control)
        | {"time": datetime.now(UTC), "seconds": time.perf_counter() - start}
    )


_NO_BLEND = Selection(0.0, 0.0, "fixed", "CLIP's own logits, nothing to choose")
_LABELS_SEEN: Mapping[Protocol, LabelsSeen] = {"validation": "validation", "oracle": "test"}


@dataclass(frozen=True)
class _Measured:
    """The logits of a split: one row an image or, once the views are fused, one a cloud."""

    logits: CalipLogits
    labels: Int64[np.ndarray, "n"]
    manifest: Manifest
    views: int = 1

    def fused(self, weights: ViewWeights) -> "_Measured":
        """One row a cloud."""
        return _Measured(view_weights.fuse_terms(self.logits, weights), self.labels[:: self.views], self.manifest)


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
        return _Measured(logits, store.labels, store.manifest, images.views)


def _labelled_choices(
    bench: _Bench, test: _Measured, method: MethodName, protocol: Protocol, view_weighting: ViewWeighting
) -> _Measured | None:
    """What anything may be chosen on with labels; test labels go to the oracle alone."""
    searched = bench.task.view_set is not None and view_weighting == "searched"
    if method == "zero_shot" and not searched:
        return None
    if protocol == "validation":
        return bench.measure("val")
    return test if protocol == "oracle" else None


def _weigh_views(bench: _Bench, choices: _Measured | None, view_weighting: ViewWeighting) -> ViewWeights:
    task = bench.task
    if view_weighting == "searched":
        assert choices is not None  # _check_view_weighting has seen to it
        per_view = choices.logits.clip.unflatten(0, (-1, choices.views))
        return view_weights.search(per_view, choices.labels[:: choices.views], seed=bench.seed)
    if view_weighting == "published":
        assert task.view_set is not None
        return view_weights.published(task.view_set, task.name, bench.backbone.name)
    return view_weights.uniform(task.splits["test"].views)


def _what_was_viewed(task: Task, view_weighting: ViewWeighting, weights: ViewWeights | None) -> dict[str, object]:
    if weights is None:
        return {}
    return {
        "projection": task.projection,
        "view_weighting": view_weighting,
        "view_weights": tuple(weights.weights.tolist()),
    }


def _select(
    bench: _Bench, test: _Measured, choices: _Measured | None, protocol: Protocol, criterion: str, grid: Grid | None
) -> Selection:
    if choices is not None:
        choose = selection.oracle if protocol == "oracle" else selection.validation
        return choose(choices.logits, choices.labels, grid)
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
        "protocol": protocol,
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
        "hits": pack_hits(hits) if keep_hits else None,
        "clip_hits": pack_hits(clip_hits) if keep_hits else None,
    }


def _per_class_mean(hits: Bool[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> float:
    counts = np.bincount(labels)
    shown = counts > 0
    return float((np.bincount(labels, weights=hits)[shown] / counts[shown]).mean())


def _control(control: OracleControl | None) -> dict[str, object]:
    if control is None:
        return {}
    return {"control_gain": float(control.by_selection.mean()), "control_p": control.p_value}


def _check_view_weighting(task: Task, backbone: Backbone, protocol: Protocol, view_weighting: ViewWeighting) -> None:
    """Before anything is encoded: whether these weights can be had."""
    if task.view_set is None:
        return
    if view_weighting == "published":
        view_weights.published(task.view_set, task.name, backbone.name)
    if view_weighting == "searched" and protocol not in _LABELS_SEEN:
        raise ValueError(
            f"view_weighting is 'searched', which needs labels, but protocol {protocol!r} sees none: choose "
            f"{' or '.join(_LABELS_SEEN)}, or weights that are uniform or published"
        )


def _check_names(method: str, protocol: str, config: str) -> None:
    for name, value, known in (
        ("method", method, ("calip", "zero_shot")),
        ("protocol", protocol, PROTOCOLS),
        ("config", config, tuple(CONFIGS)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
