import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calip_core import metrics
from calip_core.blend.landscape import BetaLandscape, beta_landscape, released_grid
from calip_core.blend.line import LineLandscape, line_landscape
from calip_core.blend.polygon import winning_polygon
from calip_core.tokens import CalipLogits


def random_logits(n, k, seed=0, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return CalipLogits(*(scale * torch.randn(n, k, generator=generator, dtype=dtype) for _ in range(3)))


def brute_force(logits, labels, beta2, beta3, beta1=1.0):
    return np.array(
        [[metrics.correct_predictions(logits.combine(beta1, beta2=b2, beta3=b3), labels).sum() for b3 in beta3]
         for b2 in beta2]
    )  # fmt: skip


@st.composite
def term_values(draw, rng, n, k, dtype):
    """Small integers, which tie everywhere; of size one, the smallest there is, or all zero; or nothing so neat."""
    if draw(st.booleans()):
        unit = draw(st.sampled_from([0.0, 1.0, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps]))
        return unit * rng.integers(-2, 3, (n, k))
    return rng.normal(0, draw(st.sampled_from([1e-3, 1.0, 100.0])), (n, k))


@st.composite
def cases(draw):
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 7))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    arrays = np.stack([draw(term_values(rng, n, k, dtype)) for _ in range(3)])
    weights = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1 / 3, 0.5, 1.0, 1.7, 2.0, 5.0]), min_size=1, max_size=6)
    logits = CalipLogits(*(torch.tensor(array, dtype=dtype) for array in arrays))
    return logits, rng.integers(0, k, n), draw(weights), draw(weights), draw(st.sampled_from([0.0, 1.0, 0.3]))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_the_landscape_is_brute_force_at_every_point(case):
    logits, labels, beta2, beta3, beta1 = case
    landscape = beta_landscape(logits, labels, beta2=beta2, beta3=beta3, beta1=beta1)
    assert np.array_equal(landscape.correct, brute_force(logits, labels, beta2, beta3, beta1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_released_grid_is_brute_force_too(dtype):
    logits, labels = random_logits(40, 12, 3, dtype, scale=5.0), np.random.default_rng(0).integers(0, 12, 40)
    beta2, beta3 = released_grid(steps=25)
    landscape = beta_landscape(logits, labels, beta2=beta2, beta3=beta3)
    assert np.array_equal(landscape.correct, brute_force(logits, labels, beta2, beta3))
    assert landscape.accuracy[3, 4] == metrics.accuracy(logits.combine(beta2=beta2[3], beta3=beta3[4]), labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("integers", [True, False])
def test_on_a_gpu_the_landscape_is_brute_force_too(integers):
    logits, labels = random_logits(50, 20, 11, scale=5.0), np.random.default_rng(2).integers(0, 20, 50)
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    logits = CalipLogits(*((term.round() if integers else term).cuda() for term in terms))
    beta2, beta3 = released_grid(steps=15)
    landscape = beta_landscape(logits, labels, beta2=beta2, beta3=beta3)
    assert np.array_equal(landscape.correct, brute_force(logits, labels, beta2, beta3))


def test_chunks_and_groups_change_nothing(monkeypatch):
    logits, labels = random_logits(60, 30, 5), np.random.default_rng(1).integers(0, 30, 60)
    beta2, beta3 = released_grid(3.0, 2.0, steps=20)
    whole = beta_landscape(logits, labels, beta2=beta2, beta3=beta3)
    monkeypatch.setattr("calip_core.blend.margins.CHUNK", 200)
    monkeypatch.setattr("calip_core.blend.landscape._ROWS", 3)
    assert np.array_equal(beta_landscape(logits, labels, beta2=beta2, beta3=beta3).correct, whole.correct)


def test_twins_are_decided_by_their_number():
    column = torch.tensor([[3.0], [3.0]])
    logits = CalipLogits(*(torch.cat([column, column, column - 9], dim=1) for _ in range(3)))
    landscape = beta_landscape(logits, [0, 1], beta2=[0.5, 1.0], beta3=[0.1])
    assert landscape.correct.tolist() == [[1], [1]]


def test_the_released_grid_starts_low_and_stays_below_its_bound():
    beta2, beta3 = released_grid()
    assert len(beta2) == len(beta3) == 200
    assert beta2[0] == beta3[0] == 0.001
    assert beta2[1] == pytest.approx(0.001 + 1.999 / 200) and beta2[-1] < 2.0 and beta3[-1] < 0.1


def landscape_of(correct):
    correct = np.array(correct)
    rows, columns = correct.shape
    return BetaLandscape(np.arange(rows) * 1.0, np.arange(columns) / 10, correct, 10)


def test_best_is_the_centre_of_the_plateau_not_its_first_pair():
    landscape = landscape_of([
        [8, 1, 1, 1, 1],
        [1, 8, 8, 8, 1],
        [1, 8, 8, 8, 1],
        [1, 8, 8, 8, 1],
        [1, 1, 1, 1, 1],
    ])  # fmt: skip
    best, first = landscape.best(), landscape.first_best()
    assert (best.beta2, best.beta3, best.accuracy) == (2.0, 0.2, 0.8)
    assert (first.beta2, first.beta3, first.accuracy) == (0.0, 0.0, 0.8)
    assert landscape.plateau().sum() == 10


def test_the_border_of_the_grid_bounds_a_plateau():
    best = landscape_of(np.full((5, 7), 4)).best()
    assert best.beta2 == 2.0 and best.beta3 in (0.2, 0.3, 0.4)


def test_sensitivity_counts_pairs_near_the_best():
    landscape = landscape_of([[8, 7], [6, 5]])
    assert landscape.share_within(0) == 0.25
    assert landscape.share_within(10) == 0.5
    assert landscape.share_within(100) == 1.0


def right_at(base, direction, labels, t):
    """How many images a point of a line classifies rightly, in fractions: nothing is rounded."""
    right = 0
    for row, along, label in zip(base.tolist(), direction.tolist(), labels, strict=True):
        blend = [Fraction(at) + Fraction(t) * Fraction(slope) for at, slope in zip(row, along, strict=True)]
        right += blend.index(max(blend)) == label
    return right


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([torch.float32, torch.float64]))
def test_a_line_is_evaluation_at_any_point(data, seed, k, dtype):
    rng = np.random.default_rng(seed)
    base, direction = (torch.tensor(data.draw(term_values(rng, 15, k, dtype)), dtype=dtype) for _ in range(2))
    labels = rng.integers(0, k, 15)
    line = line_landscape(base, direction, labels, low=-3, high=4)
    inside = rng.uniform(line.edges[:-1], line.edges[1:])
    for t, width, count in itertools.islice(zip(inside, np.diff(line.edges), line.correct, strict=True), 20):
        if width > 1e-9:  # a narrower piece has no inside that rounding leaves
            assert right_at(base, direction, labels, t) == count
    best = line.best()
    assert best.accuracy == line.correct.max() / 15
    assert best.t in (best.low, best.high) or line.accuracy_at(best.t) == best.accuracy
    assert line.edges[0] == -3 and line.edges[-1] == 4


def test_touching_stretches_of_equal_accuracy_are_one():
    line = LineLandscape(np.array([0.0, 1.0, 2.0, 3.0, 4.5]), np.array([2, 2, 1, 2]), 4)
    best = line.best()
    assert (best.low, best.high, best.t, best.accuracy) == (0.0, 2.0, 1.0, 0.5)
    assert line.accuracy_at([0.5, 2.5, 4.4]).tolist() == [0.5, 0.25, 0.5]


def test_a_level_line_keeps_ties_with_the_lower_number():
    base, level = torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2)
    assert line_landscape(base, level, [0], low=0, high=1).correct.tolist() == [1]
    assert line_landscape(base, level, [1], low=0, high=1).correct.tolist() == [0]


def inside(polygon, point):
    edges = np.roll(polygon, -1, axis=0) - polygon
    to_point = np.asarray(point) - polygon
    side = edges[:, 0] * to_point[:, 1] - edges[:, 1] * to_point[:, 0]
    return (side >= 0).all() or (side <= 0).all()


def test_a_polygon_holds_exactly_the_pairs_at_which_the_label_wins():
    logits, rng = random_logits(30, 4, 7, torch.float64), np.random.default_rng(7)
    seen = set()
    for image in range(30):
        polygon = winning_polygon(logits, image, 1, beta2=(-2, 2), beta3=(-1, 1))
        for b2, b3 in rng.uniform((-2, -1), (2, 1), (25, 2)):
            wins = bool(metrics.correct_predictions(logits[[image]].combine(beta2=b2, beta3=b3), [1])[0])
            assert wins == (len(polygon) > 2 and inside(polygon, (b2, b3)))
            seen.add(wins)
    assert seen == {True, False}


def test_a_label_that_always_wins_has_the_whole_rectangle():
    ones = torch.tensor([[5.0, 0.0]])
    polygon = winning_polygon(CalipLogits(ones, ones, ones), 0, 0, beta2=(0, 2), beta3=(0, 1))
    assert sorted(map(tuple, polygon)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert winning_polygon(CalipLogits(ones, ones, ones), 0, 1).shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "one label per image"),
        ({"labels": [0, 1, 9]}, "expected 0 to 3"),
        ({"beta2": []}, "beta2 has shape"),
        ({"beta3": [np.nan]}, "beta3 has shape"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"labels": [0, 1, 2], "beta2": [1.0], "beta3": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        beta_landscape(random_logits(3, 4), **arguments)


def test_logits_that_cannot_be_compared_are_refused():
    logits = random_logits(2, 3)
    with pytest.raises(ValueError, match="float16"):
        beta_landscape(CalipLogits(*(t.half() for t in vars(logits).values())), [0, 1], beta2=[1.0], beta3=[1.0])
    logits.clip[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        beta_landscape(logits, [0, 1], beta2=[1.0], beta3=[1.0])
    with pytest.raises(ValueError, match="smaller first"):
        line_landscape(logits.text_attended, logits.text_attended, [0, 1], low=1, high=1)
