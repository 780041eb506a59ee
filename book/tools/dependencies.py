"""Which of the library's modules a chapter depends on, read from the sources without importing any.

Packages that draw import graphs cannot say: to them, a name of a lazy package (``calip_core.lazy``) is that package
alone, or else everything that it offers.
"""

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

_PACKAGE = "calip_core"


class Library:
    """The library's sources.

    An import counts wherever it stands, in a function too, but not where only a type checker reads it. Of a lazy
    package, the modules of those names count that are asked for, and all if the package itself is. A string that names
    a module counts as an import; the beginning of one, as in ``f"calip_core.methods.{name}"``, as imports of all that
    begin so.
    """

    def __init__(self, root: Path) -> None:
        """Read what is in the library's folder below ``root``."""
        self._modules: dict[str, ast.AST] = {}
        self._lazy: dict[str, dict[str, str]] = {}
        self._imports: dict[str, set[str]] = {}
        packages = set()
        for path in sorted((root / _PACKAGE).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            if path.stem == "__init__":
                name = name.removesuffix(".__init__")
                packages.add(name)
            self._modules[name] = _code(path.read_text(encoding="utf-8"))
            self._lazy[name] = _places(self._modules[name])
        for name, tree in self._modules.items():
            package = name if name in packages else name.rpartition(".")[0]
            self._imports[name] = self._named_in(tree, package, with_strings=not self._lazy[name])
        self.fingerprints = {
            name: hashlib.sha256(ast.dump(tree).encode()).hexdigest() for name, tree in self._modules.items()
        }
        """One per module: docstrings, comments and layout do not change it."""

    def modules_of(self, code: str) -> set[str]:
        """Names of the modules that a chapter's code imports, directly or through others."""
        found: set[str] = set()
        waiting = self._named_in(_code(code), "", with_strings=True)
        while waiting:
            found |= waiting
            waiting = set[str]().union(*(self._imports[name] for name in waiting)) - found
        return found

    def _named_in(self, tree: ast.AST, package: str, with_strings: bool) -> set[str]:
        """The modules that one file names itself, and the packages that they are in."""
        names = {name for node in ast.walk(tree) for name in _imported(node, package)}
        if with_strings:
            names |= {name for node in ast.walk(tree) if (name := _string(node)).startswith(f"{_PACKAGE}.")}
        found = {module for name in names for module in self._modules_named(name)}
        return found | {parent for module in found for parent in _parents(module)}

    def _modules_named(self, name: str) -> set[str]:
        """The modules behind a dotted name: a module, what a module defines, a lazy name, or the beginning of names."""
        if name.endswith("."):
            return {module for module in self._modules if module.startswith(name)}
        if name in self._modules:
            return {name, *self._lazy[name].values()}
        module, _, attribute = name.rpartition(".")
        if attribute == "*":
            return self._modules_named(module)
        return {module, self._lazy[module].get(attribute, module)} if module in self._modules else set()


class _Executed(ast.NodeTransformer):
    """Leaves out what does nothing at run time: docstrings, and what only a type checker reads."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if _string(node.value) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def _code(source: str) -> ast.AST:
    tree: ast.AST = _Executed().visit(ast.parse(source))
    return tree


def _string(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """The dotted names that a statement imports; ``import a.b`` gives all of ``a``, too."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
            if not alias.asname:
                yield alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom):
        module = resolve_name("." * node.level + (node.module or ""), package)
        yield from (f"{module}.{alias.name}" for alias in node.names)


def _places(tree: ast.AST) -> dict[str, str]:
    """The names that a lazy package offers, each with the module that defines it; none of another module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["_PLACES"]:
            places: dict[str, str] = ast.literal_eval(node.value)
            return places
    return {}


def _parents(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module
