import csv
import errno
import json
import multiprocessing
import os
from dataclasses import asdict
from datetime import timedelta

import pytest
from calip_core.evaluation.fewshot import FewShotRecord

from calip_core.evaluation import store as results
from calip_core.evaluation.store import TornRecordWarning
from calip_core.methods import TrainingOptions
from tests.records import FIELDS, make_record


def test_what_was_appended_is_read_in_order(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    records = [make_record(seed=seed) for seed in range(3)]
    for record in records:
        results.append(record, path)
    assert results.load(path) == records


def test_no_file_means_no_records(tmp_path):
    assert results.load(tmp_path / "none.jsonl") == []


def test_the_file_can_be_chosen_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "mine.jsonl"))
    results.append(make_record())
    assert results.results_file() == tmp_path / "mine.jsonl" and results.load() == [make_record()]
    monkeypatch.delenv("CALIP_RESULTS")
    assert results.results_file().parts[-2:] == ("results", "runs.jsonl")


def _append_many(path, worker):
    for i in range(20):
        results.append(make_record(seed=100 * worker + i, chosen_by="x" * 20_000), path)


def test_parallel_runs_lose_no_record(tmp_path):
    path = tmp_path / "runs.jsonl"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_append_many, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = sorted(100 * worker + i for worker in range(4) for i in range(20))
    assert sorted(record.seed for record in results.load(path)) == expected


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_is_left_out_with_a_warning_and_then_closed(tmp_path, kept):
    path = tmp_path / "runs.jsonl"
    results.append(make_record(seed=1), path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    with pytest.warns(TornRecordWarning, match="line 2, is cut short"):
        assert results.load(path) == [make_record(seed=1)]
    results.append(make_record(seed=2), path)
    with pytest.warns(TornRecordWarning):
        assert [record.seed for record in results.load(path)] == [1, 2]


def test_a_full_disk_leaves_the_earlier_records(tmp_path, monkeypatch):
    path = tmp_path / "runs.jsonl"
    results.append(make_record(seed=1), path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left.*the earlier ones are safe"):
        results.append(make_record(seed=2), path)
    assert results.load(path) == [make_record(seed=1)]


def test_a_line_of_another_kind_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    results.append(make_record(), path)
    path.write_text(path.read_text() + make_record().model_dump_json().replace('"seed":0', '"seed":"x"') + "\n")
    with pytest.raises(ValueError, match="line 2, is not a record of this version: seed"):
        results.load(path)


def test_the_newest_record_of_a_setting_counts():
    old = make_record()
    new = make_record(top1=0.6, time=FIELDS["time"] + timedelta(days=1))
    other = make_record(seed=1)
    assert results.latest([new, other, old]) == [new, other]


def test_published_values_have_sources_and_known_means():
    assert all(ref.source for ref in results.published())
    calip = [ref for ref in results.published() if ref.method == "calip"]
    # Two logs hold CALIP's column; they agree but for SUN397, so the mean gain over one baseline depends on the log.
    for log, theirs, mean in (("mrflogs", 58.59, 59.45), ("APE", 58.70, 59.46)):
        column = {ref.dataset: ref.top1 for ref in calip if log in ref.source}
        assert len(column) == 11 and column["sun397"] == pytest.approx(theirs / 100)
        assert 100 * sum(column.values()) / 11 == pytest.approx(mean, abs=0.005)
    for source, log, gain in (
        ("APE", "mrflogs", 0.92), ("mrflogs", "APE", 0.69), ("gaopengcuhk", "APE", 0.56),
        ("APE", "APE", 0.93), ("mrflogs", "mrflogs", 0.68), ("gaopengcuhk", "mrflogs", 0.55),
    ):  # fmt: skip
        column = [ref.top1 for ref in calip if log in ref.source]
        zero_shot = [r.top1 for r in results.published() if r.method == "zero_shot" and r.source.startswith(source)]
        assert len(zero_shot) == 11
        assert 100 * (sum(column) - sum(zero_shot)) / 11 == pytest.approx(gain, abs=0.005)


def test_measured_stands_beside_published_and_differences_are_flagged():
    close = make_record(images=8100, top1=0.39, low=0.38, high=0.40)
    far = make_record(images=8100, top1=0.45, low=0.44, high=0.46, protocol="validation", labels_seen="validation")
    own = make_record(dataset="mini-shapes", backbone="mini-rn")
    rows = results.beside_published([close, far, own])
    measured = [row for row in rows if row.record is not None]
    assert rows.index(measured[0]) > 0  # among the published datasets, not above them
    assert [row.outside for row in measured] == [False, True, False]
    assert measured[1].difference == pytest.approx(0.45 - 0.389)
    assert measured[2].reference is None and measured[2].difference is None
    assert all(len(row.cells()) == len(results.HEADERS) for row in rows)
    assert measured[1].cells()[-2:] == ("+6.10 (!)", measured[1].reference.source)
    only_published = [row for row in rows if row.record is None]
    assert len(only_published) == len(results.published()) - 1 and not any(row.outside for row in only_published)


def test_rows_of_a_dataset_and_a_backbone_stand_together():
    records = [
        make_record(dataset=name, backbone=backbone)
        for name in ("mini-shapes", "ucf101", "imagenet@80", "imagenet")
        for backbone in ("ViT-B/16", "RN50")
    ]
    shown = [row.record or row.reference for row in results.beside_published(records)]
    places = list(dict.fromkeys((what.dataset, what.backbone) for what in shown))
    assert len(places) == len({(what.dataset, what.backbone) for what in shown}) == 11 + 2 * 4 - 2
    runs = [key for i, key in enumerate((w.dataset, w.backbone) for w in shown) if i == 0 or key != (
        shown[i - 1].dataset, shown[i - 1].backbone)]  # fmt: skip
    assert runs == places  # no dataset and backbone come up twice
    assert [name for name, _ in places[:4]] == ["imagenet", "imagenet", "imagenet@80", "imagenet@80"]
    assert places[-1][0] == "mini-shapes"


def cells_of(**changes):
    cells = results.measured_cells(make_record(**changes))
    return dict(zip(results.MEASURED_HEADERS, cells, strict=True))


def test_a_p_value_is_shown_as_what_it_is():
    column = results.MEASURED_HEADERS[-1]
    assert cells_of(only_method=30, only_clip=20, mcnemar_p=0.2)[column] == "30 : 20, p = 0.2"
    assert cells_of()[column] == "2 : 1 (fewer than 10 differ), p = 1"
    unsure = cells_of(protocol="published", labels_seen="unknown", only_method=30)[column]
    assert unsure == "30 : 1, p = 1 if the weights' choice saw no test labels"


def test_the_oracle_stands_beside_its_control():
    cells = cells_of(
        protocol="oracle", labels_seen="test", only_method=30, control_gain=0.004, control_p=0.05, control_repeats=20
    )
    assert cells["protocol; labels seen"] == "oracle; test"
    assert cells["gain over CLIP, points [95 %]"].endswith("; with shuffled terms +0.40")
    assert cells[results.MEASURED_HEADERS[-1]] == "30 : 1, p not valid, against shuffled terms p = 0.05"


def test_another_split_than_coops_is_named():
    def images(**changes):
        return cells_of(**changes)["images; split"]

    assert images(split_source="split_zhou_EuroSAT.json") == "10"
    assert images(split_source="its own rule", limit=10) == "10 (limit 10); not CoOp's split but its own rule"
    for name in ("imagenet", "imagenet@80", "fgvc_aircraft", "mini-shapes"):  # CoOp has no split file of these
        assert images(dataset=name, split_source="official") == "10"


def test_a_zero_shot_record_stands_beside_every_baseline():
    record = make_record(method="zero_shot", images=8100, top1=0.375, low=0.365, high=0.385)
    rows = [row for row in results.beside_published([record]) if row.record]
    assert len({row.reference.source for row in rows}) == 3


def test_stand_ins_stand_beside_nothing():
    assert [row.record for row in results.beside_published([make_record(standin=True)]) if row.record] == []


def test_records_of_other_weights_are_both_kept():
    assert len(results.latest([make_record(weights="a"), make_record(weights="b")])) == 2


@pytest.mark.parametrize("other", [
    {"templates": ("a {}.",)}, {"class_names": "b"}, {"chosen_by": "another criterion"}, {"grid": "another"},
])  # fmt: skip
def test_records_of_other_prompts_or_choices_are_both_kept(other):
    assert len(results.latest([make_record(), make_record(**other)])) == 2


def test_records_of_an_older_form_are_left_out_and_named(tmp_path):
    file = tmp_path / "runs.jsonl"
    results.append(make_record(), file)
    old = json.loads(make_record().model_dump_json()) | {"schema_version": 1}
    del old["weights"]
    with file.open("a") as lines:
        lines.write(json.dumps(old) + "\n")
    with pytest.warns(results.OldRecordWarning, match="line 2, is a record of form 1"):
        assert len(results.load(file)) == 1


def test_published_clouds_have_sources_and_measured_ones_stand_among_them():
    assert all(ref.source and 0 < ref.top1 < 1 for ref in results.published_clouds())
    known = "PointCLIP", "yangyangyang127/PointCLIP_V2", "ZrrSkywalker/PointCLIP"
    assert all(ref.source.startswith(known) for ref in results.published_clouds())
    record = make_record(
        dataset="modelnet40", projection="pointclip, 1024 points", view_weighting="published", labels_seen="test",
        view_weights=[1.0] * 6, view_weights_by="somebody's code",
    )  # fmt: skip
    alone = results.clouds_beside_published([])
    assert len(alone) == len(results.published_clouds())
    rows = results.clouds_beside_published([record, make_record(dataset="eurosat")])
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
    standin = record.model_copy(update={"standin": True})
    assert results.clouds_beside_published([standin]) == alone


def test_every_published_table_has_one_value_a_column():
    for path in (results.DATA_DIR / "published").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert {len(row) for row in rows} == {len(rows[0])}, path.name


def few(**changes):
    """A few-shot record of a full test with the published recipe of CLIP-Adapter."""
    training = asdict(TrainingOptions.coop(4))
    options = {"ratio": 0.2, "training": training, "seed": changes.get("seed", 1)} | changes.pop("options", {})
    shared = {name: FIELDS[name] for name in FIELDS if name in FewShotRecord.model_fields}
    own = {
        "method": "clip_adapter", "projection": None, "support_set": "s", "shots": 4, "seed": 1, "augmentations": 10,
        "nested": False, "short": "error", "hyperparameters": "published", "recipe": "CoOp", "chosen_by": "given",
        "parameters": 1, "samples_per_second": 1.0, "hits": "AAA=", "options": options,
    }  # fmt: skip
    return FewShotRecord(**(shared | own | changes))


def mean(*records):
    return results.mean_over_seeds(records, "eurosat", "RN50", "clip_adapter", 4)


def test_measured_seeds_are_averaged_and_the_newest_of_each_counts():
    later = few(seed=2, top1=0.68, time=FIELDS["time"] + timedelta(days=1))
    assert mean(few(top1=0.5), later, few(seed=2, top1=0.6)) == "59.00 (2 seeds)"
    assert mean() == "" and mean(few(standin=True)) == "" and mean(few(shots=8)) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": 1000, "images": 10}, "10 test images"),
        ({"augmentations": 0}, "no random crops"),
        ({"hyperparameters": "fixed"}, "fixed hyperparameters"),
        ({"nested": True}, "nested draws"),
        ({"short": "take"}, "short='take'"),
        ({"options": {"training": asdict(TrainingOptions.coop(4, epochs=30))}}, "epochs 30, published 100"),
    ],
)
def test_what_is_not_as_published_is_printed_and_never_mixed_with_what_is(changes, said):
    unlike = few(seed=2, top1=0.9, **changes)
    assert mean(unlike) == f"90.00 (1 seed; {said})"
    assert mean(few(top1=0.5), unlike) == "50.00 (1 seed)"
    assert mean(few(seed=1, top1=0.8, weights="other"), unlike) == "80.00 (1 seed)"


