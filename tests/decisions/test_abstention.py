"""Abstention against loops over all thresholds, scikit-learn, hand-worked cases, and simulated truth."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from calip_core.decisions import abstention
from calip_core.decisions.abstention import choose_threshold, risk_bound, risk_coverage, separation

IMAGES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30)


def outcomes(pairs):
    confidences, correct = np.array(pairs).T
    return confidences.astype(float), correct.astype(bool)


def test_scores_of_confidence_by_hand():
    logits = torch.tensor([[1.0, 3.0, 2.5], [0.0, 0.0, 0.0]])
    assert abstention.confidence(logits, "logit").tolist() == [3.0, 0.0]
    assert abstention.confidence(logits, "margin").tolist() == [0.5, 0.0]
    expected = softmax(logits.double().numpy(), axis=1).max(axis=1)
    np.testing.assert_allclose(abstention.confidence(logits), expected)


@given(st.floats(-50, 50))
def test_a_softmax_forgets_what_is_added_to_all_logits_and_the_largest_logit_does_not(added):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for score in ("probability", "margin"):
        same = abstention.confidence(logits + added, score)
        np.testing.assert_allclose(same, abstention.confidence(logits, score), atol=1e-9)
    moved = abstention.confidence(logits + added, "logit") - abstention.confidence(logits, "logit")
    np.testing.assert_allclose(moved, added, atol=1e-9)


@given(IMAGES)
def test_risk_and_coverage_are_those_of_every_threshold(pairs):
    confidences, correct = outcomes(pairs)
    curve = risk_coverage(confidences, correct)
    assert curve.thresholds.tolist() == sorted(set(confidences), reverse=True)
    for threshold, coverage, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        answered = confidences >= threshold
        assert coverage == answered.mean() and risk == pytest.approx((~correct)[answered].mean())


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.01, 0.5))
def test_the_bound_is_clopper_and_pearsons(wrong, answered, level):
    wrong = min(wrong, answered)
    expected = binomtest(wrong, answered, alternative="less").proportion_ci(1 - level, method="exact").high
    assert float(risk_bound(np.array(wrong), np.array(answered), level)) == pytest.approx(expected)


@given(IMAGES, st.sampled_from([0.1, 0.3, 0.6, 0.9]))
def test_the_threshold_is_the_best_of_all(pairs, risk):
    confidences, correct = outcomes(pairs)
    fits = [float("inf")]
    for threshold in set(confidences):
        answered = confidences >= threshold
        wrong = int((answered & ~correct).sum())
        test = binomtest(wrong, int(answered.sum()), alternative="less")
        if test.proportion_ci(0.95, method="exact").high <= risk:
            fits.append(threshold)
    assert choose_threshold(confidences, correct, risk=risk) == min(fits)


def test_without_a_threshold_that_will_do_nothing_is_answered():
    assert choose_threshold(np.array([0.9, 0.8]), np.array([True, True]), risk=0.05) == float("inf")


def test_on_new_images_the_wish_is_seldom_exceeded():
    """Where confidence is the chance of being right, the true risk of any threshold is known."""
    rng, exceeded = np.random.default_rng(0), 0
    for _ in range(200):
        confidences = rng.random(400)
        threshold = choose_threshold(confidences, rng.random(400) < confidences, risk=0.2)
        exceeded += 1 - (1 + min(threshold, 1)) / 2 > 0.2  # the mean confidence above the threshold
    assert exceeded <= 20  # 10 were expected of a single threshold


def test_where_confidence_says_nothing_the_best_of_many_thresholds_exceeds_the_wish_more_often():
    rng, chosen = np.random.default_rng(0), {0.05: 0, 0.05 / 400: 0}
    for _ in range(200):
        confidences, correct = rng.random(400), rng.random(400) < 0.8
        for level in chosen:  # any threshold at all is one too many
            chosen[level] += choose_threshold(confidences, correct, risk=0.2, level=level) < float("inf")
    assert 30 <= chosen[0.05] <= 70 and chosen[0.05 / 400] <= 10


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=20), st.lists(st.integers(0, 5), min_size=2, max_size=20)
)
def test_the_auroc_is_scikit_learns_and_its_parts_are_counts(inside, outside):
    inside, outside = np.array(inside, dtype=float), np.array(outside, dtype=float)
    found = separation(inside, outside)
    expected = roc_auc_score([1] * len(inside) + [0] * len(outside), np.concatenate([inside, outside]))
    assert found.value == pytest.approx(expected) and found.outside.mean() == pytest.approx(expected)
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    np.testing.assert_allclose(found.inside, wins.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.outside, wins.mean(axis=0), atol=1e-12)


def test_the_interval_of_the_auroc_is_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 300), rng.normal(0, 1, 200)
    other_in, other_out = inside + rng.normal(0, 1, 300), outside + rng.normal(0, 1, 200)
    difference = separation(inside, outside) - separation(other_in, other_out)
    single, paired = [], []
    for _ in range(1000):
        i, j = rng.integers(300, size=300), rng.integers(200, size=200)
        single.append(separation(inside[i], outside[j]).value)
        paired.append(single[-1] - separation(other_in[i], other_out[j]).value)
    for found, sampled in ((separation(inside, outside), single), (difference, paired)):
        width = found.interval.high - found.interval.low
        assert width == pytest.approx(2 * 1.96 * np.std(sampled), rel=0.1)
        assert found.value == pytest.approx(np.mean(sampled), abs=0.01)


def test_a_perfect_separation_ends_at_1():
    found = separation(np.array([3.0, 4.0]), np.array([1.0, 2.0, 2.5]))
    assert (found.value, found.interval.high) == (1.0, 1.0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least two classes"):
        abstention.confidence(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="finite numbers"):
        abstention.confidence(torch.full((2, 2), float("nan")))
    with pytest.raises(ValueError, match="risk is 5 and level"):
        choose_threshold(np.array([1.0]), np.array([True]), risk=5)
    with pytest.raises(ValueError, match="2 confidences, 1 of them NaN"):
        risk_coverage(np.array([1.0, np.nan]), np.array([True, True]))
    with pytest.raises(ValueError, match="0 confidences"):
        risk_coverage(np.array([]), np.array([], dtype=bool))
    with pytest.raises(ValueError, match="1 images on the list and 2 others"):
        separation(np.array([1.0]), np.array([1.0, 2.0]))
    three, two = (separation(np.arange(float(n)), np.arange(2.0)) for n in (3, 2))
    with pytest.raises(ValueError, match="3 and 2 images against 2 and 2: expected the same images"):
        three - two


def test_an_unknown_score_is_named(shapes_unchecked):
    with pytest.raises(ValueError, match="score is 'entropy', expected probability, margin or logit"):
        abstention.confidence(torch.eye(2), "entropy")


def test_lengths_that_differ_are_named(shapes_unchecked):
    with pytest.raises(ValueError, match="1 confidences, 0 of them NaN, and 2 answers: expected one"):
        risk_coverage(np.array([1.0]), np.array([True, True]))
