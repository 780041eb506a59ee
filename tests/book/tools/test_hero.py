"""The landing page shows the first figure of chapter 0."""

import json

from book.tools.hero import hero

FIGURE = ['<figure class="calip-figure">', "first</figure>"]


def executed(*html: str | list[str]) -> str:
    cells = [{"outputs": [{"data": {"text/html": text}}]} for text in html]
    return json.dumps({"cells": [{"source": "# title"}, {"outputs": [{"text": "printed"}]}, *cells]})


def test_the_first_figure_is_taken() -> None:
    found = hero(executed("<table></table>", FIGURE, '<figure class="calip-figure">second</figure>'))
    assert found == '<figure class="calip-figure">first</figure>'


def test_its_files_are_found_from_the_landing_page() -> None:
    found = hero(executed('<figure class="calip-figure"><img src="../_static/figures/1.webp"></figure>'))
    assert found == '<figure class="calip-figure"><img src="_static/figures/1.webp"></figure>'


def test_a_chapter_without_a_figure_gives_nothing() -> None:
    assert hero(executed("<table></table>")) == ""
