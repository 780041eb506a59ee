"""What is imported when: a command that only answers must not load what it does not need."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from calip_core.backbones.clip_import import clip
from calip_core.backbones.names import OPENAI
from calip_core.datasets import names, registry
from calip_core.methods.registry import HEADS, METHODS

HEAVY = "torch", "scipy", "sklearn", "pandas", "clip", "matplotlib", "pydantic", "numpy"
LAZY = "calip_core", "calip_core.backbones", "calip_core.datasets", "calip_core.methods", "calip_core.pointclouds"


def loaded_after(code):
    """Which of the heavy packages a fresh process has loaded after it ran some code."""
    run = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
    report = f"{run}print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "line", ["--help", "sweep --help", "evaluate --help", "report --help", "fetch --help", "nonsense", "sweep"]
)
def test_help_and_wrong_command_lines_load_nothing_heavy(line):
    assert loaded_after(f"from calip_core.cli import main; main({line.split()})") == []


def test_the_package_loads_nothing_heavy_and_a_name_loads_what_it_needs():
    assert loaded_after("import calip_core; dir(calip_core)") == []
    assert "torch" in loaded_after("from calip_core import load_backbone")


@pytest.mark.parametrize("module", ["datasets.names", "backbones.names", "pointclouds.names", "blend.protocols"])
def test_names_are_known_without_torch(module):
    assert not {"torch", "scipy", "sklearn", "clip"} & set(loaded_after(f"import calip_core.{module}"))


def test_a_wrong_dataset_on_the_command_line_is_refused_without_torch():
    assert "torch" not in loaded_after("from calip_core.cli import main; main(['fetch', 'nonsense'])")


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_of_a_lazy_package_is_there_and_is_listed_once(package):
    """The table, ``__all__`` and the imports for the type checker say the same."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in checked.body for alias in node.names}
    assert typed == module._PLACES
    assert set(module._PLACES) <= set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_what_is_stated_without_loading_agrees_with_what_is_loaded():
    assert list(OPENAI) == clip.available_models()
    assert {name: entry.learns for name, entry in HEADS.items()} == {
        name: head.sees == "labels" for name, head in METHODS.items()
    }
    assert set(METHODS) == {head.name for head in METHODS.values()}
    loaders = registry._OFFLINE | registry._OFFLINE_CLOUDS
    assert {name: "clouds" if name in registry._OFFLINE_CLOUDS else "images" for name in loaders} == names.OFFLINE
