"""The figures of chapter 1 show the numbers they are given, for any number of classes."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from calip_core import metrics
from calip_core.exhibits import BAD, MUTED, baseline


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def words(figure: Figure) -> list[str]:
    """All visible texts of the first axes: tick labels and what is written inside."""
    ax = figure.axes[0]
    return [text.get_text() for text in (*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels())]


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8 + 40 * i, 8), (10 * i, 0, 0)) for i in range(count)]


def test_similarity_matrix_writes_every_cosine_and_frames_the_own_pairs() -> None:
    values = np.array([[0.9, -0.1], [0.2, 0.8], [0.3, 0.4]])
    figure = drawn(baseline.similarity_matrix(values, ["one", "two", "three"], pictures(2), "cosine"))
    assert {"0.90", "-0.10", "0.20", "0.80", "one", "three"} <= set(words(figure))
    assert [frame.get_xy() for frame in figure.axes[0].patches] == [(-0.5, -0.5), (0.5, 0.5)]


def test_class_accuracies_puts_the_worst_first_and_leaves_out_the_empty() -> None:
    correct, totals = np.array([9, 1, 0, 10]), np.array([10, 10, 0, 10])
    figure = drawn(baseline.class_accuracies(["a", "b", "empty", "d"], correct, totals))
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["b (10)", "a (10)", "d (10)"]
    assert figure.axes[0].lines[0].get_color() == BAD, "1 of 10 lies clearly below 20 of 30"


def test_class_accuracies_draws_at_most_the_worst() -> None:
    figure = baseline.class_accuracies([str(i) for i in range(50)], np.arange(50), np.full(50, 50), most=5)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [f"{i} (50)" for i in range(5)]


def test_confusion_matrix_leaves_right_answers_blank() -> None:
    figure = drawn(baseline.confusion_matrix(np.array([[7, 2], [0, 5]]), ["a", "b"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["2"]


def test_confusion_matrix_without_a_mistake_is_still_a_figure() -> None:
    assert not drawn(baseline.confusion_matrix(np.diag([3, 4]), ["a", "b"])).axes[0].texts


def test_template_comparison_greys_what_is_undecided() -> None:
    intervals = [metrics.Interval(-0.2, -0.1), metrics.Interval(-0.1, 0.1)]
    lines = drawn(baseline.template_comparison(["{}", "a {}."], [-0.15, 0.0], intervals, "x")).axes[0].lines
    assert [lines[0].get_color(), lines[2].get_color()] == [BAD, MUTED]
    assert np.allclose(lines[0].get_xdata(), [-20, -10]), "in points"


def test_reliability_diagrams_name_their_errors() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), [0, 1, 1]
    bins = metrics.reliability(logits, labels)
    figure = drawn(baseline.reliability_diagrams({"one": bins, "two": bins}))
    assert len(figure.axes) == 2
    assert f"{100 * bins.expected_calibration_error:.1f} points" in figure.axes[0].get_title()


def test_other_curves_draw() -> None:
    drawn(baseline.learning_curve([1, 2], {"loss": [2.0, 1.0]}, 1.5))
    drawn(baseline.ensemble_sizes({1: [0.2, 0.4], 2: [0.3]}))
    drawn(baseline.scale_sweep(np.array([1.0, 10.0]), {"accuracy": [0.5, 0.5]}, {"training": 3.0}))
    figure = drawn(baseline.shift_curves([0.0, 0.5], {"noisy": [9, 5], "coarse": [9, 9]}, 10, 0.1))
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), [0.9, 0.5])


def test_picture_grid_frames_right_and_wrong_apart() -> None:
    figure = drawn(baseline.picture_grid(pictures(3), ["a", "b", "c\nd"], [True, False, True]))
    colours = {ax.spines["left"].get_edgecolor() for ax in figure.axes}
    assert len(figure.axes) == 3
    assert len(colours) == 2
