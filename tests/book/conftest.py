"""The built book, and a browser that reaches nothing but files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

from book.tools import picture

ROOT = Path(__file__).resolve().parents[2]
# Figures in three dimensions need WebGL; without a graphics card it is drawn by the processor, if one asks for that.
_ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def built_book() -> Path:
    """The folder of the book's pages: what `make book` would leave, executing and rendering only what changed."""
    for tool in ("execute", "live", "render"):
        command = [sys.executable, "-m", f"book.tools.{tool}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"book.tools.{tool} failed:\n{done.stdout}{done.stderr}"
    return ROOT / "book" / "_build" / "html"


def find_browser() -> str:
    """The system's Chromium. Without one the test is skipped, but never where CI=true."""
    try:
        return picture.find_browser()
    except picture.PictureError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser_path() -> str:
    return find_browser()


@pytest.fixture(scope="module")
def offline(browser_path: str) -> Iterator[BrowserContext]:
    """A browser's context in which every request but one for a file is refused."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=_ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(120_000)  # a page holds megabytes of figures, and the machine may be busy
        context.route("**/*", lambda route: route.continue_() if _is_local(route.request.url) else route.abort())
        yield context
        browser.close()


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))
