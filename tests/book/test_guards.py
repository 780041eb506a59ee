"""The book's guards themselves: each sees the fault that is planted for it."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from book.tools import picture, render
from tests.book import conftest

_CONFIGURATION = ("conf.py", "references.bib", "_static")


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(picture, "_MAC", str(tmp_path / "none"))


@pytest.mark.usefixtures("no_browser")
def test_where_ci_is_true_a_missing_browser_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no browser is installed \(looked for chromium"):
        conftest.find_browser()


@pytest.mark.usefixtures("no_browser")
@pytest.mark.parametrize("value", ["", "false", None])
def test_elsewhere_a_missing_browser_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.skip.Exception, match=r"no browser is installed \(looked for chromium"):
        conftest.find_browser()


@pytest.fixture
def tiny_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The book's own settings with one-line pages and one chapter; ``render`` works on it."""
    chapter = tmp_path / "00_start.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A tiny chapter")])
    (tmp_path / "build" / "live").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "build" / "executed"):
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / chapter.name)
    (tmp_path / "build" / "executed" / "00_start.json").write_text("{}")
    book = tmp_path / "book"
    book.mkdir()
    for name in _CONFIGURATION:
        copy = shutil.copytree if (render.BOOK / name).is_dir() else shutil.copy
        copy(render.BOOK / name, book / name)
    shutil.copy(render.BOOK.parent / "pyproject.toml", tmp_path)
    others = ("notebooks/00_start", "notation", "live", "bibliography", "contributing", "status", "speed")
    (book / "index.md").write_text("# A tiny book\n\n```{toctree}\n" + "\n".join(others) + "\n```\n")
    for name in ("notation", "live", "bibliography"):
        (book / f"{name}.md").write_text(f"# {name}\n\nSee [the first page](index.md).\n")
    monkeypatch.setattr(render, "BOOK", book)
    monkeypatch.setattr(render, "chapter_sources", lambda: [chapter.with_suffix(".py")])
    monkeypatch.setattr(render, "status_page", lambda records: "# Status\n")
    monkeypatch.setattr(render, "speed_page", lambda: "# Speed\n")
    monkeypatch.setattr(render, "api_pages", dict)
    return book


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("See [](gone.md).", "gone"),
        ("See {eq}`eq-gone`.", "eq-gone"),
        ("As {cite:t}`nobody1900` says.", "nobody1900"),
        ("### Two levels down at once", "H3|level"),
    ],
    ids=["page", "equation", "citation", "heading"],
)
def test_one_warning_of_sphinx_fails_the_book(
    tiny_book: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], planted: str, said: str
) -> None:
    build = tmp_path / "build"
    assert render.render(build) == 0, capfd.readouterr().err
    with (tiny_book / "notation.md").open("a") as page:
        page.write(f"\n{planted}\n")
    assert render.render(build) != 0
    assert re.search(said, capfd.readouterr().err)
