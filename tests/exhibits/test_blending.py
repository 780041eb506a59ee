"""The exhibits of chapter 5 show the numbers that they are given, in figures, captions and alternative texts."""

import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.blend.landscape import BetaLandscape
from calip_core.blend.optimism import Optimism
from calip_core.blend.selection import Grid, OracleControl, Selection, fixed
from calip_core.exhibits import blending
from calip_core.tokens import CalipLogits

GRID = Grid(np.linspace(0, 2, 5), np.linspace(0, 1, 6))


def picture(_):
    return Image.new("RGB", (8, 8), "red")


def two_classes(leads):
    """Images of class 0 whose label leads by a + b beta2 in a blend; beta3 does nothing."""
    offset, slope = torch.tensor(leads, dtype=torch.float64).T
    rival = torch.zeros_like(offset)
    return CalipLogits(*(torch.stack([lead, rival], dim=1) for lead in (offset, slope, rival)))


def fates(leads):
    return blending.rescued_and_spoiled(two_classes(leads), [0] * len(leads), picture, ["cat", "dog"], GRID)


def test_images_that_the_weights_decide_are_sorted_into_rescued_and_spoiled():
    shown = fates([(-1.0, 1.0), (1.0, -1.0), (1.0, -2.0), (3.0, 0.0), (-3.0, 0.0)])
    titles = [ax.get_title() for ax in shown.figure.axes if ax.get_title()]
    assert titles == ["rescued: cat", "spoiled: cat", "spoiled: cat"]
    assert (
        "Of the first 5 images, some weights rescue 1 and some spoil 2" in shown.caption
        and "the other 2" in shown.caption
    )
    assert (
        "Rescued: cat, right on 50 %." in shown.alt and "Spoiled: cat, right on 25 %, cat, right on 50 %." in shown.alt
    )
    corners = shown.figure.axes[3].patches[0].get_xy()  # of the first image: right from beta2 = 1 on
    assert corners[:, 0].min() == pytest.approx(1.0) and corners[:, 0].max() == pytest.approx(2.0)


def test_where_the_weights_decide_nothing_the_figure_says_so():
    shown = fates([(3.0, 0.0)])
    assert "decide none" in shown.figure.axes[0].texts[0].get_text() and "the other 1" in shown.caption


def test_a_grid_of_one_weight_still_has_a_rectangle():
    logits = two_classes([(-1.0, 1.0)])
    alone = Grid(np.linspace(0, 2, 3), np.zeros(1))
    shown = blending.rescued_and_spoiled(logits, [0], picture, ["cat", "dog"], alone)
    assert "some weights rescue 1 and some spoil 0" in shown.caption


def some_landscape():
    correct = np.arange(30).reshape(5, 6) % 7
    return BetaLandscape(np.linspace(0, 2, 5), np.linspace(0, 0.1, 6), correct, 10)


def test_a_landscape_names_marks_inside_the_grid_and_leaves_others_out():
    shown = blending.landscape(some_landscape(), {"inside": (1.0, 0.05), "outside": (9.0, 0.05)}, clip=0.25)
    assert [text.get_text() for text in shown.figure.legends[0].get_texts()] == ["inside"]
    assert "30 pairs" in shown.caption and "CLIP alone has 25.00 %" in shown.caption
    assert "the 4 best pairs (60.00 %)" in shown.caption and "13 % of all pairs" in shown.caption
    assert "from 0.0 % to 60.0 %" in shown.alt


def test_a_flat_landscape_has_no_outline():
    flat = BetaLandscape(np.arange(3.0), np.arange(3.0), np.full((3, 3), 4), 10)
    assert not blending.landscape(flat, {}, clip=0.4).figure.legends


def test_the_control_shows_the_gain_beside_those_of_shuffled_terms():
    shown = blending.shuffled_control(OracleControl(0.04, np.array([0.01, 0.02, 0.03])))
    assert shown.figure.axes[0].lines[0].get_xdata()[0] == pytest.approx(4.0)
    assert "gains +4.00 points" in shown.caption and "+2.00 on average" in shown.caption
    assert "p = 0.25; the smallest possible with 3 shuffles is 0.25" in shown.caption
    assert "from +1.00 to +3.00 points" in shown.alt


OPTIMISM = Optimism((10, 100), np.array([[0.1, 0.3], [0.0, 0.1]]), np.array([[0.0, 0.0], [0.0, 0.02]]))


def test_optimism_shows_both_sides_in_points():
    shown = blending.optimism(OPTIMISM)
    own, others, _ = (line.get_ydata() for line in shown.figure.axes[0].lines)
    assert own == pytest.approx([20.0, 5.0]) and others == pytest.approx([0.0, 1.0])
    assert "With 10 images, the chosen pair gains +20.00 points on them and 0.00 on others." in shown.alt
    assert "2 draws" in shown.caption


def test_ways_to_choose_have_one_verdict_each_and_the_oracle_none():
    clip = np.array([True] * 10 + [False] * 10)
    better = np.ones(20, dtype=bool)
    ways = {"fixed": fixed(), "oracle": Selection(1.0, 0.5, "oracle", "", "test")}
    frame = blending.ways_to_choose(ways, {"fixed": better, "oracle": better}, clip, "here").frame
    assert frame.loc["fixed", "accuracy"] == 1.0 and frame.loc["fixed", "β₂, β₃"] == "1.12, 0.02"
    assert frame.loc["fixed", "CALIP : CLIP alone"] == "10 : 0"
    assert list(frame["verdict (McNemar)"]) == ["gain, p = 0.002", "none: saw test labels"]
