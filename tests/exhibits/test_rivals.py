import numpy as np
import pytest

from calip_core.datasets import load_card
from calip_core.exhibits import rivals as show
from calip_core.methods import Gda, LinearProbe
from calip_core.published import published_few_shot
from tests.methods.few_shots import LABELS, random_support
from tests.records import SUPPORT, make_record

TOP1 = {
    ("linear_probe", 1): (0.1, 0.2), ("linear_probe", 4): (0.8, 0.9), ("gda", 1): (0.4, 0.5), ("gda", 4): (0.6, 0.6),
}  # fmt: skip


def record(method, shots, seed, top1, **changes):
    head = {"method": method, "fit_seconds": {1: 0.5, 4: 2.0}.get(shots, 0.0), **changes.pop("head", {})}
    data = {"support": {**SUPPORT, "shots": shots} if shots else None, **changes.pop("data", {})}
    return make_record(seed=seed, data=data, head=head, score={"top1": top1, "clip_top1": 0.4}, **changes)


def records(top1=TOP1):
    few = [record(method, n, s, share) for (method, n), pair in top1.items() for s, share in enumerate(pair, 1)]
    return few + [record("calip", 0, s, 0.45) for s in (1, 2)]


def test_every_head_has_a_panel_with_its_draws_and_its_mean():
    plot = show.accuracy_over_shots(records())
    assert [ax.get_title() for ax in plot.figure.axes] == ["linear probe", "GDA"]
    lines = [list(line.get_ydata()) for line in plot.figure.axes[0].lines]
    assert [10.0, 20.0] in lines and [80.0, 90.0] in lines
    assert any(np.allclose(line, [15, 85]) for line in lines) and any(np.allclose(line, 45) for line in lines)
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == ["zero-shot CLIP", "CALIP"]
    assert "linear probe 15.0 % at 1, 85.0 % at 4" in plot.alt and "zero-shot CLIP 40.0 %" in plot.alt


def test_in_short_names_the_leader_and_who_falls_below_clip():
    text = show.in_short(records()).markdown
    assert "With 4 shots per class the linear probe comes first: 85.0 %, zero-shot CLIP 40.0 %." in text
    assert "lead over GDA is 25.0 points, no more than the draws explain" in text  # two draws differ by ten points
    assert "With 1 shot, the linear probe falls below zero-shot CLIP" in text


def test_in_short_of_a_clear_lead_and_of_heads_that_all_stay_above_clip():
    text = show.in_short(records({("gda", 4): (0.6, 0.6), ("clap", 4): (0.5, 0.5)})).markdown
    assert "GDA comes first" in text and "10.0 points, more than the draws explain" in text
    assert "no head falls below" in text


def test_in_short_of_a_single_head_and_of_several_that_fall():
    assert "lead over" not in show.in_short(records({("gda", 4): (0.6, 0.6)})).markdown
    low = {("gda", 1): (0.1, 0.1), ("clap", 1): (0.2, 0.2), ("linear_probe", 1): (0.3, 0.3)}
    assert "the linear probe, CLAP and GDA fall below" in show.in_short(records(low)).markdown


def test_the_ledger_counts_what_is_learned_and_kept():
    tokens, text = random_support()
    heads = {"linear_probe": LinearProbe(), "gda": Gda()}
    heads = {method: head.fit(tokens, LABELS, text) for method, head in heads.items()}
    frame = show.ledger(records(), heads, shots=1).frame
    classes, width = text.shape
    assert frame.loc["linear probe", "numbers learned"] == classes * (width + 1)
    assert frame.loc["GDA", "numbers learned"] == 0
    assert frame.loc["GDA", "numbers kept"] == heads["gda"].parameter_count()
    assert frame.loc["GDA", "fit (ms)"] == pytest.approx(500)


def test_shift_has_a_panel_per_kind_and_a_row_per_head():
    leads = {"as they are": {"gda": np.array([0.01, 0.02]), "clap": np.array([-0.01, 0.0])}}
    leads["noisy"] = {"gda": np.array([0.0, 0.04]), "clap": np.array([0.03, 0.03])}
    plot = show.shift(leads)
    assert [ax.get_title() for ax in plot.figure.axes] == ["as they are", "noisy"]
    assert [label.get_text() for label in plot.figure.axes[0].get_yticklabels()] == ["GDA", "CLAP"]
    drawn = [list(line.get_xdata()) for line in plot.figure.axes[1].lines]
    assert [0.0, 4.0] in drawn and [2.0] in drawn  # the draws, and their mean
    assert "noisy: GDA +2.0, CLAP +3.0" in plot.alt


def test_the_shift_of_a_single_draw_has_no_interval():
    assert not show.shift({"noisy": {"gda": np.array([0.01])}}).figure.axes[0].collections


def test_published_accuracies_stand_beside_measured_ones_of_real_data():
    p = next(p for p in published_few_shot() if p.method == "coop" and p.shots == 16)
    title = load_card(p.dataset).title
    nothing = show.published_accuracy([], 16)
    assert nothing.frame.loc[title, "CoOp"] == f"{100 * p.top1:.2f}"
    assert "Nothing of this was measured here" in nothing.caption
    setting = {"data": {"task": p.dataset}, "encoder": {"backbone": "RN50"}}
    own = [record("coop", 16, s, 0.5, **setting) for s in (1, 2)]
    table = show.published_accuracy(own, 16)
    assert table.frame.loc[title, "CoOp"] == f"{100 * p.top1:.2f}; here 50.00"
    assert "Measured here with: 2 seeds" in table.caption
    oracle = [r.model_copy(update={"choice": r.choice.model_copy(update={"protocol": "oracle"})}) for r in own]
    assert "Nothing of this" in show.published_accuracy(oracle, 16).caption
    assert "Nothing of this" in show.published_accuracy(own, 8).caption  # which were measured with 16 shots


def test_every_published_number_of_shots_has_a_table_of_its_own():
    for shots in (1, 2, 4, 8, 16):
        table = show.published_accuracy([], shots)
        assert table.frame.shape == (11, 5) and table.frame.notna().all(axis=None)
    assert "1 shot per class" in show.published_accuracy([], 1).caption
    with pytest.raises(ValueError, match=r"shots is 3, expected one of \[1, 2, 4, 8, 16\]"):
        show.published_accuracy([], 3)


def test_published_means_say_whose_draws_and_choices_they_are_of():
    table = show.published_means()
    rows = [p for p in published_few_shot() if (p.method, p.shots) == ("gda", 4)]
    assert table.frame.loc["GDA", "4"] == pytest.approx(sum(p.top1 for p in rows) / 11)
    most, imagenet = (next(p.choices for p in rows if p.dataset == name) for name in ("dtd", "imagenet"))
    assert table.frame.loc["GDA", "chosen"] == f"{most}; ImageNet: {imagenet}" and most != imagenet
    assert "ImageNet: alpha and beta on the test split" in table.frame.loc["Tip-Adapter", "chosen"]
    assert table.frame.loc["Tip-Adapter", "support sets"] == "seed 1 alone"
    assert "as APE's authors copied it" in table.frame.loc["CoOp", "support sets"]
    assert "over 11 datasets" in table.caption
