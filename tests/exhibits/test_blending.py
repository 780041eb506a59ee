import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.blend.landscape import BetaLandscape
from calip_core.blend.line import LineLandscape
from calip_core.exhibits import blending


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def some_landscape():
    correct = np.arange(30).reshape(5, 6) % 7
    return BetaLandscape(np.linspace(0, 2, 5), np.linspace(0, 0.1, 6), correct, 10)


def test_marks_inside_the_grid_are_named_and_others_left_out():
    figure = blending.landscape(some_landscape(), {"inside": (1.0, 0.05), "outside": (9.0, 0.05)})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["inside"]
    assert "beta_2" in figure.axes[0].get_xlabel() and "beta_3" in figure.axes[0].get_ylabel()


def test_a_flat_landscape_has_no_outline():
    flat = BetaLandscape(np.arange(3.0), np.arange(3.0), np.full((3, 3), 4), 10)
    assert not blending.landscape(flat, {}).legends


def test_the_hover_figure_holds_every_so_manieth_pair():
    (heat,) = blending.landscape_hover(some_landscape(), every=2).data
    assert np.asarray(heat.z).shape == (3, 3)
    assert np.asarray(heat.z)[1, 1] == pytest.approx(100 * some_landscape().accuracy[2, 2])


def test_an_image_that_is_never_right_has_an_empty_panel():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    figure = blending.polygons([square, np.empty((0, 2))], ["some", "none"], (0, 2), (0, 1))
    assert [len(ax.patches) for ax in figure.axes] == [1, 0]
    assert [ax.get_title() for ax in figure.axes] == ["some", "none"]


def test_selection_and_optimism_show_points():
    control = blending.selection_control(np.array([0.01, 0.02, 0.03]), 0.04)
    assert control.axes[0].lines[0].get_xdata()[0] == pytest.approx(4.0)
    figure = blending.optimism([10, 100], np.array([[0.1, 0.3], [0.0, 0.1]]), np.zeros((2, 2)))
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([20.0, 5.0])


def test_a_line_shows_its_widest_best_stretch():
    found = LineLandscape(np.array([0.0, 1.0, 4.0]), np.array([1, 2]), 4)
    ax = blending.line(found, "t").axes[0]
    assert ax.get_xlabel() == "t" and ax.get_ylabel() == "accuracy (%)"
    left, right = ax.patches[-1].get_extents().x0, ax.patches[-1].get_extents().x1
    assert left < right
