"""The built book in a browser, opened from file:// with the network blocked."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from tests.book.faults import faults_in_browser, pages


def test_no_page_has_a_fault(built_book: Path, offline: BrowserContext) -> None:
    faults = {page.name: faults_in_browser(offline, page.as_uri()) for page in pages(built_book)}
    assert {name: found for name, found in faults.items() if found} == {}


def test_the_search_finds(built_book: Path, offline: BrowserContext) -> None:
    page = offline.new_page()
    page.goto(f"{(built_book / 'search.html').as_uri()}?q=affinity")
    page.wait_for_selector("#search-results li a")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(built_book: Path, offline: BrowserContext, scheme: str) -> None:
    page = offline.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto((built_book / "index.html").as_uri())
    ratio = page.evaluate(_CONTRAST)
    page.close()
    assert ratio >= 7


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>throw new Error('planted')</script>", "planted"),
        ("<script>console.error('planted')</script>", "planted"),
        ('<script src="https://example.org/x.js"></script>', "request: https://example.org"),
        (r"<p>so \(x^2\) it is</p>", "not rendered"),
        ('<span class="math">x^2</span>', "not rendered"),
        ("<p>see {eq}`eq-gone`</p>", "not rendered"),
        ('<g data-mjx-error="Undefined control sequence">x</g>', "wrong mathematics"),
        ('<div style="width:600px">wide</div>', "wider than a phone"),
        ('<img alt="a dog" src="gone.png">', "did not load"),
        ('<figure class="calip-interactive"></figure>', "not drawn"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, offline: BrowserContext, body: str, complaint: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta name="viewport" content="width=device-width"><p>fine</p>{body}')
    assert any(complaint in fault for fault in faults_in_browser(offline, page.as_uri()))


def test_a_page_without_fault_passes(tmp_path: Path, offline: BrowserContext) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        r'<p>fine, with <code>\(code\)</code></p><div style="overflow-x:auto"><p style="width:600px">wide</p></div>'
    )
    assert faults_in_browser(offline, page.as_uri()) == []


# WCAG's contrast ratio between a paragraph's colour and the page's.
_CONTRAST = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
  const light = colour => channels(colour).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const text = light(getComputedStyle(document.querySelector("article p")).color);
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
}"""
