"""The contract in pyproject.toml: a module imports only from layers below its own, and every module has a layer."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from book.tools.chapters import ROOT


@pytest.mark.parametrize(
    ("module", "planted", "said"),
    [
        ("tokens.py", "", "1 kept, 0 broken"),
        ("backbones/base.py", "import calip_core.evaluation.store\n", "calip_core.backbones.base ->"),
        ("new_room.py", "", "new_room"),
    ],
    ids=["as it is", "an import from above", "a module without a layer"],
)
def test_the_layers_are_kept(tmp_path, module, planted, said):
    shutil.copytree(ROOT / "calip_core", tmp_path / "calip_core", ignore=shutil.ignore_patterns("__pycache__", "_data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "calip_core" / module).open("a") as file:
        file.write(planted)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said in done.stdout, done.stdout + done.stderr
    assert done.returncode == (0 if "kept" in said else 1)
