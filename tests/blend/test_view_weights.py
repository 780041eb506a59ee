import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calip_core import metrics
from calip_core.blend.margins import Contest
from calip_core.blend.view_weights import ViewWeights, _Neighbourhood, fuse, fuse_terms, published, search, uniform
from calip_core.pointclouds.views import available_view_sets, view_set
from calip_core.published import published_view_weights
from calip_core.tokens import CalipLogits


def random_logits(n, v, k, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=generator)
    logits = torch.randn(n, v, k, generator=generator, dtype=dtype)
    logits[torch.arange(n), :, labels] += torch.linspace(0.2, 1.0, v, dtype=dtype)
    return logits, labels


def best_of_a_grid(logits, labels, values):
    points = [point for point in itertools.product(values, repeat=logits.shape[1]) if any(point)]
    return max(metrics.accuracy(fuse(logits.double(), np.array(point)), labels) for point in points)


def test_fusing_is_the_weighted_sum_over_views():
    logits, _ = random_logits(5, 3, 4)
    expected = 0.5 * logits[:, 0] + 2 * logits[:, 2]
    assert torch.allclose(fuse(logits, [0.5, 0.0, 2.0]), expected)
    assert torch.allclose(fuse(logits, torch.tensor([0.5, 0.0, 2.0])), expected)
    assert torch.allclose(fuse(logits, uniform(3).weights), logits.sum(dim=1), atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_search_reaches_the_best_of_a_fine_grid(seed):
    logits, labels = random_logits(25, 3, 4, seed)
    found = search(logits, labels, seed=seed)
    assert found.accuracy >= best_of_a_grid(logits, labels, np.linspace(0, 1, 13)) - 1e-12


def test_four_views_too():
    logits, labels = random_logits(60, 4, 6, 1)
    assert search(logits, labels).accuracy >= best_of_a_grid(logits, labels, np.linspace(0, 1, 8)) - 1e-12


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.booleans())
def test_what_is_found_is_what_it_says(seed, n, v, k, ties, single):
    logits, labels = random_logits(n, v, k, seed, torch.float32 if single else torch.float64)
    if ties:
        logits = logits.round()
    found = search(logits, labels, restarts=1)
    assert found.accuracy == metrics.accuracy(fuse(logits, found.weights), labels)
    assert found.weights.max() == 1 and (found.weights >= 0).all() and found.images == n
    if not ties:
        alone = [metrics.accuracy(fuse(logits, weights), labels) for weights in (np.ones(v), *np.eye(v))]
        assert found.accuracy >= alone[0]
    again = search(logits, labels, restarts=1)
    assert np.array_equal(again.weights, found.weights)


@pytest.mark.parametrize("factor", [2.0**-7, 4.0])
def test_a_common_factor_of_the_logits_changes_nothing(factor):
    logits, labels = random_logits(80, 4, 7)
    assert np.allclose(search(factor * logits, labels).weights, search(logits, labels).weights)


def test_one_good_view_among_noise_is_found():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (200,), generator=generator)
    logits = 5 * torch.randn(200, 6, 10, generator=generator)
    logits[:, 3] = torch.nn.functional.one_hot(labels, 10).float()
    found = search(logits, labels)
    assert found.accuracy == 1.0 and found.weights.argmax() == 3


def test_a_class_equal_in_every_view_is_decided_by_its_number():
    logits = torch.zeros(2, 3, 2)
    assert search(logits, [0, 1]).accuracy == 0.5


