"""Write what the live pages run: the script, the miniatures' weights, and the data of the panels.

Usage: python -m book.tools.live

A panel's data are computed again when a module that they come from, the data of the repository, the lock file or the
Python changed.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from book.tools.bundle import LIVE, BundleError, bundle
from book.tools.chapters import ROOT, replacing
from book.tools.dependencies import Library
from book.tools.execute import common_fingerprint
from book.tools.live_weights import LiveWeightsError, weight_scripts

BUILT = ROOT / "book" / "_build" / "live"
"""A folder of Sphinx's static files."""
FOLDER = "live"
"""Where it keeps what belongs here, beside the sources of the modules."""

_DATA = ROOT / "book" / "tools" / "live_data"
_SHARED = ("packing", "scenes")
_PANELS = tuple(path.stem for path in sorted(_DATA.glob("[a-z]*.py")) if path.stem not in _SHARED)


def build_live(folder: Path = BUILT / FOLDER) -> None:
    """Write the script, the weights and the panels' data, those that are missing or would change.

    Raises:
        BundleError: a module cannot be bundled.
        LiveWeightsError: the weights are not as the pages need them.
    """
    _write(folder / "live.js", bundle(LIVE))
    for part, script in weight_scripts().items():
        _write(folder / "weights" / f"{part}.js", script)
    library, common = Library(ROOT), common_fingerprint([])
    for panel in _PANELS:
        wanted = _fingerprint(panel, common, library)
        path = folder / "data" / f"{panel}.js"
        if not path.is_file() or not path.read_text(encoding="utf-8").startswith(f"// {wanted}\n"):
            data: Callable[[], dict[str, Any]] = import_module(f"book.tools.live_data.{panel}").data
            values = json.dumps(data(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            _write(path, f"// {wanted}\ncalipData({json.dumps(panel)}, {values});\n")


def _fingerprint(panel: str, common: str, library: Library) -> str:
    """Of what a panel's data are made from."""
    sources = [(_DATA / f"{name}.py").read_text(encoding="utf-8") for name in (panel, *_SHARED)]
    modules = sorted(set[str]().union(*(library.modules_of(source) for source in sources)))
    prints = [common, *sources, *(library.fingerprints[name] for name in modules)]
    return hashlib.sha256(json.dumps(prints).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file unless it holds the text already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def main() -> int:
    start = time.perf_counter()
    try:
        build_live()
    except (BundleError, LiveWeightsError) as error:
        print(f"live: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in BUILT.rglob("*.js"))
    print(f"live pages written in {time.perf_counter() - start:.0f} s, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
