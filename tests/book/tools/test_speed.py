"""The page on speed shows the records, and says where a goal was missed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from book.tools import render
from book.tools.speed import speed_page
from calip_core.analysis.speed_records import Measurement, SpeedRun, save_run

RUN = SpeedRun(
    title="Attention against a loop.",
    date=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    commit="0123456789abcdef",
    torch="2.9.9",
    threads=2,
    measurements=(
        Measurement(what="speed of a_b", value=7.25, unit="times", goal=6),
        Measurement(what="seconds", value=1.5, unit="s", goal=1, better="lower"),
        Measurement(what="clouds", value=12345.6, unit="clouds/s"),
    ),
)


def test_without_records_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    page = speed_page(tmp_path / "absent")
    assert page.startswith("# Speed\n") and "`make bench`" in page and "|" not in page


def test_measured_beside_goal_with_machine_and_date(tmp_path: Path) -> None:
    save_run("attention", RUN, machine="A CPU, 2 cores", folder=tmp_path)
    save_run("attention", RUN, machine="A GPU", folder=tmp_path)
    page = speed_page(tmp_path)
    assert "## A CPU, 2 cores" in page and "## A GPU" in page
    assert page.count("2026-01-02 03:04 UTC, 2 threads, torch 2.9.9, commit `0123456789ab`") == 2
    assert "| speed of a\\_b | 7.25 times | at least 6 times | reached |" in page
    assert "| seconds | 1.5 s | at most 1 s | **missed** |" in page
    assert "| clouds | 12,346 clouds/s |  |  |" in page and "before" not in page.partition("## A CPU")[2]


def test_a_run_stands_beside_the_one_that_it_replaced(tmp_path: Path) -> None:
    faster = RUN.measurements[0].model_copy(update={"value": 9.0})
    new = RUN.model_copy(update={"commit": "f" * 40, "measurements": (faster, RUN.measurements[2])})
    for run in (RUN, new, new):  # to measure the same code again changes no earlier value
        save_run("attention", run, machine="A CPU", folder=tmp_path)
        page = speed_page(tmp_path)
    assert "| what | before, `0123456789ab` | measured | goal | verdict |" in page
    assert "| speed of a\\_b | 7.25 times | 9 times | at least 6 times | reached |" in page


def test_missed_goals_come_first_and_are_counted(tmp_path: Path) -> None:
    save_run("attention", RUN, machine="A CPU", folder=tmp_path)
    page = speed_page(tmp_path)
    missed = "**1 of 2 goals were missed on this machine:**\n\n- seconds: 1.5 s, where the goal was at most 1 s"
    assert 0 < page.index(missed) < page.index("### Attention against a loop\n")
    good = RUN.model_copy(update={"measurements": RUN.measurements[:1]})
    save_run("attention", good, machine="A CPU", folder=tmp_path)
    assert "All 1 goals were reached" in speed_page(tmp_path)


def test_a_damaged_record_stops_the_book_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(render, "speed_page", lambda: speed_page(tmp_path))
    monkeypatch.setattr(render, "_executed", lambda path: b"{}")
    monkeypatch.setattr(render, "chapter_page", lambda executed: ("", {}))
    monkeypatch.setattr(render, "status_page", lambda records: "")
    assert render.main() == 1
    assert "a.json is not a record of speeds" in capsys.readouterr().err


def test_costs_follow_from_the_measured_speeds(tmp_path: Path) -> None:
    speed = Measurement(what="cpu: RN50 in float32, all tokens", value=20.0, unit="images/s")
    for machine, unit in (("A CPU", "images/s"), ("A clock", "s")):
        run = RUN.model_copy(update={"measurements": (speed.model_copy(update={"unit": unit}),)})
        save_run("encoding", run, machine=machine, folder=tmp_path)
    page = speed_page(tmp_path)
    # 10^6 images at 20 a second are 50,000 s, which is 13.9 hours.
    row = "| A CPU, cpu: RN50 in float32, all tokens | 20.0 | 13.9 h | 139 h | 1,389 h | 13,889 h |"
    assert row in page and "| A clock" not in page
    # 50 tokens of 1,024 numbers of 2 bytes; 14,197,122 images
    assert "| RN50 | 107.7 kB | 102.4 kB | " in page and "1.45 TB" in page
