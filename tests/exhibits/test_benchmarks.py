import matplotlib.pyplot as plt
import pytest

from calip_core.exhibits import benchmarks
from calip_core.exhibits.style import BAD, GOOD
from calip_core.metrics import Interval


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_published_gains_name_their_baselines():
    figure = benchmarks.published_gains(["a", "b"], {"one log": [0.5, -0.1], "another": [0.2, 0.3]}, [1.0, 2.0])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "one log" in names and "another" in names
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [2.0, 4.0]


def test_a_missing_record_leaves_a_gap():
    figure = benchmarks.measured_gains(
        ["first", "second"],
        {"fixed": [0.01, None], "oracle": [0.02, 0.03]},
        {"fixed": [Interval(0.0, 0.02), None], "oracle": [Interval(0.01, 0.03), Interval(0.02, 0.04)]},
    )
    points = [container.lines[0].get_xdata() for container in figure.axes[0].containers]
    assert points[0] == pytest.approx([1.0]) and points[1] == pytest.approx([2.0, 3.0])


def test_gains_and_losses_of_classes_have_two_colours():
    ax = benchmarks.class_changes(["cat", "dog", "yak"], [4, 2, 0], [1, 10, 0], [30, 40, 0]).axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([10.0, -20.0, 0.0])
    assert {plt.matplotlib.colors.to_hex(bar.get_facecolor()) for bar in ax.patches} == {GOOD, BAD}
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "cat (+4 −1 of 30)", "dog (+2 −10 of 40)", "yak (+0 −0 of 0)",
    ]  # fmt: skip
