"""The built book in a browser, opened from file:// with the network blocked."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page

from tests.book.faults import barriers, faults_in_browser, pages

_REDRAWN = 500  # milliseconds that plotly has for it


def test_no_page_has_a_fault(built_book: Path, offline: BrowserContext) -> None:
    faults = {page.name: faults_in_browser(offline, page.as_uri()) for page in pages(built_book)}
    assert {name: found for name, found in faults.items() if found} == {}


def test_the_search_finds(built_book: Path, offline: BrowserContext) -> None:
    page = offline.new_page()
    page.goto(f"{(built_book / 'search.html').as_uri()}?q=affinity")
    page.wait_for_selector("#search-results li a")
    page.close()


def test_the_arrow_keys_move_a_slider(built_book: Path, offline: BrowserContext) -> None:
    page = offline.new_page()
    page.goto((built_book / "notebooks" / "03_calip_attention.html").as_uri(), wait_until="load")
    page.evaluate("document.querySelector('[data-panel=affinity]').remove()")  # it takes the slider's place
    slider = page.locator(".calip-slider")
    figures, control = slider.locator("figure"), slider.locator("input[type=range]")
    assert [figures.nth(i).is_visible() for i in range(3)] == [True, False, False]
    control.press("ArrowRight")
    assert [figures.nth(i).is_visible() for i in range(3)] == [False, True, False]
    assert slider.locator("output").inner_text() == control.get_attribute("aria-valuetext") == "1"
    page.close()


def test_an_entry_of_a_menu_shows_another_trace(built_book: Path, offline: BrowserContext) -> None:
    page, figure = _open_figure(built_book, offline, "07_point_clouds", ".updatemenu-container")
    before, picture = _shown(figure), figure.locator("canvas").first.screenshot()
    figure.locator(".updatemenu-header").click()
    figure.locator(".updatemenu-dropdown-button").nth(1).click()
    page.wait_for_timeout(_REDRAWN)
    assert (before, _shown(figure)) == ([0], [1])
    assert figure.locator("canvas").first.screenshot() != picture
    page.close()


def _open_figure(book: Path, context: BrowserContext, chapter: str, part: str) -> tuple[Page, Locator]:
    """A chapter's page, and the first of its interactive figures that has such a part, in view."""
    page = context.new_page()
    page.goto((book / "notebooks" / f"{chapter}.html").as_uri(), wait_until="load")
    figure = page.locator(".calip-interactive", has=page.locator(part)).first
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(_REDRAWN)
    return page, figure


def _shown(figure: Locator) -> list[int]:
    """Numbers of the traces that plotly shows."""
    shown: list[int] = figure.locator("[role=img]").first.evaluate(
        "box => box._fullData.flatMap((trace, number) => trace.visible === true ? [number] : [])"
    )
    return shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_a_reader_out(built_book: Path, offline: BrowserContext, scheme: str) -> None:
    assert [fault for page in pages(built_book) for fault in barriers(offline, page.as_uri(), scheme)] == []


@pytest.mark.parametrize(
    ("body", "scheme", "rule"),
    [
        ('<img src="data:,">', "light", "image-alt"),
        ("<button></button>", "light", "button-name"),
        ('<p style="color:#999">pale</p>', "light", "color-contrast"),
        (
            "<style>@media (prefers-color-scheme: dark) { p { color: #ccc } }</style><p>pale</p>",
            "dark",
            "color-contrast",
        ),
    ],
)
def test_a_planted_barrier_is_found(tmp_path: Path, offline: BrowserContext, body: str, scheme: str, rule: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        f'<!doctype html><html lang="en"><title>x</title><body style="background:#fff">{body}</body></html>'
    )
    (fault,) = barriers(offline, page.as_uri(), scheme)
    assert fault.startswith(f"{scheme}: {rule}: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(built_book: Path, offline: BrowserContext, scheme: str) -> None:
    page = offline.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto((built_book / "index.html").as_uri())
    ratio = page.evaluate(_CONTRAST)
    page.close()
    assert ratio >= 7


def test_the_landing_page_is_light(built_book: Path, offline: BrowserContext) -> None:
    page, asked = offline.new_page(), set[Path]()
    page.on("request", lambda request: asked.add(Path(unquote(urlsplit(request.url).path))))
    page.goto((built_book / "index.html").as_uri(), wait_until="load")
    page.locator('.calip-live-made[data-panel="landing"]').wait_for()
    page.close()
    assert sum(path.stat().st_size for path in asked if path.is_file()) < 3_000_000


def _figure(content: str, kind: str = "heatmap") -> str:
    """An interactive figure as plotly leaves it, with ``content`` in it and one trace."""
    return (
        f'<figure class="calip-interactive"><div role="img"><svg class="main-svg"></svg>{content}</div></figure>'
        f'<script>document.querySelector("[role=img]")._fullData = [{{ type: "{kind}" }}]</script>'
    )


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
        (
            '<div class="math"><span class="eqno" style="float:right">(1)</span><mjx-container style="display:block">'
            "x</mjx-container></div>",
            "an equation runs behind its number: (1)",
        ),
        ('<img alt="a dog" src="gone.png">', "did not load"),
        ('<figure class="calip-interactive"></figure>', "not drawn"),
        (_figure("<p>WebGL is not supported by your browser</p>"), "WebGL is not supported"),
        (_figure("<p>points</p>", "scatter3d"), "no canvas"),
        (_figure('<canvas width="0"></canvas>', "scatter3d"), "no canvas"),
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
