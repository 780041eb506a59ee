"""Measured beside published: what a row says, where it stands, and what it keeps apart."""

from dataclasses import asdict
from datetime import timedelta

import pytest

from calip_core.exhibits import results
from calip_core.methods import TrainingOptions
from calip_core.published import published, published_clouds
from tests.records import PARTS, SUPPORT, make_record

LATER = {"time": PARTS["run"]["time"] + timedelta(days=1)}


def test_measured_stands_beside_published_and_differences_are_flagged():
    test = {"images": 8100}
    close = make_record(data=test, score={"top1": 0.39, "low": 0.38, "high": 0.40})
    far = make_record(
        data=test,
        score={"top1": 0.45, "low": 0.44, "high": 0.46},
        choice={"protocol": "validation", "labels_seen": "validation"},
    )
    own = make_record(data={"task": "mini-shapes"}, encoder={"backbone": "mini-rn"})
    rows = results.beside_published([close, far, own])
    measured = [row for row in rows if row.record is not None]
    assert rows.index(measured[0]) > 0  # among the published datasets, not above them
    assert [row.outside for row in measured] == [False, True, False]
    assert measured[1].difference == pytest.approx(0.45 - 0.389)
    assert measured[2].reference is None and measured[2].difference is None
    assert all(len(row.cells()) == len(results.HEADERS) for row in rows)
    assert measured[1].cells()[-2:] == ("+6.10 (!)", measured[1].reference.source)
    only_published = [row for row in rows if row.record is None]
    assert len(only_published) == len(published()) - 1 and not any(row.outside for row in only_published)


def test_rows_of_a_dataset_and_a_backbone_stand_together():
    records = [
        make_record(data={"task": name}, encoder={"backbone": backbone})
        for name in ("mini-shapes", "ucf101", "imagenet@80", "imagenet")
        for backbone in ("ViT-B/16", "RN50")
    ]
    shown = [row.subject[:2] for row in results.beside_published(records)]
    places = list(dict.fromkeys(shown))
    assert len(places) == 11 + 2 * 4 - 2
    changes = [now for now, before in zip(shown, [None, *shown], strict=False) if now != before]
    assert changes == places  # no dataset and backbone come up twice
    assert [name for name, _ in places[:4]] == ["imagenet", "imagenet", "imagenet@80", "imagenet@80"]
    assert places[-1][0] == "mini-shapes"


def test_a_zero_shot_record_stands_beside_every_baseline():
    record = make_record(head={"method": "zero_shot"}, score={"top1": 0.375, "low": 0.365, "high": 0.385})
    rows = [row for row in results.beside_published([record]) if row.record]
    assert len({row.reference.source for row in rows}) == 3


def test_stand_ins_stand_beside_nothing():
    rows = results.beside_published([make_record(data={"standin": True})])
    assert all(row.record is None for row in rows)


def cells_of(**changes):
    cells = results.measured_cells(make_record(**changes))
    return dict(zip(results.MEASURED_HEADERS, cells, strict=True))


@pytest.mark.parametrize(
    ("score", "choice", "said"),
    [
        ({"only_method": 30, "only_clip": 20, "mcnemar_p": 0.2}, {}, "30 : 20, p = 0.2"),
        ({}, {}, "2 : 1 (fewer than 10 differ), p = 1"),
        (
            {"only_method": 30},
            {"protocol": "published", "labels_seen": "unknown"},
            "30 : 1, p = 1 if the weights' choice saw no test labels",
        ),
    ],
)
def test_a_p_value_is_shown_as_what_it_is(score, choice, said):
    assert results.paired_text(make_record(score=score, choice=choice)) == said


def test_the_oracle_stands_beside_its_control():
    cells = cells_of(
        choice={"protocol": "oracle", "labels_seen": "test"},
        score={"only_method": 30, "control_gain": 0.004, "control_p": 0.05, "control_repeats": 20},
    )
    assert cells["protocol; labels seen"] == "oracle; test"
    assert cells["gain over CLIP, points [95 %]"].endswith("; with shuffled terms +0.40")
    assert cells[results.MEASURED_HEADERS[-1]] == "30 : 1, p not valid, against shuffled terms p = 0.05"


def test_another_split_than_coops_is_named():
    def images(**data):
        return cells_of(data=data)["images; split"]

    assert images(split_source="split_zhou_EuroSAT.json") == "10"
    assert images(split_source="its own rule", limit=10) == "10 (limit 10); not CoOp's split but its own rule"
    assert images(task="imagenet", part="3 of 1000 classes") == "10; only a part: 3 of 1000 classes"
    for name in ("imagenet", "imagenet@80", "fgvc_aircraft", "mini-shapes"):  # CoOp has no split file of these
        assert images(task=name, split_source="official") == "10"


def test_measured_clouds_stand_among_published_ones():
    record = make_record(
        data={"task": "modelnet40", "projection": "pointclip, 1024 points"},
        choice={
            "view_weighting": "published", "labels_seen": "test", "view_weights": [1.0] * 6,
            "view_weights_by": "somebody's code",
        },
    )  # fmt: skip
    alone = results.clouds_beside_published([])
    assert len(alone) == len(published_clouds())
    rows = results.clouds_beside_published([record, make_record()])
    (measured,) = (row for row in rows if row not in alone)
    assert [row for row in rows if row != measured] == alone
    assert measured[:3] == ("modelnet40", "measured here: RN50", "40.00")
    assert "view weights: published, somebody's code; labels seen: test" in measured[-1]
    of_clouds = [i for i, row in enumerate(rows) if row[0] == "modelnet40"]
    assert of_clouds == list(range(of_clouds[0], of_clouds[-1] + 1))
    before, after = rows[rows.index(measured) - 1], rows[rows.index(measured) + 1]
    assert before[0] == "modelnet40" and ("RN50" in before[1] or "not stated" in before[1])
    assert "RN50" not in after[1]
    assert all(len(row) == len(results.CLOUD_HEADERS) for row in rows)
    standin = record.model_copy(update={"data": record.data.model_copy(update={"standin": True})})
    assert results.clouds_beside_published([standin]) == alone


def test_the_newest_records_of_a_dataset_and_a_backbone_come_first():
    old = make_record(score={"top1": 0.4})
    new = make_record(score={"top1": 0.6}, run=LATER)
    other = [make_record(data={"task": "dtd"}), make_record(encoder={"backbone": "RN101"})]
    learnt = make_record(seed=3, head={"method": "clip_adapter"}, data={"support": SUPPORT})
    rows = results.newest_cells([old, learnt, new, *other], "eurosat", "RN50")
    assert [row[:4] for row in rows] == [("calip", "fixed", "0", "0"), ("clip_adapter", "fixed", "4", "3")]
    assert rows[0][4].startswith("60.00 [") and all(len(row) == len(results.NEWEST_HEADERS) for row in rows)
    many = [make_record(seed=seed) for seed in range(30)]
    assert len(results.newest_cells(many, "eurosat", "RN50")) == 20


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
