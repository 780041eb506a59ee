"""A lone notebook in an environment with little more than torch fetches the library and replaces nothing: Colab."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import papermill
import pytest
from packaging.requirements import Requirement

from book.tools.chapters import NOTEBOOKS, ROOT

THERE = ("torch", "torchvision", "numpy", "ipykernel")


def with_dependencies(names):
    """Every distribution that these need here, themselves included, extras too: torch brings CUDA by them."""
    found, waiting = {}, [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found[name, extra] = distribution = metadata.distribution(name)
        for need in map(Requirement, distribution.requires or []):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need.name, wanted) for wanted in {"", *need.extras}]
    return found.values()


@pytest.fixture
def fresh(tmp_path):
    """A new environment that sees torch, torchvision, numpy and a kernel, outside of its own folder as on Colab."""
    shared = tmp_path / "shared"
    shared.mkdir()
    for distribution in with_dependencies(THERE):
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (shared / top).exists():
                (shared / top).symlink_to(Path(distribution.locate_file(top)))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(f"{shared}\n")
    return tmp_path / "venv/bin/python"


@pytest.fixture
def kernel(fresh, tmp_path, monkeypatch):
    """The name of a Jupyter kernel in that environment."""
    folder = tmp_path / "jupyter/kernels/fresh"
    folder.mkdir(parents=True)
    argv = [str(fresh), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "fresh", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "fresh"


@pytest.fixture
def published(tmp_path):
    """The repository as it is now, committed, behind a file:// URL."""
    folder = tmp_path / "published"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(lambda name: name and ((ROOT / name).is_file() or (ROOT / name).is_symlink()), names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder.as_uri()


def test_a_lone_notebook_fetches_the_library_and_replaces_nothing(fresh, kernel, published, tmp_path, monkeypatch):
    alone = tmp_path / "content"
    alone.mkdir()
    shutil.copy(NOTEBOOKS / "00_start.ipynb", alone)
    monkeypatch.setenv("CALIP_REPOSITORY", published)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    source, result, options = alone / "00_start.ipynb", alone / "out.ipynb", {"kernel_name": kernel, "cwd": alone}
    papermill.execute_notebook(source, result, {"samples": 50}, progress_bar=False, **options)
    assert (alone / "calip-book/calip_core/__init__.py").exists()
    own = {path.name.lower() for path in (tmp_path / "venv").glob("lib/python*/site-packages/*")}
    assert any(name.startswith("matplotlib") for name in own)
    assert not own & {"torch", "torchvision", "numpy"}