def test_a_step_that_nothing_gains_leaves_uniform_weights_a_choice():
    logits = torch.nn.functional.one_hot(torch.tensor([0, 1, 2]), 3).float().unsqueeze(1).repeat(1, 4, 1)
    assert search(logits, [0, 1, 2]).accuracy == 1.0


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.booleans(), st.booleans())
def test_a_line_in_a_neighbourhood_is_evaluation_at_any_step(seed, ties, single):
    logits, labels = random_logits(60, 3, 5, seed, torch.float32 if single else torch.float64)
    logits, rng = logits.round() if ties else logits, np.random.default_rng(seed)
    weights = rng.uniform(0.02, 1.0, 3)
    contest = Contest.of(logits.unbind(1), labels, [(0.01, 1.5)] * 3)
    directions = rng.normal(size=(4, 3)) * [[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 1, 0]]

    nearby = _Neighbourhood.of(contest, weights)

    def right(point):
        return metrics.correct_predictions(fuse(logits.double(), point * weights), labels).sum()

    for *found, along in zip(*nearby.search(np.ones(3), directions), directions, strict=True):
        step, count, width = found
        in_stretch = [right(1 + t * along) for t in (step, step + 0.4 * width, step - 0.4 * width)]
        assert min(in_stretch) >= count and (
            ties or max(in_stretch) == count
        )  # a tie along a whole line counts as lost
        on_line = [1 + t * along for t in np.linspace(-1, 1, 101)]
        assert ties or max(right(point) for point in on_line if point.min() > 2 / 3 and point.max() < 3 / 2) <= count


def test_every_published_row_fits_its_view_set():
    assert len(published_view_weights()) == 8
    for (name, dataset, backbone), row in published_view_weights().items():
        assert name in available_view_sets()
        assert len(row.weights) == len(view_set(name))
        assert "chosen on test labels" in row.source and "best_param.py" in row.source
        assert published(name, dataset, backbone).chosen_by == row.source
    weights = published("pointclip_v2", "modelnet40", "RN50").weights
    assert weights.tolist() == [0.75, 0.75, 0.75, 0.75, 0.25, 0.5, 1.0, 1.0, 0.25, 0.25]


def test_what_is_not_published_is_named():
    with pytest.raises(ValueError, match="for pointclip, modelnet40, RN50, only for pointclip_v2, modelnet40, RN101;"):
        published("pointclip", "modelnet40", "RN50")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], r"shape \(2,\): expected one for each of the 3"),
        ([1.0, -0.1, 0.0], "none negative"),
        ([0.0, 0.0, 0.0], "one of them positive"),
        ([1.0, np.nan, 1.0], "finite"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        fuse(torch.zeros(2, 3, 4), weights)
    with pytest.raises(ValueError, match="views is 0"):
        uniform(0)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("logits", "labels", "arguments", "message"),
    [
        (torch.zeros(2, 4), [0, 1], {}, r"shape \(2, 4\)"),
        (torch.zeros(0, 3, 4), [], {}, "none of them 0"),
        (torch.zeros(2, 3, 4), [0], {}, "one label per image"),
        (torch.zeros(2, 3, 4), [0, 4], {}, "expected 0 to 3"),
        (torch.zeros(2, 3, 4).half(), [0, 1], {}, "float16"),
        (torch.full((2, 3, 4), torch.inf), [0, 1], {}, "infinity"),
        (torch.zeros(2, 3, 4), [0, 1], {"restarts": -1}, "restarts is -1"),
    ],
)
def test_bad_input_is_named(logits, labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        search(logits, labels, **arguments)


def test_the_terms_of_a_cloud_are_the_weighted_mean_over_its_views():
    terms = [torch.arange(24.0).view(6, 4) * factor for factor in (1, 2, 3)]
    fused = fuse_terms(CalipLogits(*terms), ViewWeights(np.array([1.0, 0.0, 3.0]), "by hand"))
    assert len(fused) == 2
    for term, found in zip(terms, (fused.clip, fused.text_attended, fused.visual_attended), strict=True):
        assert torch.allclose(found[1], (term[3] + 3 * term[5]) / 4)
    same = fuse_terms(CalipLogits(*terms), ViewWeights(np.array([2.0, 0.0, 6.0]), "twice"))
    assert torch.allclose(same.clip, fused.clip)
    with pytest.raises(ValueError, match="6 images, expected a multiple of 4"):
        fuse_terms(CalipLogits(*terms), uniform(4))
