"""What chapters show is accessible, escaped, and needs nothing from outside."""

import base64
import json
import re
import sys
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest
from matplotlib import pyplot as plt

from calip_core.teaching import interactive, output, percent, prose, show, table


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: one MIME bundle a call."""
    bundles = []
    monkeypatch.setattr(
        output, "display", lambda data, raw=False: bundles.append(data if raw else {"text/markdown": data.data})
    )
    return bundles


def parse(html):
    """[(tag, attributes)] of well-nested HTML."""
    tags, stack = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))
            if tag != "img":
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Reader().feed(html)
    assert not stack
    return tags


def test_a_figure_has_its_description_and_caption_and_is_closed(shown):
    fig, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1])
    show(fig, alt='A line that rises from 0 to 1, "quickly" & <well>', caption="Where $x < y$ rises.")
    assert not plt.fignum_exists(fig.number)
    html = shown[0]["text/html"]
    (image,) = [attributes for tag, attributes in parse(html) if tag == "img"]
    assert image["alt"] == 'A line that rises from 0 to 1, "quickly" & <well>'
    png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == pytest.approx(2 * int(image["width"]), abs=1)
    assert r'<span class="math notranslate nohighlight">\(x &lt; y\)</span> rises.</figcaption>' in html
    assert "rises from 0 to 1" in shown[0]["text/plain"]


@pytest.mark.parametrize("alt", ["", "  ", "figure", "<Figure size 640x480 with 1 Axes>", "Plot"])
def test_a_description_that_says_nothing_is_refused(alt, shown):
    fig = plt.figure()
    with pytest.raises(ValueError, match="describes nothing"):
        show(fig, alt=alt)
    with pytest.raises(ValueError, match="describes nothing"):
        interactive(go.Figure(), alt=alt)
    plt.close(fig)
    assert shown == []


def test_the_same_figure_twice_gives_the_same_bytes(shown):
    for _ in range(2):
        fig, axes = plt.subplots()
        axes.plot([0, 1])
        show(fig, alt="A line that rises")
    assert shown[0] == shown[1]


def test_a_table_names_its_columns_and_rows_and_escapes_text(shown):
    table([["a<b", 1], ["$\\beta_2$", 2.5]], ["method", "costs 3 $ and 4 $"], caption="All & more")
    html = shown[0]["text/html"]
    tags = parse(html)
    assert [a.get("scope") for t, a in tags if t == "th"] == ["col", "col", "row", "row"]
    assert "<caption>All &amp; more</caption>" in html and "a&lt;b" in html
    assert r"\(\beta_2\)" in html and "costs 3 $ and 4 $" in html
    assert shown[0]["text/plain"].splitlines()[0] == "All & more"
    assert len(shown[0]["text/plain"].splitlines()) == 4


def test_a_number_stays_with_its_unit_and_its_uncertainty(shown):
    table([["CALIP at 5 %", "94.0 ± 0.5", "8.3 %", "from 1 to 2"]], ["method", "accuracy", "share", "range"])
    html = shown[0]["text/html"]
    assert "<td>94.0\u00a0±\u00a00.5</td><td>8.3\u00a0%</td><td>from 1 to 2</td>" in html
    assert "94.0 ± 0.5" in shown[0]["text/plain"]


def test_columns_that_say_nothing_can_be_left_out(shown):
    table([["a", "", 0], ["b", "", ""]], ["name", "measured", "published"], empty_columns=False)
    html = shown[0]["text/html"]
    assert "measured" not in html and "published" in html and html.count("<td>") == 2


def test_a_ragged_table_is_refused(shown):
    with pytest.raises(ValueError, match="row 1 of the table has 1 cells, expected 2"):
        table([[1, 2], [3]], ["a", "b"])


def test_prose_is_markdown(shown):
    prose("It is **3.1**.")
    assert shown == [{"text/markdown": "It is **3.1**."}]


def test_an_interactive_figure_brings_its_data_and_asks_no_network(shown):
    fig = go.Figure(go.Scatter(y=[1, 2], name="</script><b>"))
    interactive(fig, alt="Two points that rise", caption="Points.")
    html = shown[0]["text/html"]
    parse(html)
    content = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(content)["data"][0]["name"] == "</script><b>"
    assert not re.search(r"src=|https?://", html.replace("http://www.w3.org", ""))
    assert shown[0]["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter"
    assert 'aria-label="Two points that rise"' in html


def test_colab_draws_interactive_figures_itself(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", object())
    drawn = []
    fig = go.Figure()
    monkeypatch.setattr(go.Figure, "show", lambda self: drawn.append(self))
    interactive(fig, alt="Two points that rise", caption="Points.")
    assert drawn == [fig]
    assert shown == [{"text/html": "<p>Points.</p>", "text/plain": "Points."}]


@pytest.mark.parametrize(("share", "shown_as"), [(1 / 12, "8.3 %"), (0.0, "0.0 %"), (1, "100.0 %")])
def test_a_share_in_per_cent(share, shown_as):
    assert percent(share) == shown_as
