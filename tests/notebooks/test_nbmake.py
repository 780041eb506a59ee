"""`make test` runs every committed notebook through nbmake, and nbmake sees a fault."""

import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools.chapters import ROOT, chapter_sources


def nbmake(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "-p", "no:cacheprovider", "--rootdir", str(cwd)]
    return subprocess.run([*command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_make_test_collects_every_chapter():
    assert "notebooks tests" in (ROOT / "Makefile").read_text(encoding="utf-8")
    collected = nbmake("--collect-only", "notebooks").stdout
    for source in chapter_sources():
        assert f"{source.stem}.ipynb" in collected


@pytest.mark.parametrize(("code", "status"), [("1 + 1", 0), ("1 / 0", 1)])
def test_a_planted_error_fails_the_run(code, status, tmp_path):
    notebook = new_notebook(cells=[new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "x.ipynb")
    assert nbmake("x.ipynb", cwd=tmp_path).returncode == status
