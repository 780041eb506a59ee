"""Calibration against a loop over bins, a search over temperatures, hand-worked cases and simulated truth."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from calip_core.decisions.calibration import (
    error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def noisy_logits(seed, n=200, k=4, scale=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return torch.tensor(scale * (rng.normal(size=(n, k)) + np.eye(k)[labels])), labels


def cross_entropy(logits, labels, temperature):
    scaled = logits.numpy() / temperature
    return np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels])


def test_calibration_by_hand():
    # Two images at confidence 0.8 (one right), two at 0.6 (both right): gaps 0.3 and 0.4, equal weights.
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]], dtype=torch.float64)
    bins = reliability(probabilities.log(), [0, 1, 0, 0], bins=4)
    assert bins.counts.tolist() == [0, 0, 2, 2] and np.isnan(bins.accuracy[0])
    assert bins.expected_calibration_error == pytest.approx(0.35)
    assert expected_calibration_error(probabilities.log(), [0, 1, 0, 0], bins=4).value == pytest.approx(0.35)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_the_error_is_that_of_a_loop_over_bins(seed, bins):
    logits, labels = noisy_logits(seed, n=50)
    probabilities = softmax(logits.numpy(), axis=1)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (confidence >= low) & ((confidence < high) | (number == bins - 1))
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - hits[inside].mean())
    assert expected_calibration_error(logits, labels, bins=bins, draws=1).value == pytest.approx(expected)
    assert reliability(logits, labels, bins).expected_calibration_error == pytest.approx(expected)


def test_each_sample_is_the_error_of_the_images_drawn():
    logits, labels = noisy_logits(3, n=40)
    rng = np.random.default_rng(9)
    drawn = [rng.integers(40, size=40) for _ in range(5)]
    expected = [reliability(logits[torch.tensor(rows)], labels[rows]).expected_calibration_error for rows in drawn]
    found = expected_calibration_error(logits, labels, seed=9, draws=5)
    np.testing.assert_allclose(found.samples, expected)


def drawn(rng, stretch, n=400):
    """Logits of three classes, and labels from their softmax; the logits are then multiplied by ``stretch``."""
    logits = rng.normal(size=(n, 3))
    labels = (rng.random((n, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    return torch.tensor(stretch * logits), labels


def test_true_probabilities_exceed_chance_once_in_twenty_times_and_false_ones_nearly_always():
    rng, exceeded = np.random.default_rng(0), {1.0: 0, 3.0: 0}
    for stretch in exceeded:
        for seed in range(200):
            logits, labels = drawn(rng, stretch)
            error = expected_calibration_error(logits, labels, draws=1).value
            exceeded[stretch] += error > error_by_chance(logits, seed=seed, draws=100)
    assert 2 <= exceeded[1.0] <= 20 and exceeded[3.0] >= 195


def test_the_interval_holds_the_truth_where_the_probabilities_are_wrong():
    rng = np.random.default_rng(1)
    truth = expected_calibration_error(*drawn(rng, 3.0, n=400_000), draws=1).value
    intervals = [expected_calibration_error(*drawn(rng, 3.0), seed=seed, draws=200).interval for seed in range(100)]
    assert sum(truth in found for found in intervals) >= 88


@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_temperature_is_that_of_a_search_and_scales_with_the_logits(seed, factor):
    logits, labels = noisy_logits(seed)
    best = fit_temperature(logits, labels)
    found = minimize_scalar(
        lambda t: cross_entropy(logits, labels, np.exp(t)), bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}
    )
    assert best == pytest.approx(np.exp(found.x), rel=1e-4)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor * best, rel=1e-9)
    grid = np.geomspace(best / 20, best * 20, 400)
    assert cross_entropy(logits, labels, best) <= min(cross_entropy(logits, labels, t) for t in grid)


def test_the_temperature_by_hand():
    # Two classes, a lead of 2 for the right one in three images of four: sigmoid(2 / T) = 3 / 4, so T = 2 / ln 3.
    logits = torch.tensor([[2.0, 0.0]] * 4)
    assert fit_temperature(logits, [0, 0, 0, 1]) == pytest.approx(2 / np.log(3))


def test_where_no_temperature_is_best_it_says_which_would_be_better():
    with pytest.raises(ValueError, match="the answers to all 3 images are right: a smaller temperature"):
        fit_temperature(torch.eye(3), [0, 1, 2])
    with pytest.raises(ValueError, match="no larger logits than other classes on average: a larger"):
        fit_temperature(torch.eye(3), [1, 2, 0])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="bins is 0, expected at least 1"):
        reliability(torch.eye(2), [0, 1], bins=0)
    with pytest.raises(ValueError, match="logits contain NaN"):
        fit_temperature(torch.full((2, 2), float("nan")), [0, 1])
    with pytest.raises(ValueError, match="0 draws of 2 images"):
        error_by_chance(torch.eye(2), draws=0)
    with pytest.raises(ValueError, match="one label per image"):
        expected_calibration_error(torch.eye(2), [0])
