"""Chapter 11's exhibits show the numbers they are given, and their sentences fit them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.decisions.abstention import risk_coverage, separation
from calip_core.decisions.resampling import Resampled
from calip_core.exhibits import decisions as show
from calip_core.metrics import Interval

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def share(value):
    """A share with an interval of one point to either side."""
    return Resampled(value, value + np.linspace(-0.01, 0.01, 41) / 0.95)


def test_pictures_off_the_list_have_their_answer_and_their_class():
    pictures = [Image.new("RGB", (8, 8))] * 3
    plot = show.named_anyway(pictures, ["ring", "ring", "arrow with a very long name"], LOGITS, ["heart", "cross"])
    shown = [ax.get_xlabel() for ax in plot.figure.axes]
    assert shown == ["“heart” 88 %\n(ring)", "“cross” 73 %\n(ring)", "“cross” 95 %\n(arrow with a very …)"]
    assert "ring called “heart” 88 %; ring called “cross” 73 %" in plot.alt


@pytest.mark.parametrize(
    ("off", "said"), [(["ring"], "ring is not on the list"), (["ring", "star"], "ring and star are not on the list")]
)
def test_in_short_has_the_mean_probabilities_of_both_kinds(off, said):
    text = show.in_short(LOGITS, np.array([True, False, True]), off, "shapes, mini-rn").markdown
    assert f"Here (shapes, mini-rn), {said}." in text
    assert "probability of 73.1 % on average, all others 91.7 %." in text


def test_levels_are_means_of_the_largest_values():
    frame = show.levels({"near": LOGITS[:2], "far": LOGITS[2:]}, 10.0, "shapes").frame
    assert frame.loc["near"].tolist() == [2, "80.6 %", "0.150"]
    assert frame.loc["far"].tolist() == [1, "95.3 %", "0.300"]


def test_calibration_compares_on_the_same_samples():
    errors = {"CLIP": (share(0.04), share(0.02), 0.019), "CALIP": (share(0.05), share(0.03), 0.018)}
    frame = show.calibration({"CLIP": 0.8, "CALIP": 1.25}, errors, "shapes").frame
    assert frame.loc["CLIP"].tolist() == ["4.0 % [3.0, 5.0]", "0.80", "2.0 % [1.0, 3.0]", "1.9 %", ""]
    assert frame.loc["CALIP", "temperature"] == "1.25"
    assert frame.loc["CALIP", "less CLIP’s, points"] == "+1.0 [1.0, 1.0]"


def test_coverage_and_risk_are_drawn_with_the_points_of_the_thresholds():
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))
    streams = {"listed": {"CLIP": curve, "CALIP": curve}, "all": {"CLIP": curve, "CALIP": curve}}
    thresholds = {"listed": {"CLIP": 0.75, "CALIP": np.inf}, "all": {"CLIP": 0.7, "CALIP": 0.0}}
    plot = show.coverage_risk(streams, thresholds, 0.3, "shapes")
    first, second = plot.figure.axes
    assert [ax.get_title() for ax in (first, second)] == ["listed", "all"]
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0, 0, 1 / 3, 1 / 4])
    assert [data.tolist() for data in first.lines[1].get_data()] == [[0.5], [0.0]]
    assert len(first.lines) == 4 and len(second.lines) == 5  # CALIP's threshold answers nothing
    assert first.get_ylim()[1] == pytest.approx(1.1 / 3)
    assert "listed, CLIP: 25.0 % wrong if everything is answered, 0.0 % at the coverage 50.0 %" in plot.alt
    assert "listed, CALIP: 25.0 % wrong if everything is answered, no threshold keeps the wish" in plot.alt
    assert "promise at most 30.0 %" in plot.caption


def test_outcomes_count_each_kind_of_images():
    answered, right = np.array([True, True, False, True]), np.array([True, False, True, False])
    inside = np.array([True, True, True, False])
    nothing = answered & False, right, np.array([False, False])
    rules = {"CLIP": (answered, right, np.array([False, True])), "none": nothing}
    table = show.outcomes(rules, inside, "digits", "on the list", 0.05)
    shares = [cell.split(" [")[0] for cell in table.frame.loc["CLIP"]]
    assert shares == ["66.7 %", "66.7 %", "0.0 %", "50.0 %"]
    assert table.frame.loc["none", "wrong of all answers"] == "never answers"
    assert table.frame.loc["none", "refused, digits"].startswith("100.0 %")
    assert "at most 5.0 %, from validation images on the list" in table.caption


def areas(*steps):
    rng = np.random.default_rng(0)
    inside, outside = rng.random(100), rng.random(80)
    return [separation(inside + step, outside) for step in steps]


def test_separations_stand_beside_their_differences():
    low, high = areas(0.1, 0.6)
    frame = show.separations({"CLIP": {"logit": low}, "CALIP": {"logit": high}}, "shapes").frame
    assert frame.index.tolist() == ["CLIP", "CALIP", "CALIP less CLIP, points"]
    assert frame.loc["CLIP", "logit"].startswith(f"{100 * low.value:.1f} % [")
    assert frame.loc["CALIP less CLIP, points", "logit"].startswith(f"+{100 * (high.value - low.value):.1f} [")


def test_terms_vary_between_classes_and_between_images():
    logits = torch.tensor([[1.0, 3.0], [4.0, 8.0], [-2.0, 0.0], [0.0, 2.0]])
    inside = np.array([True, True, False, False])
    frame = show.terms({"CLIP": logits}, inside, 10.0, "shapes").frame
    means = [2.0, 6.0, -1.0, 1.0]
    assert frame.loc["CLIP"].tolist()[:2] == [f"{(1 + 2 + 1 + 1) / 4 / 10:.3f}", f"{np.std(means) / 10:.3f}"]
    assert frame.loc["CLIP", "AUROC of the largest"].startswith("100.0 % [")


def test_the_better_score_is_named_only_where_it_is_clear():
    low, high = areas(0.1, 0.6)
    assert "largest logit separates them better than its largest probability" in show.which_score(low, high).markdown
    assert "separates them worse than" in show.which_score(high, low).markdown
    same = show.which_score(low, low).markdown
    assert "neither clearly better nor clearly worse than" in same and "difference 0.0 [0.0, 0.0] points" in same


def test_labels_are_compared_with_the_baseline():
    measures = {"CLIP": (share(0.6), share(0.5), 0.7), "CALIP": (share(0.55), share(0.45), 0.65)}
    frame = show.several_labels(measures, "CLIP", "ten scenes").frame
    assert frame.loc["CLIP"].tolist() == ["60.0 % [59.0, 61.0]", "", "50.0 % [49.0, 51.0]", "70.0 %"]
    assert frame.loc["CALIP", "less CLIP, points"] == "−5.0 [−5.0, −5.0]"


def test_thresholds_are_compared_with_one_answer_and_with_another_score():
    rising = Resampled(0.6, 0.6 + np.linspace(-0.05, 0.05, 41))
    micro = {"one label": share(0.55), "CLIP": share(0.6), "probability": rising}
    text = show.labels_in_short(micro, "one label", "CLIP", "probability").markdown
    assert "CLIP's logit against one answer, in points of micro F1: +5.0 [5.0, 5.0], clearly better." in text
    assert "Thresholds on the probability against those on the logit: 0.0 [−3.7, 3.7], not clearly different." in text
    assert "−5.0 [−5.0, −5.0], clearly worse." in show.labels_in_short(micro, "CLIP", "one label", "CLIP").markdown


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({"a": (0.1, 0.2), "b": (0.1, 0.3)}, "weights is better at a and b. (2 intervals"),
        ({"a": (-0.2, -0.1)}, "weights is worse at a. (1 interval of"),
        ({"a": (-0.1, 0.1), "b": (0.0, 0.0)}, "weights is neither clearly better nor worse at a and b."),
        (
            {"a": (0.1, 0.2), "b": (-0.2, -0.1), "c": (-0.1, 0.1)},
            "is better at a; worse at b; neither clearly better nor worse at c. (3",
        ),
    ],
)
def test_what_calips_terms_do_is_said_by_their_intervals(gains, said):
    assert said in show.terms_help({task: Interval(*ends) for task, ends in gains.items()}).markdown
