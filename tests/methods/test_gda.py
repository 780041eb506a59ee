import math

import numpy as np
import pytest
import torch

from calip_core.methods import make_method
from calip_core.methods.gda import best_ratio, discriminant
from calip_core.metrics import accuracy
from tests.methods.synthetic import CLASSES, as_tokens, synthetic_task, unit


def by_the_equations(features, labels, classes):
    """Means, pooled covariance, the shrunk precision by a pseudo-inverse, weights and biases, class by class."""
    means = np.stack([features[labels == k].mean(axis=0) for k in range(classes)])
    centred = np.concatenate([features[labels == k] - means[k] for k in range(classes)])
    n, c = centred.shape
    covariance = np.cov(centred.T)
    precision = c * np.linalg.pinv((n - 1) * covariance + np.trace(covariance) * np.eye(c))
    weight = means @ precision
    return weight, np.array([-m @ precision @ m / 2 - math.log(classes) for m in means])


@pytest.mark.parametrize("shots", [2, 5, 16])
def test_the_discriminant_follows_the_equations(shots):
    (tokens, labels), _, _, _ = synthetic_task(shots=shots)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    features = tokens.pooled.double()[shuffled]
    weight, bias = discriminant(features, torch.from_numpy(labels[shuffled]), CLASSES)
    expected = by_the_equations(features.numpy(), labels[shuffled], CLASSES)
    np.testing.assert_allclose(weight.numpy(), expected[0], rtol=1e-8, atol=1e-8 * np.abs(expected[0]).max())
    np.testing.assert_allclose(bias.numpy(), expected[1], rtol=1e-8)


def test_two_classes_by_hand():
    """Classes around 0 and 2 on a line, each with spread 1 to both sides: S = 4/3, P = 1 / (4 + 4/3) = 3/16."""
    weight, bias = discriminant(torch.tensor([[-1.0], [1.0], [1.0], [3.0]]).double(), torch.tensor([0, 0, 1, 1]), 2)
    assert weight.flatten().tolist() == pytest.approx([0, 2 * 3 / 16])
    assert bias.tolist() == pytest.approx([-math.log(2), -math.log(2) - 4 * 3 / 32])


def test_logits_blend_both_classifiers():
    (tokens, labels), _, (test, _), text = synthetic_task()
    logits = make_method("gda", alpha=0.3, logit_scale=20.0).fit(tokens, labels, text).logits(test)
    weight, bias = by_the_equations(tokens.pooled.double().numpy(), labels, CLASSES)
    images = test.pooled.double().numpy()
    expected = 20 * images @ text.double().numpy().T + 0.3 * (images @ weight.T + bias)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("copies", [1, 3])
def test_one_image_a_class_shows_no_spread_and_leaves_zero_shot(copies):
    (tokens, labels), _, (test, _), text = synthetic_task(shots=1)
    again = as_tokens(tokens.pooled.repeat_interleave(copies, dim=0))
    logits = make_method("gda", alpha=5.0).fit(again, labels.repeat(copies), text).logits(test)
    assert torch.equal(logits.argmax(dim=1), (test.pooled @ text.T).argmax(dim=1))


def test_the_chosen_weight_is_as_good_as_any_of_the_published_ones():
    for seed in range(4):
        support, val, _, text = synthetic_task(seed=seed, shots=3)
        best = accuracy(make_method("gda").fit(*support, text, val=val).logits(val[0]), val[1])
        for alpha in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0):
            assert best >= accuracy(make_method("gda", alpha=alpha).fit(*support, text).logits(val[0]), val[1])


def test_the_fixed_weight_goes_with_the_logit_scale():
    support, _, (test, _), text = synthetic_task()
    heads = [make_method("gda", logit_scale=scale).fit(*support, text) for scale in (100.0, 20.0)]
    assert [head.chosen["alpha"] for head in heads] == pytest.approx([0.1, 0.02])
    torch.testing.assert_close(heads[0].logits(test), 5 * heads[1].logits(test))


def test_the_best_ratio_is_widest_in_the_logarithm():
    """The image is right from 0.01 to 1 and wrong beyond; another from 1 to 100, less often right."""
    base = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    direction = torch.tensor([[-1.0, 0.0], [-100.0, 0.0]])
    plateau = best_ratio(base, direction, np.array([0, 1]), low=1e-4, high=100.0)
    assert (plateau.low, plateau.high, plateau.accuracy) == pytest.approx((0.01, 1.0, 1.0))
    assert plateau.t == pytest.approx(0.1)
    with pytest.raises(ValueError, match="low is 0.0, expected a finite number above 0"):
        best_ratio(base, direction, np.array([0, 1]), low=0.0, high=1.0)


def test_augmented_views_are_rows_like_others():
    rng = np.random.default_rng(0)
    (tokens, labels), _, (test, y), text = synthetic_task(shots=1)
    views = unit(tokens.pooled.repeat_interleave(8, dim=0).numpy() + 0.05 * rng.normal(size=(8 * CLASSES, 24)))
    head = make_method("gda").fit(as_tokens(views), labels.repeat(8), text)
    assert accuracy(head.logits(test), y) > 1 / CLASSES
