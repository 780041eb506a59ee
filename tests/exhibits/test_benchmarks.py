"""The exhibits of chapter 6 show the numbers of their records, and the claims of its prose about the ledger hold."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from calip_core.evaluation.record import pack_hits
from calip_core.exhibits import benchmarks
from calip_core.exhibits.style import BAD, GOOD, MUTED
from tests.records import make_record


def honest(**changes):
    return make_record(choice={"protocol": "validation", "labels_seen": "validation"}, **changes)


def oracle(**changes):
    score = {"control_gain": 0.004, "control_p": 0.05, "control_repeats": 20}
    return make_record(choice={"protocol": "oracle", "labels_seen": "test"}, score=score, **changes)


def test_a_record_is_shown_with_everything_that_it_depends_on():
    record = make_record(
        data={"standin": True, "split_source": "a partial ImageNet", "templates": ("a {}.", "the {}.")}
    )
    shown = benchmarks.record_table(record).frame["this run"]
    assert shown["dataset"] == "eurosat, 2 classes (a stand-in)" and shown["prompts"] == "a {}. and 1 more"
    assert shown["split"] == "a partial ImageNet" and "10 of 8,100 images" in shown["test images"]
    assert shown["β₂, β₃"] == "1.12, 0.02" and shown["verdict (McNemar)"] == "not shown, p = 1"
    assert shown["backbone"].startswith("RN50, joint tokens")


def test_class_descriptions_are_shown_by_number_and_digest():
    record = make_record(data={"templates": {"texts": 1234, "sha256": "0123456789abcdef" * 4}})
    shown = benchmarks.record_table(record).frame["this run"]
    assert shown["prompts"] == "class descriptions: 1,234 texts (SHA-256 0123456789ab)"


def test_protocols_stand_side_by_side():
    found = make_record(choice={"protocol": "label-free", "labels_seen": "none", "criterion": "term_agreement"})
    frame = benchmarks.protocols([honest(), found, oracle()]).frame
    assert list(frame.index) == ["validation", "label-free: term agreement", "oracle"]
    assert list(frame["labels seen"]) == ["validation", "none", "test"]
    assert list(frame["verdict (McNemar)"]) == ["not shown, p = 1", "not shown, p = 1", "none: saw test labels"]
    assert "with shuffled terms +0.40" in frame["gain [95 %]"].iloc[-1]


def test_the_measured_table_counts_verdicts_and_luck():
    sure = {"only_method": 30, "only_clip": 5, "mcnemar_p": 1e-4}
    caption = benchmarks.measured_table([honest(score=sure), honest(data={"task": "dtd"}), oracle()]).caption
    assert "Of 2 comparisons" in caption and "calls 1 a gain and 0 a loss" in caption


def test_measured_gains_in_numbers_have_a_star_for_a_verdict():
    sure = {"only_method": 30, "only_clip": 5, "mcnemar_p": 1e-4}
    frame = benchmarks.measured_table([honest(score=sure), oracle()]).frame
    assert list(frame.columns) == ["CLIP", "validation", "oracle", "oracle, shuffled"]
    assert list(frame.iloc[0]) == [0.4, "+10.00 (30\u00a0:\u00a05) *", "+10.00 (2\u00a0:\u00a01)", "+0.40"]
    assert list(benchmarks.measured_table([honest()]).frame.columns) == ["CLIP", "validation"]


def record_of(ours, clips):
    score = {"hits": pack_hits(np.array(ours)), "clip_hits": pack_hits(np.array(clips))}
    return make_record(data={"images": len(ours)}, score=score)


def colours(plot):
    lines = plot.figure.axes[0].lines
    return [plt.matplotlib.colors.to_hex(line.get_color()) for line in lines if line.get_marker() == "o"]


def test_a_class_is_coloured_only_if_its_change_survives_the_correction():
    labels = [0] * 20 + [1] * 20 + [2] * 20
    ours = [True] * 20 + [False] * 20 + [True] + [False] * 19
    clips = [False] * 20 + [True] * 20 + [False] * 20
    shown = benchmarks.class_changes(record_of(ours, clips), labels, ["cat", "dog", "yak", "none"])
    assert colours(shown) == [GOOD, MUTED, BAD]  # from gain to loss
    names = [label.get_text() for label in shown.figure.axes[0].get_yticklabels()]
    assert names == ["cat (+20 \u22120 of 20)", "yak (+1 \u22120 of 20)", "dog (+0 \u221220 of 20)"]
    assert "Classes that change: cat (+100.0), dog (\u2212100.0)." in shown.caption and "all classes" in shown.caption
    assert "cat (+100.0)" in shown.alt


def test_classes_that_noise_moves_are_said_to_be_noise():
    shown = benchmarks.class_changes(record_of([True, False] * 5, [False, True] * 5), [0, 1] * 5, ["a", "b"], most=1)
    assert colours(shown) == [MUTED] and "No class changes by more than luck explains." in shown.caption
    assert "the 1 of 2 classes" in shown.caption


def test_published_gains_stand_over_three_baselines():
    shown = benchmarks.published_gains()
    legend = [text.get_text() for text in shown.figure.legends[0].get_texts()]
    assert legend == ["over APE's CLIP", "over GDA's CLIP", "over Tip-Adapter's CLIP", "95 % margin of one accuracy"]
    assert len(shown.figure.axes[0].patches) == 11 and "of these 11 gains" in shown.caption


def test_the_ledger_holds_measured_rows_below_their_dataset():
    frame = benchmarks.ledger().frame
    assert len(frame) == 11 + 1 + 2 + 2 and "Nothing of these datasets" in benchmarks.ledger().caption
    assert len(frame.columns) == 5
    records = [
        make_record(), make_record(data={"standin": True, "task": "dtd"}), make_record(data={"task": "mini-shapes"}),
        make_record(head={"method": "zero_shot"}), make_record(data={"task": "imagenet_a"}),
    ]  # fmt: skip
    table = benchmarks.ledger(records)
    frame = table.frame
    measured = [label for label in frame.index if label.startswith("measured")]
    assert len(measured) == 2 and "2 rows were measured here" in table.caption
    assert list(frame.index).index(measured[0]) == list(frame.index).index("EuroSAT") + 1
    assert "10 of 8,100 images" in measured[0] and frame.loc[measured[0], "CALIP"] == 0.5
    assert frame.loc[measured[0], "margin"] == pytest.approx(20.0)
    assert list(frame.index).index(measured[1]) == list(frame.index).index("ImageNet-A, by wizwand.com") + 1
    assert "wizwand.com: an aggregator's number, backbone not stated" in table.caption
    assert "1 row was measured here." in benchmarks.ledger([make_record()]).caption


def test_what_chapter_6_says_of_the_ledger_holds():
    frame = benchmarks.ledger().frame
    doubled = [label for label in frame.index if "log" in label and not label.startswith("mean")]
    assert doubled == ["SUN397, by APE's log"]
    gains = frame.iloc[:-2].drop(doubled).filter(like="gain over")
    ape, gda, tip = (gains[f"gain over {name}"] for name in ("APE", "GDA", "Tip-Adapter"))
    assert ape["Caltech101"] + ape["DTD"] > 0.5 * ape.sum()
    assert (ape - np.maximum(gda, tip))[["Caltech101", "DTD"]].min() > 1  # there APE's CLIP lies far below
    assert gda.idxmax() == "ImageNet" and "GDA's CLIP on ImageNet: single prompt" in benchmarks.ledger().caption
    assert ((gains.max(axis=1) - gains.min(axis=1)) > gains.min(axis=1).abs()).sum() >= 3
    margins = frame["margin"].drop(doubled).dropna()
    assert all((gains[name].abs() <= margins).sum() > 11 / 2 for name in gains)


def test_costs_name_what_the_last_step_adds():
    table = benchmarks.costs({"encoding": 2.0, "attention": 0.5}, 100, "mini-rn, a processor")
    assert list(table.frame["ms per image"]) == [20.0, 5.0]
    assert table.caption == "mini-rn, a processor, 100 images. The last step adds 25.00 % to the others."
