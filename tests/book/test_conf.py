"""What the book's settings mend in Sphinx's HTML."""

import runpy
from typing import Any

import pytest
from docutils import nodes
from docutils.utils import new_document

from book.tools.chapters import ROOT


@pytest.fixture(scope="module")
def conf() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "book" / "conf.py"))


def test_admonitions_that_fold_become_details_and_others_stay(conf: dict[str, Any]) -> None:
    document = new_document("page")
    for kind in ("dropdown", "tip"):
        document += nodes.admonition("", nodes.title("", "A & B"), nodes.paragraph("", "Think."), classes=[kind])
    conf["_unfolding"](None, document)
    opening, text, closing, other = document.children
    assert opening.astext() == '<details class="calip-dropdown"><summary>A &amp; B</summary>'
    assert (text.astext(), closing.astext()) == ("Think.", "</details>")
    assert isinstance(other, nodes.admonition)


def test_parameters_on_lines_of_their_own_are_no_list_of_definitions(conf: dict[str, Any]) -> None:
    context = {"body": '<dl><dt class="sig sig-object">f(<dl>\n<dd>a</dd>\n</dl>\n)</dt><dd>text</dd></dl>'}
    conf["_valid_html"](None, "", "", context, None)
    signature = 'f(<span class="calip-lines">\n<span>a</span>\n</span>\n)'
    assert context["body"] == f'<dl><dt class="sig sig-object">{signature}</dt><dd>text</dd></dl>'


def test_entries_of_a_list_of_references_are_its_items(conf: dict[str, Any]) -> None:
    context = {"body": '<div role="list"><div class="citation" role="doc-biblioentry">CLIP</div></div>'}
    conf["_valid_html"](None, "", "", context, None)
    assert context["body"] == '<div role="list"><div class="citation" role="listitem">CLIP</div></div>'


def cell(text: str, *tags: str, output: str = "") -> nodes.container:
    parts = [nodes.container("", nodes.paragraph("", text), classes=["cell_input"])]
    if output:
        parts.append(nodes.container("", nodes.paragraph("", output), classes=["cell_output"]))
    return nodes.container("", *parts, classes=["cell", *(f"tag_{tag}" for tag in tags)])


@pytest.mark.parametrize("answer", [True, False])
def test_a_chapter_opens_with_its_picture_and_its_answer(conf: dict[str, Any], answer: bool) -> None:
    document, chapter = new_document("page"), nodes.section()
    document += chapter
    chapter += [nodes.title("", "Chapter"), nodes.paragraph("", "Question."), cell("fetch", "setup")]
    chapter += [cell("encode", output="progress"), cell("draw", output="picture")]
    chapter += [nodes.paragraph("", "In short. Yes.")] if answer else []
    chapter += nodes.section("", nodes.title("", "More"), cell("again", output="table"))
    conf["_lead"](None, document)
    said = ["Question.", "picture", *(["In short. Yes."] if answer else []), "fetch", "encode\n\nprogress", "draw"]
    assert [part.astext() for part in chapter.children[1:-1]] == said


def test_a_page_without_a_set_up_keeps_its_order(conf: dict[str, Any]) -> None:
    document = new_document("page")
    document += nodes.section("", nodes.title("", "Page"), cell("draw", output="picture"))
    before = document.deepcopy()
    conf["_lead"](None, document)
    conf["_lead"](None, new_document("empty"))
    assert document.pformat() == before.pformat()
