import matplotlib.pyplot as plt
import pandas as pd
import pytest

from calip_core.analysis.synthetic import TokenModel
from calip_core.exhibits import window


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


CLEAR, UNCLEAR = (60, 10), (6, 4)


def row(split=UNCLEAR, images=1000, clip=0.8, **more):
    only_calip, only_clip = split
    gain = (only_calip - only_clip) / images
    p = 1e-6 if max(split) > 5 * min(split) else 0.5
    return {
        "images": images, "clip": clip, "calip": clip + gain, "gain": gain, "gain_low": gain - 0.01,
        "gain_high": gain + 0.01, "only_calip": only_calip, "only_clip": only_clip, "p": p, "text_alone": 0.6,
        "classes": 4, "cosine": 0.3, "affinity_spread": 0.15, "hottest": 0.5, "protocol": "validation",
        "task": "one", "tokens": "value", "amount": 0.0,
    } | more  # fmt: skip


def sweep(splits, task="one", tokens="value", **more):
    """One row per amount and protocol; the fixed pair always loses."""
    rows = []
    for amount, split in splits.items():
        shared = {"task": task, "tokens": tokens, "amount": amount, "clip": 0.9 - 0.5 * amount} | more
        rows += [row(split, **shared), row((5, 25), **shared | {"protocol": "fixed"})]
    return rows


WINDOW = {0.0: UNCLEAR, 0.5: CLEAR, 1.0: UNCLEAR}
FLAT = {0.0: UNCLEAR, 0.5: UNCLEAR, 1.0: CLEAR}


def chosen(rows):
    frame = pd.DataFrame(rows)
    return frame[frame["protocol"] == "validation"]


def whole_sweep():
    rows = [*sweep(WINDOW), *sweep(FLAT, "two")]
    joint = {"tokens": "joint", "cosine": 0.99, "text_alone": 0.2}
    return pd.DataFrame([*rows, *sweep(FLAT, **joint), *sweep(FLAT, "two", **joint)])


def test_a_gain_is_clear_after_bonferroni_and_only_if_positive():
    frame = pd.DataFrame([row(CLEAR, p=0.02), row(CLEAR, p=0.03), row((10, 60), p=1e-9)])
    assert list(window.clear_gains(frame, tests=2)) == [True, False, False]
    assert not window.clear_gains(frame).any()


def test_the_first_figure_has_a_panel_per_task_with_both_protocols():
    plot = window.pool_curves(whole_sweep(), "value")
    first, second = plot.figure.axes
    assert (first.get_title(), second.get_title()) == ("one", "two")
    chosen = next(line for line in first.lines if line.get_marker() == "o")
    assert list(chosen.get_ydata()) == pytest.approx([0.2, 5.0, 0.2]) and list(chosen.get_xdata()) == [0, 0.5, 1]
    fixed = next(line for line in first.lines if line.get_linestyle() == "--")
    assert list(fixed.get_ydata()) == pytest.approx([-2.0] * 3)
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["0\n90 %", "0.5\n65 %", "1\n40 %"]
    assert "one: +0.2 at 0, +5.0 at 0.5, +0.2 at 1; two: " in plot.alt and "1,000 test images" in plot.caption


def test_the_table_of_tokens_is_of_the_pool_as_it_is():
    table = window.tokens_table(whole_sweep())
    assert list(table.frame.index) == ["one, value", "two, value", "one, joint", "two, joint"]
    assert table.frame.loc["one, joint", "cosine"] == 0.99 and table.frame.loc["one, value", "chance"] == 0.25
    assert "25.0" in table.styler.to_html()


def test_the_table_of_pools_has_stars_for_what_is_clear():
    table = window.pool_table(whole_sweep(), 0.5)
    assert table.frame.loc["one, value", "p"] == "1e-06 *" and table.frame.loc["two, value", "p"] == "0.5"
    assert table.frame.loc["one, value", "gain"] == "+5.0 [4.0, 6.0]"
    assert table.frame.loc["one, value", "only CALIP : only CLIP"] == "60 : 10"
    assert "divided by the 4 rows" in table.caption
    with pytest.raises(ValueError, match="expected one of 0, 0.5, 1"):
        window.pool_table(whole_sweep(), 0.3)


def test_the_closed_form_has_its_peaks_in_the_alternative_text():
    plot = window.lead_curves([0.1, 0.5], TokenModel(strength=1.0, common=0.5))
    left, right = plot.figure.axes
    weights = [line for line in left.lines if len(line.get_ydata()) == 200]
    assert all(line.get_ydata()[0] > 0.99 for line in weights) and left.get_title().endswith("= 0.5$")
    peak = max(right.lines[1].get_ydata())
    assert f"{peak:.3f} at α = " in plot.alt and r"\kappa = 0.5" in plot.caption


