import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.exhibits import calip
from calip_core.metrics import Interval

GRID = (2, 3)
IMAGE = np.linspace(0, 1, 12 * 12 * 3).reshape(12, 12, 3)
HEAT = np.arange(6.0).reshape(GRID)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_affinity_names_every_class():
    figure = calip.affinity_map(IMAGE, np.random.default_rng(0).random((6, 4)), list("abcd"), GRID)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == list("abcd")


def test_each_temperature_has_its_map_and_its_range():
    figure = calip.attention_at_temperatures(IMAGE, [HEAT / 15, HEAT / 15], [2.0, 0.5], "looks")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "image" and "2$" in titles[1] and "0.000 to 0.333" in titles[2]


def test_temperature_curves_are_in_percent():
    figure = calip.temperature_curves(
        [0.1, 1.0], {"text": [0.2, 0.9]}, {"text": [0.5, 0.25]}, (0.4, Interval(0.3, 0.5)), {"paper": 1.0}
    )
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [0.2, 0.9]
    assert right.lines[0].get_ydata().tolist() == [50.0, 25.0] and right.lines[1].get_ydata()[0] == 40.0


def test_gains_are_points_with_their_intervals():
    figure = calip.gains(["one", "two"], [0.01, -0.02], [Interval(0.0, 0.03), Interval(-0.04, 0.0)])
    assert figure.axes[0].containers[0].lines[0].get_xdata().tolist() == [1.0, -2.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["one", "two"]


def test_the_slider_shows_one_temperature_at_a_time():
    figure = calip.attention_slider([HEAT, 2 * HEAT], [1.0, 0.1], "looks")
    assert [trace.visible for trace in figure.data] == [True, False]
    assert figure.layout.sliders[0].steps[1].args[0]["visible"] == [False, True]
    np.testing.assert_array_equal(figure.data[1].z[0], 2 * HEAT[-1])  # the picture's last row is the lowest


def test_the_idea_shares_one_scale_over_the_classes():
    figure = calip.idea(IMAGE, np.stack([HEAT, HEAT + 10]), ["a", "b"], GRID)
    heats = [ax.images[1] for ax in figure.axes[1:3]]
    assert {image.get_clim() for image in heats} == {(0.0, 15.0)}
