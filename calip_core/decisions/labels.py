"""Several labels per image: one yes or no for each class, by a threshold of its own."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score
from torch import Tensor

from calip_core.decisions.resampling import Resampled, resampled_sums

Truth = Bool[np.ndarray, "n k"]


def choose_thresholds(scores: Float[Tensor, "n k"], truth: Truth, classnames: Sequence[str]) -> Float[np.ndarray, "k"]:
    """For each class, the threshold with the best F1 on validation images, among all thresholds.

    F1 changes only where a score is passed, so one pass over the sorted scores tries everything. The largest threshold
    wins a tie.

    Args:
        scores: cosines or logits.
        truth: whether each image has each label.
        classnames: names of the k classes, for the message.

    Returns:
        A class is predicted where its score is at least its threshold.

    Raises:
        ValueError: the shapes differ, a score is NaN or infinite, or a class has no image: nothing says where its
            threshold should be.
    """
    given = _checked(scores, truth)
    if len(classnames) != truth.shape[1]:
        raise ValueError(f"{len(classnames)} class names for {truth.shape[1]} classes: expected one per class")
    if missing := [classnames[k] for k in np.flatnonzero(~truth.any(axis=0)).tolist()]:
        raise ValueError(
            f"no image shows {', '.join(missing)}, so no threshold can be chosen: take more images, or leave these "
            "classes out"
        )
    return np.array([_best_threshold(*column) for column in zip(given.T, truth.T, strict=True)])


def _best_threshold(scores: Float[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> float:
    order = np.argsort(-scores)
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last image of each score
    f1 = 2 * np.cumsum(truth[order])[last] / (last + 1 + truth.sum())
    return float(ordered[last[f1.argmax()]])


def predict(scores: Float[Tensor, "n k"], thresholds: Float[np.ndarray, "k"]) -> Truth:
    """The labels of each image: any number of them, or none."""
    return np.asarray(scores.detach().double().cpu().numpy() >= thresholds)


def f1(
    predicted: Truth, truth: Truth, average: Literal["micro", "macro"], *, seed: int = 0, draws: int = 1000
) -> Resampled:
    """F1, the harmonic mean of precision and recall, with samples for its interval.

    Args:
        predicted: labels of each image.
        truth: its true labels.
        average: "micro" counts all labels together; "macro" is the mean over the classes, where a class without true
            and predicted labels counts 0.
        seed: draws the samples.
        draws: number of samples.

    Raises:
        ValueError: the shapes differ, the average is unknown, or there are no images or draws.
    """
    if predicted.shape != truth.shape or average not in ("micro", "macro"):
        raise ValueError(
            f"predictions of shape {predicted.shape}, truth of shape {truth.shape} and average {average!r}: expected "
            "one shape, and micro or macro"
        )
    both = np.stack([predicted & truth, predicted ^ truth], axis=1).astype(float)  # (n, 2, k): right and wrong
    sums = resampled_sums(both.reshape(len(both), -1), seed=seed, draws=draws)
    sums = np.vstack([both.sum(axis=0).reshape(1, -1), sums]).reshape(draws + 1, 2, -1)
    sums = sums.sum(axis=2, keepdims=True) if average == "micro" else sums
    right, wrong = sums[:, 0], sums[:, 1]  # (1 + r, 1 or k)
    scores = (2 * right / np.maximum(2 * right + wrong, 1)).mean(axis=1)
    return Resampled(float(scores[0]), scores[1:])


def mean_average_precision(scores: Float[Tensor, "n k"], truth: Truth) -> float:
    """Mean over the classes of the average precision (scikit-learn's): how well a class's score ranks the images.

    Raises:
        ValueError: the shapes differ, a score is NaN or infinite, or a class has no image.
    """
    given = _checked(scores, truth)
    if not truth.any(axis=0).all():
        missing = np.flatnonzero(~truth.any(axis=0)).tolist()
        raise ValueError(f"no image shows the classes {missing}: expected at least one image per class")
    return float(average_precision_score(truth, given, average="macro"))


def _checked(scores: Float[Tensor, "n k"], truth: Truth) -> Float[np.ndarray, "n k"]:
    if tuple(scores.shape) != truth.shape or not len(truth) or not scores.isfinite().all():
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} and truth of shape {truth.shape}: expected finite scores and one "
            "shape, one row per image and one column per class"
        )
    return np.asarray(scores.detach().double().cpu().numpy())
