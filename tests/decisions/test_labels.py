"""Several labels: thresholds against all thresholds tried one by one, measures against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from calip_core.decisions.labels import choose_thresholds, f1, mean_average_precision, predict

NAMES = ("ring", "star", "drop")


def images(seed, n=25):
    """Scores with ties, and a truth that holds every class."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 3)) < 0.4
    truth[:3] |= np.eye(3, dtype=bool)
    return torch.tensor(rng.integers(0, 8, (n, 3)) / 4 + truth, dtype=torch.float32), truth


@given(st.integers(0, 10**6))
def test_no_threshold_has_a_better_f1(seed):
    scores, truth = images(seed)
    thresholds = choose_thresholds(scores, truth, NAMES)
    for column, threshold in enumerate(thresholds):
        own, true = scores[:, column].numpy(), truth[:, column]
        found = f1_score(true, own >= threshold)
        tried = {t: f1_score(true, own >= t, zero_division=0) for t in np.append(np.unique(own), 99)}
        assert found == pytest.approx(max(tried.values()))
        assert all(score < found for t, score in tried.items() if t > threshold)


def test_thresholds_by_hand():
    scores = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    # F1 at 4, 3, 2, 1: 2/3, 1/2, 4/5, 2/3.
    truth = np.array([[True], [False], [True], [False]])
    thresholds = choose_thresholds(scores, truth, ["ring"])
    assert thresholds.tolist() == [2.0]
    assert predict(scores, thresholds)[:, 0].tolist() == [True, True, True, False]


@given(st.integers(0, 10**6), st.sampled_from(["micro", "macro"]))
def test_f1_and_its_samples_are_scikit_learns(seed, average):
    scores, truth = images(seed)
    predicted = predict(scores, np.array([1.5, 1.0, 9.0]))  # the last class is never predicted
    found = f1(predicted, truth, average, seed=seed, draws=3)
    rng = np.random.default_rng(seed)
    drawn = [np.arange(len(truth))] + [rng.integers(len(truth), size=len(truth)) for _ in range(3)]
    expected = [f1_score(truth[rows], predicted[rows], average=average, zero_division=0) for rows in drawn]
    np.testing.assert_allclose([found.value, *found.samples], expected)


def test_the_precision_is_scikit_learns():
    scores, truth = images(1)
    each = [average_precision_score(truth[:, k], scores[:, k].numpy()) for k in range(3)]
    assert mean_average_precision(scores, truth) == pytest.approx(np.mean(each))


def test_a_class_without_images_is_named():
    truth = np.array([[True, False, False], [True, False, False]])
    with pytest.raises(ValueError, match="no image shows star, drop, so no threshold can be chosen"):
        choose_thresholds(torch.zeros(2, 3), truth, NAMES)
    with pytest.raises(ValueError, match=r"no image shows the classes \[1, 2\]"):
        mean_average_precision(torch.zeros(2, 3), truth)


def test_bad_input_is_named(shapes_unchecked):
    scores, truth = images(0)
    with pytest.raises(ValueError, match="finite scores"):
        choose_thresholds(scores * float("nan"), truth, NAMES)
    with pytest.raises(ValueError, match=r"scores of shape \(25, 3\) and truth of shape \(24, 3\)"):
        mean_average_precision(scores, truth[1:])
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        choose_thresholds(scores, truth, NAMES[:2])
    with pytest.raises(ValueError, match="average 'samples': expected one shape, and micro or macro"):
        f1(truth, truth, "samples")
    with pytest.raises(ValueError, match=r"predictions of shape \(24, 3\), truth of shape \(25, 3\)"):
        f1(truth[1:], truth, "micro")
