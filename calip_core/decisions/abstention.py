"""When to say nothing: scores of confidence, risk against coverage, and a threshold chosen on validation images.

An image is answered if its confidence reaches a threshold. The *coverage* is the share of images that are answered, the
*risk* the share of wrong answers among them (El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
Classification", JMLR 2010).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import beta, norm, rankdata
from torch import Tensor

from calip_core.metrics import LEVEL, Interval

Score = Literal["probability", "margin", "logit"]
Floats = Float[np.ndarray, "..."]


def confidence(logits: Float[Tensor, "n k"], score: Score = "probability") -> Float[np.ndarray, "n"]:
    """How sure a classifier is of its answer to each image, in double precision.

    Args:
        logits: at least two classes.
        score: "probability", the largest value of the softmax (Hendrycks and Gimpel, ICLR 2017); "margin", the
            difference of the two largest logits; "logit", the largest logit (Hendrycks et al., ICML 2022), which for
            zero-shot CLIP is s times the largest cosine.

    Raises:
        ValueError: there are fewer than two classes, a logit is NaN or infinite, or the score is unknown.
    """
    if logits.shape[1] < 2 or not logits.isfinite().all():
        raise ValueError(f"logits of shape {tuple(logits.shape)}: expected finite numbers of at least two classes")
    given = logits.detach().double().cpu()
    if score == "probability":
        return np.asarray(given.softmax(dim=1).amax(dim=1))
    first, second = given.topk(2, dim=1).values.unbind(dim=1)
    if score == "margin":
        return np.asarray(first - second)
    if score == "logit":
        return np.asarray(first)
    raise ValueError(f"score is {score!r}, expected probability, margin or logit")


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What happens at every possible threshold, from the strictest to none.

    Attributes:
        thresholds: the distinct confidences, descending; images of equal confidence are answered together.
        answered: images with at least that confidence.
        wrong: wrong answers among them.
        images: all images.
    """

    thresholds: Float[np.ndarray, " t"]
    answered: Int[np.ndarray, " t"]
    wrong: Int[np.ndarray, " t"]
    images: int

    @property
    def coverage(self) -> Float[np.ndarray, " t"]:
        """Share of the images that are answered."""
        return np.asarray(self.answered / self.images)

    @property
    def risk(self) -> Float[np.ndarray, " t"]:
        """Share of wrong answers among the answered images."""
        return np.asarray(self.wrong / self.answered)


def risk_coverage(confidences: Float[np.ndarray, "n"], correct: Bool[np.ndarray, "n"]) -> RiskCoverage:
    """Risk and coverage at every threshold, exactly.

    Args:
        confidences: of the images.
        correct: whether each answer is right.

    Raises:
        ValueError: there are no images, the lengths differ, or a confidence is NaN.
    """
    if len(confidences) != len(correct) or len(correct) == 0 or np.isnan(confidences).any():
        raise ValueError(
            f"{len(confidences)} confidences, {np.isnan(confidences).sum()} of them NaN, and {len(correct)} answers: "
            "expected one confidence per answer, and at least one"
        )
    order = np.argsort(-confidences)
    ordered = confidences[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last image of each confidence
    return RiskCoverage(ordered[last], last + 1, np.cumsum(~correct[order])[last], len(correct))


def risk_bound(wrong: Int[np.ndarray, "..."], answered: Int[np.ndarray, "..."], level: float = LEVEL) -> Floats:
    """Upper bound on a risk, exceeded by the truth with at most the chance ``level`` (Clopper and Pearson, 1934)."""
    errors, right = np.asarray(wrong), np.asarray(answered) - np.asarray(wrong)
    bound = beta.ppf(1 - level, errors + 1, np.maximum(right, 1))
    return np.asarray(np.where(right > 0, bound, 1.0))


def choose_threshold(
    confidences: Float[np.ndarray, "n"], correct: Bool[np.ndarray, "n"], *, risk: float, level: float = LEVEL
) -> float:
    """The threshold with the largest coverage whose risk is at most ``risk``, as far as these images can tell.

    For each threshold, the truth exceeds its bound with at most the chance ``level``. As one of many thresholds is
    chosen, the chance that the chosen one exceeds ``risk`` can be larger: up to a quarter with 400 images, if the
    confidence says nothing and the risk is that of the wish everywhere. So look at test images, or divide the level by
    the number of thresholds, as Geifman and El-Yaniv (NeurIPS 2017) do by those that they try.

    Args:
        confidences: of validation images.
        correct: whether each answer is right.
        risk: the wish, a share between 0 and 1.
        level: chance of the bound on the risk.

    Returns:
        Answer where the confidence is at least this. Infinity, which answers nothing, if no threshold will do.

    Raises:
        ValueError: as ``risk_coverage``, or the wish or the level is not between 0 and 1.
    """
    if not (0 < risk < 1 and 0 < level < 1):
        raise ValueError(f"risk is {risk} and level {level}: expected shares between 0 and 1, such as 0.05")
    curve = risk_coverage(confidences, correct)
    low_enough = np.flatnonzero(risk_bound(curve.wrong, curve.answered, level) <= risk)
    return float(curve.thresholds[low_enough[-1]]) if len(low_enough) else float("inf")


@dataclass(frozen=True, eq=False)
class Separation:
    """How well confidence separates images on the list from others: the area under the ROC curve (AUROC).

    The AUROC is the chance that an image on the list has a larger confidence than another one; a tie counts one half.

    Attributes:
        inside: of each image on the list, the share of the others that it exceeds; for a difference, its difference.
        outside: of each other image, the share of those on the list that exceed it.
    """

    inside: Float[np.ndarray, " n"]
    outside: Float[np.ndarray, " m"]

    @property
    def value(self) -> float:
        """The AUROC, or the difference of two."""
        return float(self.inside.mean())

    @property
    def interval(self) -> Interval:
        """The 95 % interval of DeLong, DeLong and Clarke-Pearson (Biometrics, 1988), cut at 1."""
        variance = sum(part.var(ddof=1) / len(part) for part in (self.inside, self.outside))
        half = float(norm.ppf(1 - LEVEL / 2)) * float(np.sqrt(variance))
        return Interval(self.value - half, min(1.0, self.value + half))

    def __sub__(self, other: "Separation") -> "Separation":
        """The difference of two scores of confidence on the same images in the same order.

        Raises:
            ValueError: the numbers of images differ.
        """
        if (len(self.inside), len(self.outside)) != (len(other.inside), len(other.outside)):
            raise ValueError(
                f"{len(self.inside)} and {len(self.outside)} images against {len(other.inside)} and "
                f"{len(other.outside)}: expected the same images for both"
            )
        return Separation(self.inside - other.inside, self.outside - other.outside)


def separation(inside: Float[np.ndarray, "n"], outside: Float[np.ndarray, "m"]) -> Separation:
    """The AUROC of confidences.

    Args:
        inside: of images whose class is on the list.
        outside: of images whose class is not.

    Raises:
        ValueError: there are fewer than two of one kind, or a confidence is NaN.
    """
    both = np.concatenate([inside, outside])
    n, m = len(inside), len(outside)
    if min(n, m) < 2 or np.isnan(both).any():
        raise ValueError(
            f"confidences of {n} images on the list and {m} others, {np.isnan(both).sum()} of them NaN: expected "
            "numbers, at least two of each kind"
        )
    ranks = rankdata(both)  # the mean rank where confidences are equal
    return Separation((ranks[:n] - rankdata(inside)) / m, 1 - (ranks[n:] - rankdata(outside)) / n)
