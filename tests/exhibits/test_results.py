"""Results in words and tables: what a cell says, where a row stands, and what is kept apart."""

from dataclasses import asdict
from datetime import timedelta

import pytest

from calip_core.exhibits import results
from calip_core.methods import TrainingOptions
from calip_core.published import published_clouds
from tests.records import PARTS, SUPPORT, make_record

LATER = {"time": PARTS["run"]["time"] + timedelta(days=1)}


def test_numbers_have_one_style():
    score = make_record(score={"top1": 0.6, "low": 0.581, "high": 0.6194}).score
    assert results.interval_text(score) == "60.00 [58.10, 61.94]"
    assert results.gain_text(score) == "+10.00 [−10.00,\u00a0+30.00]"
    searched = make_record(
        score={"control_gain": 0.004, "control_p": 0.05, "control_repeats": 20},
        choice={"protocol": "oracle", "labels_seen": "test"},
    )
    assert results.gain_text(searched.score).endswith("; with shuffled terms +0.40")
    assert results.gain_interval(30, 10, 1000).startswith("+2.00 [+0.")
    assert results.p_text(0.0254) == "p = 0.025" and results.p_text(1e-7) == "p < 0.0001"


@pytest.mark.parametrize(
    ("counts", "p", "seen", "said"),
    [
        ((30, 10), 0.002, "none", "gain, p = 0.002"),
        ((10, 30), 0.002, "validation", "loss, p = 0.002"),
        ((30, 20), 0.2, "none", "not shown, p = 0.2"),
        ((30, 10), 0.002, "unknown", "gain, p = 0.002, if no test labels were seen"),
        ((30, 10), 0.002, "test", "none: saw test labels"),
    ],
)
def test_a_gain_has_one_verdict(counts, p, seen, said):
    assert results.verdict(*counts, p, seen) == said


def test_tango_may_exclude_0_where_the_verdict_is_not_shown():
    """Which is why a verdict comes from one of the two alone."""
    assert results.gain_interval(22, 10, 2000).startswith("+0.60 [+0.")
    assert results.verdict(22, 10, 0.0501, "validation") == "not shown, p = 0.05"


def test_a_record_has_the_verdict_of_its_own_counts():
    record = make_record(score={"only_method": 1, "only_clip": 30, "mcnemar_p": 1e-6})
    assert results.verdict_on(record) == "loss, p < 0.0001"


def test_fewer_images_and_another_split_than_coops_are_named():
    def note(**data):
        return results.split_text(make_record(data=data).data)

    assert note(images=8100, split_source="split_zhou_EuroSAT.json") == ""
    assert note(images=100, limit=100, split_source="split_zhou_EuroSAT.json") == "100 of 8,100 images"
    assert note(images=8100, split_source="its own rule") == "not CoOp's split but its own rule"
    assert note(task="imagenet", images=50_000, split_source="official") == ""  # CoOp has no split file of it
    assert note(task="imagenet@80", images=500, split_source="official") == "500 of 50,000 images"
    assert note(task="imagenet", images=50_000, part="3 of 1000 classes") == "only a part: 3 of 1000 classes"
    assert note(task="mini-shapes") == ""


def test_measured_clouds_stand_among_published_ones():
    record = make_record(
        data={"task": "modelnet40", "projection": "pointclip, 1024 points"},
        choice={
            "view_weighting": "published", "labels_seen": "test", "view_weights": [1.0] * 6,
            "view_weights_by": "somebody's code",
        },
    )  # fmt: skip
    alone = results.clouds_beside_published([]).frame
    assert len(alone) == len(published_clouds())
    table = results.clouds_beside_published([record, make_record()])
    frame = table.frame
    mine = frame["method"] == "measured here"
    published = alone.columns.drop("note")
    assert frame[~mine][published].equals(alone[published]) and set(frame) - set(alone) == {"CALIP, % [95 %]"}
    (measured,) = frame[mine].itertuples()
    assert measured.Index == "modelnet40" and measured.backbone == "RN50" and measured.CLIP == 0.4
    note = table.caption.partition(measured.note)[2].partition("; (")[0]
    assert "view weights: published, somebody's code; labels seen: test" in note
    assert "verdict: none: saw test labels" in note
    place = list(mine).index(True)
    assert frame.index[place - 1] == "modelnet40" and frame["backbone"].iloc[place + 1] != "RN50"
    standin = record.model_copy(update={"data": record.data.model_copy(update={"standin": True})})
    assert results.clouds_beside_published([standin]).frame.equals(alone)


