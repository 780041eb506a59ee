import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calip_core.decisions.vocabulary import ShortList


@given(st.integers(3, 30), st.integers(0, 99))
def test_every_class_is_on_the_list_or_off_it(classes, seed):
    short = ShortList.draw(classes, 1 + seed % (classes - 2), seed=seed)
    assert sorted([*short.listed, *short.off]) == list(range(classes))
    assert (np.diff(short.listed) > 0).all() and (np.diff(short.off) > 0).all()


def test_places_by_hand():
    short = ShortList(np.array([0, 2, 3]), np.array([1, 4]))
    assert short.places(np.array([3, 1, 0, 4, 2])).tolist() == [2, -1, 0, -1, 1]


def test_the_seed_decides():
    lists = [ShortList.draw(12, 3, seed=seed).off.tolist() for seed in (1, 1, 2)]
    assert lists[0] == lists[1] != lists[2]


@pytest.mark.parametrize("off", [0, 4, 5])
def test_a_list_of_fewer_than_two_classes_or_without_a_gap_is_refused(off):
    with pytest.raises(ValueError, match=f"{off} of 5 classes off the list: expected at least 1, and at least 2"):
        ShortList.draw(5, off, seed=0)
