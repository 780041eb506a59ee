"""Batches and streams of a stated composition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from calip_core.analysis import composition
from calip_core.methods import make_method
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens

CLASSES = 5
LABELS = np.repeat(np.arange(CLASSES), 40)
TEXT = normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(CLASSES, 8))), dim=1)
NOISE = torch.from_numpy(np.random.default_rng(1).normal(size=(len(LABELS), 8)))
TOKENS = ImageTokens.without_places(normalize(TEXT[torch.from_numpy(LABELS)] + 0.5 * NOISE, dim=1))


def heads(*names):
    return {name: make_method(name, logit_scale=20.0).fit(None, None, TEXT) for name in names}


@given(classes=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
def test_some_classes_are_present_equally_and_the_others_absent(classes, seed, data):
    present = data.draw(st.integers(1, classes))
    shares = composition.some_classes(classes, present)(np.random.default_rng(seed))
    assert sorted(shares) == [0] * (classes - present) + [1] * present


def test_a_long_tail_falls_by_equal_factors_in_a_random_order():
    draw = composition.long_tail(3, 100)
    one, other = (draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert sorted(one) == pytest.approx([0.01, 0.1, 1]) == sorted(other) and list(one) != list(other)


def test_a_batch_holds_different_images_of_the_wanted_classes_in_about_the_wanted_shares():
    rng, counts = np.random.default_rng(0), np.zeros(CLASSES)
    for _ in range(300):
        batch = composition.draw_batch(LABELS, np.array([0, 3.0, 1, 0, 0]), 20, rng)
        assert len(set(batch.tolist())) == 20
        counts += np.bincount(LABELS[batch], minlength=CLASSES)
    assert counts[[0, 3, 4]].sum() == 0
    assert counts[1] / counts[2] == pytest.approx(2.5, abs=0.5)  # without replacement, a little less than 3


def test_unequal_numbers_of_images_do_not_change_the_shares():
    labels = np.repeat([0, 1], [10, 1000])
    rng = np.random.default_rng(0)
    drawn = [composition.draw_batch(labels, np.ones(2), 1, rng)[0] for _ in range(1000)]
    assert labels[drawn].mean() == pytest.approx(0.5, abs=0.05)


def test_numbers_of_classes_that_cannot_fill_a_batch_are_left_out():
    labels = np.repeat(np.arange(10), [3, 3, *[30] * 8])
    assert list(composition.numbers_present(labels, 10, 6)) == [2, 8, 10]
    assert list(composition.numbers_present(labels, 10, 7)) == [8, 10]
    assert list(composition.numbers_present(labels, 10, 187)) == [10]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: composition.some_classes(5, 6), "present is 6, expected 1 to 5 classes"),
        (lambda: composition.some_classes(5, 0), "present is 0"),
        (lambda: composition.long_tail(5, 0.5), "ratio is 0.5, expected at least 1"),
        (lambda: composition.long_tail(5, float("nan")), "ratio is nan"),
        (lambda: composition.numbers_present(LABELS, 5, 201), "size is 201, but there are 200 images"),
        (
            lambda: composition.draw_batch(LABELS, np.eye(5)[0], 41, np.random.default_rng()),
            "size is 41, but the drawn classes have 40 images: ask for smaller batches",
        ),
        (
            lambda: composition.by_stream(TOKENS, LABELS, heads("zero_shot"), lengths=[201], seeds=[0]),
            "length is 201, but there are 200 images",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_all_heads_get_the_same_batches_and_gains_are_paired():
    levels = {n: composition.some_classes(CLASSES, n) for n in (2, 5)}
    frame = composition.by_composition(
        TOKENS, LABELS, heads("zero_shot", "tda", "transclip"), levels, size=30, seeds=range(3)
    )
    assert len(frame) == 3 * 2 * 3 and set(frame["sees"]) == {"nothing", "stream", "batch"}
    table = frame.pivot_table(index=["level", "seed"], columns="method", values=["top1", "gain"])
    assert (table["gain"]["zero_shot"] == 0).all()
    np.testing.assert_allclose(table["gain"]["transclip"], table["top1"]["transclip"] - table["top1"]["zero_shot"])
    again = composition.by_composition(
        TOKENS, LABELS, heads("zero_shot", "transclip"), {2: levels[2]}, size=30, seeds=range(3)
    )
    few = frame[frame["level"] == 2]
    for method in ("zero_shot", "transclip"):  # the draws do not depend on what else is measured
        assert list(again[again["method"] == method]["top1"]) == list(few[few["method"] == method]["top1"])


def test_neighbours_agree_as_a_count_by_hand_says():
    points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    tokens = ImageTokens.without_places(points)
    # Nearest of each: 1, 2, 1, 2. Their classes agree for the last two alone.
    assert composition.neighbours_agree(tokens, np.array([0, 1, 1, 1]), count=1) == 0.75
    assert composition.neighbours_agree(tokens, np.array([0, 0, 1, 1]), count=1) == 0.5


def test_both_orders_of_a_stream_hold_the_same_images():
    seen = []

    class Watched(torch.nn.Module):
        sees = "stream"

        def logits(self, tokens):
            seen.append(tokens.pooled)
            return tokens.pooled @ TEXT.T

    frame = composition.by_stream(
        TOKENS, LABELS, heads("zero_shot") | {"tda": Watched()}, lengths=[50], seeds=[0, 1]
    )
    assert len(frame) == 2 * 2 * 2 and (frame["gain"] == 0).all()
    shuffled, sorted_by_class = seen[:2]
    assert torch.equal(shuffled.sort(dim=0).values, sorted_by_class.sort(dim=0).values)
    classes = [int((TOKENS.pooled == row).all(dim=1).nonzero()[0]) // 40 for row in sorted_by_class]
    assert classes == sorted(classes)
    assert frame["top1"][0] == accuracy(shuffled @ TEXT.T, LABELS[np.random.default_rng(0).permutation(200)[:50]])
