"""Exhibits are accessible, escaped, and need nothing from outside."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from calip_core.exhibits import Interactive, Plot, Table, Text, exhibit, interval, percent, points, restacked, signed
from calip_core.exhibits.style import PHONE_WIDTH

ALT = "A line that rises from 0 to 1"
_VOID = {"img", "source"}


def parse(html: str) -> list[tuple[str, dict[str, Any]]]:
    """Tags with their attributes; the HTML is well nested."""
    tags: list[tuple[str, dict[str, Any]]] = []
    stack: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))
            if tag not in _VOID:
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    Reader().feed(html)
    assert not stack
    return tags


def attributes(html: str, tag: str) -> list[dict[str, Any]]:
    return [values for name, values in parse(html) if name == tag]


def line(width: float = 3.0) -> Figure:
    figure, axes = plt.subplots(figsize=(width, 2))
    axes.plot([0, 1])
    return figure


def html_of(shown: Any) -> str:
    html: str = shown._repr_mimebundle_()["text/html"]
    return html


def width_of(url: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/webp;base64,")))) as image:
        assert image.format == "WEBP"
        return int(image.width)


def test_a_plot_has_its_description_and_caption_and_is_closed() -> None:
    figure = line()
    html = html_of(Plot(figure, alt='Rises "quickly" & <well>', caption="Where $x < y$ rises."))
    assert not plt.fignum_exists(figure.number)
    (image,) = attributes(html, "img")
    assert image["alt"] == 'Rises "quickly" & <well>'
    assert width_of(image["src"]) == pytest.approx(160 / 92 * int(image["width"]), abs=1)
    assert r'<span class="math notranslate nohighlight">\(x &lt; y\)</span> rises.</figcaption>' in html
    assert attributes(html, "figure") == [{"class": "calip-figure"}]


def test_pictures_are_compressed_and_lines_are_kept_without_loss() -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.imshow(np.random.default_rng(0).random((600, 900, 3)))
    large, small = (len(attributes(html_of(Plot(f, alt=ALT)), "img")[0]["src"]) for f in (figure, line()))
    assert small < 30_000 < large < 4 / 3 * 600_000  # without loss: over 1 MB


def test_a_plot_says_its_description_where_no_figure_is_shown() -> None:
    assert Plot(line(), alt=ALT)._repr_mimebundle_()["text/plain"] == f"[figure: {ALT}]"


@pytest.mark.parametrize("alt", ["", "  ", "figure", "<Figure size 640x480 with 1 Axes>", "Plot"])
def test_a_description_that_says_nothing_is_refused(alt: str) -> None:
    figure = line()
    for make in (lambda: Plot(figure, alt=alt), lambda: Interactive(go.Figure(), alt=alt)):
        with pytest.raises(ValueError, match="describes nothing"):
            make()
    plt.close(figure)


def test_the_same_figure_twice_gives_the_same_bytes() -> None:
    assert html_of(Plot(line(), alt=ALT)) == html_of(Plot(line(), alt=ALT))


def test_a_restacked_plot_has_a_narrow_drawing_for_phones() -> None:
    asked = []

    def draw(columns: int) -> Figure:
        asked.append(columns)
        return line(width=7.4)

    html = html_of(restacked(draw, columns=3, alt=ALT, caption="Panels."))
    assert sorted(asked) == [1, 3] and not plt.get_fignums()
    (source,), (image,) = attributes(html, "source"), attributes(html, "img")
    assert source["media"] == "(max-width: 600px)" and image["alt"] == ALT
    assert width_of(source["srcset"]) <= 160 * PHONE_WIDTH < width_of(image["src"])
    assert attributes(html, "figure") == [{"class": "calip-figure calip-restacked"}]


def test_a_table_names_its_rows_and_columns_formats_and_escapes() -> None:
    frame = pd.DataFrame(
        {"accuracy": [0.0833, float("nan")], "a<b & $\\beta_2$": ["<i>", None]}, index=["CLIP at 5 %", "94 ± 0.5"]
    )
    table = Table(frame, caption="All & $x$", formats={"accuracy": percent})
    html = html_of(table)
    tags = parse(html)
    assert [values["scope"] for name, values in tags if name == "th"] == ["col", "col", "row", "row"]
    assert "<caption>All &amp; " in html and r"\(x\)" in html and r"a&lt;b &amp; " in html and r"\(\beta_2\)" in html
    assert "8.3\u00a0%" in html and "&lt;i&gt;" in html and "nan" not in html.lower() and "None" not in html
    assert attributes(html, "div")[0]["aria-label"] == "All & $x$" and attributes(html, "div")[0]["tabindex"] == "0"


@pytest.mark.parametrize("whole", ["8.3 %", "94.0 ± 0.5", "[−0.5, 2.1]", "13 : 10", "p = 0.57"])
def test_numbers_that_belong_together_do_not_break(whole: str) -> None:
    html = html_of(Table(pd.DataFrame({"a": [f"it is {whole} here"]})))
    assert f"it is {whole.replace(' ', chr(160))} here" in html


@pytest.mark.parametrize(("name", "heads"), [("method", ["method", "a"]), (None, ["a"])])
def test_the_index_is_named_beside_the_columns_or_not_at_all(name: str | None, heads: list[str]) -> None:
    html = html_of(Table(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name=name)), caption="One."))
    head = html.partition("</thead>")[0]
    assert re.findall(r'<th scope="col" >(.*?)</th>', head) == heads and head.count("<tr>") == 1


def test_a_table_of_text_formats_and_its_plain_form() -> None:
    table = Table(pd.DataFrame({"share": [0.25]}, index=["a"]), caption="One.", formats={"share": "{:.0%}"})
    plain = table._repr_mimebundle_()["text/plain"].splitlines()
    assert plain[0] == "One." and plain[1].split() == ["share"] and plain[2].split() == ["a", "25%"]
    assert table.frame.loc["a", "share"] == 0.25


def test_a_text_is_markdown() -> None:
    assert Text("It is **3.1**.")._repr_mimebundle_() == {
        "text/markdown": "It is **3.1**.", "text/plain": "It is **3.1**."
    }  # fmt: skip


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(exhibit, "display", lambda data, raw: bundles.append(data))
    return bundles


def test_an_interactive_figure_brings_its_data_and_asks_no_network(shown: list[dict[str, Any]]) -> None:
    figure = go.Figure(go.Scatter(y=[1, 2], name="</script><b>"))
    Interactive(figure, alt="Two points that rise", caption="Points.")._ipython_display_()
    html = shown[0]["text/html"]
    parse(html)
    content = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert content and json.loads(content[1])["data"][0]["name"] == "</script><b>"
    assert not re.search(r"src=|https?://", html.replace("http://www.w3.org", ""))
    assert shown[0]["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter"
    assert 'aria-label="Two points that rise"' in html and "<figcaption>Points.</figcaption>" in html
    assert shown[0]["text/plain"] == "[interactive figure: Two points that rise]"


def test_colab_draws_interactive_figures_itself(shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    drawn: list[go.Figure] = []
    figure = go.Figure()
    monkeypatch.setattr(go.Figure, "show", lambda self: drawn.append(self))
    Interactive(figure, alt="Two points that rise", caption="Points.")._ipython_display_()
    assert drawn == [figure]
    assert shown == [{"text/html": "<p>Points.</p>", "text/plain": "Points."}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(1 / 12), "8.3 %"),
        (percent(1, 0), "100 %"),
        (points(-0.0123), "−1.2"),
        (points(0.0123), "+1.2"),
        (points(-0.0001), "0.0"),
        (signed(-2.5, 2), "−2.50"),
        (signed(0.04), "0.0"),
        (interval(0.083, 0.091), "[8.3, 9.1]"),
        (interval(-0.01, 0.02, 0), "[−1, 2]"),
    ],
)
def test_numbers_have_one_style(text: str, expected: str) -> None:
    assert text == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_a_signed_number_reads_back_and_zero_has_no_sign(value: float, decimals: int) -> None:
    text = signed(value, decimals)
    assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.5001 * 10**-decimals)
    assert ("-" not in text and text[0] in ("+", "−")) or float(text) == 0


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
def test_an_interval_of_shares_holds_its_ends_in_per_cent(low: float, high: float, decimals: int) -> None:
    ends = [float(end) for end in interval(low, high, decimals).strip("[]").split(", ")]
    assert ends == pytest.approx([100 * low, 100 * high], abs=0.5001 * 10**-decimals)
