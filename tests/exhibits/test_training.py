import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.exhibits.training import gallery, training_curves


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_every_picture_has_its_caption():
    figure = gallery(np.zeros((5, 8, 8, 3), np.uint8), [f"caption {i}" for i in range(5)])
    assert [ax.get_title() for ax in figure.axes] == [f"caption {i}" for i in range(5)]


def test_curves_show_shares_as_percent_against_thousands_of_pictures():
    points = [{"samples": 1000.0, "loss": 2.0, "acc": 0.25}, {"samples": 2000.0, "loss": 1.0, "acc": 0.5}]
    left, right = training_curves({"a": points}, {"acc": "shapes"}).axes
    assert left.lines[0].get_xdata().tolist() == [1.0, 2.0] and left.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert right.lines[0].get_ydata().tolist() == [0.25, 0.5]
    assert right.get_title() == "shapes" and right.yaxis.get_major_formatter()(0.5) == "50%"
    assert right.get_legend().get_texts()[0].get_text() == "a"
