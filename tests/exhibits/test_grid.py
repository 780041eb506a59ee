"""Heat-maps show the numbers they were given, where they belong; captions and tables hold what was computed."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from calip_core.exhibits import grid
from calip_core.exhibits.grid import Estimate, HeatRow, heat_map_table
from calip_core.tokens import ImageTokens

GREY = np.full((8, 8, 3), 0.5)
HEAT = np.array([[0.0, 1.0], [0.2, 0.4]])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_maps_of_a_row_share_one_scale_and_rows_do_not() -> None:
    rows = [HeatRow(GREY, [HEAT, HEAT - 5]), HeatRow(GREY, [3 * HEAT, HEAT], "second")]
    figure = heat_map_table(rows, ["a", "b"])
    limits = [[ax.images[1].get_clim() for ax in figure.axes[start + 1 : start + 3]] for start in (0, 3)]
    assert limits == [[(-5, 1)] * 2, [(0, 3)] * 2]
    assert figure.axes[3].get_ylabel() == "second"


def test_every_row_needs_one_map_per_column() -> None:
    with pytest.raises(ValueError, match="1 maps for 2 columns"):
        heat_map_table([HeatRow(GREY, [HEAT])], ["a", "b"])


def test_token_maps_state_the_span_of_the_cosines() -> None:
    heat = torch.tensor([[0.0, 0.5, 0.25, 0.25]])
    shown = grid.token_maps([GREY], {"joint": heat / 10, "value": heat}, (2, 2), ["a cat"], backbone="/x/y.pt")
    assert "0.050 (joint), 0.500 (value)" in shown.alt
    assert "of y.pt" in shown.caption
    assert shown.figure.axes[1].images[1].get_clim() == (0, 0.5)


def test_queries_that_look_at_the_same_places_share_all_their_attention() -> None:
    weights = torch.tensor([0.5, 0.25, 0.25]).expand(4, 2, 3, 3)
    assert "100 % of its attention" in grid.pool_attention(weights, backbone="mini-rn").alt
    apart = torch.eye(3).expand(4, 2, 3, 3)
    shown = grid.pool_attention(apart, backbone="mini-rn")
    assert "0 % of its attention" in shown.caption
    np.testing.assert_array_equal(shown.figure.axes[0].images[0].get_array(), np.eye(3))


def test_the_table_of_pools_holds_cosines_and_accuracies() -> None:
    own = torch.eye(2)
    table = grid.pool_table({"own": own, "swapped": own.flip(0)}, torch.eye(2), np.array([0, 1]), backbone="mini-rn")
    assert table.frame["cosine with the pool"].tolist() == ["1.000", "0.000"]
    assert table.frame["accuracy"].tolist() == ["100.0 %", "0.0 %"]
    assert "2 images" in table.caption


def test_copies_have_no_variance_of_their_own() -> None:
    pooled = normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    copies = ImageTokens(pooled, pooled[:, None].expand(5, 4, 8).clone(), (2, 2))
    table = grid.token_table({("/a/b.pt", "joint"): copies}, task="shapes")
    row = table.frame.loc["b.pt, joint"]
    assert row["cosine with pooled"] == pytest.approx(1)
    assert row["own"] == pytest.approx(0, abs=1e-6)
    assert row["image"] == pytest.approx(1)
    assert "5 images of shapes" in table.caption


def test_the_pointing_game_draws_intervals_and_two_players_that_never_look() -> None:
    cells = np.array([[True, False], [True, False], [False, True], [True, True]])
    hits = {"value": np.array([True, True, False, False])}
    shown = grid.pointing_game({"mini-rn": hits}, {"mini-rn": cells})
    assert "value tokens 50 %, best fixed cell 75 %, random cell 62 %" in shown.alt
    interval, dot, fixed, chance = (line.get_xdata() for line in shown.figure.axes[0].lines)
    assert interval[0] < 50 < interval[1]
    assert [dot[0], fixed[0], chance[0]] == [50, 75, 62.5]


def test_an_estimate_is_a_share() -> None:
    assert Estimate("a", 3, 4).share == 0.75
