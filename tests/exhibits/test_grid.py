"""Heat-maps show the numbers they were given, where they belong."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from calip_core.exhibits.heatmaps import (
    Estimate,
    HeatRow,
    draw_heat,
    estimates_chart,
    heat_map_table,
    picture_seen,
    token_grid,
    token_matrices,
    tokens_in_plane,
    upsample,
)
from calip_core.metrics import Interval

GREY = np.full((8, 8, 3), 0.5)
HEAT = np.array([[0.0, 1.0], [0.2, 0.4]])


def test_a_tokens_value_stands_at_the_centre_of_its_cell() -> None:
    np.testing.assert_allclose(upsample(HEAT, (6, 6))[1::3, 1::3], HEAT)


def test_interpolation_stays_between_the_tokens() -> None:
    fine = upsample(HEAT, (32, 48))
    assert fine.shape == (32, 48)
    assert 0 <= fine.min() < fine.max() <= 1


def test_the_cross_marks_the_hottest_cell() -> None:
    figure, ax = plt.subplots()
    draw_heat(ax, GREY, HEAT, (0.0, 1.0))
    assert ax.lines[0].get_xydata().tolist() == [[5.5, 1.5]]
    plt.close(figure)


def test_maps_of_one_scale_share_its_limits_within_a_row() -> None:
    rows = [
        HeatRow(GREY, [HEAT, HEAT - 5, HEAT + 2]),
        HeatRow(GREY, [3 * HEAT, HEAT, HEAT], "second", GREY[..., 0] > 1),
    ]
    figure = heat_map_table(rows, ["a", "b", "c"], ["first", "other", "first"])
    first, other, third = figure.axes[1:4]
    assert first.images[1].get_clim() == third.images[1].get_clim() == (0, 3)
    assert other.images[1].get_clim() == (-5, -4)
    assert first.get_xlabel() == "0.000 … 3.000"
    assert figure.axes[5].images[1].get_clim() == (0, 3)
    plt.close(figure)


def test_every_row_needs_a_map_a_column() -> None:
    with pytest.raises(ValueError, match="1 maps for 2 columns"):
        heat_map_table([HeatRow(GREY, [HEAT])], ["a", "b"], ["x", "x"])


def test_the_grid_numbers_its_tokens() -> None:
    figure, ax = plt.subplots()
    token_grid(ax, GREY, (2, 3))
    assert [text.get_text() for text in ax.texts] == list("012345")
    plt.close(figure)


def test_matrices_share_one_scale() -> None:
    figure = token_matrices({"a": HEAT, "b": HEAT - 1}, unit="cosine", x_label="token", y_label="token")
    assert {ax.images[0].get_clim() for ax in figure.axes[:2]} == {(-1.0, 1.0)}
    plt.close(figure)


def test_the_picture_is_cropped_as_for_the_backbone_but_keeps_its_colours() -> None:
    wide = Image.fromarray(np.full((10, 20, 3), (255, 0, 51), dtype=np.uint8))
    chain = transforms.Compose(
        [transforms.CenterCrop(10), transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))]
    )
    seen = picture_seen(wide, chain)
    assert seen.shape == (10, 10, 3)
    np.testing.assert_allclose(seen[0, 0], [1, 0, 0.2])


def test_tokens_and_pooled_vector_stand_at_their_coordinates() -> None:
    points = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
    figure = tokens_in_plane(GREY, (2, 2), points, np.array([1.0, 1.0]))
    assert [text.get_position() for text in figure.axes[1].texts[:4]] == [tuple(point) for point in points]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[1.0, 1.0]]
    plt.close(figure)


def test_estimates_are_drawn_in_per_cent_with_their_intervals() -> None:
    figure = estimates_chart({"one": [Estimate("a", 0.5, Interval(0.4, 0.6)), Estimate("chance", 0.1)]}, "hits (%)")
    line, point, reference = figure.axes[0].lines
    assert line.get_xdata().tolist() == [40, 60]
    assert point.get_xdata().tolist() == [50]
    assert reference.get_xdata().tolist() == [10]
    plt.close(figure)