def test_a_searching_head_is_as_published_where_it_searched_on_validation():
    tip = {"method": "tip_adapter", "options": {"training": None}}
    assert results.unlike_published(few(**tip, hyperparameters="validation")) == []
    assert results.unlike_published(few(**tip, hyperparameters="oracle")) == ["oracle hyperparameters"]


def test_published_few_shot_values_have_sources_and_known_numbers():
    table = {(p.dataset, p.method, p.shots): p for p in results.published_few_shot()}
    assert len(table) == len(results.published_few_shot()) and all(p.source for p in table.values())
    assert table["imagenet", "tip_adapter_f", 16].top1 == pytest.approx(0.6551)
    assert table["eurosat", "coop", 16].top1 == pytest.approx(0.8327)
    assert {p.backbone for p in table.values()} == {"RN50"} and all(0 < p.top1 < 1 for p in table.values())


def test_few_shot_records_are_kept_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    assert results.load_few_shot() == []
    results.append(few())
    results.append(few(seed=2))
    assert results.load_few_shot() == [few(), few(seed=2)] and results.load() == []
    old = json.loads(few().model_dump_json()) | {"schema_version": 1, "hyperparameters": "stated"}
    with (tmp_path / "fewshot.jsonl").open("a") as lines:
        lines.write(json.dumps(old) + "\n")
    with pytest.warns(results.OldRecordWarning, match="line 3, is a record of form 1, this version writes form 2"):
        assert len(results.load_few_shot()) == 2
