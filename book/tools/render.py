"""Render the executed chapters and the book's own pages to HTML.

Usage: python -m book.tools.render
"""

import json
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from plotly.offline import get_plotlyjs

from book.tools import live
from book.tools.api import api_pages
from book.tools.chapters import ROOT, chapter_sources
from book.tools.hero import hero
from book.tools.page import FIGURES, chapter_page
from book.tools.speed import speed_page
from book.tools.status import status_page
from calip_core.paths import atomic_path

BOOK = Path(__file__).resolve().parents[1]
BUILD = BOOK / "_build"
HTML = BUILD / "html"
_ICON = re.compile(r'("?([a-z0-9-]+)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",)(?:"[^"]*"|\["[^"]*","[^"]*"\])')
"""An icon of the theme's: name, size, other names, and outlines, of one colour or two."""
_UNUSED = ("**/*.map", "locales")  # of the theme's files: for its developers, and for other languages
_PAGES = ("index.md", "notation.md", "live.md", "bibliography.md", "references.bib")
_ENGINE = BOOK / "_static" / "live" / "engine"
"""Modules that ``live.md`` shows."""


class RenderError(RuntimeError):
    """The book cannot be rendered; the message says what is missing."""


def gather(build: Path = BUILD) -> Path:
    """Put the book's pages, its executed chapters and its generated pages in one folder, and return that.

    Files that are the same stay untouched, so that Sphinx renders only what changed.

    Raises:
        RenderError: a chapter has not been executed, a package is missing, or a record of speeds is not one.
    """
    pages = {name: (BOOK / name).read_bytes() for name in _PAGES}
    pages |= {f"live/{path.name}": path.read_bytes() for path in _ENGINE.glob("*.js")}
    records, figures = [], dict[str, bytes]()
    for name in [source.stem for source in chapter_sources()]:
        page, shown = chapter_page(_executed(build / "executed" / f"{name}.ipynb").decode())
        pages[f"notebooks/{name}.ipynb"] = page.encode()
        figures |= shown
        records.append(json.loads(_executed(build / "executed" / f"{name}.json")))
    pages["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_bytes()
    pages["status.md"] = status_page(records).encode()
    try:
        pages["speed.md"] = speed_page().encode()
    except ValueError as error:
        raise RenderError(str(error)) from error
    pages |= api_pages()
    pages["hero.html"] = hero(pages["notebooks/00_start.ipynb"].decode()).encode()
    source = build / "source"
    _mirror(source, pages)
    _mirror(build / "static", _scripts() | figures)
    return source


def _executed(path: Path) -> bytes:
    if not path.exists():
        raise RenderError(f"{path.stem} has not been executed: run `make book`, which does")
    return path.read_bytes()


def _scripts() -> dict[str, bytes]:
    """The two scripts that packages bring and the pages need: MathJax and plotly.js."""
    mathjax = find_spec("sphinx-mathjax-offline")
    if mathjax is None or mathjax.origin is None:
        raise RenderError("sphinx-mathjax-offline is not installed: run `make book`, which installs it")
    script = Path(mathjax.origin).parent / "static/mathjax/tex-svg-full.js"
    return {"mathjax/tex-svg-full.js": script.read_bytes(), "plotly.min.js": get_plotlyjs().encode()}


def _mirror(folder: Path, files: dict[str, bytes]) -> None:
    """Make the folder hold exactly these files, writing only those that differ."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)


def render(build: Path = BUILD) -> int:
    """Call Sphinx on the gathered pages; a warning is an error. Returns its exit status."""
    source = gather(build)
    for kept in (FIGURES, live.FOLDER):  # Sphinx would keep files of earlier runs
        shutil.rmtree(build / "html" / "_static" / kept, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "auto"]
    command += ["-D", f"html_static_path={BOOK / '_static'},{build / 'static'},{build / 'live'}"]
    command += ["-c", str(BOOK), "-d", str(build / "doctrees"), str(source), str(build / "html")]
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        _lighten(build / "html")
    return status


def _lighten(html: Path) -> None:
    """Remove what no page uses, and offer chapters for download as their Colab editions, without outputs."""
    for path in [path for pattern in _UNUSED for path in (html / "_static").glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    scripts = html / "_static" / "scripts"
    users = [*html.rglob("*.html"), *scripts.glob("*theme.js")]
    used = {name for path in users for name in re.findall(r"\bfa-([a-z0-9-]+)", path.read_text(encoding="utf-8"))}
    for icons in scripts.glob("fontawesome.js"):
        icons.write_text(only_icons(icons.read_text(encoding="utf-8"), used), encoding="utf-8")
    for source in chapter_sources():
        shutil.copy(source.with_suffix(".ipynb"), html / "_sources" / "notebooks")


def only_icons(script: str, used: set[str]) -> str:
    """The theme's script of icons, in which all but a few have no outline: a tenth of its 1.5 megabytes."""

    def kept(icon: re.Match[str]) -> str:
        names = {icon[2], *re.findall(r'"([^"]+)"', icon[3])}
        return icon[0] if names & used else f'{icon[1]}""'

    return _ICON.sub(kept, script)


def main() -> int:
    start = time.perf_counter()
    try:
        status = render()
    except RenderError as error:
        print(f"render: {error}", file=sys.stderr)
        return 1
    if status == 0:
        print(f"rendered in {time.perf_counter() - start:.0f} s")
        print(f"the book: {HTML / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
