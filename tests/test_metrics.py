import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score

from calip_core import metrics


def logits_and_labels(seed=0, n=60, k=6):
    generator = np.random.default_rng(seed)
    return torch.tensor(generator.normal(size=(n, k))), generator.integers(0, k, size=n)


@given(st.integers(0, 10**6))
def test_accuracies_agree_with_scikit_learn(seed):
    logits, labels = logits_and_labels(seed)
    predictions = logits.argmax(1).numpy()
    assert metrics.accuracy(logits, labels) == pytest.approx(accuracy_score(labels, predictions))
    expected = top_k_accuracy_score(labels, logits.numpy(), k=3, labels=range(6))
    assert metrics.correct_predictions(logits, labels, k=3).mean() == pytest.approx(expected)
    per_class = recall_score(labels, predictions, average=None, labels=range(6), zero_division=np.nan)
    np.testing.assert_allclose(metrics.per_class_accuracy(logits, labels), per_class)


def test_class_without_images_is_nan_not_zero():
    result = metrics.per_class_accuracy(torch.eye(3)[:2], [0, 0])
    assert result[0] == 0.5 and np.isnan(result[1:]).all()


@given(st.integers(1, 500), st.floats(0, 1), st.floats(0.5, 0.99))
def test_wilson_solves_its_own_equation(total, share, confidence):
    # Wilson's ends are the p for which |p_hat - p| is exactly z standard errors *of p*.
    correct = round(share * total)
    interval = metrics.wilson_interval(correct, total, confidence)
    z = stats.norm.ppf(0.5 + confidence / 2)
    for p in (interval.low, interval.high):
        assert abs(correct / total - p) == pytest.approx(z * np.sqrt(max(p * (1 - p), 0) / total), abs=1e-6)
    assert correct / total in metrics.Interval(interval.low - 1e-12, interval.high + 1e-12)


def test_the_paired_interval_is_that_of_a_published_example():
    # Airway hyper-responsiveness before and after stem cell transplantation, 1, 1, 7 and 12 children: Fagerland,
    # Lydersen and Laake (Statistics in Medicine, 2014) give -0.517 to -0.026 for Tango's interval.
    interval = metrics.paired_interval(1, 7, 21)
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.517, -0.026)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 60), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_ends_of_the_paired_interval_are_just_not_rejected(b, c, agree, confidence):
    total = b + c + agree
    interval = metrics.paired_interval(b, c, total, confidence)
    assert -1 <= interval.low < (b - c) / total < interval.high <= 1
    z = stats.norm.ppf((1 + confidence) / 2)
    for end in (interval.low, interval.high):
        share = constrained_share(b, c, agree, end)
        variance = (2 * share + end - end**2) / total
        assert abs((b - c) / total - end) == pytest.approx(z * np.sqrt(variance), rel=2e-3)


def constrained_share(b, c, agree, difference):
    """The likeliest share of "only b" images if the difference is given, by a search over the likelihood itself."""
    least = max(0.0, -difference)

    def unlikely(share):
        cells = (b, share + difference), (c, share), (agree, 1 - difference - 2 * share)
        return -sum(count * np.log(max(chance, 1e-300)) for count, chance in cells if count)

    most = (1 - difference) / 2
    return optimize.minimize_scalar(unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x


def test_the_paired_interval_has_a_width_where_nothing_differs():
    # Worked by hand: if only classifier a could be right alone, with chance d, the test rejects where n d > z2 (1 - d).
    interval = metrics.paired_interval(0, 0, 1000)
    z2 = stats.norm.ppf(0.975) ** 2
    assert [-interval.low, interval.high] == pytest.approx([z2 / (1000 + z2)] * 2)
    with pytest.raises(ValueError, match="counts of disjoint images"):
        metrics.paired_interval(3, 4, 6)


@given(st.integers(0, 2**31), st.integers(64, 150))
def test_top_1_of_64_classes_and_more_is_what_topk_lists(seed, k):
    rng = np.random.default_rng(seed)
    logits, labels = torch.tensor(rng.integers(-2, 3, (20, k)), dtype=torch.float32), rng.integers(0, k, 20)
    released = logits.topk(1, dim=1).indices[:, 0].numpy() == labels
    assert metrics.correct_predictions(logits, labels).tolist() == released.tolist()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_exact_binomial_tail(pairs):
    a, b = np.array(pairs).T
    test = metrics.mcnemar(a, b)
    n = test.only_a + test.only_b
    expected = stats.binomtest(test.only_a, n, 0.5).pvalue if n else 1.0
    assert test.p_value == pytest.approx(expected)
    assert test.only_a == sum(x and not y for x, y in pairs)


def test_bad_input_is_named():
    logits, labels = logits_and_labels()
    with pytest.raises(ValueError, match="one label per image"):
        metrics.accuracy(logits, labels[:-1])
    with pytest.raises(ValueError, match="labels run from"):
        metrics.accuracy(logits, labels + 1)
    assert metrics.accuracy(logits, labels.astype(float)) == metrics.accuracy(logits, labels)
    for wrong in (0.5, float("nan")):
        with pytest.raises(ValueError, match=f"labels have the value {wrong}, expected whole numbers"):
            metrics.accuracy(logits, np.full(len(labels), wrong))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="logits contain NaN or infinity"):
            metrics.accuracy(logits * value, labels)
    with pytest.raises(ValueError, match="k is 7"):
        metrics.correct_predictions(logits, labels, k=7)
    with pytest.raises(ValueError, match="5 correct of 4"):
        metrics.wilson_interval(5, 4)
    with pytest.raises(ValueError, match="confidence is 95.0"):
        metrics.wilson_interval(1, 4, confidence=95.0)
    with pytest.raises(ValueError, match="same images"):
        metrics.mcnemar([True], [True, False])


def test_the_t_interval_of_three_draws_by_hand():
    mean, half = metrics.mean_interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    mean, half = metrics.mean_interval([0.5])
    assert mean == 0.5 and np.isnan(half)
    with pytest.raises(ValueError, match="expected at least one number"):
        metrics.mean_interval([])


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((2, 3), "f4"), [0, 1], "logits are a ndarray, expected a tensor with one row per image"),
        (torch.zeros(3), [0], r"logits have shape \(3,\), expected a tensor"),
        (torch.zeros(2, 3), [0, 1.5], "labels have the value 1.5, expected whole numbers"),
        (torch.zeros(2, 3), [0, np.nan], "labels have the value nan, expected whole numbers"),
    ],
)
def test_logits_and_labels_of_another_kind_are_named(logits, labels, said, shapes_unchecked):
    with pytest.raises(ValueError, match=said):
        metrics.accuracy(logits, labels)
