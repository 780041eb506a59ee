"""Exhibits: figures, tables and sentences that show themselves in a notebook, accessible and without network access."""

import base64
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import display
from jaxtyping import Bool
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from PIL import Image

from calip_core.exhibits.style import PHONE_WIDTH
from calip_core.metrics import accuracy_interval

_DPI = 160
_CSS_DPI = 92  # shows a figure as wide as the text (7.4 inches, 680 pixels), and 9 points nearly as large as on paper
_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$")
_BEFORE_UNIT = re.compile(  # spaces that do not break: "5 %", "1 ± 2", "[1, 2]", "13 : 10", "p = 0.5"
    r" (?=[%±])|(?<=±) |(?<=\d,) (?=[\d−])|(?<=\d) (?=: \d)|(?<=\d :) (?=\d)|(?<=\bp) (?==)|(?<=p =) "
)
_USELESS_ALT = re.compile(r"<?\s*(figure|image|plot)\b[^>]{0,40}>?\s*", re.IGNORECASE)
_EMPTY_CORNER = "<th >&nbsp;</th>"
_LARGE = 120_000  # bytes of one figure; the whole book has a budget of 25 MB
_PHONE = "(max-width: 600px)"

Bundle = dict[str, Any]
"""A MIME bundle: type -> content."""


@dataclass(frozen=True)
class Text:
    """A sentence or a paragraph whose wording depends on numbers.

    Attributes:
        markdown: the text; ``$...$`` is mathematics.
    """

    markdown: str

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return {"text/markdown": self.markdown, "text/plain": self.markdown}


class Plot:
    """A matplotlib figure with its caption and its alternative text."""

    def __init__(self, figure: Figure, *, alt: str, caption: str = "", narrow: Figure | None = None) -> None:
        """Render the figure and close it.

        Args:
            figure: the figure; its opaque white background keeps it legible on dark pages.
            alt: what the figure shows and what can be read from it, for those who cannot see it.
            caption: text under the figure; ``$...$`` is mathematics.
            narrow: the same content arranged for a phone's width, if the figure has several panels side by side.

        Raises:
            ValueError: ``alt`` is empty or meaningless ("figure").
        """
        _check_alt(alt)
        self.figure, self.alt, self.caption = figure, alt, caption
        self._wide = _rendered(figure)
        self._narrow = None if narrow is None else _rendered(narrow)

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        source, width = self._wide
        image = (
            f'<img src="{source}" alt="{escape(self.alt)}" width="{width}" '
            'style="max-width:100%;height:auto;background:#fff">'
        )
        kind = "calip-figure"
        if self._narrow is not None:
            image = f'<picture><source media="{_PHONE}" srcset="{self._narrow[0]}">{image}</picture>'
            kind += " calip-restacked"
        html = f'<figure class="{kind}">{image}{_caption("figcaption", self.caption)}</figure>'
        return {"text/html": html, "text/plain": f"[figure: {self.alt}]"}


def restacked(draw: Callable[[int], Figure], *, columns: int, alt: str, caption: str = "", narrow: int = 1) -> Plot:
    """A ``Plot`` drawn twice: with ``columns`` panels per row, and for phones with ``narrow``.

    The second one is made narrow enough for its text to stay legible on a phone.

    Args:
        draw: draws the figure, given the number of panels per row.
        columns: panels per row on a page.
        alt: see ``Plot``.
        caption: see ``Plot``.
        narrow: panels per row on a phone.
    """
    phone = draw(narrow)
    width, height = phone.get_size_inches()
    phone.set_size_inches(min(width, PHONE_WIDTH), height)
    return Plot(draw(columns), alt=alt, caption=caption, narrow=phone)


@dataclass(frozen=True)
class Table:
    """A data frame with a caption; its index names the rows.

    Attributes:
        frame: the values, to go on with.
        caption: text under the table; ``$...$`` is mathematics.
        formats: column -> format of its values (``"{:.1%}"`` or a function); others are shown with ``str``.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, str | Callable[[Any], str]] = field(default_factory=dict)

    @property
    def styler(self) -> Styler:
        """The styled frame: escaped text, mathematics, numbers beside their units."""
        styler = Styler(self.frame)
        styler.format({column: self._cell(column) for column in self.frame.columns})
        return styler.format_index(_text, axis=0).format_index(_text, axis=1).set_caption(_text(self.caption))

    def _cell(self, column: str) -> Callable[[Any], str]:
        wanted = self.formats.get(column, str)

        def shown(value: Any) -> str:
            if value is None or (isinstance(value, float) and pd.isna(value)):
                return ""
            return _cell(wanted.format(value) if isinstance(wanted, str) else wanted(value))

        return shown

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        label = escape(self.caption or "table")
        html = (
            f'<div class="calip-table" role="region" tabindex="0" aria-label="{label}" style="overflow-x:auto">'
            f"{self._html()}</div>"
        )
        return {"text/html": html, "text/plain": f"{self.caption}\n{self._plain()}".strip()}

    def _html(self) -> str:
        """The styler's HTML with what screen readers need: header cells that say what they head."""
        html: str = self.styler.hide(axis=0, names=True).to_html(exclude_styles=True)
        head, end, body = html.partition("</thead>")
        name = self.frame.index.name
        corner = "<td></td>" if name is None else f"<th >{_text(name)}</th>"
        head = head.replace(_EMPTY_CORNER, corner).replace("<th ", '<th scope="col" ')
        return head + end + body.replace("<th ", '<th scope="row" ')

    def _plain(self) -> str:
        shown = {column: [self._cell(column)(value) for value in self.frame[column]] for column in self.frame.columns}
        return str(pd.DataFrame(shown, index=self.frame.index).to_string())


