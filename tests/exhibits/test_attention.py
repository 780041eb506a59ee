"""The exhibits of chapter 3 show the numbers that they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from calip_core.exhibits import attention
from tests.records import make_record

GRID = (2, 3)
IMAGE = np.linspace(0, 1, 12 * 12 * 3).reshape(12, 12, 3)
HEAT = np.arange(6.0).reshape(GRID) / 10
LABELS = np.array([0, 1, 2, 0])


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def shown(figure):
    return [ax for ax in figure.axes if ax.images and len(ax.images) == 2]


@pytest.mark.parametrize("columns", [3, 2])
def test_a_row_of_affinities_has_one_scale(columns):
    maps = {"joint": [HEAT, HEAT + 1], "value": [HEAT - 5, HEAT]}
    spans = {"joint": (0.0, 1.5), "value": (-5.0, 0.5)}
    figure = attention._draw_affinities(IMAGE, maps, ["ring", "star"], spans, columns)
    limits = [ax.images[1].get_clim() for ax in shown(figure)]
    assert limits == [(0.0, 1.5)] * 2 + [(-5.0, 0.5)] * 2
    assert [ax.get_title() for ax in shown(figure)] == ["ring", "star"] * 2


def test_affinities_say_their_ranges():
    plot = attention.affinities(IMAGE, {"joint": [HEAT, HEAT + 1], "value": [HEAT - 5, HEAT]}, ["ring", "star"], "ring")
    assert "joint tokens from 0.00 to 1.50; value tokens from −5.00 to 0.50" in plot.alt
    assert "An image of class ring" in plot.alt and "one colour scale" in plot.caption


def test_parts_say_where_they_put_the_true_class():
    values = torch.tensor([[2.0, 0, 1], [2, 0, 1], [2, 0, 1], [2, 0, 1]])
    frame = attention.parts({"echo": values, "leaning": -values}, LABELS, "here").frame
    assert frame["true class first"].tolist() == [0.5, 0.25] and frame["true class last"].tolist() == [0.25, 0.5]
    assert frame["size between classes"].tolist() == ["8.2e-01"] * 2


def a_record(sees, top1):
    return make_record(
        head={"sees": sees},
        score={"top1": top1, "gain": top1 - 0.5, "only_method": 7, "only_clip": 9, "clip_top1": 0.5},
        choice={"values": {"beta2": 0.25, "beta3": 0.5}, "protocol": "validation", "labels_seen": "validation"},
        encoder={"tokens": "value"},
    )


def test_the_prior_before_and_after():
    sees = {"keep": "nothing", "mean": "unlabelled"}
    alone = {(kind, a): a_record(sees[kind], a / 4) for kind in sees for a in (2.0, 0.5)}
    table = attention.prior(alone, {kind: a_record(sees[kind], 0.48) for kind in sees})
    assert table.frame.loc["mean removed"].to_dict() == {
        "sees": "unlabelled", "alone, α = 2": "50.0 %", "alone, α = 0.5": "12.5 %", "β₂, β₃": "0.25, 0.50",
        "CALIP": "48.0 %", "gain": "−2.0 (7 : 9)",
    }  # fmt: skip
    assert table.frame.index.tolist() == ["kept, as released", "mean removed"]
    assert "eurosat, RN50, value tokens, 10 test images" in table.caption and "over CLIP (50.0 %)" in table.caption


def test_all_temperatures_have_one_scale():
    figure = attention._draw_frame(IMAGE, {"joint": HEAT, "value": HEAT / 2}, 0.9, 3)
    assert [ax.images[1].get_clim() for ax in shown(figure)] == [(0.0, 0.9)] * 2
    slider = attention.temperature_slider(IMAGE, {"joint": HEAT}, [2.0, 0.01], "ring")
    assert slider.labels == ("2", "0.01") and "even weights would be 0.167" in slider.frames[0].alt.lower()
    sharp = np.exp(HEAT / 0.01) / np.exp(HEAT / 0.01).sum()
    assert f"joint tokens {sharp.min():.3f} to {sharp.max():.3f}" in slider.frames[1].alt
