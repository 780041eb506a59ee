import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from calip_core.blend.line import line_landscape
from calip_core.blend.margins import bounds, without_ties
from calip_core.blend.tip_adapter import middle_of_longest_run, tip_search
from calip_core.datasets.cards import available_cards
from calip_core.methods import make_method
from calip_core.methods.tip_adapter import (
    mean_of_views,
    searched_betas,
)
from calip_core.metrics import accuracy, correct_predictions
from calip_core.published import published_tip, published_tips
from tests.methods.synthetic import as_tokens, synthetic_task


def closed_form(images, text, keys, key_labels, alpha, beta, scale):
    """100 f W^T + alpha exp(-beta (1 - f K^T)) V in NumPy and float64, image by image, key by key."""
    logits = np.zeros((len(images), len(text)))
    for i, f in enumerate(images):
        for k, t in enumerate(text):
            logits[i, k] = scale * (f @ t)
        for key, label in zip(keys, key_labels, strict=True):
            logits[i, label] += alpha * np.exp(-beta * (1 - f @ key))
    return logits


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.0, 3.0), (12.0, 5.5), (2.0, 0.0)])
def test_logits_are_the_closed_form(alpha, beta):
    (tokens, labels), _, (test, _), text = synthetic_task(shots=3, test_each=4)
    logits = make_method("tip_adapter", alpha=alpha, beta=beta).fit(tokens, labels, text).logits(test)
    arrays = [x.double().numpy() for x in (test.pooled, text, tokens.pooled)]
    np.testing.assert_allclose(logits.numpy(), closed_form(*arrays, labels, alpha, beta, 100.0), rtol=1e-5, atol=1e-4)


def test_two_keys_by_hand():
    """One key of the image itself, one at a right angle: votes of 1 and exp(-2)."""
    tokens = as_tokens(torch.eye(2).double())
    head = make_method("tip_adapter", alpha=3.0, beta=2.0, logit_scale=10.0)
    logits = head.fit(tokens, np.array([1, 0]), torch.eye(2).double()).logits(tokens[:1])
    assert logits.tolist() == [pytest.approx([10 + 3 * np.exp(-2), 3.0])]


def test_keys_are_the_means_of_their_views():
    features = normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    keys, labels = mean_of_views(features, np.array([1, 1, 1, 0, 0, 0]), 3)
    assert labels.tolist() == [1, 0]
    torch.testing.assert_close(keys[1], features[3:].mean(dim=0) / features[3:].mean(dim=0).norm())
    assert mean_of_views(features, np.zeros(6, int), 1)[0] is features
    with pytest.raises(ValueError, match="6 support rows with 4 views an image: expected a whole number"):
        mean_of_views(features, np.zeros(6, int), 4)
    with pytest.raises(ValueError, match="2 views of support image 1 have labels .1, 0.: put the views"):
        mean_of_views(features, np.array([1, 1, 1, 0, 0, 0]), 2)


def exhaustive(clip, affinity, key_labels, labels, betas, alpha_max):
    """The best count over the middles between all alphas at which any class meets any label, beta by beta."""
    best = {}
    values = np.eye(clip.shape[1])[key_labels]
    for beta in betas:
        votes = np.exp(-beta * (1 - affinity)) @ values
        rows = np.arange(len(labels))
        offset, slope = clip[rows, labels][:, None] - clip, votes[rows, labels][:, None] - votes
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = (-offset / slope).ravel()
        ends = np.unique(np.concatenate([[0, alpha_max], meets[(meets > 0) & (meets < alpha_max)]]))
        middles = ((ends[1:] + ends[:-1]) / 2)[np.diff(ends) > 1e-9]
        best[beta] = max(correct_predictions(torch.from_numpy(clip + alpha * votes), labels).sum() for alpha in middles)
    return best


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 14), st.integers(1, 12), st.booleans())
def test_the_exact_search_equals_brute_force(seed, classes, images, betas, single):
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    key_labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rng.integers(0, 8))])
    clip = (3 * rng.normal(size=(images, classes))).astype(dtype)
    affinity = rng.uniform(0.2, 1, (images, len(key_labels))).astype(dtype)
    labels = rng.integers(0, classes, images)
    tried = np.sort(rng.uniform(0.05, 10, betas))
    alpha_max = float(rng.choice([0.5, 3.0, 30.0]))
    choice = tip_search(
        torch.from_numpy(clip), torch.from_numpy(affinity), key_labels, labels, betas=tried, alpha_max=alpha_max
    )
    expected = exhaustive(clip.astype(float), affinity.astype(float), key_labels, labels, tried, alpha_max)
    assert round(choice.accuracy * images) == max(expected.values()) == expected[choice.beta]
    assert choice.low <= choice.alpha <= choice.high and choice.images == images


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 9), st.sampled_from([0.0, 1e-40, 1.0]))
def test_what_the_search_claims_is_what_the_logits_do(seed, classes, images, size):
    """Also where classes tie, where votes vanish, and where logits are zero or denormal."""
    rng = np.random.default_rng(seed)
    keys, labels = rng.integers(0, classes, 5), rng.integers(0, classes, images)
    clip = size * torch.from_numpy(rng.integers(-2, 3, (images, classes))).float()
    affinity = torch.from_numpy(rng.choice([1.0, -1e4], (images, 5))).float()  # votes of exactly 1 and 0
    found = tip_search(clip, affinity, keys, labels, betas=[0.5, 1.0, 2.0], alpha_max=3.0)
    votes = ((affinity - 1) * found.beta).exp() @ torch.eye(classes)[torch.from_numpy(keys)]
    assert found.accuracy == accuracy(clip + found.alpha * votes, labels)


