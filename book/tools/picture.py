"""Draw the README's picture: the built book's landing page as a browser shows it.

Usage: python -m book.tools.picture (after `make book`, where a Chromium is installed)
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from book.tools.chapters import ROOT, replacing

PICTURE = ROOT / "book" / "_static" / "landing.webp"
LARGEST = 300_000
"""Bytes."""
_PAGE = ROOT / "book" / "_build" / "html" / "index.html"
_WIDTH, _HEIGHT = 1280, 950
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


class PictureError(RuntimeError):
    """The picture cannot be drawn; the message says what is missing."""


def find_browser() -> str:
    """The system's Chromium.

    Raises:
        PictureError: there is none.
    """
    found = next(filter(None, map(shutil.which, _BROWSERS)), _MAC if Path(_MAC).exists() else None)
    if found is None:
        raise PictureError(f"no browser is installed (looked for {', '.join(_BROWSERS)})")
    return found


def draw(page: Path = _PAGE) -> bytes:
    """The top of the landing page once its panel runs, as a WebP without metadata.

    Raises:
        PictureError: the book has not been built, there is no browser, or the picture is too large.
    """
    if not page.is_file():
        raise PictureError(f"{page} does not exist: run `make book`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
        view.goto(page.as_uri())
        view.locator('.calip-live-made[data-panel="landing"]').wait_for()
        shot = view.screenshot()
        browser.close()
    content = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").save(content, "webp", quality=90, method=6)
    if len(content.getvalue()) > LARGEST:
        raise PictureError(f"the picture has {len(content.getvalue()):,} bytes, expected at most {LARGEST:,}")
    return content.getvalue()


def main() -> int:
    try:
        content = draw()
    except PictureError as error:
        print(f"picture: {error}", file=sys.stderr)
        return 1
    with replacing(PICTURE) as temporary:
        temporary.write_bytes(content)
    print(f"{PICTURE.relative_to(ROOT)}: {len(content) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
