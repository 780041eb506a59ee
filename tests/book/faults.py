"""What may be wrong with a built page, found by reading its HTML and by opening it in a browser."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

_PHONE = {"width": 390, "height": 844}
_DESK = {"width": 1280, "height": 900}
_USELESS_ALT = re.compile(r"\s*(<?(figure|image|plot)\b[^>]{0,40}>?|\S+\.(png|svg|jpe?g))?\s*", re.IGNORECASE)


@dataclass
class Parsed(HTMLParser):
    """The ids of a page, what it refers to, and the alternative texts of its images."""

    ids: set[str] = field(default_factory=set)
    references: list[str] = field(default_factory=list)
    alts: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := values.get(name))}
        self.references += [value for name in ("href", "src") if (value := values.get(name)) and tag != "base"]
        if tag == "img":
            self.alts.append(values.get("alt"))


def parse(page: Path) -> Parsed:
    parsed = Parsed()
    parsed.feed(page.read_text(encoding="utf-8"))
    return parsed


def pages(folder: Path) -> list[Path]:
    """Every page that a reader can open; Sphinx's static folder holds none."""
    return [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts]


def broken_links(folder: Path) -> list[str]:
    """Internal links, images, styles and scripts that lead nowhere, and anchors that do not exist."""
    parsed = {page.resolve(): parse(page) for page in pages(folder)}
    broken = []
    for page, content in parsed.items():
        for reference in content.references:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in parsed and anchor not in parsed[target].ids):
                broken.append(f"{page.name}: {reference}")
    return broken


def useless_alts(page: Path) -> list[str]:
    """Images whose alternative text is missing, empty or a default."""
    return [f"{page.name}: alt={alt!r}" for alt in parse(page).alts if alt is None or _USELESS_ALT.fullmatch(alt)]


def faults_in_browser(context: BrowserContext, url: str) -> list[str]:
    """Open a page as a reader does, at the width of a desk and of a phone; everything that is wrong with it."""
    page = context.new_page()
    found: list[str] = []
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("request", lambda request: None if _local(request.url) else found.append(f"request: {request.url}"))
    try:
        page.set_viewport_size(_DESK)
        page.goto(url, wait_until="load")
        page.evaluate("() => window.MathJax?.startup?.promise")
        found += page.evaluate(_LOOK)
        page.set_viewport_size(_PHONE)
        page.wait_for_timeout(200)  # figures that follow the width redraw
        found += _overflow(page)
    finally:
        page.close()
    return found


def barriers(context: BrowserContext, url: str, scheme: str) -> list[str]:
    """What axe-core finds serious or critical on a page, in the "light" or the "dark" mode."""
    page = context.new_page()
    try:
        page.emulate_media(color_scheme=scheme)
        page.goto(url, wait_until="load")
        page.evaluate("() => window.MathJax?.startup?.promise")
        found = Axe().run(page).response["violations"]
    finally:
        page.close()
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{scheme}: {fault['id']}: {node['html'][:120]}" for fault in serious for node in fault["nodes"]]


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "about:"))


def _overflow(page: Page) -> list[str]:
    wide, widest = page.evaluate(_WIDEST)
    return [f"wider than a phone by {wide} pixels: {widest}"] if wide > 1 else []


# Mathematics that stayed source text or that MathJax marked as wrong; images that did not load; undrawn figures.
_LOOK = r"""() => {
  const found = [];
  const shown = document.body.cloneNode(true);
  shown.querySelectorAll("script, style, code, pre, mjx-container, textarea").forEach(e => e.remove());
  const raw = shown.textContent.match(/\\\(|\\\[|\$\$|\\begin\{|\{(eq|cite:?[pt]?|ref|doc)\}/);
  if (raw) found.push(`not rendered: ${shown.textContent.slice(Math.max(0, raw.index - 30), raw.index + 50)}`);
  for (const e of document.querySelectorAll(".math"))
    if (!e.querySelector("mjx-container")) found.push(`not rendered: ${e.textContent.slice(0, 60)}`);
  for (const e of document.querySelectorAll(".math > .eqno")) {
    const formula = e.parentElement.querySelector("mjx-container");
    if (formula && formula.getBoundingClientRect().right > e.getBoundingClientRect().left + 1)
      found.push(`an equation runs behind its number: ${e.textContent}`);
  }
  for (const e of document.querySelectorAll("mjx-merror, [data-mjx-error], [data-mml-node=merror]"))
    found.push(`wrong mathematics: ${e.getAttribute("data-mjx-error") ?? e.textContent}`);
  for (const e of document.images)
    if (e.complete && !e.naturalWidth) found.push(`image did not load: ${e.src.slice(0, 90)}`);
  for (const e of document.querySelectorAll(".calip-interactive"))
    if (!e.querySelector(".main-svg")) found.push("an interactive figure was not drawn");
  // Plotly makes an empty .main-svg even where WebGL fails, and puts words in place of the scene.
  for (const e of document.querySelectorAll(".calip-interactive")) {
    const traces = e.querySelector("[role=img]")?._fullData ?? [];
    const drawn = [...e.querySelectorAll("canvas")].some(c => c.width && c.height);
    if (traces.some(t => t.type === "scatter3d") && !drawn)
      found.push("an interactive figure has no canvas for its points");
    if (e.textContent.includes("WebGL is not supported"))
      found.push("an interactive figure was not drawn: WebGL is not supported");
  }
  return found;
}"""

# By how much the page is wider than the screen, and the innermost element that sticks out without a box of its own.
_WIDEST = """() => {
  const width = document.documentElement.clientWidth;
  const over = document.documentElement.scrollWidth - width;
  const clipped = e => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== "visible" && p.getBoundingClientRect().right <= width + 1) return true;
    return false;
  };
  const sticksOut = e => e.getBoundingClientRect().right > width + 1 && !clipped(e);
  const last = [...document.body.querySelectorAll("*")].filter(sticksOut).at(-1);
  return [over, last ? `${last.cloneNode(false).outerHTML.slice(0, 120)} ${last.textContent.slice(0, 60)}` : ""];
}"""
