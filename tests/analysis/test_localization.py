"""Heat-map scores on masks small enough to check by hand."""

import numpy as np
import pytest
import torch

from calip_core.analysis.localization import disc_masks, mean_on_and_off, pointing_hits, points_on_object, token_cover


def one_mask(rows: list[str]) -> np.ndarray:
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


LEFT_HALF_ABOVE = one_mask(["##..", "##..", "....", "...."])
ONE_PIXEL = one_mask(["....", "....", "....", "...#"])


def test_cover_is_the_share_of_each_cell_row_by_row() -> None:
    mask = one_mask(["##..", "##..", "....", "#..."])
    np.testing.assert_allclose(token_cover(mask, (2, 2)), [[1, 0, 0.25, 0]])


def test_cover_averages_to_the_area_share_when_cells_are_equal() -> None:
    masks = np.random.default_rng(0).random((3, 12, 12)) < 0.3
    np.testing.assert_allclose(token_cover(masks, (4, 3)).mean(axis=1), masks.mean(axis=(1, 2)))


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


def test_means_weigh_tokens_by_their_area_on_and_off() -> None:
    on, off = mean_on_and_off(torch.tensor([[1.0, 3.0]]), np.array([[0.75, 0.25]]))
    np.testing.assert_allclose((on[0], off[0]), (1.5, 2.5))


def test_an_image_without_object_has_no_mean_on_it() -> None:
    on, off = mean_on_and_off(torch.tensor([[1.0, 3.0]]), np.zeros((1, 2)))
    assert np.isnan(on[0])
    assert off[0] == 2


def test_a_disc_has_its_area_and_its_centre() -> None:
    mask = disc_masks(np.array([0.25]), np.array([0.75]), np.array([0.125]), resolution=256)
    assert mask.mean() == pytest.approx(np.pi * 0.125**2, rel=0.01)
    rows, columns = np.nonzero(mask[0])
    assert (columns.mean() + 0.5) / 256 == pytest.approx(0.25)
    assert (rows.mean() + 0.5) / 256 == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_cover(ONE_PIXEL, (5, 2)), "5x2 tokens does not fit masks of 4x4"),
        (lambda: points_on_object(ONE_PIXEL, (2, 2), tolerance=-1), "tolerance is -1"),
        (lambda: pointing_hits(torch.zeros(1, 3), np.zeros((1, 4), dtype=bool)), "same grid"),
        (lambda: mean_on_and_off(torch.full((1, 4), torch.nan), np.ones((1, 4))), "NaN"),
    ],
)
def test_bad_input_is_named(call, message: str, shapes_unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        call()
