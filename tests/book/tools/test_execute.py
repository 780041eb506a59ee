"""Chapters run when anything they depend on changed, only then, and a chapter that does not run is never passed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools import execute as tool
from book.tools.dependencies import Library
from book.tools.execute import ChapterFailed

MACHINE = {"processor": "a processor"}
ROOT = Path(__file__).resolve().parents[3]


def chapter(folder, *cells, name="00_x"):
    path = folder / f"{name}.py"
    path.write_text("# %% [markdown]\n# # A title\n" + "".join(f"\n# %%\n{code}\n" for code in cells))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small repository."""
    monkeypatch.delenv("CALIP_RESULTS", raising=False)
    for name in ["data/cards/x.yaml", "data/miniature/w.pt", "constraints.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def common_fingerprint(root):
    return tool.common_fingerprint(tool.records_of_datasets(root), root)


@pytest.mark.parametrize(
    "name", ["data/cards/x.yaml", "data/cards/new.yaml", "data/miniature/w.pt", "constraints.txt"]
)
def test_the_data_the_weights_and_the_lock_file_count(root, name):
    before = common_fingerprint(root)
    (root / name).write_text("changed")
    assert common_fingerprint(root) != before


def test_a_moved_file_counts_and_a_cache_or_a_record_of_speeds_does_not(root):
    before = common_fingerprint(root)
    for unread in ["data/.cache/images.npy", "data/cards/__pycache__/a.pyc", "data/benchmarks/machine.json"]:
        (root / unread).parent.mkdir(exist_ok=True)
        (root / unread).write_text("anything")
    assert common_fingerprint(root) == before
    (root / "data/cards/x.yaml").rename(root / "data/miniature/x.yaml")
    assert common_fingerprint(root) != before


def test_records_of_real_datasets_count_and_the_datasets_themselves_do_not(root):
    (root / "data/cards/eurosat.yaml").write_text("layout: {folder: eurosat}")
    before = common_fingerprint(root)
    (root / "data/datasets/eurosat").mkdir(parents=True)
    (root / "data/datasets/eurosat/1.jpg").write_text("a large image")
    (root / "results").mkdir()
    (root / "results/runs.jsonl").write_text('{"task":"mini-shapes"}\n')
    assert common_fingerprint(root) == before
    (root / "results/runs.jsonl").write_text('{"task":"mini-shapes"}\n{"task":"eurosat"}\n')
    assert common_fingerprint(root) != before


def test_cells_parameters_and_tags_count(tmp_path):
    prints = set()
    for number, cell in enumerate(["# %%\nseed = 0", "# %%\nseed = 1", '# %% tags=["parameters"]\nseed = 0']):
        path = tmp_path / f"{number}.py"
        path.write_text(cell)
        prints.add(tool.fingerprint(path, "common", Library(tmp_path)))
    assert len(prints) == 3


def test_a_module_counts_for_the_chapters_that_import_it(tmp_path):
    (tmp_path / "calip_core").mkdir()
    (tmp_path / "calip_core/__init__.py").touch()
    (tmp_path / "calip_core/a.py").write_text("from calip_core.b import x")
    sources = {"b": 'x = 1\n"""Of b."""\n', "c": "x = 1\n"}
    path = chapter(tmp_path, "import math", "from calip_core import a")

    def made_of(**changed):
        for name, source in (sources | changed).items():
            (tmp_path / f"calip_core/{name}.py").write_text(source)
        return tool.fingerprint(path, "common", Library(tmp_path))

    before = made_of()
    assert made_of(b='x = 1  # a comment\n"""Another docstring."""\n') == before
    assert made_of(c="x = 2\n") == before
    assert made_of(b='x = 2\n"""Of b."""\n') != before


def test_a_chapter_that_is_not_python_is_named(tmp_path):
    with pytest.raises(ChapterFailed, match="chapter 00_x: .*\n?1 \\+ "):
        tool.fingerprint(chapter(tmp_path, "1 + "), "common", Library(tmp_path))


def test_a_result_is_kept_until_it_was_damaged_or_something_else_is_wanted(tmp_path):
    source, out = chapter(tmp_path, "1 + 1", "2 + 2"), tmp_path / "out"
    assert not tool.is_current("00_x", "made of", out)
    tool.execute(source, "made of", MACHINE, out)
    record = json.loads((out / "00_x.json").read_text())
    assert record["code_cells"] == 2 and record["seconds"] > 0
    assert record["versions"]["torch"] and record["machine"] == MACHINE
    assert tool.is_current("00_x", "made of", out)
    assert not tool.is_current("00_x", "made of another library", out)
    (out / "00_x.ipynb").write_text("{}")
    assert not tool.is_current("00_x", "made of", out)


def test_a_failing_cell_is_named_with_its_chapter_and_leaves_the_last_good_result(tmp_path):
    out = tmp_path / "out"
    tool.execute(chapter(tmp_path, "1 + 1"), "common", MACHINE, out)
    good = (out / "00_x.ipynb").read_bytes()
    with pytest.raises(ChapterFailed) as caught:
        tool.execute(chapter(tmp_path, "fine = 1", "1 / 0", "fine"), "common", MACHINE, out)
    message = str(caught.value)
    assert "chapter 00_x, cell 3 of 4 failed" in message
    assert "1 / 0" in message and "ZeroDivisionError" in message
    assert (out / "00_x.ipynb").read_bytes() == good
    assert sorted(path.name for path in out.iterdir()) == ["00_x.ipynb", "00_x.json"]


def test_a_kernel_that_dies_fails_the_chapter(tmp_path):
    with pytest.raises(ChapterFailed, match="chapter 00_x, cell 3 of 4 failed"):
        tool.execute(chapter(tmp_path, "1 + 1", "import os; os._exit(1)", "2 + 2"), "common", MACHINE, tmp_path / "out")


def test_what_runs_is_the_source_with_its_myst(tmp_path):
    path = tmp_path / "00_x.py"
    path.write_text("# %% [markdown]\n# By {cite:t}`guo2023calip`.\n\n# %% tags=[\"setup\", \"hide-input\"]\n1 + 1\n")
    tool.execute(path, "made of", MACHINE, tmp_path / "out")
    text, code = nbformat.read(tmp_path / "out/00_x.ipynb", as_version=4).cells
    assert text.source == "By {cite:t}`guo2023calip`." and code.source == "1 + 1" and code.outputs[0].data


def test_cells_that_did_not_run_are_noticed():
    cells = [new_code_cell("1", execution_count=1), new_code_cell("2")]
    with pytest.raises(ChapterFailed, match="1 of 2 code cells"):
        tool.check_all_cells_ran("x", new_notebook(cells=cells), new_notebook(cells=cells))
    with pytest.raises(ChapterFailed, match="0 of 0 code cells"):
        tool.check_all_cells_ran("x", new_notebook(), new_notebook())


def book_of(folder, **chapters):
    for name, code in chapters.items():
        chapter(folder, code, name=name)
    return folder


def test_chapters_run_once_and_again_when_they_change(tmp_path, capfd):
    folder, out = book_of(tmp_path, A_x="1", B_y="2"), tmp_path / "out"
    assert tool.execute_all(folder=folder, executed=out) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "0 of 2 chapters are unchanged" and said[-1].startswith("chapters executed in ")
    assert [line[:5] for line in said[1:-1]] == ["[1/2]", "[2/2]"]
    assert {line.split()[1] for line in said[1:-1]} == {"A_x", "B_y"}
    assert json.loads((out / "A_x.json").read_text())["machine"]["processor"]
    book_of(tmp_path, B_y="4")
    assert tool.execute_all(folder=folder, executed=out) == 0
    assert "1 of 2 chapters are unchanged\n[2/2] B_y " in capfd.readouterr().out
    assert tool.execute_all(folder=folder, executed=out) == 0
    assert "2 of 2 chapters are unchanged\nchapters executed" in capfd.readouterr().out


def test_no_chapter_finds_what_another_or_a_reader_measured_on_generated_images(tmp_path, monkeypatch):
    records = tmp_path / "runs.jsonl"
    records.write_text('{"task":"mini-shapes"}\n{"task":"eurosat"}\n')
    monkeypatch.setenv("CALIP_RESULTS", str(records))
    code = (
        "import os, pathlib; p = pathlib.Path(os.environ['CALIP_RESULTS'])\n"
        "assert p.read_text() == '{\"task\":\"eurosat\"}\\n'; p.write_text('mine')"
    )
    folder = book_of(tmp_path, A_x=code, B_y=code)
    assert tool.execute_all(folder=folder, executed=tmp_path / "out") == 0
    assert len(records.read_text().splitlines()) == 2


def test_the_first_failure_ends_all_chapters_and_says_where(tmp_path, capfd):
    wait = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    fail = "import pathlib, time\nwhile not pathlib.Path('pid').exists(): time.sleep(0.1)\n1 / 0"
    folder = book_of(tmp_path, A_x="1", B_y=wait, C_z=fail)
    assert tool.execute_all(folder=folder, executed=tmp_path / "out") == 1
    said = capfd.readouterr()
    assert "chapter C_z, cell 2 of 2 failed" in said.err and "ZeroDivisionError" in said.err
    assert "A_x" not in said.out + said.err and not list((tmp_path / "out").iterdir())
    assert ends(int((tmp_path / "pid").read_text()))


def ends(process):
    """Whether a process is gone within some seconds."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_no_kernel_and_no_half_result(tmp_path, sent):
    wait = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    folder, out = book_of(tmp_path, A_x=wait), tmp_path / "out"
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom functools import partial\nfrom pathlib import Path\nfrom book.tools import execute as tool\n"
        "if __name__ == '__main__':\n"
        f"    folders = {{'folder': Path({str(folder)!r}), 'executed': Path({str(out)!r})}}\n"
        "    tool.execute_all = partial(tool.execute_all, **folders)\n"
        "    sys.exit(tool.main([]))\n"
    )
    process = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=-1)
    while not (folder / "pid").exists():
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "execute: stopped; run it again to continue" in said.decode()
    assert ends(int((folder / "pid").read_text())) and not list(out.iterdir())


def test_an_unknown_chapter_is_refused_with_the_known_ones(tmp_path, capsys):
    assert tool.execute_all(["absent"], book_of(tmp_path, A_x="1", B_y="1")) == 1
    assert "A_x, B_y" in capsys.readouterr().err
