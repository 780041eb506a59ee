"""Exhibits of training show the runs that they are given, and say what a short one reaches."""

import numpy as np
import pytest
import torch

from calip_core.backbones.model_card import load_card
from calip_core.exhibits import training
from calip_core.miniature.trainer import Progress

CLASSES = {"mini-shapes": 12, "digits": 10}


def test_every_picture_has_its_caption():
    shown = training.gallery(np.zeros((5, 8, 8, 3), np.uint8), [f"caption {i}" for i in range(5)], "five black squares")
    assert [ax.get_title() for ax in shown.figure.axes] == [f"caption {i}" for i in range(5)]
    assert shown.alt == "5 pictures with captions: five black squares. The first caption is “caption 0”."


def test_loudness_is_a_ratio_of_spectra():
    frame = training.loudness({"plain": torch.tensor([1.0, 2.0, 10.0])}).frame
    assert frame.loc["plain"].tolist() == [5.0, 2.0]


def point(samples, loss, shapes):
    return {"samples": samples, "seconds": 30.0, "loss": loss, "mini-shapes": shapes, "mini-pairs": 0.5}


def test_curves_show_shares_as_percent_against_thousands_of_pictures():
    own, full = [point(1000.0, 2.0, 0.25), point(2000.0, 1.0, 0.5)], [point(9000.0, 0.5, 0.9)]
    card = load_card("mini-rn")
    shown = training.training_curves(Progress(curve=own), full, card, threads=1)
    left, right, _ = shown.figure.axes
    assert left.lines[0].get_xdata().tolist() == [1.0, 2.0] and left.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert right.lines[0].get_ydata().tolist() == [0.25, 0.5]
    assert right.get_title() == "shapes" and right.yaxis.get_major_formatter()(0.5) == "50 %"
    assert "loss 1.00 and 0.50; shapes 50.0 % in this run, 90.0 % in the shipped one" in shown.alt
    assert shown.caption.startswith("This run saw 2,000 pictures in 0.5 minutes on 1 thread; the shipped mini-rn saw")
    assert f"{card.training.samples:,}" in shown.caption


def hits(shapes, digits, shipped=95):
    def of(count):
        return np.arange(100) < count

    return {
        name: {"this run": of(own), "shipped mini-rn": of(shipped)}
        for name, own in (("mini-shapes", shapes), ("digits", digits))
    }


def test_accuracies_stand_beside_guessing():
    frame = training.accuracies(hits(50, 20), CLASSES).frame
    assert frame.loc["digits", "guessing"] == "10.0 %" and frame.loc["mini-shapes", "classes"] == 12
    assert frame.loc["mini-shapes", "this run"].startswith("50.0 % [")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (hits(5, 8), "0.5 minutes of training here were too few: no question is answered better than by guessing."),
        (hits(50, 8), "this run answers mini-shapes better than guessing. The shipped model is better on 2 of 2."),
        (hits(94, 50), "this run answers all questions better than guessing. The shipped model is better on 1 of 2."),
        (hits(94, 96), "answers all questions better than guessing. The shipped model is no better."),
    ],
)
def test_what_the_minutes_reach(found, said):
    assert said in training.reached(0.5, found, CLASSES).markdown
    assert training.reached(1, found, CLASSES).markdown.removeprefix("After ").startswith("1 minute of")
