import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from calip_core.analysis.speed_records import (
    Measurement,
    SpeedRun,
    all_speeds,
    machine_name,
    missed,
    record_path,
    save_run,
)
from tests.benchmarks import __main__ as command

FAST = Measurement(what="attention", value=7.25, unit="times", goal=6)
SLOW = Measurement(what="a search", value=1.5, unit="s", goal=1, better="lower")
PLAIN = Measurement(what="clouds", value=12345.6, unit="clouds/s")


def a_run(*measurements, commit="c", before=None):
    date = datetime(2026, 1, 2, tzinfo=UTC)
    return SpeedRun(
        title="A title", date=date, commit=commit, torch="2.9", threads=2, measurements=measurements, before=before
    )  # fmt: skip


def test_a_goal_is_a_least_value_or_a_largest_one():
    assert (FAST.reached, SLOW.reached, PLAIN.reached) == (True, False, None)
    assert FAST.model_copy(update={"value": 6.0}).reached and SLOW.model_copy(update={"value": 1.0}).reached
    assert missed([FAST, SLOW, PLAIN]) == [SLOW]


def test_values_and_goals_in_words():
    assert str(FAST) == "attention: 7.25 times (goal: at least 6 times, reached)"
    assert str(SLOW) == "a search: 1.5 s (goal: at most 1 s, missed)"
    assert str(PLAIN) == "clouds: 12,346 clouds/s"
    assert Measurement(what="difference", value=2.4e-7, unit="").measured_text == "2.4e-07"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_is_a_number(value):
    with pytest.raises(ValidationError):
        Measurement(what="x", value=value, unit="s")


def test_a_part_of_the_benchmarks_replaces_only_its_own(tmp_path):
    save_run("attention", a_run(FAST, commit="old"), machine="A CPU", folder=tmp_path)
    save_run("search", a_run(SLOW), machine="A CPU", folder=tmp_path)
    save_run("attention", a_run(PLAIN, commit="new"), machine="A CPU", folder=tmp_path)
    save_run("attention", a_run(FAST), machine="Another CPU", folder=tmp_path)
    first, other = all_speeds(tmp_path)
    assert first.runs == {"attention": a_run(PLAIN, commit="new", before="old"), "search": a_run(SLOW)}
    assert other.machine == "Another CPU" and list(other.runs) == ["attention"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-cpu.json", "another-cpu.json"]


def test_a_file_is_named_after_its_machine(tmp_path):
    assert record_path("Intel(R) Xeon(R) @ 2.20GHz, 2 cores", tmp_path).name == "intel-xeon-2-20ghz-2-cores.json"
    assert "cores" in machine_name()


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"machine": "A CPU", "runs": {"x": {"title": "y"}}})])
def test_a_damaged_record_is_named_and_kept(tmp_path, content):
    path = tmp_path / "a-cpu.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="a-cpu.json is not a record of speeds .*: delete it and run `make bench`"):
        save_run("attention", a_run(FAST), machine="A CPU", folder=tmp_path)
    assert path.read_text() == content


def test_the_command_prints_what_it_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.benchmarks.rendering.run", lambda: iter([FAST, SLOW]))
    command.main(["rendering", "--threads", "1", "--out", str(tmp_path)])
    (record,) = all_speeds(tmp_path)
    run = record.runs["rendering"]
    assert run.measurements == (FAST, SLOW) and run.threads == 1 and record.machine == machine_name()
    printed = capsys.readouterr().out
    assert str(FAST) in printed and str(SLOW) in printed and "1 goals missed" in printed


def test_an_unknown_benchmark_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["speed_of_light", "--out", str(tmp_path)])
    assert "unknown benchmark ['speed_of_light'], expected some of" in capsys.readouterr().err
    assert set(command.benchmarks()) >= {"attention", "encoding", "rendering", "streaming"}
