"""Support sets are CoOp's own, and say clearly why one cannot be drawn."""

import itertools
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calip_core.evaluation.support_sets import coop_support, coop_support_and_val

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 20))
VAL_LABELS = np.repeat([3, 0, 4, 1, 2], 6)


def as_coop_describes(splits, shots, seed, repeat=True):
    """The procedure in words: seed the global generator, group by first appearance, sample each group.

    A group that is too small is repeated, or else (the rule since 2021-10-09) taken as it is.
    """
    random.seed(seed)
    result = []
    for labels, count in zip(splits, shots, strict=True):
        groups = defaultdict(list)
        for i, label in enumerate(labels):
            groups[int(label)].append(f"image {i}")
        chosen = []
        for group in groups.values():
            if len(group) >= count:
                chosen += random.sample(group, count)
            else:
                chosen += random.choices(group, k=count) if repeat else group
        result.append([int(name.split()[1]) for name in chosen])
    return result


@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_train_and_validation_shots_are_those_of_coop(shots, seed):
    train, val = as_coop_describes((LABELS, VAL_LABELS), (shots, min(shots, 4)), seed)
    drawn = coop_support_and_val(LABELS, VAL_LABELS, shots, seed)
    assert drawn.train.tolist() == train and drawn.val.tolist() == val
    assert coop_support(LABELS, shots, seed).tolist() == train


def test_the_draws_are_pinned():
    """Python keeps the stream of ``random()`` for a seed, not that of ``sample``: here a change would show."""
    assert coop_support(np.repeat([0, 1], 10), 3, seed=1).tolist() == [2, 1, 4, 11, 17, 18]


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_every_class_has_its_shots_and_no_image_twice(seed, shots, classes):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes), 4))
    drawn = coop_support(labels, shots, seed)
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.bincount(labels[drawn], minlength=classes).tolist() == [shots] * classes


@given(st.integers(0, 1000))
def test_nested_sets_lie_inside_each_other(seed):
    sets = [coop_support_and_val(LABELS, VAL_LABELS, shots, seed, nested=True) for shots in (1, 2, 4, 8, 16)]
    for small, large in itertools.pairwise(sets):
        assert set(small.train) < set(large.train) and set(small.val) <= set(large.val)
        assert np.bincount(LABELS[large.train]).tolist() == [len(large.train) // 5] * 5


def test_the_ordinary_sets_are_not_nested():
    assert not set(coop_support(LABELS, 4, 1)) < set(coop_support(LABELS, 8, 1))


def test_things_are_drawn_with_all_their_views():
    drawn = coop_support(np.repeat(LABELS, 3), 2, seed=1, views=3)
    expected = coop_support(LABELS, 2, seed=1)
    assert drawn.reshape(-1, 3).tolist() == [[3 * i, 3 * i + 1, 3 * i + 2] for i in expected]


@pytest.mark.parametrize("nested", [False, True])
def test_a_short_class_is_refused_taken_or_repeated(nested):
    labels = np.array([0, 0, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="class 0 has 2 images, fewer than 3 shots.*short='take'.*'repeat'"):
        coop_support(labels, 3, 1, nested=nested)
    with pytest.raises(ValueError, match=r"class 0 \(cat\) has 1 image, fewer than 2 shots"):
        coop_support([0, 1, 1], 2, 1, nested=nested, classnames=["cat", "dog"])
    taken = coop_support(labels, 3, 1, nested=nested, short="take")
    assert np.bincount(labels[taken]).tolist() == [2, 3] and len(set(taken)) == 5
    repeated = coop_support(labels, 3, 1, nested=nested, short="repeat")
    assert np.bincount(labels[repeated]).tolist() == [3, 3]
    if not nested:
        assert repeated.tolist() == as_coop_describes([labels], [3], 1)[0]


@given(st.integers(0, 1000), st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_a_short_class_of_dassl_is_taken_without_drawing(seed, sizes):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    val_labels = np.repeat(np.arange(len(sizes)), sizes[::-1])
    train, val = as_coop_describes((labels, val_labels), (5, 4), seed, repeat=False)
    drawn = coop_support_and_val(labels, val_labels, 5, seed, short="dassl")
    assert drawn.train.tolist() == train and drawn.val.tolist() == val
    assert coop_support(labels, 5, seed, short="dassl").tolist() == train


def test_the_rules_for_a_short_class_differ_in_the_classes_behind_it():
    labels = np.repeat([0, 1, 2], [2, 20, 20])
    rules = {short: coop_support(labels, 4, 1, short=short).tolist() for short in ("take", "repeat", "dassl")}
    assert rules["dassl"][:2] == [0, 1] and sorted(rules["take"][:2]) == [0, 1]
    assert rules["dassl"][2:] == [2 + i for i in coop_support(labels[2:] - 1, 4, 1)]  # as if it were not there
    assert rules["take"][2:] != rules["dassl"][2:] != rules["repeat"][4:]
    with pytest.raises(ValueError, match="short is 'dassl' for nested support sets.*short='take'"):
        coop_support(labels, 4, 1, short="dassl", nested=True)


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        ([0, 1], {"shots": 0}, "shots is 0, expected at least one"),
        ([0, 1], {"seed": -1}, "seed is -1, expected 0 or more"),
        ([0.0, 1.0], {}, "labels are float64 of shape .2,., expected one integer"),
        ([0, 2], {}, "1 of 3 classes have no image to draw, the first is class 1"),
        ([0, 1], {"classnames": list("abcd")}, r"2 of 4 classes have no image to draw, the first is class 2 \(c\)"),
        ([0, 5], {"classnames": list("abcd")}, "labels run from 0 to 5, expected 0 to 3"),
        (np.zeros(0, int), {}, "no images to draw from"),
        ([0, 0, 1], {"views": 2}, "3 images with 2 views each: expected a whole number"),
        ([0, 0, 0, 1], {"views": 2}, "2 views of item 1 have labels .0, 1., expected one label"),
        ([0, 1], {"short": "skip"}, "short is 'skip', expected one of .'error', 'take', 'repeat', 'dassl'"),
    ],
)
def test_what_cannot_be_drawn_is_said(labels, options, said, shapes_unchecked):
    with pytest.raises(ValueError, match=said):
        coop_support(labels, **{"shots": 1, "seed": 1, **options})
