"""One measurement: a task, a backbone, a method, a protocol and a seed become a record that says all of it."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from calip_core.attention import CalipConfig
from calip_core.backbones.base import Backbone
from calip_core.blend import selection, view_weights
from calip_core.blend.selection import PROTOCOLS, Grid, LabelsSeen, Protocol, Selection
from calip_core.blend.view_weights import ViewWeights
from calip_core.datasets import split_template_set
from calip_core.datasets.task import Task
from calip_core.environment import commit, device_name, library_version, package_versions
from calip_core.evaluation.record import MethodName, RunRecord, ViewWeighting, pack_hits
from calip_core.features import FeatureStore, Manifest
from calip_core.metrics import Interval, correct_predictions, mcnemar, paired_interval, wilson_interval
from calip_core.prompts import zero_shot_classifier
from calip_core.tokens import CalipLogits

CONFIGS: Mapping[str, CalipConfig] = {
    "official": CalipConfig.official(),
    "paper": CalipConfig.paper(),
    "susx": CalipConfig.susx(),
}
"""CALIP's published readings by the names that records carry.

Two more have names in ``CalipConfig`` and none here: ``dassl`` has the temperatures and the pooling of ``paper``, and
``ttabc`` those of ``official``. They differ by a logit scale, which multiplies all three terms and so moves no largest
logit, and by their own weights and tokens, which here are the protocol's and the backbone's. They would measure the
same again; chapter 3 compares all five as they are.
"""

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
        seed: draws the images of a limit, the start of a search of view weights, and the oracle control's permutations.
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
    asked = _Asked(method, protocol, config, criterion, grid, view_weighting, control_repeats)
    _check_names(asked)
    _check_view_weighting(asked, task, backbone)
    start = time.perf_counter()
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    bench = _Bench(task, backbone, text, CONFIGS[config], seed, limit, features, progress)
    test = bench.measure("test")
    choices = _labelled_choices(bench, test, asked)
    weights = _weigh_views(bench, choices, asked) if task.view_set else None
    if weights is not None:
        test, choices = test.fused(weights), choices and choices.fused(weights)
    chosen = _select(bench, test, choices, asked)
    blend = test.logits.combine(beta2=chosen.beta2, beta3=chosen.beta3)
    return RunRecord.model_validate(
        _what_was_run(bench, test, asked)
        | _how_it_was_chosen(chosen, asked, choices)
        | _what_was_viewed(task, asked, weights)
        | _statistics(blend, test.logits.clip, test.labels, keep_hits, itself=method == "zero_shot")
        | _control(test, asked, seed)
        | {"time": datetime.now(UTC), "seconds": time.perf_counter() - start}
    )


@dataclass(frozen=True)
class _Asked:
    """The arguments of ``run`` that say what is measured and how its weights are chosen."""

    method: MethodName
    protocol: Protocol
    config: str
    criterion: str
    grid: Grid | None
    view_weighting: ViewWeighting
    control_repeats: int


_NO_BLEND = Selection(0.0, 0.0, "fixed", "CLIP's own logits, nothing to choose")
_LABELS_SEEN: Mapping[Protocol, LabelsSeen] = {"validation": "validation", "oracle": "test"}
_FIXED_IS_FROM = "imagenet"  # for which the default pair is no blind choice


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
        dataset = split_template_set(self.task.name)[0]  # other prompts have the same images
        store = FeatureStore.encode(
            self.backbone, images, root=self.features, name=f"{dataset}-{split}", limit=self.limit, seed=self.seed,
            progress=self.progress,
        )  # fmt: skip
        logits = store.logits(self.text, self.config, self.backbone.logit_scale)
        return _Measured(logits, store.labels, store.manifest, images.views)


def _labelled_choices(bench: _Bench, test: _Measured, asked: _Asked) -> _Measured | None:
    """What anything may be chosen on with labels; test labels go to the oracle alone."""
    searched = bench.task.view_set is not None and asked.view_weighting == "searched"
    if asked.method == "zero_shot" and not searched:
        return None
    if asked.protocol == "validation":
        return bench.measure("val")
    return test if asked.protocol == "oracle" else None


def _weigh_views(bench: _Bench, choices: _Measured | None, asked: _Asked) -> ViewWeights:
    task = bench.task
    if asked.view_weighting == "searched":
        assert choices is not None  # _check_view_weighting has seen to it
        per_view = choices.logits.clip.unflatten(0, (-1, choices.views))
        return view_weights.search(per_view, choices.labels[:: choices.views], seed=bench.seed)
    if asked.view_weighting == "published":
        assert task.view_set is not None
        return view_weights.published(task.view_set, task.name, bench.backbone.name)
    return view_weights.uniform(task.splits["test"].views)


def _what_was_viewed(task: Task, asked: _Asked, weights: ViewWeights | None) -> dict[str, object]:
    """The views' part of a record. Published weights were chosen on test labels: that is all the record may say."""
    if weights is None:
        return {}
    seen: dict[str, object] = {"labels_seen": "test"} if asked.view_weighting == "published" else {}
    return seen | {
        "projection": task.projection,
        "view_weighting": asked.view_weighting,
        "view_weights": tuple(weights.weights.tolist()),
        "view_weights_by": weights.chosen_by,
    }


