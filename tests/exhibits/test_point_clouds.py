import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.blend.line import LineLandscape
from calip_core.exhibits import point_clouds as plots
from calip_core.metrics import Interval

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_viewer_shows_one_cloud_and_its_menu_the_others():
    clouds = {name: RNG.uniform(-1, 1, (5, 3)) for name in ("ball", "cube", "cone")}
    figure = plots.cloud_viewer(clouds)
    assert [trace.visible for trace in figure.data] == [True, False, False]
    assert np.allclose(figure.data[1].y, clouds["cube"][:, 1], atol=1e-3)
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == list(clouds)
    assert buttons[2].args[0]["visible"] == [False, False, True]
    assert figure.layout.scene.camera.up.y == 1


def test_the_slider_has_a_step_a_view():
    figure = plots.view_slider({"+x": np.eye(4), "-x": np.zeros((4, 4))}, largest=1.0)
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["+x", "-x"]
    assert steps[1].args[0]["visible"] == [False, True]
    assert all(trace.source.startswith("data:image/png;base64,") for trace in figure.data)


def test_a_table_of_maps_has_a_row_a_cloud_and_a_column_a_view():
    rows = [plots.MapRow("one", [np.eye(3)] * 2, 1.0), plots.MapRow("two", [np.eye(3)] * 2, 2.0, ["a", "b"])]
    figure = plots.map_table(rows, ["+x", "-x"])
    assert len(figure.axes) == 4
    assert [ax.get_title() for ax in figure.axes[:2]] == ["+x", "-x"]
    assert figure.axes[2].get_ylabel() == "two" and figure.axes[3].get_xlabel() == "b"
    with pytest.raises(ValueError, match="row 'one' has 2 maps for 1 columns"):
        plots.map_table(rows, ["+x"])


def test_lines_are_drawn_at_their_accuracies():
    line = LineLandscape(np.array([0.0, 1.0, 4.0]), np.array([3, 5]), 10)
    (patch,) = plots.weight_lines({"+x": line}).axes[0].patches
    assert list(patch.get_data().values) == [30.0, 50.0]


def test_curves_of_numbers_and_of_words():
    curves = [
        plots.Curve(label, values, {"CLIP": [0.2, 0.4]}, {"CLIP": [Interval(0.1, 0.3), Interval(0.3, 0.5)]}, log)
        for label, values, log in (("points", [64, 128], True), ("turned about", ["none", "any"], False))
    ]
    figure = plots.sensitivity(curves, chance=0.1)
    first, second = figure.axes
    assert first.get_xscale() == "log" and list(first.lines[0].get_ydata()) == [20.0, 40.0]
    assert [label.get_text() for label in second.get_xticklabels()] == ["none", "any"]
