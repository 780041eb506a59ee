"""Chapter 1's exhibits show the numbers they are given, for any number of classes."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.decisions import calibration
from calip_core.exhibits import baseline

NAMES = ["red ring", "blue star", "green drop"]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8 + 40 * i, 8), (10 * i, 0, 0)) for i in range(count)]


def test_answers_rank_the_classes_and_frame_right_and_wrong_apart() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    plot = baseline.answers(pictures(2), logits, [0, 1], NAMES, "two images")
    assert "red ring: red ring 70 %, blue star 20 %, green drop 10 %" in plot.alt
    assert "blue star: green drop 60 %" in plot.alt and "1 of 2 answers are right" in plot.alt
    assert plot.caption.endswith("two images.")
    assert len({ax.spines["left"].get_edgecolor() for ax in plot.figure.axes}) == 2


def test_answers_of_two_classes_show_two() -> None:
    plot = baseline.answers(pictures(1), torch.zeros(1, 2), [0], NAMES[:2], "one image")
    assert plot.figure.axes[0].get_xlabel() == "red ring 50 %\nblue star 50 %"


def test_learning_curve_compares_with_a_guess() -> None:
    plot = baseline.learning_curve({1: 3.0, 8: float(np.log(5))}, batch=64)
    assert "from 3.00 to 1.61 nats in 8 steps; a guess has 4.16" in plot.alt
    assert "64 captions down to about 5" in plot.caption
    assert plot.figure.axes[0].lines[0].get_ydata() == pytest.approx([3.0, np.log(5)])


def test_templates_are_compared_with_the_ensemble_on_the_same_images() -> None:
    numbers = np.arange(10)
    hits = {"{}": numbers < 6, "a {}.": numbers < 9, "ensemble": numbers < 10}
    table = baseline.templates(hits, "a {}.", "ten images")
    assert table.frame.index.tolist() == ["“{}”", "“a {}.” ←", "ensemble of all 2"]
    first = table.frame.iloc[0]
    assert first["only it : only ensemble"] == "0 : 4" and first["less ensemble, points"].startswith("−40.0 [−")
    assert table.frame["accuracy"].tolist() == ["60.0 %", "90.0 %", "100.0 %"]
    assert table.caption.startswith("ten images")


def test_reliability_names_its_errors_and_shares_a_panel_at_the_same_scale() -> None:
    cosines, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), [0, 1, 1]
    error = 100 * calibration.reliability(2 * cosines, labels).expected_calibration_error
    plot = baseline.reliability({"as trained": 2.0, "fitted": 3.0}, cosines, labels)
    assert len(plot.figure.axes) == 2
    assert f"as trained, s = 2.0, the expected calibration error is {error:.1f} points" in plot.alt
    assert f"{error:.1f} points" in plot.figure.axes[0].get_title()
    assert len(baseline.reliability({"as trained": 2.0, "fitted": 2.0}, cosines, labels).figure.axes) == 1


def test_shift_curves_draw_shares() -> None:
    plot = baseline.shift_curves([0.0, 0.5], {"noisy": [9, 5], "coarse": [9, 8]}, 10, 0.1, "mini-rn")
    assert np.allclose(plot.figure.axes[0].lines[0].get_ydata(), [0.9, 0.5])
    assert "From 90.0 % without a shift to, at strength 0.5: noisy 50.0 %, coarse 80.0 %" in plot.alt
