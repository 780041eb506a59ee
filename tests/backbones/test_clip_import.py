"""``import clip`` works with every setuptools, leaves nothing behind, and is OpenAI's."""

import subprocess
import sys
from pathlib import Path

import pytest

USE = """
import sys
from calip_core.backbones.clip_import import clip
assert clip.model.CLIP and clip.tokenize(["a dog"]).shape == (1, 77)
module = sys.modules.get("pkg_resources")
print("absent" if module is None else getattr(module, "WHO", "stand-in"))
"""

OPENAI_LIKE = """{first_line}
from . import model
def load(): ...
def tokenize(texts):
    import torch; return torch.zeros(1, 77)
"""


def _package(folder: Path, name: str, **files: str) -> None:
    package = folder / name
    package.mkdir(parents=True)
    for module, text in files.items():
        (package / f"{module}.py").write_text(text)


def _run(code: str, *first_on_path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that looks in the given folders before site-packages."""
    setup = f"import sys; sys.path[:0] = {[str(folder) for folder in first_on_path]!r}\n"
    command = [sys.executable, "-W", "error::UserWarning", "-c", setup + code]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _openai_like(folder: Path, first_line: str) -> Path:
    _package(folder, "clip", __init__=OPENAI_LIKE.format(first_line=first_line), model="class CLIP: ...")
    return folder


def test_works_in_this_environment_and_leaves_no_stand_in() -> None:
    run = _run(USE)
    assert run.returncode == 0, run.stderr
    assert "stand-in" not in run.stdout


@pytest.mark.parametrize(
    ("pkg_resources", "first_line"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'pkg_resources'\", name='pkg_resources')",
            "from pkg_resources import packaging",
        ),
        (
            "WHO = 'real, without packaging'",
            "from pkg_resources import packaging; packaging.version.parse('1')",
        ),
        (
            "WHO = 'real, with packaging'; packaging = 'old'",
            "from pkg_resources import packaging; assert packaging == 'old'",
        ),
        ("raise RuntimeError('must not be touched')", "from packaging import version"),
    ],
    ids=["absent", "setuptools-70", "old-setuptools", "clip-from-github"],
)
def test_any_pkg_resources_with_any_clip(tmp_path: Path, pkg_resources: str, first_line: str) -> None:
    _package(_openai_like(tmp_path, first_line), "pkg_resources", __init__=pkg_resources)
    run = _run(USE, tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ("absent" if "raise" in pkg_resources else pkg_resources.split("'")[1])


def test_missing_package_is_named(tmp_path: Path) -> None:
    _package(tmp_path, "clip", __init__="raise ModuleNotFoundError('No module named clip', name='clip')")
    run = _run(USE, tmp_path)
    assert "ImportError" in run.stderr and "pip install clip-anytorch" in run.stderr


def test_another_project_called_clip_is_refused(tmp_path: Path) -> None:
    _package(tmp_path, "clip", __init__="def paste(): ...")
    run = _run(USE, tmp_path)
    assert "not OpenAI's CLIP" in run.stderr and "pip install clip-anytorch" in run.stderr
    assert str(tmp_path) in run.stderr


def test_other_import_errors_are_passed_on(tmp_path: Path) -> None:
    _package(tmp_path, "clip", __init__="import a_dependency_of_clip_that_is_missing")
    run = _run(USE, tmp_path)
    assert "No module named 'a_dependency_of_clip_that_is_missing'" in run.stderr
