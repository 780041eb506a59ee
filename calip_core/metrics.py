"""Accuracy, confidence intervals, and tests of two classifiers on the same images."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t
from torch import Tensor

Floats = Float[np.ndarray, "..."]

LEVEL = 0.05
"""Significance level: a test's p-value below it counts as evidence of a difference."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends have the unit of the estimate (a fraction from 0 to 1 for accuracies)."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class PairedTest:
    """McNemar's test of two classifiers on the same images.

    Attributes:
        only_a: images that only the first classifier gets right.
        only_b: images that only the second gets right.
        p_value: two-sided probability of a split at least this uneven if both were equally good.
    """

    only_a: int
    only_b: int
    p_value: float


def correct_predictions(logits: Float[Tensor, "n k"], labels: ArrayLike, k: int = 1) -> Bool[np.ndarray, "n"]:
    """Whether each image's label is among the ``k`` classes with the largest logits.

    Among equal logits, the class with the lower index comes first. The released CALIP code takes the order of
    ``topk``, which agrees for 64 classes or more; with fewer classes, ``topk`` breaks ties arbitrarily.

    Raises:
        ValueError: the lengths differ, a label is not a class, a logit is NaN or infinite, or k is out of range.
    """
    target = torch.from_numpy(checked_labels(logits, labels)).to(logits.device).unsqueeze(1)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k is {k}, expected 1 to the number of classes, {logits.shape[1]}")
    own = logits.gather(1, target)
    lower_number = torch.arange(logits.shape[1], device=logits.device) < target
    ahead = (logits > own) | ((logits == own) & lower_number)
    return np.asarray((ahead.sum(dim=1) < k).cpu().numpy())


def accuracy(logits: Float[Tensor, "n k"], labels: ArrayLike) -> float:
    """Top-1 accuracy: the fraction of images whose largest logit is their label's."""
    return float(correct_predictions(logits, labels).mean())


def per_class_accuracy(logits: Float[Tensor, "n k"], labels: ArrayLike) -> Float[np.ndarray, "k"]:
    """Top-1 accuracy among the images of each class; NaN for a class without images."""
    target = checked_labels(logits, labels)
    classes = logits.shape[1]
    hits = np.bincount(target, weights=correct_predictions(logits, labels), minlength=classes)
    counts = np.bincount(target, minlength=classes)
    return _ratio(hits, counts)


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a proportion; unlike +-1.96 s.e., it keeps its coverage near 0 and 1.

    Raises:
        ValueError: there are no images, more correct than images, or the confidence is outside (0, 1).
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} correct of {total} images: expected 0 <= correct <= total and total > 0")
    _check_confidence(confidence)
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def accuracy_interval(hits: Bool[np.ndarray, "n"]) -> Interval:
    """Wilson's 95 % interval for the fraction of images that are classified correctly.

    Raises:
        ValueError: there are no images.
    """
    return wilson_interval(int(hits.sum()), len(hits))


def paired_interval(only_a: int, only_b: int, total: int, confidence: float = 0.95) -> Interval:
    """Score interval for the difference of two accuracies on the same images (Tango, 1998).

    It contains every difference that a score test would not reject. It therefore keeps a positive width where the two
    classifiers differ on few images or none, where a bootstrap can only resample what it has seen.

    Args:
        only_a: images that only the first classifier gets right.
        only_b: images that only the second gets right.
        total: all images, including those on which both agree.
        confidence: of the interval.

    Returns:
        The interval for ``(only_a - only_b) / total``, from -1 to 1.

    Raises:
        ValueError: there are no images, the counts are inconsistent, or the confidence is outside (0, 1).
    """
    if min(only_a, only_b) < 0 or only_a + only_b > total or total == 0:
        raise ValueError(f"{only_a} and {only_b} of {total} images: expected counts of disjoint images, and total > 0")
    _check_confidence(confidence)
    gain, width = (only_a - only_b) / total, float(norm.ppf((1 + confidence) / 2)) ** 2

    def beyond(difference: float) -> float:
        """Positive if the score test rejects this difference."""
        return total * (gain - difference) ** 2 - width * _paired_variance(only_a, only_b, total, difference)

    nearby = 1e-12  # where its variance is zero, the estimate itself is a root too
    low = -1.0 if gain - nearby <= -1 else brentq(beyond, -1.0, gain - nearby)
    high = 1.0 if gain + nearby >= 1 else brentq(beyond, gain + nearby, 1.0)
    return Interval(float(low), float(high))


def _paired_variance(only_a: int, only_b: int, total: int, difference: float) -> float:
    """Variance per image if this were the true difference: Tango's maximum likelihood estimate."""
    linear = (2 * total - only_a + only_b) * difference - only_a - only_b
    constant = -only_b * difference * (1 - difference)
    share_b = (np.sqrt(max(linear**2 - 8 * total * constant, 0.0)) - linear) / (4 * total)
    return float(2 * share_b + difference * (1 - difference))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Mean of a few repetitions and the half-width of its t-interval, which is NaN for a single repetition.

    Raises:
        ValueError: there are no values, or the confidence is outside (0, 1).
    """
    _check_confidence(confidence)
    given = np.asarray(values, dtype=float)
    if given.ndim != 1 or len(given) == 0:
        raise ValueError(f"values have shape {given.shape}, expected at least one number")
    if len(given) == 1:
        return float(given[0]), float("nan")
    spread = student_t.ppf((1 + confidence) / 2, len(given) - 1) * given.std(ddof=1) / np.sqrt(len(given))
    return float(given.mean()), float(spread)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedTest:
    """Exact McNemar test (1947) from the hits of two classifiers on the same images, in the same order.

    Raises:
        ValueError: the two have different lengths.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"hits of {a.shape} and {b.shape} images: the test needs the same images for both")
    return paired_test(int((a & ~b).sum()), int((b & ~a).sum()))


def paired_test(only_a: int, only_b: int) -> PairedTest:
    """McNemar's test from its two counts: images that only the first, and only the second classifier gets right."""
    # Images on which both agree carry no information; the others are coin tosses if both are equally good.
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return PairedTest(only_a, only_b, p_value)


def _ratio(sums: Floats, counts: NDArray[np.int64]) -> Floats:
    """Sums divided by counts, NaN where the count is zero."""
    means = np.full(len(counts), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def checked_labels(logits: Float[Tensor, "n k"], labels: ArrayLike) -> NDArray[np.int64]:
    """Labels as class indices, after a check against the logits.

    Raises:
        ValueError: the lengths differ, there are no images, a label is not a class, a logit is NaN or infinite, or the
            logits are not a two-dimensional tensor.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = f"have shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"are a {type(logits).__name__}"
        raise ValueError(f"logits {found}, expected a tensor with one row per image and one column per class")
    given = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    with np.errstate(invalid="ignore"):
        target = given.astype(np.int64)
    if (target != given).any():
        raise ValueError(f"labels have the value {given[target != given][0]}, expected whole numbers")
    n, k = logits.shape
    if target.shape != (n,) or n == 0:
        raise ValueError(f"logits of {n} images and labels of shape {target.shape}: expected one label per image")
    if target.min() < 0 or target.max() >= k:
        raise ValueError(f"labels run from {target.min()} to {target.max()}, expected 0 to {k - 1} for {k} classes")
    if not logits.isfinite().all():
        raise ValueError("logits contain NaN or infinity: they have no largest class")
    return target


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a share between 0 and 1 such as 0.95")