def test_a_lead_of_nothing_goes_by_the_number_of_the_class():
    """Logits are equal and the votes, from keys at different distances, both vanish."""
    offset, classes = torch.zeros(2, 1, dtype=torch.float64), torch.tensor([[1], [0]])
    lead = without_ties(offset, torch.tensor([0, 1]), classes)
    low, high = bounds(lead.unsqueeze(2), torch.zeros(2, 1, 1, dtype=torch.float64))
    assert (low < high).flatten().tolist() == [True, False]


def test_the_search_is_at_least_as_good_as_the_published_grid():
    for seed in range(3):
        (support, y), (val, labels), _, text = synthetic_task(seed=seed, shots=4)
        clip, affinity = 100 * val.pooled @ text.T, val.pooled @ support.pooled.T
        betas = searched_betas(7.0)
        choice = tip_search(clip, affinity, y, labels, betas=betas, alpha_max=3.0)
        values = torch.eye(len(text))[torch.from_numpy(y)]
        for beta in betas[::25].tolist():
            votes = (-beta * (1 - affinity)).exp() @ values
            for i in range(20):
                assert choice.accuracy >= accuracy(clip + (i * 2.9 / 20 + 0.1) * votes, labels)
        head = make_method("tip_adapter").fit(support, y, text, val=(val, labels))
        assert list(head.chosen.values()) == pytest.approx([choice.alpha, choice.beta], rel=1e-4)
        assert accuracy(head.logits(val), labels) == pytest.approx(choice.accuracy)


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_search_holds_for_keys_that_are_longer_than_one(seed):
    """Trained keys are: a vote may then rise with the sharpness, and no block may drop an image for it."""
    (tokens, labels), (val, val_labels), _, text = synthetic_task(shots=3, seed=seed, val_each=6)
    keys = 1.6 * tokens.pooled + 0.1
    clip, affinity = 8 * val.pooled @ text.T, val.pooled @ keys.T
    assert (affinity > 1).any()
    betas = searched_betas(8.0, 30)
    found = tip_search(clip, affinity, labels, val_labels, betas=betas, alpha_max=4.0)
    values = torch.nn.functional.one_hot(torch.from_numpy(labels)).float()
    lines = [line_landscape(clip, ((affinity - 1) * b).exp() @ values, val_labels, low=0.0, high=4.0) for b in betas]
    assert found.accuracy == max(line.best().accuracy for line in lines)


def test_the_published_ladder():
    betas = searched_betas(7.0)
    assert len(betas) == 200 and betas[0] == 0.1 and betas[-1] == pytest.approx(0.1 + 199 * 6.9 / 200)


@pytest.mark.parametrize(("scores", "middle"), [([1, 3, 3, 1, 3, 3, 3], 5), ([2], 0), ([2, 2, 1], 0), ([1, 1, 2], 2)])
def test_the_middle_of_the_longest_run(scores, middle):
    assert middle_of_longest_run(np.array(scores, dtype=float)) == middle


def test_without_validation_it_is_the_published_start_in_proportion():
    support, _, _, text = synthetic_task()
    assert make_method("tip_adapter").fit(*support, text).chosen == {"alpha": 1.17, "beta": 1.0}
    scaled = make_method("tip_adapter", logit_scale=20.0).fit(*support, text)
    assert scaled.chosen == pytest.approx({"alpha": 0.234, "beta": 1.0})


def test_every_published_configuration_is_of_a_card_and_has_a_source():
    assert len(published_tips()) == 11
    for name, backbone in published_tips():
        tip = published_tip(name, backbone)
        assert name in available_cards() and "gaopengcuhk/Tip-Adapter" in tip.source
        assert 0 < tip.alpha <= tip.alpha_max and tip.beta == 1 <= tip.beta_max
    with pytest.raises(ValueError, match="no published Tip-Adapter configuration for digits with RN50, only for .*dtd"):
        published_tip("digits")


@pytest.mark.parametrize("betas", [[], [0.0, 1.0], [np.inf]])
def test_a_search_without_sharpness_is_refused(betas):
    with pytest.raises(ValueError, match="betas are .*expected at least one, all finite and above 0"):
        tip_search(torch.eye(2), torch.eye(2), [0, 1], [0, 1], betas=betas, alpha_max=1.0)
