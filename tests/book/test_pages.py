"""The built book as files: links lead somewhere, images are described, nothing comes from elsewhere."""

import json
import re
from html import escape
from pathlib import Path

import pytest

from book.tools.chapters import chapter_sources, read_chapter
from book.tools.colab import equations
from tests.book.faults import broken_links, pages, parse, useless_alts


def test_every_chapter_and_page_is_there(built_book: Path) -> None:
    names = {page.relative_to(built_book).as_posix() for page in pages(built_book)}
    fixed = ("index", "notation", "bibliography", "contributing", "status", "speed", "search")
    assert names >= {f"{name}.html" for name in fixed}
    assert names >= {f"notebooks/{source.stem}.html" for source in chapter_sources()}


def test_internal_links_and_anchors_lead_somewhere(built_book: Path) -> None:
    assert broken_links(built_book) == []


def test_every_image_is_described(built_book: Path) -> None:
    assert [fault for page in pages(built_book) for fault in useless_alts(page)] == []


def test_every_chapter_can_be_run_on_colab_and_downloaded(built_book: Path) -> None:
    for source in chapter_sources():
        references = parse(built_book / "notebooks" / f"{source.stem}.html").references
        assert any(r.startswith("https://colab.") and r.endswith(f"/notebooks/{source.stem}.ipynb") for r in references)
        download = built_book / "_sources" / "notebooks" / f"{source.stem}.ipynb"
        assert any(r.endswith(f"_sources/notebooks/{source.stem}.ipynb") for r in references)
        assert json.loads(download.read_text(encoding="utf-8"))["nbformat"] == 4


def test_equations_have_the_numbers_that_the_colab_editions_say(built_book: Path) -> None:
    places = equations(chapter_sources())
    shown = {}
    for source in chapter_sources():
        text = (built_book / "notebooks" / f"{source.stem}.html").read_text(encoding="utf-8")
        shown |= {
            label: int(n) for label, n in re.findall(r'id="equation-([\w-]+)">\s*<span class="eqno">\((\d+)\)', text)
        }
    assert shown == {label: place.number for label, place in places.items()}


def test_no_page_says_what_only_a_readers_own_run_should_say(built_book: Path) -> None:
    for page in pages(built_book):
        text = page.read_text(encoding="utf-8")
        assert "not done yet\n" not in text and "Caches: " not in text and "Show code cell" not in text, page.name


def test_the_book_is_small_enough_to_carry(built_book: Path) -> None:
    """Besides the weights that live pages load."""
    files = [path for path in built_book.rglob("*") if path.is_file() and "live" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 25e6
    assert not [path.name for path in files if path.suffix == ".map"]


def test_every_chapter_has_its_number_in_the_side_bar(built_book: Path) -> None:
    text = (built_book / "index.html").read_text(encoding="utf-8")
    for source in chapter_sources():
        title = read_chapter(source).cells[0].source.partition("\n")[0].removeprefix("# ")
        assert re.search(rf'href="notebooks/{source.stem}.html">\s*{re.escape(escape(title, quote=False))}', text), (
            title
        )


def test_status_page_holds_times_and_versions(built_book: Path) -> None:
    text = (built_book / "status.html").read_text(encoding="utf-8")
    for source in chapter_sources():
        assert f"notebooks/{source.stem}.html" in text
    assert "run time" in text and "torch" in text and "Python" in text


@pytest.mark.parametrize(
    "reference", ["gone.html", "other.html#gone", "#gone", "gone.png"], ids=["page", "anchor", "own anchor", "image"]
)
def test_a_planted_broken_link_is_found(tmp_path: Path, reference: str) -> None:
    (tmp_path / "other.html").write_text('<p id="here"><a href="index.html#top">fine</a></p>')
    attribute = "src" if reference.endswith("png") else "href"
    element = f'<img alt="a dog" src="{reference}">' if attribute == "src" else f'<a href="{reference}">x</a>'
    (tmp_path / "index.html").write_text(f'<p id="top"><a href="other.html#here">fine</a>{element}</p>')
    assert broken_links(tmp_path) == [f"index.html: {reference}"]


@pytest.mark.parametrize(
    "image", ["<img>", '<img alt="">', '<img alt="&lt;Figure size 640x480&gt;">', '<img alt="a/b.png">']
)
def test_a_planted_useless_alt_is_found(tmp_path: Path, image: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f'<img alt="Accuracy rises with width">{image}')
    assert len(useless_alts(page)) == 1
