"""Pages that run the live pages' modules in a browser, from ``file://`` and without a network."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from book.tools.bundle import LIVE, bundle
from book.tools.live import build_live

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def live_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make book` writes for the live pages: the script, the weights and the panels' data."""
    folder = tmp_path_factory.mktemp("live")
    build_live(folder)
    return folder


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
