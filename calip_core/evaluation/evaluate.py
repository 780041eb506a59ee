"""``evaluate()``, the single entry point for measurements: task, backbone, head and protocol become a record."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.blend import selection, view_weights
from calip_core.blend.protocols import LabelsSeen, Protocol
from calip_core.blend.selection import Grid
from calip_core.blend.view_weights import ViewWeights
from calip_core.datasets import split_template_set
from calip_core.datasets.subsets import with_crops
from calip_core.datasets.task import Split, Task
from calip_core.environment import commit, device_name, library_version, package_versions
from calip_core.evaluation.counts import Counts, score_part
from calip_core.evaluation.draft import Draft
from calip_core.evaluation.question import Question
from calip_core.evaluation.record import (
    ChoicePart,
    DataPart,
    DescriptionsPart,
    EncoderPart,
    HeadPart,
    Record,
    RunPart,
    SupportPart,
    ViewWeighting,
    pack_hits,
    setting_key,
)
from calip_core.evaluation.shots import Short
from calip_core.evaluation.streams import Bench, Reads, Stream
from calip_core.evaluation.support_sets import support_split, validation_split
from calip_core.features import FeatureStore, Manifest, PlannedStore, choose_images, text_features
from calip_core.methods.base import Sees
from calip_core.methods.calip import Calip
from calip_core.metrics import correct_predictions
from calip_core.paths import printable
from calip_core.templates import Templates
from calip_core.tokens import CalipLogits, ImageTokens

Fuse = Callable[[Float[Tensor, "n k"]], Float[Tensor, "t k"]]
"""One row of logits per view -> one row per item: per image, or per point cloud."""

_PACKAGES = ("torch", "torchvision", "numpy", "pillow")
_SEEN_BY: Mapping[Protocol, LabelsSeen] = {"validation": "validation", "oracle": "test", "published": "unknown"}
_JUDGES: Mapping[Protocol, Literal["val", "test"]] = {"validation": "val", "oracle": "test"}
_FIXED_IS_FROM = "imagenet"  # for which CALIP's default pair is not a blind choice


def evaluate(
    task: Task,
    backbone: Backbone,
    method: str = "calip",
    *,
    protocol: Protocol = "fixed",
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    augmentations: int = 0,
    nested: bool = False,
    short: Short = "error",
    view_weighting: ViewWeighting = "uniform",
    criterion: str = "term_agreement",
    grid: Grid | None = None,
    batch_size: int | None = None,
    features: Path | None = None,
    keep_hits: bool = True,
    control_repeats: int = 20,
    progress: bool = True,
) -> Record:
    """Measure a head on the test split of a task.

    Args:
        task: the classes, the prompts and the images.
        backbone: the frozen CLIP.
        method: the head, one of ``METHODS``.
        protocol: the source of the hyperparameters. "fixed" is one rule for all datasets; "published" takes the values
            published for this dataset; "validation" chooses on the validation split (with ``shots``, on ``min(shots,
            4)`` images per class of it); "label-free" chooses by predictions alone; "oracle" chooses on the *test*
            labels, which is not a result but a bound on what choosing could gain.
        shots: labelled images per class to learn from. 0 for zero-shot heads, which refuse any other number.
        seed: seed of the support set, the test images of a limit, the initial weights and the order of a stream.
        limit: at most this many test images, and without shots as many validation images; all by default.
        options: options of the head; they take precedence over the protocol's values. ``METHODS[method].Options`` lists
            them. A head that so comes to see "unlabelled" images gets those of the validation split without their
            labels, or of the training split if there is none, at most ``limit``; never the test images.
        augmentations: augmented views per support image; 0 uses the unmodified image.
        nested: make smaller support sets subsets of larger ones, unlike CoOp's.
        short: how to handle a class with fewer images than ``shots``: "error", "take", "repeat" or "dassl", as for
            ``support_sets.coop_support``.
        view_weighting: for point clouds, the weights of the views: "uniform", "published", or "searched" for CLIP's own
            logits on the labels that the protocol may see, before the head is fitted.
        criterion: of the label-free protocol, one of ``selection.CRITERIA``.
        grid: pairs of blend weights for CALIP to choose from; the released code's by default.
        batch_size: images per batch for a head that sees a batch; the whole split by default.
        features: folder of the feature stores; a folder in the user's cache by default.
        keep_hits: whether the record stores which images were classified correctly.
        control_repeats: number of permutations for the control of CALIP's oracle.
        progress: whether to show progress bars.

    Returns:
        The record of this setting.

    Raises:
        ValueError: a name is unknown, an option is out of range, this head does not support the setting, a required
            split has no images, or nothing is published for this setting.
        TypeError: the head has no such option, or the task or the backbone is given by its name.
        OSError: an image cannot be read, or features cannot be written.
    """
    return plan(
        task, backbone, method, protocol=protocol, shots=shots, seed=seed, limit=limit, options=options,
        augmentations=augmentations, nested=nested, short=short, view_weighting=view_weighting, criterion=criterion,
        grid=grid, batch_size=batch_size, features=features,
    ).run(keep_hits=keep_hits, control_repeats=control_repeats, progress=progress)  # fmt: skip


def plan(
    task: Task,
    backbone: Backbone,
    method: str = "calip",
    *,
    protocol: Protocol = "fixed",
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    augmentations: int = 0,
    nested: bool = False,
    short: Short = "error",
    view_weighting: ViewWeighting = "uniform",
    criterion: str = "term_agreement",
    grid: Grid | None = None,
    batch_size: int | None = None,
    features: Path | None = None,
) -> "Evaluation":
    """An evaluation that has been checked but not run; the arguments are those of ``evaluate``.

    Raises:
        ValueError: as ``evaluate`` does, before anything is encoded.
        TypeError: the head has no such option.
    """
    question = Question(
        task=task, backbone=backbone, method=method, protocol=protocol, shots=shots, seed=seed, limit=limit,
        options=dict(options or {}), augmentations=augmentations, nested=nested, short=short,
        view_weighting=view_weighting, criterion=criterion, grid=grid, batch_size=batch_size, features=features,
    )  # fmt: skip
    question.check()
    return Evaluation(question)


class Evaluation:
    """An evaluation that is ready to run. Its key is known before anything is encoded.

    Attributes:
        data: the test images and the support set.
        encoder: the backbone.
        head: the unfitted head.
    """

    def __init__(self, question: Question) -> None:
        self._question, self._asked = question, question.asked
        self._recipe = question.recipe()
        self.head = question.make_head(self._recipe)
        self._test = self._planned(question.task.splits["test"], "test", question.limit)
        self._support = self._planned_support() if question.shots else None
        self._views = self._planned_views() if self.head.sees == "views" else None
        self._unlabelled_split = question.unlabelled_split() if self.head.sees == "unlabelled" else None
        self.data, self.encoder = self._data_part(), self._encoder_part()

    @property
    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in self.head.options_dict().items() if name != "progress"}

    @cached_property
    def key(self) -> str:
        """The key of the record that ``run`` will return."""
        question = self._question
        options = self._options
        return setting_key(self.data, self.encoder, question.method, options, self._asked, question.seed)

    def run(self, *, keep_hits: bool = True, control_repeats: int = 20, progress: bool = True) -> Record:
        """Encode what is missing, fit the head, and measure it; the arguments are those of ``evaluate``."""
        start = time.perf_counter()
        bench = Bench(self._question.backbone, self._text(), progress)
        test = bench.stream(self._test)
        judge = self._judge(bench, test)
        weights = self._view_weights(bench, judge)
        fuse = _fusion(weights)
        seconds = self._fit(bench, judge, test, fuse)
        hits, clip_hits = self._hits(bench, test, fuse)
        counts = Counts.of(hits, clip_hits, test.labels, classes=self.data.classes)
        kept = {"hits": pack_hits(hits), "clip_hits": pack_hits(clip_hits)} if keep_hits else {}
        return Record(
            seed=self._question.seed,
            data=self.data,
            encoder=self.encoder,
            head=self._head_part(seconds),
            choice=self._choice_part(self._chosen_on(judge, test), weights),
            score=score_part(counts, self._question.method, **kept, **self._control(test, fuse, control_repeats)),
            run=self._run_part(self._test.manifest, time.perf_counter() - start),
        )  # fmt: skip

    def draft(self) -> Draft:
        """Everything but the score, for a head that others will ask about one image after another.

        No image is encoded. A blend that is to be chosen on labelled images is left to ``Draft.choosing``.

        Raises:
            ValueError: this head, or this protocol, looks at more than one image at a time.
        """
        question, head = self._question, self.head
        label_free = self._asked.protocol == "label-free"
        if head.sees != "nothing" or question.task.view_set is not None or label_free:
            what = "the views of clouds" if question.task.view_set else "all images" if label_free else head.sees
            raise ValueError(
                f"{question.method} sees {what} here, expected a head that sees one image at a time, such as zero_shot "
                "or calip with another prior and protocol: measure this setting on one machine, or by `calip sweep`"
            )
        head.features_of = question.backbone.name
        head.fit(None, None, self._text())
        judge = _JUDGES.get(self._asked.protocol) if isinstance(head, Calip) and head.options.beta2 is None else None
        judges = choose_images(question.task.splits[judge], question.limit, question.seed) if judge else ()
        return Draft(
            seed=question.seed,
            data=self.data,
            encoder=self.encoder,
            head_part=self._head_part(0.0),
            choice=self._choice_part(0, None),
            run=self._run_part(self._test.manifest, 0.0),
            head=head.cpu(),
            logit_scale=question.backbone.logit_scale,
            judge=judge,
            judge_images=len(judges),
        )

    def _planned(self, split: Split, name: str, limit: int | None = None, *, spatial: bool = True) -> PlannedStore:
        question = self._question
        return FeatureStore.plan(
            question.backbone, split, root=question.features, name=store_name(question.task, name),
            limit=limit, seed=question.seed, spatial=spatial,
        )  # fmt: skip

    def _planned_views(self) -> PlannedStore:
        question, crops = self._question, self.head.options.crops
        split = with_crops(question.task.splits["test"], crops, question.seed)
        return self._planned(split, f"test-{crops}-crops-{question.seed}", question.limit, spatial=False)

    @cached_property
    def _unlabelled(self) -> PlannedStore | None:
        name, question = self._unlabelled_split, self._question
        return None if name is None else self._planned(question.task.splits[name], name, question.limit)

    def _planned_support(self) -> PlannedStore:
        question = self._question
        split = support_split(
            question.task, question.shots, question.seed,
            augmentations=question.augmentations, nested=question.nested, short=question.short,
        )  # fmt: skip
        return self._planned(split, f"support-{question.shots}-{question.seed}")

    def _planned_validation(self) -> PlannedStore:
        question = self._question
        if not question.shots:
            return self._planned(question.task.splits["val"], "val", question.limit)
        split = validation_split(
            question.task, question.shots, question.seed, nested=question.nested, short=question.short
        )
        return self._planned(split, f"val-{question.shots}-{question.seed}")

    def _text(self) -> Float[Tensor, "k c"]:
        task, question = self._question.task, self._question
        root = None if question.features is None else question.features / "text"
        return text_features(question.backbone, task.classnames, task.templates, root=root)

    def _judge(self, bench: Bench, test: Stream) -> Stream | None:
        """The labelled images available for choosing. Only the oracle gets test labels."""
        if self._asked.protocol == "validation":
            return bench.stream(self._planned_validation())
        return bench.stream(self._test) if self._asked.protocol == "oracle" else None

    def _view_weights(self, bench: Bench, judge: Stream | None) -> ViewWeights | None:
        task = self._question.task
        if task.view_set is None:
            return None
        if self._asked.view_weighting == "searched":
            assert judge is not None  # _check has seen to it
            clip = torch.cat([bench.clip(batch) for batch in judge.batches(spatial=False)])
            return view_weights.search(clip.unflatten(0, (-1, judge.views)), judge.labels, seed=self._question.seed)
        if self._asked.view_weighting == "published":
            return view_weights.published(task.view_set, task.name, self._question.backbone.published_name)
        return view_weights.uniform(task.splits["test"].views)

    def _fit(self, bench: Bench, judge: Stream | None, test: Stream, fuse: Fuse) -> float:
        """Fit the head; return the duration in seconds, excluding encoding."""
        head = self.head
        head.fuse, head.features_of = fuse, self._question.backbone.name
        if isinstance(head, Calip):
            head.grid = self._question.grid
        support = bench.stream(self._support) if self._support else None
        unlabelled = self._unlabelled
        tokens: Any = support.tokens(spatial=head.reads_spatial) if support else None
        if unlabelled is not None:  # a stream, because a validation split may be large
            tokens = Reads(bench.stream(unlabelled), head.reads_spatial)
        labels = support.row_labels if support else None
        val = None if judge is None else (Reads(judge, head.reads_spatial), judge.labels)
        start = time.perf_counter()
        head.fit(tokens, labels, bench.text, val)
        if self._asked.criterion is not None:
            head.adapt(Reads(test, head.reads_spatial), self._asked.criterion)
        return time.perf_counter() - start

    def _hits(
        self, bench: Bench, test: Stream, fuse: Fuse
    ) -> tuple[Bool[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
        """Which items the head and zero-shot CLIP classify correctly."""
        hits, clip_hits, start = [], [], 0
        for pooled, logits in self._answers(bench, test):
            clip, own = fuse(bench.clip(pooled)), fuse(logits)
            labels = test.labels[start : start + len(own)]
            hits.append(correct_predictions(own, labels))
            clip_hits.append(correct_predictions(clip, labels))
            start += len(own)
        return np.concatenate(hits), np.concatenate(clip_hits)

    def _answers(self, bench: Bench, test: Stream) -> Iterator[tuple[ImageTokens, Float[Tensor, "n k"]]]:
        """Images in the split's order, in batches, with the head's logits."""
        head, question = self.head, self._question
        if self._views is not None:
            for views in bench.stream(self._views).batches(spatial=False):
                yield views[:: self._views.split.views], head.logits(views)
            return
        if head.sees not in ("batch", "stream"):
            for tokens in test.batches(spatial=head.reads_spatial):
                yield tokens, head.logits(tokens)
            return
        pooled = ImageTokens.cat(list(test.batches(spatial=False)))
        if head.sees == "stream":
            order = torch.from_numpy(np.random.default_rng(question.seed).permutation(len(pooled)))
            logits = head.logits(pooled[order])
            yield pooled, torch.empty_like(logits).index_copy_(0, order.to(logits.device), logits)
            return
        size = self._asked.batch_size or len(pooled)
        for start in range(0, len(pooled), size):
            part = pooled[start : start + size]
            yield part, head.logits(part)

    def _data_part(self) -> DataPart:
        question, task = self._question, self._question.task
        return DataPart(
            task=printable(task.name),
            split_source=task.split_source,
            standin=task.standin,
            part=task.part,
            images=self._test.manifest.images // task.splits["test"].views,
            classes=len(task.classnames),
            limit=question.limit,
            image_set=self._test.manifest.source,
            class_names=hashlib.sha256("\n".join(task.classnames).encode()).hexdigest(),
            templates=_templates_part(task.templates),
            projection=task.projection,
            support=self._support_part(),
        )

    def _support_part(self) -> SupportPart | None:
        question = self._question
        if self._support is None:
            return None
        return SupportPart(
            shots=question.shots, image_set=self._support.manifest.source, augmentations=question.augmentations,
            nested=question.nested, short=question.short,
        )  # fmt: skip

    def _encoder_part(self) -> EncoderPart:
        manifest = self._test.manifest
        return EncoderPart(
            backbone=self._question.backbone.published_name,
            weights=manifest.weights,
            tokens=manifest.tokens,
            precision=manifest.precision,
        )

    def _head_part(self, seconds: float) -> HeadPart:
        head, report = self.head, self.head.report
        sees: Sees = "unlabelled" if self._asked.protocol == "label-free" else head.sees
        return HeadPart(
            method=self._question.method,
            options=self._options,
            sees=sees,
            batch_size=self._asked.batch_size,
            recipe=self._recipe.source,
            parameters=head.parameter_count(),
            fit_seconds=seconds,
            samples_per_second=None if report is None else report.samples_per_second,
        )

    def _chosen_on(self, judge: Stream | None, test: Stream) -> int:
        """The number of images that the choice has read."""
        if self._asked.protocol == "label-free":
            return len(test.labels)
        return len(judge.labels) if judge is not None and judge.was_read else 0

    def _choice_part(self, chosen_on: int, weights: ViewWeights | None) -> ChoicePart:
        asked = self._asked
        return ChoicePart(
            protocol=asked.protocol,
            chosen_by=self.head.chosen_by + self._unlabelled_note(),
            chosen_on=chosen_on,
            labels_seen=self._labels_seen(chosen_on > 0),
            criterion=asked.criterion,
            grid=asked.grid,
            values=self.head.chosen,
            view_weighting=asked.view_weighting,
            view_weights=None if weights is None else tuple(weights.weights.tolist()),
            view_weights_by=None if weights is None else weights.chosen_by,
        )

    def _unlabelled_note(self) -> str:
        planned = self._unlabelled
        if planned is None:
            return ""
        images = planned.manifest.images // planned.split.views
        name = {"val": "validation", "train": "training"}[str(self._unlabelled_split)]
        return f"; the head also saw {images} {name} images without their labels"

    def _labels_seen(self, chose: bool) -> LabelsSeen:
        """What the choice of hyperparameters and view weights has seen; a head with nothing to choose sees none."""
        question, protocol = self._question, self._asked.protocol
        if self._asked.view_weighting == "published":
            return "test"
        if protocol == "published":
            return "unknown" if self._recipe.options else "none"
        if protocol == "fixed" and question.method == "calip" and self._is_from(_FIXED_IS_FROM):
            return "unknown"
        return _SEEN_BY.get(protocol, "none") if chose else "none"

    def _is_from(self, dataset: str) -> bool:
        return split_template_set(self._question.task.name)[0] == dataset

    def _control(self, test: Stream, fuse: Fuse, repeats: int) -> dict[str, Any]:
        """For CALIP's oracle: the gain of its search if the attended terms belong to other images."""
        head, question = self.head, self._question
        if self._asked.protocol != "oracle" or not isinstance(head, Calip):
            return {}
        parts = [head.terms(tokens) for tokens in test.batches()]
        terms = CalipLogits(
            fuse(torch.cat([part.clip for part in parts])),
            fuse(torch.cat([part.text_attended for part in parts])),
            fuse(torch.cat([part.visual_attended for part in parts])),
        )
        control = selection.oracle_control(
            terms, test.labels, seed=question.seed, repeats=repeats, grid=question.grid
        )
        gain = float(control.by_selection.mean())
        return {"control_gain": gain, "control_p": control.p_value, "control_repeats": repeats}

    def _run_part(self, manifest: Manifest, seconds: float) -> RunPart:
        encoded = manifest.versions
        return RunPart(
            time=datetime.now(UTC),
            seconds=seconds,
            device=device_name(self._question.backbone.device),
            versions=encoded | {"calip-core": library_version()} | package_versions(_PACKAGES),
            commit=commit(),
        )


def _templates_part(templates: Templates) -> tuple[str, ...] | DescriptionsPart:
    """Templates as they are; class descriptions by their digest, since they may be megabytes."""
    if not isinstance(templates, Mapping):
        return tuple(templates)
    texts = {name: list(texts) for name, texts in templates.items()}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
    return DescriptionsPart(texts=sum(map(len, texts.values())), sha256=digest)


def store_name(task: Task, part: str) -> str:
    """The name of a feature store: the dataset, because other prompts share its images, and the part."""
    return f"{split_template_set(task.name)[0]}-{part}"


def _fusion(weights: ViewWeights | None) -> Fuse:
    """The weighted mean over a cloud's views, which keeps the logits' scale; the identity for images."""
    if weights is None:
        return lambda logits: logits
    shares = weights.weights / weights.weights.sum()
    return lambda logits: view_weights.fuse(logits.unflatten(0, (-1, len(shares))), shares)
