"""The record of one evaluation: a score, and everything that it depends on.

A ``Record`` has six parts: the data, the encoder, the head, the choice of its hyperparameters, the score, and the run.
Its ``key`` alone identifies records of the same setting.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from calip_core.blend.protocols import LabelsSeen, Protocol
from calip_core.evaluation.shots import Short
from calip_core.methods.base import Sees

ViewWeighting = Literal["uniform", "published", "searched"]
"""The source of the weights of a cloud's views; "searched" uses the labels that the protocol may see."""

Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
SCHEMA: Literal[6] = 6
"""Version of the format below: increment it when a field is added or changes its meaning."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SupportPart(_Part):
    """The labelled images that a few-shot head learns from.

    Attributes:
        shots: images per class.
        image_set: SHA-256 of the images and their labels.
        augmentations: augmented views per image; 0 means the unmodified image.
        nested: whether smaller support sets are subsets of larger ones. CoOp's are not.
        short: how classes with fewer images than ``shots`` were handled.
    """

    shots: int = Field(ge=1)
    image_set: str
    augmentations: int = Field(ge=0)
    nested: bool
    short: Short


class DescriptionsPart(_Part):
    """Class descriptions, which may be thousands of texts.

    Attributes:
        texts: number of texts of all classes.
        sha256: SHA-256 of the classes and their texts.
    """

    texts: int = Field(ge=1)
    sha256: str

    def __str__(self) -> str:
        return f"class descriptions: {self.texts:,} texts (SHA-256 {self.sha256[:12]})"


class DataPart(_Part):
    """The task and the images.

    Attributes:
        task: the task's name.
        split: always "test".
        split_source: the source of the split into train, validation and test.
        standin: whether procedural pictures stood in for the dataset's own images.
        part: how much of the dataset was on the disk, if not all of it.
        images: number of classified test images, or of point clouds.
        classes: number of classes.
        limit: the requested number of test images, drawn by the seed; None for the whole split.
        image_set: SHA-256 of the test images' contents and labels. Records with the same set can be compared image by
            image.
        class_names: SHA-256 of the class names, in their order.
        templates: the prompt templates; for class descriptions, whose file the task's name tells, number and digest.
        projection: for point clouds, how they were projected; None for images.
        support: the support set; None for zero-shot heads.
    """

    task: str
    split: Literal["test"] = "test"
    split_source: str
    standin: bool
    part: str | None = None
    images: int = Field(ge=1)
    classes: int = Field(ge=1)
    limit: int | None = Field(ge=1)
    image_set: str
    class_names: str
    templates: Annotated[tuple[str, ...], Field(min_length=1)] | DescriptionsPart
    projection: str | None = None
    support: SupportPart | None = None


class EncoderPart(_Part):
    """The frozen CLIP.

    Attributes:
        backbone: its name; for a checkpoint identical to a published model, that model's name.
        weights: SHA-256 of the image encoder's weights. The weights behind a name such as mini-rn can change.
        tokens: which spatial tokens it returns.
        precision: the number format and the kind of device that it computes on.
    """

    backbone: str
    weights: str
    tokens: str
    precision: str


class HeadPart(_Part):
    """The classifier head.

    Attributes:
        method: its name in ``METHODS``.
        options: all options that it was made with, as JSON values.
        sees: what data it uses besides the image being classified.
        batch_size: for a head that sees a batch, images per batch; None for the whole split.
        recipe: description of the source of the options that the caller did not give.
        parameters: number of values found by the fit, excluding text features.
        fit_seconds: duration of the fit, excluding encoding.
        samples_per_second: rows trained on per second; None if nothing is trained.
    """

    method: str
    options: dict[str, JsonValue]
    sees: Sees
    batch_size: int | None = Field(None, ge=1)
    recipe: str
    parameters: int = Field(ge=0)
    fit_seconds: float = Field(ge=0)
    samples_per_second: float | None = None


class ChoicePart(_Part):
    """How the hyperparameters were chosen.

    Attributes:
        protocol: "fixed", "published", "validation", "oracle" or "label-free". "oracle" has seen test labels.
        chosen_by: the criterion or source of the hyperparameters, in words.
        chosen_on: number of images that they were chosen on; 0 if none.
        labels_seen: which labels the choice has seen, including the choice of published view weights.
        criterion: criterion of the label-free protocol; None for other protocols.
        grid: the weights that were searched, in words; None for the default grid.
        values: the numbers that were given or found, such as beta2 and beta3.
        view_weighting: for point clouds, the source of the weights of the views.
        view_weights: the weights, scaled so that the largest is 1.
        view_weights_by: their criterion or source, in words.
    """

    protocol: Protocol
    chosen_by: str
    chosen_on: int = Field(0, ge=0)
    labels_seen: LabelsSeen
    criterion: str | None = None
    grid: str | None = None
    values: dict[str, float] = {}
    view_weighting: ViewWeighting | None = None
    view_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    view_weights_by: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ChoicePart":
        if self.labels_seen == "test" and self.protocol != "oracle" and self.view_weighting != "published":
            raise ValueError(f"protocol is {self.protocol!r}, but labels_seen is 'test': only an oracle sees those")
        if self.view_weighting == "published" and self.labels_seen != "test":
            raise ValueError(f"published view weights have seen test labels, but labels_seen is {self.labels_seen!r}")
        views = self.view_weighting, self.view_weights, self.view_weights_by
        if len({field is None for field in views}) > 1:
            raise ValueError("view_weighting, view_weights and view_weights_by belong together: give all or none")
        return self


class ScorePart(_Part):
    """Accuracy of the head, and a comparison with zero-shot CLIP on the same images. Shares run from 0 to 1.

    Attributes:
        top1: share of images whose largest logit is their class's.
        low: lower end of the 95 % Wilson interval of ``top1``.
        high: upper end of that interval.
        per_class_mean: mean of the per-class accuracies, over the classes that have images.
        clip_top1: accuracy of zero-shot CLIP on the same images.
        gain: ``top1 - clip_top1``.
        gain_low: lower end of its paired 95 % score interval (``metrics.paired_interval``).
        gain_high: upper end of that interval.
        only_method: number of images that only the head gets right.
        only_clip: number of images that only CLIP gets right.
        mcnemar_p: exact two-sided p-value of McNemar's test. It is not valid for a choice that has seen these labels:
            see ``Record.test_is_valid``.
        control_gain: for CALIP's oracle, the mean gain of the same search with permuted attention terms.
        control_p: share of these searches that gain at least as much.
        control_repeats: number of these searches.
        hits: which images the head got right, one bit per image in base64; None if they were not kept.
        clip_hits: which images CLIP got right, likewise.
    """

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
    control_repeats: int | None = Field(None, ge=1)
    hits: str | None = None
    clip_hits: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ScorePart":
        if not self.low <= self.top1 <= self.high:
            raise ValueError(f"top1 is {self.top1}, outside its interval from {self.low} to {self.high}")
        return self


class SpreadPart(_Part):
    """How the workers of a cluster shared the images, and what that can change.

    Attributes:
        workers: number of workers at the start.
        threads: threads of each worker's processor.
        batch: images that went through the encoder together.
        rounding: largest change of a logit when the first images of a worker were encoded one at a time instead.
        doubtful: images whose label leads, or trails, the best other class by less than twice that, for the head or for
            CLIP. Other batches, threads or devices may classify those differently.
    """

    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    batch: int = Field(ge=1)
    rounding: float = Field(ge=0)
    doubtful: int = Field(ge=0)


class RunPart(_Part):
    """When, where and with which code it was measured. None of this is part of the setting.

    Attributes:
        time: when the evaluation ended.
        seconds: total duration, including any encoding.
        device: the name of the processor or GPU.
        versions: versions of the packages that affect the result.
        commit: commit of the checkout; "unknown" outside one.
        spread: for a cluster, how it shared the images; None for one machine.
    """

    time: AwareDatetime
    seconds: float = Field(ge=0)
    device: str
    versions: dict[str, str]
    commit: str
    spread: SpreadPart | None = None


class Record(_Part):
    """One evaluation: its data, encoder, head, choice, score and run.

    Attributes:
        seed: seed of the support set, the test images of a limit, the initial weights, the order of a stream, and all
            other random draws.
    """

    schema_version: Literal[6] = SCHEMA
    seed: int = Field(ge=0)
    data: DataPart
    encoder: EncoderPart
    head: HeadPart
    choice: ChoicePart
    score: ScorePart
    run: RunPart

    @model_validator(mode="after")
    def _consistent(self) -> "Record":
        for name in ("hits", "clip_hits"):
            packed = self.score.model_dump()[name]
            if packed is not None and len(base64.b64decode(packed, validate=True)) != -(-self.data.images // 8):
                raise ValueError(f"score.{name} does not hold one bit for each of {self.data.images} images")
        if (self.data.projection is None) != (self.choice.view_weighting is None):
            raise ValueError("data.projection and choice.view_weighting belong together: give both or neither")
        return self

    @property
    def key(self) -> str:
        """64 hexadecimal digits, equal if and only if records have the same setting."""
        return setting_key(self.data, self.encoder, self.head.method, self.head.options, self._asked, self.seed)

    @property
    def key_without_seed(self) -> str:
        """Like ``key``, but equal for records that differ only in the seed and the images that it drew."""
        drawn: dict[str, Any] = {} if self.data.limit is None else {"image_set": ""}
        if self.data.support:
            drawn["support"] = self.data.support.model_copy(update={"image_set": ""})
        options = {name: value for name, value in self.head.options.items() if name != "seed"}
        data = self.data.model_copy(update=drawn)
        return setting_key(data, self.encoder, self.head.method, options, self._asked, seed=0)

    @property
    def _asked(self) -> "Asked":
        choice = self.choice
        return Asked(choice.protocol, choice.criterion, choice.grid, choice.view_weighting, self.head.batch_size)

    @property
    def shots(self) -> int:
        """Labelled images per class that the head learned from; 0 for a zero-shot head."""
        return self.data.support.shots if self.data.support else 0

    @property
    def test_is_valid(self) -> bool:
        """Whether ``score.mcnemar_p`` is a p-value: the choice has certainly not seen test labels."""
        return self.choice.labels_seen in ("none", "validation")

    def correct(self) -> Bool[np.ndarray, "n"]:
        """Which images the head got right, in the order of the image set.

        Raises:
            ValueError: the evaluation did not keep its hits.
        """
        return self._unpacked(self.score.hits)

    def correct_by_clip(self) -> Bool[np.ndarray, "n"]:
        """Which images zero-shot CLIP got right, in the same order.

        Raises:
            ValueError: the evaluation did not keep its hits.
        """
        return self._unpacked(self.score.clip_hits)

    def _unpacked(self, packed: str | None) -> Bool[np.ndarray, "n"]:
        if packed is None:
            what = f"{self.data.task}, {self.encoder.backbone}"
            raise ValueError(f"the record of {what} keeps no hits: evaluate with keep_hits=True")
        return unpack_hits(packed, self.data.images)


@dataclass(frozen=True)
class Asked:
    """How the caller wants hyperparameters chosen; part of a setting, with the data, the encoder and the head."""

    protocol: Protocol
    criterion: str | None = None
    grid: str | None = None
    view_weighting: ViewWeighting | None = None
    batch_size: int | None = None


def setting_key(
    data: DataPart, encoder: EncoderPart, method: str, options: Mapping[str, Any], asked: Asked, seed: int
) -> str:
    """The key of a setting, known before anything is measured.

    Args:
        data: the test images, and the support set if there is one.
        encoder: the backbone.
        method: the head's name.
        options: all options of the head, as JSON values.
        asked: how hyperparameters and view weights are chosen.
        seed: of the evaluation.

    Returns:
        The SHA-256 that ``Record.key`` will have.
    """
    parts = {
        "data": data.model_dump(mode="json"),
        "encoder": encoder.model_dump(mode="json"),
        "head": [method, {name: value for name, value in options.items() if name != "progress"}],
        "choice": asdict(asked),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pack_hits(hits: Bool[np.ndarray, "n"]) -> str:
    """Encode which images were classified correctly, one bit per image, in base64."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode("ascii")


def unpack_hits(packed: str, images: int) -> Bool[np.ndarray, "n"]:
    """The inverse of ``pack_hits``."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=images)
    return bits.astype(bool)
