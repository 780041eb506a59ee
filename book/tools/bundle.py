"""Bundle the live pages' JavaScript modules into one classic script, the only kind that works from ``file://``.

The sources are ES modules in a subset that needs no parser: imports are lines of their own, and what a module exports
is a function or a constant declared at the beginning of a line. Bundlers such as esbuild would do the same, but each
needs Node or a compiled program.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from book.tools.chapters import ROOT

LIVE = ROOT / "book" / "_static" / "live"
"""The folder of the modules."""
ENTRY = "main.js"

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.{1,2}/[\w./-]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function\*? (\w+)|const (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import\b|export\b).*", re.MULTILINE)

_SCRIPT = """\
// Written by book/tools/bundle.py from the modules beside it.
(function () {{
  function load() {{
    "use strict";
    const modules = {{}};
{modules}
    return modules;
  }}
  load()["{entry}"].start(document.currentScript.src, `(${{load}})()`);
}})();
"""
_MODULE = """\
    modules["{name}"] = (function () {{
{source}
      return {{ {exports} }};
    }})();
"""


class BundleError(ValueError):
    """A module cannot be bundled; the message names it and says why."""


def bundle(folder: Path = LIVE, entry: str = ENTRY) -> str:
    """One classic script that runs ``start(address, source)`` of the entry module.

    ``address`` is the script's own, and ``source`` an expression whose value is every module's exports by its name:
    what a worker needs to run the same modules.

    Raises:
        BundleError: a module is missing, imports in a circle, or has an import or an export of another form.
    """
    sources: dict[str, str] = {}
    _collect(folder, entry, sources, ())
    modules = "\n".join(_wrapped(name, source) for name, source in sources.items())
    return _SCRIPT.format(modules=modules, entry=entry)


def _collect(folder: Path, name: str, sources: dict[str, str], above: tuple[str, ...]) -> None:
    """Add a module's source after those that it imports."""
    if name in above:
        raise BundleError(f"{' imports '.join((*above, name))}: a circle")
    if name in sources:
        return
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{above[-1] if above else 'the entry'} imports {name}, which does not exist")
    source = path.read_text(encoding="utf-8")
    for _, other in _imports(name, source):
        _collect(folder, other, sources, (*above, name))
    sources[name] = source


def _imports(name: str, source: str) -> Iterator[tuple[str, str]]:
    """Names and module of each import."""
    for names, address in _IMPORT.findall(source):
        yield names, posixpath.normpath(posixpath.join(posixpath.dirname(name), address))


def _wrapped(name: str, source: str) -> str:
    """A module as a function that returns its exports."""
    exports = [function or constant for function, constant in _EXPORT.findall(source)]
    addresses = [f'const {{ {names} }} = modules["{other}"];' for names, other in _imports(name, source)]
    body = _EXPORT.sub("", _IMPORT.sub(lambda _: addresses.pop(0), source))
    if wrong := _OTHER.search(body):
        raise BundleError(
            f"{name}: {wrong[0]!r}: expected 'import {{ a, b }} from \"./other.js\";' or 'export function ...' or "
            "'export const ...'"
        )
    return _MODULE.format(name=name, source=body.rstrip(), exports=", ".join(exports))
