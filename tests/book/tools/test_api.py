"""The API reference: every public name, documented, with links to equations."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from book.tools.api import EQUATIONS, api_pages, public_names
from book.tools.chapters import ROOT, chapter_sources

LIBRARY = ROOT / "calip_core"


def test_every_module_is_on_the_page_of_its_room() -> None:
    pages = {name: text.decode() for name, text in api_pages().items()}
    for path in LIBRARY.rglob("*.py"):
        module = path.relative_to(LIBRARY).with_suffix("").parts
        if module != ("__init__",):
            page = pages[f"api/{module[0] if len(module) > 1 else 'calip_core'}.rst"]
            name = ".".join(part for part in ("calip_core", *module) if part != "__init__")
            assert f".. automodule:: {name}\n" in page
            named = public_names(path).items()
            assert all(directive.format(module=name, name=public) + "\n" in page for public, directive in named)


def test_public_names_are_those_that_a_module_defines(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from x import imported\nSIZE: int = 3\nTABLE = {}\n_hidden = 1\n"
        'Text = Annotated[str, 3]\n"""Of people."""\n'
        "def function(): ...\nclass Thing: ...\ndef _private(): ...\n"
    )
    assert public_names(module) == {
        "SIZE": ".. autodata:: {module}.{name}",
        "TABLE": ".. autodata:: {module}.{name}\n   :no-value:",
        "Text": ".. py:data:: {name}\n   :module: {module}\n   :value: Annotated[str, 3]\n\n   Of people.",
        "function": ".. autofunction:: {module}.{name}",
        "Thing": ".. autoclass:: {module}.{name}\n   :members:",
    }


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_whatever_is_public_has_a_docstring(path: Path) -> None:
    """Sphinx leaves methods without one out; an override takes its base's."""
    public: list[ast.AST] = [*ast.parse(path.read_text(encoding="utf-8")).body]
    public += [
        member for node in public if isinstance(node, ast.ClassDef) and node.name[0] != "_" for member in node.body
    ]
    named = [node for node in public if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    assert [node.name for node in named if not ast.get_docstring(node)] == []


def test_every_name_that_implements_an_equation_exists_and_so_does_the_equation() -> None:
    chapters = "".join(source.read_text(encoding="utf-8") for source in chapter_sources())
    for name, labels in EQUATIONS.items():
        module, _, public = name.rpartition(".")
        assert hasattr(import_module(f"calip_core.{module}"), public)
        assert all(f"$$ ({label})" in chapters for label in labels)