def _select(bench: _Bench, test: _Measured, choices: _Measured | None, asked: _Asked) -> Selection:
    if asked.method == "zero_shot":
        return replace(_NO_BLEND, labels=_LABELS_SEEN[asked.protocol] if choices else "none")
    if choices is not None:
        choose = selection.oracle if asked.protocol == "oracle" else selection.validation
        return choose(choices.logits, choices.labels, asked.grid)
    if asked.protocol == "label-free":
        return selection.label_free(test.logits, asked.criterion, asked.grid)
    if asked.protocol == "published":
        return selection.published(bench.task.name, bench.backbone.name)
    blind = split_template_set(bench.task.name)[0] != _FIXED_IS_FROM
    return selection.fixed() if blind else replace(selection.fixed(), labels="unknown")


def _what_was_run(bench: _Bench, test: _Measured, asked: _Asked) -> dict[str, object]:
    task, backbone = bench.task, bench.backbone
    return {
        "dataset": task.name,
        "split_source": task.split_source,
        "images": len(test.labels),
        "classes": len(task.classnames),
        "limit": bench.limit,
        "standin": task.standin,
        "image_set": test.manifest.source,
        "class_names": hashlib.sha256("\n".join(task.classnames).encode()).hexdigest(),
        "templates": task.templates,
        "weights": test.manifest.weights,
        "backbone": backbone.name,
        "token_space": test.manifest.tokens,
        "precision": test.manifest.precision,
        "device": device_name(backbone.device),
        "method": asked.method,
        "config": asked.config,
        "seed": bench.seed,
        "versions": _versions(test.manifest),
        "commit": commit(),
    }


def _how_it_was_chosen(chosen: Selection, asked: _Asked, choices: _Measured | None) -> dict[str, object]:
    return {
        "protocol": asked.protocol if choices or asked.method == "calip" else "fixed",
        "chosen_by": chosen.chosen_by,
        "chosen_on": chosen.images,
        "grid": chosen.grid,
        "labels_seen": chosen.labels,
        "beta1": 1.0,
        "beta2": chosen.beta2,
        "beta3": chosen.beta3,
    }


def _statistics(
    blend: Float[Tensor, "n k"], clip: Float[Tensor, "n k"], labels: Int64[np.ndarray, "n"], keep_hits: bool,
    *, itself: bool,
) -> dict[str, object]:  # fmt: skip
    hits, clip_hits = correct_predictions(blend, labels), correct_predictions(clip, labels)
    test = mcnemar(hits, clip_hits)
    interval = wilson_interval(int(hits.sum()), len(hits))
    # CLIP gains nothing over itself, on these images or on any.
    gain = Interval(0.0, 0.0) if itself else paired_interval(test.only_a, test.only_b, len(hits))
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


def _control(test: _Measured, asked: _Asked, seed: int) -> dict[str, object]:
    """For the oracle: what its search gains where the attended terms are those of other images."""
    if asked.method != "calip" or asked.protocol != "oracle":
        return {}
    repeats = asked.control_repeats
    control = selection.oracle_control(test.logits, test.labels, seed=seed, repeats=repeats, grid=asked.grid)
    gain = float(control.by_selection.mean())
    return {"control_gain": gain, "control_p": control.p_value, "control_repeats": repeats}


def _check_view_weighting(asked: _Asked, task: Task, backbone: Backbone) -> None:
    """Before anything is encoded: whether these weights can be had."""
    if task.view_set is None:
        return
    if asked.view_weighting == "published":
        view_weights.published(task.view_set, task.name, backbone.name)
    if asked.view_weighting == "searched" and asked.protocol not in _LABELS_SEEN:
        raise ValueError(
            f"view_weighting is 'searched', which needs labels, but protocol {asked.protocol!r} sees none: choose "
            f"{' or '.join(_LABELS_SEEN)}, or weights that are uniform or published"
        )


def _check_names(asked: _Asked) -> None:
    for name, value, known in (
        ("method", asked.method, ("calip", "zero_shot")),
        ("protocol", asked.protocol, PROTOCOLS),
        ("config", asked.config, tuple(CONFIGS)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _versions(features: Manifest) -> dict[str, str]:
    """Of this library and of all packages behind a record; the features say which package encoded them."""
    encoded = {package: version for package, version in features.versions.items() if package != "encoder"}
    return encoded | {"calip-core": library_version()} | package_versions(_PACKAGES)
