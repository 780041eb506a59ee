"""The bootstrap against its definition in a loop, and against the truth of simulated images."""

import numpy as np
import pytest

from calip_core.decisions.resampling import Resampled, resampled_sums


def test_the_sums_are_those_of_rows_drawn_one_by_one():
    rows = np.random.default_rng(1).normal(size=(7, 3))
    rng = np.random.default_rng(5)
    expected = [sum(rows[rng.integers(7, size=7)]) for _ in range(4)]
    np.testing.assert_allclose(resampled_sums(rows, seed=5, draws=4), expected)


def test_the_interval_mirrors_the_samples_at_the_value():
    samples = np.arange(101) / 1000  # quantiles 0.0025 and 0.0975
    found = Resampled(0.06, samples).interval
    assert (found.low, found.high) == pytest.approx((0.0225, 0.1175))


def test_a_share_stays_between_0_and_1_and_a_difference_between_minus_1_and_1():
    low, high = Resampled(0.0, np.full(10, 0.2)), Resampled(1.0, np.full(10, 0.7))
    assert (low.interval.low, high.interval.high) == (0.0, 1.0)
    assert (low - high).interval.low == pytest.approx(-1.0) and (low - high).value == -1.0


def test_the_difference_is_taken_sample_by_sample():
    rows = np.random.default_rng(0).random((50, 1))
    sums = resampled_sums(rows, seed=3, draws=20)[:, 0] / 50
    same = Resampled(0.5, sums) - Resampled(0.25, sums - 0.25)
    assert same.interval.low == same.interval.high == pytest.approx(0.25)
    with pytest.raises(ValueError, match="20 and 3 samples: expected both on the same samples"):
        Resampled(0.5, sums) - Resampled(0.5, sums[:3])


@pytest.mark.parametrize(("rows", "draws"), [(0, 5), (5, 0)])
def test_nothing_to_draw_is_refused(rows, draws):
    with pytest.raises(ValueError, match=f"{draws} draws of {rows} images: expected at least one of each"):
        resampled_sums(np.zeros((rows, 2)), seed=0, draws=draws)
