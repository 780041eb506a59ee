import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from calip_core.methods import linear_probe, make_method
from calip_core.methods.lbfgs import minimise
from calip_core.methods.linear_probe import EXCESS, FIXED_C, SEARCHED, search_c
from tests.methods.synthetic import as_tokens, synthetic_task, unit


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
def test_the_regression_is_scikit_learns(C, monkeypatch):
    monkeypatch.setattr(linear_probe, "EXCESS", 1e-12)
    (tokens, labels), _, (test, _), text = synthetic_task()
    logits = make_method("linear_probe", C=C).fit(tokens, labels, text).logits(test)
    theirs = LogisticRegression(C=C, max_iter=10_000, tol=1e-9).fit(tokens.pooled.double().numpy(), labels)
    expected = theirs.decision_function(test.pooled.double().numpy())
    ours = logits.double().numpy()
    centred = ours - ours.mean(axis=1, keepdims=True)
    assert np.abs(centred - (expected - expected.mean(axis=1, keepdims=True))).max() < 1e-3


def crowded(shots, width=32, seed=0):
    """Features as CLIP's: of unit length, in a narrow cone, with a spectrum that falls; and their labels."""
    rng = np.random.default_rng(seed)
    labels, spread = np.repeat(np.arange(len(shots)), shots), np.geomspace(1, 0.1, width)
    centres, noise = (spread * rng.normal(size=(n, width)) for n in (len(shots), len(labels)))
    return as_tokens(unit(8 + centres[labels] + 1.5 * noise)), labels


def loss_of(weight, features, labels, C):
    """The mean loss as the equation says, image by image."""
    total = 0.0
    for row, label in zip(features @ weight[:, :-1].T + weight[:, -1], labels, strict=True):
        total += np.logaddexp.reduce(row) - row[label]
    return total / len(labels) + (weight[:, :-1] ** 2).sum() / (2 * C * len(labels))


@pytest.mark.parametrize("shots", [[6] * 12, [1, 2, 3, 40] * 3], ids=["balanced", "not balanced"])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e2, 1e4, 1e6])
def test_every_fit_is_as_close_to_the_minimum_as_stated(C, shots):
    tokens, labels = crowded(shots)
    features = tokens.pooled.double().numpy()
    theirs = LogisticRegression(C=C, max_iter=100_000, tol=1e-12).fit(features, labels)
    minimum = loss_of(np.column_stack([theirs.coef_, theirs.intercept_]), features, labels, C)
    head = make_method("linear_probe", C=C).fit(tokens, labels, torch.eye(12, 32, dtype=torch.float64))
    assert loss_of(head.state_dict()["weight"].numpy(), features, labels, C) <= minimum * (1 + EXCESS)


def test_a_fit_starts_from_nothing_whatever_was_fitted_before():
    support, val, _, text = synthetic_task(shots=2)
    searched = make_method("linear_probe").fit(*support, text, val=val)
    alone = make_method("linear_probe", C=searched.chosen["C"]).fit(*support, text)
    assert torch.equal(searched.state_dict()["weight"], alone.state_dict()["weight"])


def test_logits_are_affine_in_the_features():
    support, _, (test, _), text = synthetic_task()
    head = make_method("linear_probe").fit(*support, text)
    weight = head.state_dict()["weight"]
    assert head.logits(test)[3, 2].item() == pytest.approx(
        float(test.pooled[3] @ weight[2, :-1] + weight[2, -1]), abs=1e-5
    )


def test_without_validation_c_is_the_stated_one():
    support, val, _, text = synthetic_task(shots=2)
    assert make_method("linear_probe").fit(*support, text).chosen == {"C": FIXED_C}
    assert make_method("linear_probe", C=2.0).fit(*support, text, val=val).chosen == {"C": 2.0}


def by_coop(score):
    """The search as CoOp's script goes through it, both ends evaluated anew at every step."""
    scores = [score(C) for C in SEARCHED]
    peak = SEARCHED[int(np.argmax(scores))]
    left, right = 1e-1 * peak, 1e1 * peak
    for _ in range(8):
        middle = 0.5 * (np.log10(left) + np.log10(right))
        if score(left) < score(right):
            final, left = right, 10**middle
        else:
            final, right = left, 10**middle
    return final


@pytest.mark.parametrize("best", [-7.5, -5.2, -0.3, 0.4, 3.1, 6.9])
def test_the_search_is_coops(best):
    def score(C):
        return round(1 - abs(np.log10(C) - best) / 20, 2)

    assert search_c(score) == pytest.approx(by_coop(score), rel=1e-9)


def test_the_search_asks_for_no_c_twice():
    asked = []

    def score(C):
        asked.append(C)
        return -abs(np.log10(C))

    search_c(score)
    # Seven powers, the two ends, and one new end for each later bisection, the first of which is the best power.
    assert len(asked) == len(set(asked)) == 7 + 2 + 6


def test_the_minimum_of_a_parabola():
    target = torch.arange(6, dtype=torch.float64).view(2, 3)
    found = minimise(lambda w: (w - target).square().sum(), torch.zeros_like(target))
    torch.testing.assert_close(found, target)
    assert torch.equal(minimise(lambda w: w.sum() * 0, target), target)
