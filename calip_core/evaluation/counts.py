"""Counts of images from which a score is made. Those of disjoint sets of images add."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int64

from calip_core.evaluation.record import ScorePart
from calip_core.metrics import Interval, paired_interval, paired_test, wilson_interval


@dataclass(frozen=True, eq=False)
class Counts:
    """What a head and zero-shot CLIP got right on the same images.

    Attributes:
        images: per class, the number of images.
        correct: per class, how many of them the head got right.
        clip_correct: per class, how many of them CLIP got right.
        only_method: images that only the head got right.
        only_clip: images that only CLIP got right.
    """

    images: Int64[np.ndarray, "k"]
    correct: Int64[np.ndarray, "k"]
    clip_correct: Int64[np.ndarray, "k"]
    only_method: int
    only_clip: int

    @classmethod
    def of(
        cls,
        hits: Bool[np.ndarray, "n"],
        clip_hits: Bool[np.ndarray, "n"],
        labels: Int[np.ndarray, "n"],
        *,
        classes: int,
    ) -> "Counts":
        """Count images: which of them the head and CLIP got right, and their class numbers."""
        images, correct, clip_correct = (
            np.bincount(some, minlength=classes) for some in (labels, labels[hits], labels[clip_hits])
        )
        only_method, only_clip = int((hits & ~clip_hits).sum()), int((clip_hits & ~hits).sum())
        return cls(images, correct, clip_correct, only_method, only_clip)

    @classmethod
    def none(cls, classes: int) -> "Counts":
        """No images."""
        nothing = np.zeros(classes, np.int64)
        return cls(nothing, nothing, nothing, 0, 0)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.images + other.images,
            self.correct + other.correct,
            self.clip_correct + other.clip_correct,
            self.only_method + other.only_method,
            self.only_clip + other.only_clip,
        )


def score_part(counts: Counts, method: str, **others: Any) -> ScorePart:
    """The score of a head.

    Args:
        counts: of all test images.
        method: the head's name: CLIP has no gain over itself, on these images or on any.
        others: further fields of the score, such as ``hits``.
    """
    total, correct = int(counts.images.sum()), int(counts.correct.sum())
    top1, clip_top1 = correct / total, int(counts.clip_correct.sum()) / total
    test, interval = paired_test(counts.only_method, counts.only_clip), wilson_interval(correct, total)
    itself = method == "zero_shot"
    gain = Interval(0.0, 0.0) if itself else paired_interval(test.only_a, test.only_b, total)
    shown = counts.images > 0
    return ScorePart(
        top1=top1,
        low=interval.low,
        high=interval.high,
        per_class_mean=float((counts.correct[shown] / counts.images[shown]).mean()),
        clip_top1=clip_top1,
        gain=top1 - clip_top1,
        gain_low=gain.low,
        gain_high=gain.high,
        only_method=test.only_a,
        only_clip=test.only_b,
        mcnemar_p=test.p_value,
        **others,
    )
