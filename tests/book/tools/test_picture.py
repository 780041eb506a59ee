"""The README's picture is drawn from a page whose panel runs, and stays small."""

import io
from pathlib import Path

import pytest
from PIL import Image

from book.tools import picture

_PAGE = '<!doctype html><p>A panel</p><div class="calip-live-made" data-panel="landing">.</div>'


@pytest.fixture
def page(tmp_path: Path, browser_path: str) -> Path:
    path = tmp_path / "index.html"
    path.write_text(_PAGE)
    return path


def test_it_is_as_wide_as_a_desk(page: Path) -> None:
    assert Image.open(io.BytesIO(picture.draw(page))).width == 1280


def test_a_large_one_is_refused(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "LARGEST", 100)
    with pytest.raises(picture.PictureError, match=r"expected at most 100$"):
        picture.draw(page)


def test_a_book_that_is_not_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(picture.PictureError, match="index.html does not exist: run `make book`"):
        picture.draw(tmp_path / "index.html")


def test_the_committed_one_is_small() -> None:
    assert picture.PICTURE.stat().st_size <= picture.LARGEST
