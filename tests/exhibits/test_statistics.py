"""Appendix D's exhibits show the numbers they are given, and the verdict has a sentence for every case."""

import numpy as np
import pytest

from calip_core import metrics
from calip_core.exhibits import statistics


def test_false_alarms_of_the_exact_test_stay_below_the_level() -> None:
    plot = statistics.false_alarms(12)
    score, exact = plot.figure.axes[0].lines[:2]
    assert max(np.asarray(exact.get_ydata())) <= 5
    assert np.asarray(exact.get_ydata())[10] == pytest.approx(100 * 2 * 12 / 2**11)  # 0:11 and 1:10 of 11, both sides
    assert np.asarray(score.get_ydata())[10] == pytest.approx(100 * 2 * 67 / 2**11)  # and 2:9
    assert "never exceeds" in plot.alt and "from 10 images on" in plot.alt


def test_an_outcome_has_the_disagreements_asked_for() -> None:
    test = metrics.mcnemar(*statistics.outcome(3, 2, 10))
    assert (test.only_a, test.only_b) == (3, 2)
    with pytest.raises(ValueError, match="3 \\+ 2 disagreements of 4 images"):
        statistics.outcome(3, 2, 4)


def test_two_intervals_stand_side_by_side() -> None:
    table = statistics.two_intervals({5: metrics.Interval(0.3, 0.7)}, {5: metrics.Interval(-0.1, 1.0)}, 10)
    assert table.frame.loc["5 of 10"].tolist() == ["50.0 %", "[30.0, 70.0]", "[−10.0, 100.0]"]


@pytest.mark.parametrize(
    ("p", "low", "says"),
    [(0.01, 0.001, "The two classifiers differ"), (0.5, -0.01, "do not show which"), (0.065, 0.001, "excludes 0")],
)
def test_the_verdict_has_three_cases(p: float, low: float, says: str) -> None:
    text = statistics.verdict(metrics.PairedTest(9, 2, p), metrics.Interval(low, 0.02)).markdown
    assert says in text and text.startswith(f"9 : 2, p = {p:.2g}, 95 % interval of the difference [")


def test_an_exact_test_may_disagree_with_tangos_interval() -> None:
    test = metrics.mcnemar(*statistics.outcome(9, 2, 1000))
    assert "though the interval excludes 0" in statistics.verdict(test, metrics.paired_interval(9, 2, 1000)).markdown


def test_many_p_values_are_counted_with_and_without_correction() -> None:
    plot = statistics.many_p_values([0.5, 0.04, 0.01])
    assert "2 lie below 0.05, 1 below the corrected level 0.017" in plot.alt
    assert np.asarray(plot.figure.axes[0].lines[0].get_ydata()).tolist() == [0.01, 0.04, 0.5]


def test_the_control_shows_gain_and_selection() -> None:
    frame = statistics.control(0.012, np.array([0.01, 0.02]), 2 / 3).frame
    assert frame["gain, points"].tolist() == ["+1.2", "+1.5", "+2.0"]
    assert frame["p"].iloc[0] == "0.67"
