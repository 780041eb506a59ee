"""The built package is whole: unpacked away from the checkout, it runs README's snippet."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from book.tools.chapters import ROOT
from calip_core.paths import cache_dir


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the package is built from, with a reader's datasets and cache where they lie by default."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "calip_core", folder / "calip_core", symlinks=True)
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("datasets", ".cache"))
    for name in ("datasets/photos/private.jpg", ".cache/private.bin"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_text("the reader's own")
    return folder


def build(kind, source, target):
    """The wheel or sdist that setuptools makes of a folder, without a network."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=source, capture_output=True, check=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(build("wheel", source, tmp_path_factory.mktemp("wheel"))) as wheel:
        wheel.extractall(folder)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_code_and_data_travel_and_nothing_of_the_readers(installed):
    code = {path.relative_to(ROOT) for path in (ROOT / "calip_core").rglob("*.py")}
    data = {path.relative_to(ROOT) for path in (ROOT / "data").glob("[!.]*/*") if path.parent.name != "datasets"}
    expected = {path.as_posix() for path in code | {"calip_core/_data" / path.relative_to("data") for path in data}}
    found = {name for name in contents(installed) if ".dist-info/" not in name}
    assert found == expected | {"calip_core/py.typed"}


def test_the_sdist_builds_the_same_wheel(source, installed, tmp_path):
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("calip_core-*")
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheel")) as wheel:
        wheel.extractall(tmp_path / "installed")
    assert contents(tmp_path / "installed") == contents(installed)


def test_an_installation_runs_the_readmes_snippet_and_keeps_data_with_the_users(installed, tmp_path):
    snippet = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    places = "import calip_core.paths as p; print(p.__file__, p.DATA_DIR, p.data_root(), p.results_file())"
    home = tmp_path / "home"
    ours = {"PYTHONPATH": str(installed), "HOME": str(home), "CALIP_CACHE": str(cache_dir())}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALIP_", "XDG_"))}
    done = subprocess.run([sys.executable, "-c", f"{snippet}\n{places}"], cwd=tmp_path, capture_output=True, text=True,
                          check=True, env=kept | ours)  # fmt: skip
    accuracy, found = done.stdout.splitlines()
    assert 0.5 < float(accuracy) <= 1
    module, data, *users = found.split()
    assert Path(module).is_relative_to(installed) and Path(data) == installed / "calip_core/_data"
    assert all(Path(place).is_relative_to(home) for place in users)
