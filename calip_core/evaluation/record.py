"""The record of one measurement: a number, and what it depends on."""

import base64
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from calip_core.blend.selection import LabelsSeen, Protocol

MethodName = Literal["calip", "zero_shot"]
ViewWeighting = Literal["uniform", "published", "searched"]

Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
SCHEMA: Literal[4] = 4
"""Number of the form below; it grows whenever a field is added or changes its meaning."""


class RunRecord(BaseModel):
    """One measurement on one test set, and what it depends on. Shares run from 0 to 1.

    Attributes:
        dataset: name of the task.
        split_source: who cut the data into train, validation and test.
        images: how many test images were classified, of ``limit`` at most.
        limit: the asked number of images, drawn by the seed; None for the whole split.
        standin: whether procedural pictures stood in for the dataset's images.
        image_set: SHA-256 of the images and labels; records of one set can be compared image by image.
        class_names: SHA-256 of the names of the classes, in their order; templates: what they were put into.
        projection: for point clouds, how they became images; ``images`` then counts clouds.
        view_weighting: where the weights of the views come from; "searched" means with the labels that the protocol may
            see. view_weights: themselves, the largest 1. view_weights_by: their criterion or source, in words.
        weights: SHA-256 of the image encoder's weights: a name such as mini-rn can change its weights.
        token_space: where the backbone's spatial tokens live.
        precision: of the image encoder, and where it computed.
        protocol: how the blend weights were chosen; "oracle" is the one that has seen test labels.
        chosen_by: the criterion or source of the weights, in words.
        chosen_on: on how many images they were chosen.
        grid: the pairs that they were chosen among, in words; None where nothing was searched.
        labels_seen: which labels the choices of blend and view weights have seen; published view weights, those of the
            test.
        low, high: ends of the 95 % Wilson interval of ``top1``.
        per_class_mean: mean of the classes' own accuracies, over the classes that have images.
        clip_top1: CLIP's zero-shot accuracy on the same images.
        gain: ``top1 - clip_top1``; gain_low, gain_high: ends of its paired 95 % score interval
            (``metrics.paired_interval``).
        only_method, only_clip: images that only one of the two gets right.
        mcnemar_p: exact two-sided p of so uneven a split if both were equally good. It is no test of a choice that
            has seen these labels: ``test_is_valid``.
        control_gain: for the oracle, the mean gain of the same search with permuted attention terms.
        control_p: for the oracle, the share of such searches that gain as much. control_repeats: their number.
        time: when the run ended; seconds: how long it took, encoding included where it was needed.
        hits, clip_hits: which images were right, packed bits in base64 (``correct``); None where they were not kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[4] = SCHEMA
    dataset: str
    split: Literal["test"] = "test"
    split_source: str
    images: int = Field(ge=1)
    classes: int = Field(ge=1)
    limit: int | None
    standin: bool
    image_set: str
    class_names: str
    templates: tuple[str, ...] = Field(min_length=1)
    projection: str | None = None
    view_weighting: ViewWeighting | None = None
    view_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    view_weights_by: str | None = None
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
    grid: str | None = None
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
    control_repeats: int | None = Field(None, ge=1)
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
        saw_the_test = self.protocol == "oracle" or self.view_weighting == "published"
        if (self.labels_seen == "test") != saw_the_test:
            raise ValueError(f"protocol is {self.protocol!r}, but the choice has seen {self.labels_seen} labels")
        of_views = self.projection, self.view_weighting, self.view_weights, self.view_weights_by
        if len({field is None for field in of_views}) > 1:
            raise ValueError(
                "projection, view_weighting, view_weights and view_weights_by belong together: give all four or none"
            )
        for name in ("hits", "clip_hits"):
            packed = getattr(self, name)
            if packed is not None and len(base64.b64decode(packed, validate=True)) != -(-self.images // 8):
                raise ValueError(f"{name} does not hold one bit for each of {self.images} images")
        return self

    @property
    def test_is_valid(self) -> bool:
        """Whether ``mcnemar_p`` is one: the weights were surely not chosen on the labels that they are tested on."""
        return self.labels_seen in ("none", "validation")

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
        return unpack_hits(packed, self.images)


def pack_hits(hits: Bool[np.ndarray, "n"]) -> str:
    """Which images were right, one bit each, in base64."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode("ascii")


def unpack_hits(packed: str, images: int) -> Bool[np.ndarray, "n"]:
    """The inverse of ``pack_hits``."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=images)
    return bits.astype(bool)