def test_the_phase_diagram_marks_clear_cells():
    cells = [
        row(CLEAR if (spread, share, alpha) == (1.0, 0.2, 0.5) else (0, 0), spread=spread, share=share, alpha=alpha)
        for spread in (0.1, 1.0) for share in (0.1, 0.2) for alpha in (0.1, 0.5)
    ]  # fmt: skip
    plot = window.phase_diagram(pd.DataFrame(cells))
    narrow, wide = plot.figure.axes[:2]
    assert (narrow.get_title(), wide.get_title()) == ("spread 0.1", "spread 1")
    (marks,) = wide.lines
    assert (list(marks.get_xdata()), list(marks.get_ydata())) == ([1.5], [1.5]) and not len(narrow.lines[0].get_xdata())
    assert wide.collections[0].get_array().max() == pytest.approx(5.0)
    assert "with spread 1 up to +5.0 at α = 0.5, ρ = 0.2" in plot.alt and "the 8 cells" in plot.caption


def temperatures(peak=0.5, split=CLEAR):
    return pd.DataFrame([row(split if alpha == peak else (0, 0), alpha=alpha) for alpha in (0.1, 0.5, 2.0)])


def test_temperatures_are_drawn_beside_the_spread():
    plot = window.temperature_curves(
        {"joint": temperatures(0.1), "value": temperatures()}, {"joint": 0.01, "value": 0.2}
    )
    (ax,) = plot.figure.axes
    dotted = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted == [0.01, 0.2] and ax.get_xscale() == "log"
    assert "value tokens: +5.0 at most, at α = 0.5, spread 0.200" in plot.alt


def training(splits, task="one"):
    return [
        row(split, task=task, samples=1000 * (i + 1), clip=0.5 + 0.1 * i, protocol=protocol)
        for i, split in enumerate(splits) for protocol in ("validation", "fixed")
    ]  # fmt: skip


def test_the_table_of_training_counts_clear_gains_and_losses():
    frame = window.training_table(pd.DataFrame(training([CLEAR, UNCLEAR, (10, 60)]))).frame
    found = frame.loc["one"]
    assert (found["gains"], found["losses"]) == ("1 of 3", "1 of 3") and found["CLIP, first to last"] == "50 % to 70 %"
    assert (found["largest gain"], found["last gain"]) == ("+5.0", "−5.0 [−6.0, −4.0]")
    two = pd.DataFrame([*training([CLEAR]), *training([UNCLEAR], "two")]).assign(p=0.04)
    table = window.training_table(two)
    assert "the 2 checkpoints and tasks" in table.caption and table.frame.loc["one", "gains"] == "0 of 1"


def test_the_conclusion_goes_through_the_conditions():
    text = window.conclusion(
        whole_sweep(), "value", temperatures(), 0.25, pd.DataFrame(training([CLEAR, UNCLEAR]))
    ).markdown
    for part in ("1. **Tokens", "2. **A pool", "3. **A temperature", "4. **Training", "**Verdict.**"):
        assert part in text


def test_tokens_of_their_own_are_compared_with_copies():
    frame = whole_sweep()
    assert "60.0 % of the images with value tokens, and on 20.0 % with joint" in window.tokens_sentence(frame, "value")
    assert "something to attend to" in window.tokens_sentence(frame, "value")
    frame.loc[(frame["tokens"] == "joint") & (frame["task"] == "two"), "text_alone"] = 0.7
    assert "Joint tokens do better on two." in window.tokens_sentence(frame, "value")
    frame.loc[frame["tokens"] == "joint", "text_alone"] = 0.7
    assert "know no more than joint tokens" in window.tokens_sentence(frame, "value")
    assert "mean cosine of 0.99" in window.tokens_sentence(frame, "joint")


def test_the_window_of_the_pool_is_named_or_denied():
    both = window.pool_sentence(chosen([*sweep(WINDOW), *sweep(FLAT, "two")]))
    assert "+5.0 points at 0.5 on one." in both and "no such window on two" in both
    assert "no such" not in window.pool_sentence(chosen(sweep(WINDOW)))
    assert "there is no window here" in window.pool_sentence(chosen(sweep(FLAT)))


def test_the_peak_of_the_temperature_is_placed():
    inside = window.temperature_sentence(temperatures(), 0.25)
    assert (
        "+5.0 points, is at α = 0.5, 2.0 times the spread of 0.25" in inside and "end of what was tried" not in inside
    )
    assert "end of what was tried" in window.temperature_sentence(temperatures(2.0), 0.25)
    assert "no peak to find" in window.temperature_sentence(temperatures(split=UNCLEAR), 0.25)


def test_training_may_pay_never_early_or_to_the_end():
    never, early, late = (pd.DataFrame(training(x)) for x in ([UNCLEAR] * 2, [CLEAR, UNCLEAR], [UNCLEAR, CLEAR]))
    assert "no clear gain at any of 2 checkpoints" in window.training_sentence(never)
    said = window.training_sentence(early)
    assert "clear at 1 of 2" in said and "(one after 1,000 pictures), and at none when training ends." in said
    assert "also at the end" in window.training_sentence(late)


def test_the_verdict_is_on_the_pool_as_it_is():
    paying = {0.0: CLEAR, 0.5: UNCLEAR}
    assert "on none of these tasks" in window.verdict(chosen(sweep(WINDOW)))
    some = chosen([*sweep(paying), *sweep(WINDOW, "two")])
    assert "pays on one, and on none of the others" in window.verdict(some)
    every = chosen([*sweep(paying), *sweep(paying, "two")])
    assert "pays on every task: one and two." in window.verdict(every)
