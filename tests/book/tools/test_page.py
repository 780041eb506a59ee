"""What the page of a chapter shows of its executed notebook."""

import base64

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book.tools.page import chapter_page


def page_of(*cells: nbformat.NotebookNode) -> tuple[list[nbformat.NotebookNode], dict[str, bytes]]:
    text, figures = chapter_page(nbformat.writes(new_notebook(cells=list(cells))))
    return nbformat.reads(text, as_version=4).cells, figures


def cell(*tags: str, html: str = "") -> nbformat.NotebookNode:
    outputs = [new_output("stream", text="said"), new_output("display_data", data={"text/html": html})]
    return new_code_cell("1", metadata={"tags": list(tags)}, outputs=outputs)


def test_the_book_does_not_say_what_only_a_readers_run_should_say() -> None:
    cells, _ = page_of(cell("setup"), cell("exercise-check"), cell("solution", "hide-input"), cell())
    assert [len(cell.outputs) for cell in cells] == [0, 0, 2, 2]


def test_folded_cells_are_named() -> None:
    cells, _ = page_of(cell("setup", "hide-input"), cell("imports", "hide-input"), cell("solution"), cell("hide-input"))
    names = [cell.metadata["mystnb"]["code_prompt_show"] for cell in cells]
    assert names == ["Set-up", "Imports and checks", "Solution", "Code of this exhibit"]
    assert "mystnb" not in page_of(cell())[0][0].metadata


def test_figures_become_files_and_the_same_figure_one_file() -> None:
    content = b"RIFF a picture"
    url = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    cells, figures = page_of(cell(html=f'<source srcset="{url}"><img src="{url}">'), cell(html=f'<img src="{url}">'))
    ((name, kept),) = figures.items()
    assert kept == content and name.startswith("figures/") and name.endswith(".webp")
    assert cells[0].outputs[1].data["text/html"] == f'<source srcset="../_static/{name}"><img src="../_static/{name}">'


def test_progress_bars_and_their_state_stay_behind() -> None:
    bar = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0 %"})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[bar])], metadata={"widgets": {"state": {}}})
    page = nbformat.reads(chapter_page(nbformat.writes(notebook))[0], as_version=4)
    assert page.cells[0].outputs == [] and "widgets" not in page.metadata