def test_the_newest_records_of_a_dataset_and_a_backbone_come_first():
    old = make_record(score={"top1": 0.4})
    new = make_record(score={"top1": 0.6}, run=LATER)
    other = [make_record(data={"task": "dtd"}), make_record(encoder={"backbone": "RN101"})]
    learnt = make_record(seed=3, head={"method": "clip_adapter", "sees": "labels"}, data={"support": SUPPORT})
    frame = results.newest([old, learnt, new, *other], "eurosat", "RN50").frame
    assert list(frame.index) == ["calip", "clip_adapter"]
    assert list(frame["shots"]) == [0, 4] and list(frame["seed"]) == [0, 3]
    assert list(frame["sees"]) == ["nothing", "labels"]
    assert frame["accuracy, % [95 %]"].iloc[0].startswith("60.00 [")
    many = [make_record(seed=seed) for seed in range(30)]
    assert len(results.newest(many, "eurosat", "RN50").frame) == 20


def few(*, seed=1, options=None, **changes):
    """A record of a full test with the published recipe of CLIP-Adapter."""
    recipe = {"ratio": 0.2, "training": asdict(TrainingOptions.coop(4)), "seed": seed}
    parts = {
        "head": {"method": "clip_adapter", "sees": "labels", "options": recipe | (options or {})},
        "choice": {"protocol": "published", "labels_seen": "unknown"},
        "data": {"support": SUPPORT},
    }
    for name, change in changes.items():
        parts[name] = parts.get(name, {}) | change
    return make_record(seed=seed, **parts)


def mean(*records):
    return results.mean_over_seeds(records, "eurosat", "RN50", "clip_adapter", 4)


def test_measured_seeds_are_averaged_and_the_newest_of_each_counts():
    later = few(seed=2, score={"top1": 0.68}, run=LATER)
    assert mean(few(), later, few(seed=2, score={"top1": 0.6})) == "59.00 (2 seeds)"
    assert mean() == "" and mean(few(data={"standin": True})) == ""
    assert mean(few(data={"support": SUPPORT | {"shots": 8}})) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"limit": 1000}}, "10 test images"),
        ({"data": {"part": "3 of 1000 classes"}}, "only a part: 3 of 1000 classes"),
        ({"data": {"support": SUPPORT | {"augmentations": 0}}}, "no random crops"),
        ({"choice": {"protocol": "fixed", "labels_seen": "none"}}, "fixed hyperparameters"),
        ({"data": {"support": SUPPORT | {"nested": True}}}, "nested draws"),
        ({"data": {"support": SUPPORT | {"short": "take"}}}, "short='take'"),
        ({"data": {"support": SUPPORT | {"short": "dassl"}}}, "short='dassl'"),
        ({"options": {"training": asdict(TrainingOptions.coop(4, epochs=30))}}, "epochs 30, published 100"),
    ],
)
def test_what_is_not_as_published_is_printed_and_never_mixed_with_what_is(changes, said):
    unlike = few(seed=2, score={"top1": 0.9}, **changes)
    assert mean(unlike) == f"90.00 (1 seed; {said})"
    assert mean(few(), unlike) == "50.00 (1 seed)"
    assert mean(few(score={"top1": 0.8}, encoder={"weights": "other"}), unlike) == "80.00 (1 seed)"


def test_a_searching_head_is_as_published_where_it_searched_on_validation():
    tip = {"method": "tip_adapter", "options": {"training": None}}
    honest = few(head=tip, choice={"protocol": "validation", "labels_seen": "validation"})
    oracle = few(head=tip, choice={"protocol": "oracle", "labels_seen": "test"})
    assert results.unlike_published(honest) == []
    assert results.unlike_published(oracle) == ["oracle hyperparameters"]
