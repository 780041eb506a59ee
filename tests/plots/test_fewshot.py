import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.metrics import Interval
from calip_core.plots import fewshot as plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_every_method_has_a_panel_with_its_seeds_and_its_mean():
    shares = {"one": np.array([[0.2, 0.4], [0.5, 0.7]]), "two": np.array([[0.1, 0.1], [0.2, 0.2]])}
    figure = plots.shots_panels([1, 2], shares, zero_shot=0.25)
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [20.0, 50.0] in lines and [40.0, 70.0] in lines
    assert any(np.allclose(line, [30, 60]) for line in lines) and [25.0, 25.0] in lines


def test_cost_has_a_point_a_method():
    figure = plots.cost({"a": 0.1, "b": 3.0}, {"a": 0.5, "b": 0.6}, {m: Interval(0.4, 0.7) for m in "ab"}, 0.3)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["a", "b", "zero-shot CLIP"]
    assert list(figure.axes[0].lines[1].get_xdata()) == [3.0]


def test_the_diagram_colours_what_learns():
    ax = plots.calip_fs_diagram().axes[0]
    texts = {text.get_text() for text in ax.texts}
    assert {"$F_s$", "$F_t$", "$W_q$", "$W_p$"} <= texts
    learning = [patch for patch in ax.patches if plt.matplotlib.colors.to_hex(patch.get_facecolor()) == "#cfe3f1"]
    assert len(learning) == 8
