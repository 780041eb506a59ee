"""Whether a probability means what it says: reliability, the calibration error, and temperature scaling.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from torch import Tensor

from calip_core.decisions.abstention import confidence
from calip_core.decisions.resampling import Resampled, resampled_sums
from calip_core.metrics import LEVEL, checked_labels, correct_predictions


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions sorted into equal-width bins of confidence; entries are NaN where a bin is empty.

    Attributes:
        confidence: mean largest probability in each bin.
        accuracy: share of correct predictions in each bin.
        counts: images in each bin.
    """

    confidence: Float[np.ndarray, "b"]
    accuracy: Float[np.ndarray, "b"]
    counts: Int[np.ndarray, "b"]

    @property
    def expected_calibration_error(self) -> float:
        """Mean gap between confidence and accuracy, each bin weighted by its images."""
        filled = self.counts > 0
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))


def reliability(logits: Float[Tensor, "n k"], labels: ArrayLike, bins: int = 15) -> ReliabilityBins:
    """Compare the probability that a classifier assigns to its answer with how often that answer is right.

    Args:
        logits: their softmax is taken for the probabilities.
        labels: one class per image.
        bins: number of bins between 0 and 1; 15 are the paper's.

    Raises:
        ValueError: as ``metrics.correct_predictions``, or there is no bin.
    """
    sure, bin_of, hits = *_binned(logits, bins), correct_predictions(logits, labels).astype(float)
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):  # an empty bin has the mean 0 / 0, which is NaN
        means = [np.bincount(bin_of, values, minlength=bins) / counts for values in (sure, hits)]
    return ReliabilityBins(means[0], means[1], counts)


def expected_calibration_error(
    logits: Float[Tensor, "n k"], labels: ArrayLike, *, bins: int = 15, seed: int = 0, draws: int = 1000
) -> Resampled:
    """The expected calibration error (ECE) of the paper's equation 3, with samples for its interval.

    The estimate is biased upwards: within a bin, accuracy scatters about its expectation, and an absolute value counts
    scatter in either direction as a gap. More bins and fewer images make this worse, so only errors of the same bins
    and images can be compared. The interval takes back a part of it. For a classifier that is nearly calibrated, this
    is not enough, and the interval may begin above the truth: compare with ``error_by_chance``.

    Args:
        logits: their softmax is taken for the probabilities.
        labels: one class per image.
        bins: number of bins between 0 and 1.
        seed: draws the samples.
        draws: number of samples.

    Returns:
        The error as a share from 0 to 1. Errors of two classifiers on the same images, with the same seed, can be
        subtracted: their difference has an interval too.

    Raises:
        ValueError: as ``reliability``, or there are no draws.
    """
    sure, bin_of, hits = *_binned(logits, bins), correct_predictions(logits, labels).astype(float)
    gaps = np.zeros((len(hits), bins))  # (n, b): an image has a gap in its own bin alone
    gaps[np.arange(len(hits)), bin_of] = sure - hits
    sums = np.vstack([gaps.sum(axis=0), resampled_sums(gaps, seed=seed, draws=draws)])  # (1 + r, b)
    errors = np.abs(sums).sum(axis=1) / len(hits)
    return Resampled(float(errors[0]), errors[1:])


def error_by_chance(logits: Float[Tensor, "n k"], *, bins: int = 15, seed: int = 0, draws: int = 1000) -> float:
    """The calibration error that a perfectly calibrated classifier would exceed once in twenty times.

    Whether each answer is right is drawn from its own probability (consistency resampling: Bröcker and Smith, Weather
    and Forecasting, 2007). An error below this is no evidence against the probabilities.

    Args:
        logits: their softmax is taken for the probabilities, and for the truth.
        bins: number of bins between 0 and 1.
        seed: draws what is right.
        draws: how often.

    Raises:
        ValueError: as ``abstention.confidence``, or there are no bins, images or draws.
    """
    sure, bin_of = _binned(logits, bins)
    if draws < 1 or len(sure) == 0:
        raise ValueError(f"{draws} draws of {len(sure)} images: expected at least one of each")
    rng = np.random.default_rng(seed)
    gaps = (sure - (rng.random(len(sure)) < sure) for _ in range(draws))  # "n" each
    errors = [np.abs(np.bincount(bin_of, gap)).sum() / len(sure) for gap in gaps]
    return float(np.quantile(errors, 1 - LEVEL))


def _binned(logits: Float[Tensor, "n k"], bins: int) -> tuple[Float[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """The probability of every answer, and its bin."""
    if bins < 1:
        raise ValueError(f"bins is {bins}, expected at least 1")
    sure = confidence(logits)
    return sure, np.digitize(sure, np.linspace(0, 1, bins + 1)[1:-1])


def fit_temperature(logits: Float[Tensor, "n k"], labels: ArrayLike) -> float:
    """The temperature T with the smallest cross-entropy of ``logits / T`` on labelled images.

    The cross-entropy is convex in 1/T, so the root of its derivative is the minimum. T changes no answer.

    Args:
        logits: of validation images, not of those that the result is reported on.
        labels: one class per image.

    Raises:
        ValueError: as ``metrics.correct_predictions``; or no temperature is best: all answers are right, so that a
            smaller T is always better, or the labels have no larger logits than other classes on average, so that a
            larger one is.
    """
    target = checked_labels(logits, labels)
    given = logits.detach().double().cpu()
    leads = given - given[np.arange(len(target)), target].unsqueeze(1)  # (n, k): of every class over the label
    size = float(leads.abs().amax())
    if float(leads.mean()) >= 0:
        raise ValueError(
            f"the labels of {len(target)} images have no larger logits than other classes on average: a larger "
            "temperature is always better. Check that the labels belong to these logits"
        )
    if float(leads.amax()) <= 0:
        raise ValueError(
            f"the answers to all {len(target)} images are right: a smaller temperature is always better. Fit it on "
            "more images, some of which are classified wrongly"
        )

    def slope(sharpness: float) -> float:
        """Derivative of the mean cross-entropy with respect to size / T."""
        scaled = leads / size
        return float(((sharpness * scaled).softmax(dim=1) * scaled).sum(dim=1).mean())

    sharpest = 1.0
    while slope(sharpest) < 0:
        sharpest *= 2
    return size / float(brentq(slope, 0.0, sharpest, xtol=1e-14))
