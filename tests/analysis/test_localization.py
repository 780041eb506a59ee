"""Heat-map scores on masks small enough to check by hand."""

import numpy as np
import pytest
import torch

from calip_core.analysis.localization import pointing_hits, points_on_object


def one_mask(rows: list[str]) -> np.ndarray:
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


LEFT_HALF_ABOVE = one_mask(["##..", "##..", "....", "...."])
ONE_PIXEL = one_mask(["....", "....", "....", "...#"])


def test_a_token_points_at_the_centre_of_its_cell() -> None:
    np.testing.assert_array_equal(points_on_object(LEFT_HALF_ABOVE, (2, 2)), [[True, False, False, False]])
    mask = np.zeros((1, 128, 128), dtype=bool)
    mask[0, 16, 48] = True  # centre of row 0, column 1 in a 4 x 4 grid
    assert np.flatnonzero(points_on_object(mask, (4, 4))[0]).tolist() == [1]


def test_tolerance_grows_the_object_by_that_many_pixels() -> None:
    mask = np.zeros((1, 128, 128), dtype=bool)
    mask[0, 20, 48] = True
    assert not points_on_object(mask, (4, 4), tolerance=3).any()
    assert points_on_object(mask, (4, 4), tolerance=4).sum() == 1


def test_the_pointing_game_looks_at_the_hottest_token_only() -> None:
    on_object = np.array([[True, False], [True, False]])
    hits = pointing_hits(torch.tensor([[0.2, 0.1], [0.2, 0.3]]), on_object)
    np.testing.assert_array_equal(hits, [True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: points_on_object(ONE_PIXEL, (5, 2)), "5x2 tokens does not fit masks of 4x4"),
        (lambda: points_on_object(ONE_PIXEL, (2, 2), tolerance=-1), "tolerance is -1"),
        (lambda: pointing_hits(torch.zeros(1, 3), np.zeros((1, 4), dtype=bool)), "same grid"),
        (lambda: pointing_hits(torch.full((1, 4), torch.nan), np.ones((1, 4), dtype=bool)), "NaN"),
    ],
)
def test_bad_input_is_named(call, message: str, shapes_unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        call()
