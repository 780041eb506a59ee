"""The committed notebooks are what their sources make; every way in which they could drift is caught."""

import json
import shutil

import nbformat
import pytest

from book.tools import sync
from book.tools.chapters import NOTEBOOKS, ChapterError, chapter_sources, repository_url
from tests.book.tools.chapter import CHAPTER


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "00_x.py").write_text(CHAPTER)
    sync.sync(tmp_path)
    return tmp_path


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_committed_notebooks_are_in_step():
    assert len(chapter_sources()) >= 5
    assert [path.name for path in sync.stale()] == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_notebooks_are_valid_and_hold_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert repository_url() in notebook.cells[1].source


def test_a_second_sync_changes_nothing(folder):
    assert sync.stale(folder) == []
    assert sync.sync(folder) == []


def test_ids_come_from_the_content_and_are_unique(folder, tmp_path_factory):
    def ids(at):
        return [cell["id"] for cell in json.loads((at / "00_x.ipynb").read_text())["cells"]]

    before = ids(folder)
    other = tmp_path_factory.mktemp("other")
    (other / "00_x.py").write_text(CHAPTER.replace("It is a text.", "It is another."))
    sync.sync(other)
    assert len(set(before)) == len(before)
    assert [number for number, (a, b) in enumerate(zip(before, ids(other), strict=True)) if a != b] == [4]


@pytest.mark.parametrize(
    "fault",
    [
        lambda at: replace(at / "00_x.ipynb", '"outputs": []', '"outputs": [1]'),
        lambda at: (at / "00_x.ipynb").unlink(),
        lambda at: replace(at / "00_x.py", "It is a text", "Changed"),
        lambda at: replace(at / "00_x.py", "github.com", "elsewhere.org"),
        lambda at: shutil.copy(at / "00_x.ipynb", at / "09_gone.ipynb"),
    ],
    ids=["outputs", "no notebook", "edited source", "edited set-up", "no source"],
)
def test_each_planted_fault_is_found_and_mended(folder, fault):
    fault(folder)
    assert sync.stale(folder)
    sync.sync(folder)
    assert sync.stale(folder) == []


def test_all_chapters_of_another_form_are_named_and_nothing_is_written(folder):
    for name in ("00_x", "01_y"):
        (folder / f"{name}.py").write_text(CHAPTER.replace("**Question.**", ""))
    with pytest.raises(ChapterError, match=r"00_x\.py its first cell(.|\n)*01_y\.py does not open"):
        sync.sync(folder)
    assert not (folder / "01_y.ipynb").exists()


def test_the_command_fails_on_stale_files_and_names_them(folder, monkeypatch, capsys):
    monkeypatch.setattr(sync, "stale", lambda: [folder / "00_x.ipynb"])
    assert sync.main(["--check"]) == 1
    assert "00_x.ipynb" in capsys.readouterr().out
    monkeypatch.setattr(sync, "stale", lambda: [])
    assert sync.main(["--check"]) == 0
