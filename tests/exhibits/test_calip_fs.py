import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.exhibits import few_shots as plots
from calip_core.metrics import Interval, mean_interval


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


SHARES = {"one": np.array([[0.2, 0.4], [0.5, 0.7]]), "two": np.array([[0.1, 0.1], [0.2, 0.2]])}
LINES = {"zero-shot CLIP": 0.25, "CALIP": 0.3}


def test_every_method_has_a_panel_with_its_seeds_and_its_mean():
    figure = plots.shots_panels([1, 2], SHARES, LINES)
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [20.0, 50.0] in lines and [40.0, 70.0] in lines
    assert any(np.allclose(line, [30, 60]) for line in lines) and [25.0, 25.0] in lines and [30.0, 30.0] in lines


def test_the_interval_over_the_draws_is_drawn_where_there_is_one():
    ax = plots.shots_panels([1, 2], SHARES, LINES).axes[0]
    (bars,) = ax.collections
    half = 100 * mean_interval([0.2, 0.4])[1]
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((30 - half, 30 + half))
    single = plots.shots_panels([1, 2], {"one": SHARES["one"][:, :1]}, LINES).axes[0]
    assert not single.collections


def test_both_references_are_named_once():
    figure = plots.shots_panels([1, 2], SHARES, LINES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["zero-shot CLIP", "CALIP"]


def test_cost_shows_time_and_size_of_each_method():
    ends = {m: Interval(0.4, 0.7) for m in "ab"}
    figure = plots.cost({"a": 0.1, "b": 3.0}, {"a": 40, "b": 500}, {"a": 0.5, "b": 0.6}, ends, {"zero-shot CLIP": 0.3})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["a", "b", "zero-shot CLIP"]
    time, size = figure.axes
    assert list(time.lines[1].get_xdata()) == [3.0] and list(size.lines[1].get_xdata()) == [500]
    assert "seconds" in time.get_xlabel() and "numbers" in size.get_xlabel()


def test_leads_have_a_panel_a_shift_and_a_row_a_method():
    leads = {"as they are": {"a": np.array([1.0, 2.0]), "b": np.array([-1.0, 0.0])}}
    leads["noisy"] = {"a": np.array([0.0, 4.0]), "b": np.array([3.0, 3.0])}
    figure = plots.leads(leads)
    assert [ax.get_title() for ax in figure.axes] == ["as they are", "noisy"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    drawn = [list(line.get_xdata()) for line in figure.axes[1].lines]
    assert [0.0, 4.0] in drawn and [2.0] in drawn  # the draws, and their mean


def test_leads_of_a_single_draw_have_no_interval():
    ax = plots.leads({"noisy": {"a": np.array([1.0])}}).axes[0]
    assert not ax.collections


def _drawn_matrices():
    ax = plots.calip_fs_diagram().axes[0]
    learning = [patch for patch in ax.patches if plt.matplotlib.colors.to_hex(patch.get_facecolor()) == plots.LEARNS]
    return ax, learning


def test_the_diagram_colours_what_learns():
    ax, learning = _drawn_matrices()
    texts = {text.get_text() for text in ax.texts}
    assert {"$F_s$", "$F_t$", "$F_v$", "$W_q^\\top$", "$W_p^\\top$", "$F_v^a$", "logits"} <= texts
    assert len(learning) == 8  # three for each side, and the last one in both directions


def test_the_diagram_gives_every_matrix_its_shape():
    ax, _ = _drawn_matrices()
    shapes = [text.get_text().replace("$\\times$", "x") for text in ax.texts if "times" in text.get_text()]
    assert len(shapes) == len(ax.patches)
    assert {"MxC", "KxC", "CxC", "KxM", "MxK", "1xC", "1xK"} <= set(shapes)
