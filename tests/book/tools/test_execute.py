"""Chapters run when anything they depend on changed, only then, and a chapter that does not run is never passed."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import execute as tool
from book.tools.execute import ChapterFailed


def chapter(folder, *cells, name="00_x"):
    path = folder / f"{name}.ipynb"
    notebook = new_notebook(cells=[new_markdown_cell("# A title"), *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def root(tmp_path):
    """A small repository."""
    for name in ["calip_core/a.py", "calip_core/b/c.py", "data/cards/x.yaml", "data/miniature/w.pt", "constraints.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["calip_core/b/c.py", "calip_core/new.py", "data/cards/x.yaml", "data/miniature/w.pt", "constraints.txt"]
)
def test_the_library_the_data_the_weights_and_the_lock_file_count(root, name):
    before = tool.common_fingerprint(root)
    (root / name).write_text("changed")
    assert tool.common_fingerprint(root) != before


def test_a_moved_file_counts_and_a_cache_or_a_record_of_speeds_does_not(root):
    before = tool.common_fingerprint(root)
    for unread in ["data/.cache/images.npy", "calip_core/__pycache__/a.pyc", "data/benchmarks/machine.json"]:
        (root / unread).parent.mkdir(exist_ok=True)
        (root / unread).write_text("anything")
    assert tool.common_fingerprint(root) == before
    (root / "calip_core/a.py").rename(root / "calip_core/b/a.py")
    assert tool.common_fingerprint(root) != before


def test_records_of_real_datasets_count_and_the_datasets_themselves_do_not(root):
    (root / "data/cards/eurosat.yaml").write_text("layout: {folder: eurosat}")
    before = tool.common_fingerprint(root)
    (root / "data/datasets/eurosat").mkdir(parents=True)
    (root / "data/datasets/eurosat/1.jpg").write_text("a large image")
    (root / "results").mkdir()
    (root / "results/runs.jsonl").write_text('{"task":"mini-shapes"}\n')
    assert tool.common_fingerprint(root) == before
    (root / "results/runs.jsonl").write_text('{"task":"mini-shapes"}\n{"task":"eurosat"}\n')
    assert tool.common_fingerprint(root) != before


def test_cells_parameters_and_tags_count(tmp_path):
    prints = set()
    for source, tags in [("seed = 0", []), ("seed = 1", []), ("seed = 0", ["parameters"])]:
        cell = new_code_cell(source, metadata={"tags": tags})
        prints.add(tool.fingerprint(new_notebook(cells=[cell]), "common"))
    assert len(prints) == 3


def test_a_chapter_runs_once_and_again_when_its_result_was_damaged(tmp_path):
    source, out = chapter(tmp_path, "1 + 1", "2 + 2"), tmp_path / "out"
    assert tool.execute(source, "common", out)
    record = json.loads((out / "00_x.json").read_text())
    assert record["code_cells"] == 2 and record["seconds"] > 0
    assert record["versions"]["torch"] and record["machine"]["processor"]
    assert not tool.execute(source, "common", out)
    assert tool.execute(source, "other library", out)
    (out / "00_x.ipynb").write_text("{}")
    assert tool.execute(source, "other library", out)


def test_a_failing_cell_is_named_with_its_chapter_and_leaves_the_last_good_result(tmp_path):
    out = tmp_path / "out"
    tool.execute(chapter(tmp_path, "1 + 1"), "common", out)
    good = (out / "00_x.ipynb").read_bytes()
    with pytest.raises(ChapterFailed) as caught:
        tool.execute(chapter(tmp_path, "fine = 1", "1 / 0", "fine"), "common", out)
    message = str(caught.value)
    assert "chapter 00_x, cell 3 of 4 failed" in message
    assert "1 / 0" in message and "ZeroDivisionError" in message
    assert (out / "00_x.ipynb").read_bytes() == good
    assert sorted(path.name for path in out.iterdir()) == ["00_x.ipynb", "00_x.json"]


def test_a_kernel_that_dies_fails_the_chapter(tmp_path):
    with pytest.raises(ChapterFailed, match="chapter 00_x, cell 3 of 4 failed"):
        tool.execute(chapter(tmp_path, "1 + 1", "import os; os._exit(1)", "2 + 2"), "common", tmp_path / "out")


def test_cells_that_did_not_run_are_noticed():
    cells = [new_code_cell("1", execution_count=1), new_code_cell("2")]
    with pytest.raises(ChapterFailed, match="1 of 2 code cells"):
        tool.check_all_cells_ran("x", new_notebook(cells=cells), new_notebook(cells=cells))
    with pytest.raises(ChapterFailed, match="0 of 0 code cells"):
        tool.check_all_cells_ran("x", new_notebook(), new_notebook())


def test_the_command_stops_at_the_first_failure_and_says_where(tmp_path, monkeypatch, capsys):
    for name in ("00_x", "01_y"):
        (tmp_path / f"{name}.py").touch()
        chapter(tmp_path, "1 / 0", name=name)
    monkeypatch.setattr(tool, "chapter_sources", lambda: sorted(tmp_path.glob("*.py")))
    monkeypatch.setattr(tool, "execute", lambda source, common: tool._run(source, tmp_path / "out.ipynb"))
    assert tool.main([]) == 1
    captured = capsys.readouterr()
    assert "[1/2] 00_x" in captured.out and "01_y" not in captured.out
    assert "chapter 00_x, cell 2" in captured.err
    assert tool.main(["absent"]) == 1
    assert "00_x, 01_y" in capsys.readouterr().err
