"""Output of a chapter: figures, tables, computed prose, interactive figures; accessible and without network access."""

import base64
import io
import json
import re
import sys
from collections.abc import Sequence
from html import escape
from typing import Any

from IPython.display import Markdown, display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_DPI = 160  # two pixels per CSS pixel (at 80 CSS pixels per inch): sharp on any screen
_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$")
_BEFORE_UNIT = re.compile(r" (?=[%±])|(?<=±) ")
_USELESS_ALT = re.compile(r"<?\s*(figure|image|plot)\b[^>]{0,40}>?\s*", re.IGNORECASE)


def show(fig: Figure, *, alt: str, caption: str = "") -> None:
    """Show a matplotlib figure as an HTML figure with its alternative text, and close it.

    Args:
        fig: the figure; it gets an opaque white background, so that it is legible on dark pages too.
        alt: what the figure shows and what can be read from it, for those who cannot see it.
        caption: text under the figure; ``$...$`` is mathematics.

    Raises:
        ValueError: ``alt`` is empty or meaningless ("figure").
    """
    _check_alt(alt)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    width = round(int.from_bytes(buffer.getvalue()[16:20], "big") / 2)  # the PNG header contains the width in pixels
    plt.close(fig)
    data = base64.b64encode(buffer.getvalue()).decode()
    _display(
        f'<figure class="calip-figure"><img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{width}" '
        f'style="max-width:100%;height:auto;background:#fff">{_caption("figcaption", caption)}</figure>',
        plain=f"[figure: {alt}]",
    )


def table(
    rows: Sequence[Sequence[Any]], headers: Sequence[str], *, caption: str = "", empty_columns: bool = True
) -> None:
    """Show a table whose first column names its rows.

    Args:
        rows: one sequence of cells per row, as long as ``headers``; shown with ``str``; ``$...$`` is mathematics.
        headers: one per column.
        caption: description of the table.
        empty_columns: whether to show columns in which every cell is empty.

    Raises:
        ValueError: the length of a row differs from that of the headers.
    """
    for number, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(f"row {number} of the table has {len(row)} cells, expected {len(headers)}: {list(row)!r}")
    if not empty_columns:
        told = [i for i in range(len(headers)) if any(str(row[i]) for row in rows)]
        headers, rows = [headers[i] for i in told], [[row[i] for i in told] for row in rows]
    head = "".join(f'<th scope="col">{_text(h)}</th>' for h in headers)
    body = "".join(
        f'<tr><th scope="row">{_text(row[0])}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    _display(
        f'<div class="calip-table" role="region" tabindex="0" aria-label="{escape(caption or "table")}" '
        f'style="overflow-x:auto"><table>{_caption("caption", caption)}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>",
        plain=_plain_table(rows, headers, caption),
    )


def prose(markdown: str) -> None:
    """Show a paragraph with computed numbers; Markdown with ``$...$`` mathematics."""
    display(Markdown(markdown))


def percent(share: float) -> str:
    """Format a fraction from 0 to 1 for a chapter's text: "8.3 %"."""
    return f"{100 * share:.1f} %"


def interactive(fig: Any, *, alt: str, caption: str = "") -> None:
    """Show a plotly figure: in the book with the page's local plotly.js, elsewhere with the notebook's own renderer.

    Args:
        fig: a ``plotly.graph_objects.Figure``.
        alt: what the figure shows and what the reader can change.
        caption: text under the figure; ``$...$`` is mathematics.

    Raises:
        ValueError: ``alt`` is empty or meaningless.
    """
    _check_alt(alt)
    if _on_colab():
        fig.show()
        _display(_caption("p", caption), plain=caption)
        return
    bundle = {
        "application/vnd.plotly.v1+json": json.loads(fig.to_json()),
        "text/html": _plotly_html(fig, alt, caption),
        "text/plain": f"[interactive figure: {alt}]",
    }
    display(bundle, raw=True)


def _plotly_html(fig: Any, alt: str, caption: str) -> str:
    """HTML that the page's plotly.js draws once loaded; a page without plotly.js shows the description."""
    content = fig.to_json().replace("</", "<\\/")  # otherwise, a label could close the script
    height = fig.layout.height or 450
    return (
        f'<figure class="calip-figure calip-interactive"><div role="img" aria-label="{escape(alt)}" '
        f'style="min-height:{height}px;background:#fff"></div>{_caption("figcaption", caption)}'
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


def _check_alt(alt: str) -> None:
    if not alt.strip() or _USELESS_ALT.fullmatch(alt.strip()):
        raise ValueError(f"alt = {alt!r} describes nothing: say what the figure shows and what can be read from it")


def _on_colab() -> bool:
    return "google.colab" in sys.modules


def _text(value: Any) -> str:
    """Escaped text with ``$...$`` marked up as mathematics in the form that Sphinx writes and Jupyter reads."""
    return _MATH.sub(r'<span class="math notranslate nohighlight">\\(\1\\)</span>', escape(str(value), quote=False))


def _cell(value: Any) -> str:
    """Like ``_text``, with non-breaking spaces between a number and its unit or uncertainty."""
    return _text(_BEFORE_UNIT.sub("\u00a0", str(value)))


def _caption(tag: str, text: str) -> str:
    return f"<{tag}>{_text(text)}</{tag}>" if text else ""


def _plain_table(rows: Sequence[Sequence[Any]], headers: Sequence[str], caption: str) -> str:
    lines = [list(map(str, headers)), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([caption, *text] if caption else text)


def _display(html: str, plain: str) -> None:
    display({"text/html": html, "text/plain": plain}, raw=True)
