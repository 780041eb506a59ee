"""What a chapter depends on is found without importing it, and nothing that it loads is left out."""

import ast
import json
import subprocess
import sys

import pytest

from book.tools.chapters import ROOT, chapter_sources
from book.tools.dependencies import Library

FILES = {
    "__init__": "from calip_core import lazy\n_PLACES = {'fit': 'calip_core.heads.fit', 'see': 'calip_core.eyes'}\n",
    "lazy": "",
    "eyes": "from calip_core.light import colour\n",
    "light": "",
    "heads.__init__": "",
    "heads.fit": "def run():\n    from . import tools\n",
    "heads.tools": "from ..light import colour\n",
    "heads.registry": "def load(name):\n    return import_module(f'calip_core.heads.{name}')\n",
    "worker": "COMMAND = ['python', '-m', 'calip_core.light']\n",
    "types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from calip_core.eyes import see\n",
}


@pytest.fixture
def library(tmp_path):
    for name, source in FILES.items():
        path = tmp_path / "calip_core" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return Library(tmp_path)


@pytest.mark.parametrize(
    ("code", "reached"),
    [
        ("import math\nfrom PIL import Image", ""),
        ("from calip_core.light import colour", "light"),
        ("from calip_core import light", "light"),
        ("def later():\n    import calip_core.light as l", "light"),
        ("from calip_core import see", "eyes light"),  # lazily, by its name alone
        ("from calip_core import fit", "heads heads.fit heads.tools light"),  # relative imports, in a function
        ("import calip_core", "eyes heads heads.fit heads.tools light"),  # any of its names may be used
        ("from calip_core import *", "eyes heads heads.fit heads.tools light"),
        ("import calip_core.light", "eyes heads heads.fit heads.tools light"),
        ("import calip_core.heads.registry as r", "heads heads.registry heads.fit heads.tools light"),
        ("from calip_core import worker", "worker light"),  # a name in a string
        ("from calip_core import types", "types"),
        ("run('calip_core.light')", "light"),
    ],
)
def test_imports_are_followed_lazy_names_and_registries_too(library, code, reached):
    expected = {f"calip_core.{name}" for name in reached.split()}
    assert library.modules_of(code) - {"calip_core", "calip_core.lazy"} == expected
    assert bool(expected) == ("calip_core" in library.modules_of(code))


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('"""Another."""\n\nimport os  # a comment\n\ndef f(a):\n    """Others."""\n    return (a)\n', True),
        ('import os\ndef f(a):\n    """Of f."""\n    return a + 1\n', False),
        ('import os\ndef f(a=1):\n    """Of f."""\n    return a\n', False),
        ("import os\ndef f(a):\n    return a\nX = 'text'\n", False),
    ],
)
def test_a_fingerprint_is_of_what_is_executed(tmp_path, source, same):
    def of(text):
        (tmp_path / "calip_core").mkdir(exist_ok=True)
        (tmp_path / "calip_core/a.py").write_text(text)
        return Library(tmp_path).fingerprints["calip_core.a"]

    before = of('"""Of a."""\nimport os\ndef f(a):\n    """Of f."""\n    return a\n')
    assert (of(source) == before) == same


_REPORT = """
import json, os, sys
import plotly.graph_objects, seaborn, sklearn.linear_model, torch, torchvision  # not again for each chapter
for name, imports in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        exec(imports)
        print(name, *(module for module in sys.modules if module.partition(".")[0] == "calip_core"), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_what_a_chapters_imports_load_is_among_what_was_found():
    library, found, imports = Library(ROOT), {}, {}
    for source in chapter_sources():
        code = source.read_text(encoding="utf-8")
        found[source.stem] = library.modules_of(code)
        ours = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom | ast.Import)]
        imports[source.stem] = "\n".join(line for line in map(ast.unparse, ours) if "calip_core" in line)
    command = [sys.executable, "-c", _REPORT]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(imports), capture_output=True, text=True, check=True)
    loaded = {name: set(modules) for name, *modules in map(str.split, done.stdout.splitlines())}
    assert loaded.keys() == found.keys()
    for name, modules in loaded.items():
        assert len(modules) > 10 and modules <= found[name], (name, modules - found[name])
        assert "calip_core.cli" not in found[name]
