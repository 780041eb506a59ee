import errno
import multiprocessing
import os
from datetime import timedelta

import pytest

from calip_core.evaluation import store
from calip_core.evaluation.record import SCHEMA
from calip_core.evaluation.store import OldRecordWarning, RecordedKeys, TornRecordWarning, append, latest, load
from tests.records import make_record


def test_what_was_appended_is_read_in_order(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    records = [make_record(seed=seed) for seed in range(3)]
    for record in records:
        append(record, path)
    assert load(path) == records


def test_no_file_means_no_records(tmp_path):
    assert load(tmp_path / "none.jsonl") == []


def test_the_file_can_be_chosen_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "mine.jsonl"))
    append(make_record())
    assert store.results_file() == tmp_path / "mine.jsonl" and load() == [make_record()]
    monkeypatch.delenv("CALIP_RESULTS")
    assert store.results_file().parts[-2:] == ("results", "runs.jsonl")


def _append_many(path, worker):
    for i in range(20):
        append(make_record(seed=100 * worker + i, choice={"chosen_by": "x" * 20_000}), path)


def test_parallel_writers_lose_no_record(tmp_path):
    path = tmp_path / "runs.jsonl"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_append_many, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = sorted(100 * worker + i for worker in range(4) for i in range(20))
    assert sorted(record.seed for record in load(path)) == expected


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_is_left_out_with_a_warning_and_then_closed(tmp_path, kept):
    path = tmp_path / "runs.jsonl"
    append(make_record(seed=1), path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    with pytest.warns(TornRecordWarning, match="line 2, is cut short"):
        assert load(path) == [make_record(seed=1)]
    append(make_record(seed=2), path)
    with pytest.warns(TornRecordWarning):
        assert [record.seed for record in load(path)] == [1, 2]


def test_a_full_disk_leaves_the_earlier_records(tmp_path, monkeypatch):
    path = tmp_path / "runs.jsonl"
    append(make_record(seed=1), path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left.*the earlier ones are safe"):
        append(make_record(seed=2), path)
    assert load(path) == [make_record(seed=1)]


def test_a_line_of_another_kind_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    append(make_record(), path)
    path.write_text(path.read_text() + make_record().model_dump_json().replace('"seed":0', '"seed":"x"') + "\n")
    with pytest.raises(ValueError, match="line 2, is not a record of this version: seed"):
        load(path)


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_records_of_another_format_are_left_out_with_a_sentence(tmp_path, schema):
    path = tmp_path / "runs.jsonl"
    append(make_record(), path)
    path.write_text(path.read_text().replace(f'"schema_version":{SCHEMA}', f'"schema_version":{schema}'))
    said = f"record format {schema}, expected {SCHEMA}; it is left out: measure it again"
    with pytest.warns(OldRecordWarning, match=said):
        assert load(path) == []


def test_the_newest_record_of_a_setting_counts():
    old = make_record()
    new = make_record(score={"top1": 0.6}, run={"time": old.run.time - timedelta(days=1)})  # a clock stepped back
    other = make_record(seed=1)
    assert latest([old, other, new]) == [other, new]


def test_keys_follow_a_growing_file(tmp_path):
    path = tmp_path / "runs.jsonl"
    first, second = make_record(seed=1), make_record(seed=2)
    keys = RecordedKeys(path)
    assert first.key not in keys
    append(first, path)
    assert first.key in keys and second.key not in keys
    line = second.model_dump_json().encode()
    with path.open("ab") as file:
        file.write(line[:50])
    assert second.key not in keys
    with path.open("ab") as file:
        file.write(line[50:] + b"\n")
    assert second.key in keys