class Interactive:
    """A plotly figure: in the book drawn by the page's local plotly.js, elsewhere by the notebook's own renderer."""

    def __init__(self, figure: Any, *, alt: str, caption: str = "") -> None:
        """Keep the figure with its texts.

        Args:
            figure: a ``plotly.graph_objects.Figure``.
            alt: what the figure shows and what the reader can change.
            caption: text under the figure; ``$...$`` is mathematics.

        Raises:
            ValueError: ``alt`` is empty or meaningless.
        """
        _check_alt(alt)
        self.figure, self.alt, self.caption = figure, alt, caption

    def _ipython_display_(self) -> None:
        if "google.colab" in sys.modules:
            self.figure.show()
            caption = _caption("p", self.caption)
            display({"text/html": caption, "text/plain": self.caption}, raw=True)
            return
        display(
            {
                "application/vnd.plotly.v1+json": json.loads(self.figure.to_json()),
                "text/html": self._html(),
                "text/plain": f"[interactive figure: {self.alt}]",
            },
            raw=True,
        )

    def _html(self) -> str:
        """HTML that the page's plotly.js draws once loaded; a page without plotly.js shows the description."""
        content = self.figure.to_json().replace("</", "<\\/")  # otherwise, a label could close the script
        height = self.figure.layout.height or 450
        return (
            f'<figure class="calip-figure calip-interactive"><div role="img" aria-label="{escape(self.alt)}" '
            f'style="min-height:{height}px;background:#fff"></div>{_caption("figcaption", self.caption)}'
            f'<script type="application/json">{content}</script><script>{_DRAW}</script></figure>'
        )


_DRAW = """(() => {
  const figure = document.currentScript.closest("figure"), box = figure.querySelector("[role=img]");
  const draw = () => {
    if (!window.Plotly) { box.textContent = box.getAttribute("aria-label"); return; }
    const { data, layout, frames } = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    Plotly.newPlot(box, { data, layout: { ...layout, width: undefined, autosize: true }, frames,
      config: { responsive: true, displaylogo: false, displayModeBar: false } });
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw); else draw();
})();"""


def percent(share: float, decimals: int = 1) -> str:
    """Format a fraction from 0 to 1: "8.3 %"."""
    return f"{100 * share:.{decimals}f} %"


def points(difference: float, decimals: int = 1) -> str:
    """Format a difference of two fractions in percentage points, with its sign and a real minus: "−1.2"."""
    return signed(100 * difference, decimals)


def signed(value: float, decimals: int = 1) -> str:
    """Format a number with its sign and a real minus; what rounds to zero has no sign."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def interval(low: float, high: float, decimals: int = 1) -> str:
    """Format an interval of fractions in per cent: "[8.3, 9.1]"."""
    return f"[{_minus(100 * low, decimals)}, {_minus(100 * high, decimals)}]"


def accuracy_text(hits: Bool[np.ndarray, "n"]) -> str:
    """An accuracy with its 95 % interval: "60.0 % [58.0, 61.9]"."""
    ends = accuracy_interval(hits)
    return f"{percent(float(hits.mean()))} {interval(ends.low, ends.high)}"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else str(last)


def _minus(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


def _rendered(figure: Figure) -> tuple[str, int]:
    """The figure as a data URL, and its width in CSS pixels.

    Lines and text are kept without loss. A figure that is large all the same holds pictures, which bear a little loss.
    """
    content = _webp(figure, lossless=True, quality=80)
    if len(content) > _LARGE:
        content = _webp(figure, quality=90)
    plt.close(figure)
    with Image.open(io.BytesIO(content)) as image:
        width = round(image.width * _CSS_DPI / _DPI)
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}", width


def _webp(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options = {"method": 4, **options}
    figure.savefig(buffer, format="webp", dpi=_DPI, bbox_inches="tight", facecolor="white", pil_kwargs=options)
    return buffer.getvalue()


def _check_alt(alt: str) -> None:
    if not alt.strip() or _USELESS_ALT.fullmatch(alt.strip()):
        raise ValueError(f"alt = {alt!r} describes nothing: say what the figure shows and what can be read from it")


def _text(value: Any) -> str:
    """Escaped text with ``$...$`` marked up as mathematics in the form that Sphinx writes and Jupyter reads."""
    return _MATH.sub(r'<span class="math notranslate nohighlight">\\(\1\\)</span>', escape(str(value), quote=False))


def _cell(value: Any) -> str:
    """Like ``_text``, with non-breaking spaces inside a number with its unit, an interval and a pair of counts."""
    return _text(_BEFORE_UNIT.sub("\u00a0", str(value)))


def _caption(tag: str, text: str) -> str:
    return f"<{tag}>{_text(text)}</{tag}>" if text else ""
