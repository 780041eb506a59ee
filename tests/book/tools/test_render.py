"""Gathering the book's pages: only what was executed, and only what changed."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_notebook

from book.tools import render
from book.tools.chapters import chapter_sources
from book.tools.status import status_page

RECORD = {
    "chapter": "00_start",
    "seconds": 123.4,
    "code_cells": 9,
    "when": "2026-11-23T13:00:00+00:00",
    "machine": {"processor": "a slow one", "cores": "2"},
    "versions": {"torch": "2.9.9"},
}


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    """A build folder in which every chapter seems to have been executed."""
    folder = tmp_path / "executed"
    folder.mkdir()
    for source in chapter_sources():
        (folder / f"{source.stem}.ipynb").write_text(nbformat.writes(new_notebook()))
        (folder / f"{source.stem}.json").write_text(json.dumps(RECORD | {"chapter": source.stem}))
    return tmp_path


def test_unchanged_pages_stay_untouched_and_strangers_leave(executed: Path) -> None:
    source = render.gather(executed)
    (source / "old.md").write_text("# A page that the book no longer has")
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*.*") if path.name != "old.md"}
    (executed / "executed" / "00_start.ipynb").write_text(nbformat.writes(new_notebook(metadata={"a": 1})))
    render.gather(executed)
    after = {path: path.stat().st_mtime_ns for path in source.rglob("*.*")}
    assert [path.name for path in before if before[path] != after[path]] == ["00_start.ipynb"]
    assert set(before) == set(after)


def test_mathjax_and_plotly_come_from_their_packages(executed: Path) -> None:
    render.gather(executed)
    for name in ("mathjax/tex-svg-full.js", "plotly.min.js"):
        assert (executed / "static" / name).stat().st_size > 1_000_000


def test_a_chapter_that_was_not_executed_is_named(executed: Path) -> None:
    (executed / "executed" / "00_start.ipynb").unlink()
    with pytest.raises(render.RenderError, match="00_start has not been executed"):
        render.gather(executed)


def test_status_page_says_what_ran_where_and_what_did_not() -> None:
    page = status_page([RECORD, RECORD | {"chapter": "01_clip_baseline", "seconds": 20}])
    summed = "2 chapters with 18 code cells; their run times add up to 2.4 min"
    for words in (summed, "| [](notebooks/00_start) | 2.1 min | 9 |", "| 20 s |"):
        assert words in page
    assert page.count("a slow one") == page.count("2.9.9") == 1
    assert "has not been run" in page


def test_what_no_page_uses_goes_and_chapters_are_offered_as_colab_editions(tmp_path: Path) -> None:
    static, offered = tmp_path / "_static", tmp_path / "_sources" / "notebooks"
    for path in (static / "scripts/x.js.map", static / "scripts/x.js", static / "locales/de/x.po", offered / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    render._lighten(tmp_path)
    assert [path.name for path in static.rglob("*") if path.is_file()] == ["x.js"]
    for source in chapter_sources():
        assert (offered / f"{source.stem}.ipynb").read_bytes() == source.with_suffix(".ipynb").read_bytes()


def test_only_the_icons_of_the_pages_keep_their_outlines() -> None:
    script = '{"moon":[9,9,[],"f1","M1"],sun:[9,9,["star"],"f2",["M2","M3"]],"x-ray":[9,9,[],"f3","M4"]}'
    assert render.only_icons(script, {"moon", "star"}) == script.replace("M4", "")
    assert render.only_icons(script, {"x-ray"}) == script.replace("M1", "").replace('["M2","M3"]', '""')
