"""Pages that run the live pages' modules in a browser, from ``file://`` and without a network."""

import json
import shutil
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import pydata_sphinx_theme
import pytest
import sphinx_book_theme
from playwright.sync_api import BrowserContext, Page

from book.tools.bundle import LIVE, bundle
from book.tools.live import BUILT, FOLDER, build_live

Run = Callable[..., Any]
OpenPanel = Callable[..., Page]

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

_THEME = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/styles"
_BOOK_THEME = Path(sphinx_book_theme.__file__).parent / "theme/sphinx_book_theme/static/styles"
_STYLES = (
    _THEME / "pydata-sphinx-theme.css",
    _BOOK_THEME / "sphinx-book-theme.css",
    LIVE.parent / "calip.css",
    LIVE / "live.css",
)


@pytest.fixture(scope="session")
def live_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make book` writes for the live pages: the script, the weights and the panels' data."""
    build_live()  # again only what changed since `make book`
    return Path(shutil.copytree(BUILT / FOLDER, tmp_path_factory.mktemp("live"), dirs_exist_ok=True))


@pytest.fixture
def module(offline: BrowserContext, tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """``module("engine/tensors.js")`` gives a function that calls the module's exports in the browser.

    ``run("softmax", [1, 2])`` returns the result; ``run("softmax", js="[new Float32Array(2)]")`` takes its arguments
    from JavaScript. Typed arrays come back as lists.
    """
    opened: list[Page] = []

    def open_module(name: str) -> Run:
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        (folder / "bundle.js").write_text(_exposing(name), encoding="utf-8")
        (folder / "page.html").write_text('<!doctype html><meta charset="utf-8"><script src="bundle.js"></script>')
        page = offline.new_page()
        opened.append(page)
        page.goto((folder / "page.html").as_uri())

        def run(function: str, *arguments: Any, js: str | None = None) -> Any:
            given = js if js is not None else json.dumps(arguments)
            return page.evaluate(f"async () => plain(await underTest.{function}(...{given}))")

        return run

    yield open_module
    for page in opened:
        page.close()


@pytest.fixture
def live_page(offline: BrowserContext, live_folder: Path) -> Iterator[OpenPanel]:
    """``live_page("landing")`` opens a page with one panel, in the book's theme, and returns it when the panel is made.

    Options: ``scheme`` ("light" or "dark"), ``size`` (``DESK`` or ``PHONE``), ``motion`` ("no-preference" or "reduce").
    When the test ends, an error on a page's console or a request for anything but a file fails it.
    """
    opened: list[Page] = []
    faults: list[str] = []

    def open_panel(
        panel: str, *, scheme: str = "light", size: dict[str, int] = DESK, motion: str = "no-preference"
    ) -> Page:
        page = offline.new_page()
        opened.append(page)
        page.set_default_timeout(30_000)
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion=motion)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: None if _is_local(request.url) else faults.append(request.url))
        path = live_folder / f"{panel}.html"
        path.write_text(_page(panel), encoding="utf-8")
        page.goto(path.as_uri())
        page.locator(".calip-live-made").wait_for()
        return page

    yield open_panel
    for page in opened:
        page.close()
    assert faults == []


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def _page(panel: str) -> str:
    """A page of the book's theme, without its bars, beside the folder's script."""
    styles = "".join(f'<link rel="stylesheet" href="{path.as_uri()}">' for path in _STYLES)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A panel</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">{styles}
<script>
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
</script>
<script defer src="live.js"></script></head>
<body><main class="bd-content" style="display: block; max-width: 60rem; margin: 0 auto; padding: 0 0.75rem">
<h1>A panel</h1>
<div class="calip-live" data-panel="{escape(panel)}" role="region" aria-label="Live"><p>About it.</p></div>
</main></body></html>
"""


_PLAIN = """
  window.plain = (value) => {
    if (ArrayBuffer.isView(value) || Array.isArray(value)) return Array.from(value, plain);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
  };
"""


def _exposing(name: str) -> str:
    """A bundle of one module that keeps its exports in ``underTest``."""
    script = bundle(LIVE, name).replace(".start(document.currentScript.src, `(${load})()`)", "")
    return script.replace(f'  load()["{name}"]', f'{_PLAIN}  window.underTest = load()["{name}"]')
