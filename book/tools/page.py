"""What becomes of an executed chapter on its page: folded cells are named, and figures become files."""

import base64
import hashlib
import re

import nbformat

from book.tools.chapters import tags
from book.tools.colab import folded_title

FIGURES = "figures"
"""The folder of the figures below Sphinx's static files."""

_WIDGET = "application/vnd.jupyter.widget-view+json"
_SILENT = {"setup", "exercise-check"}
_DATA_URL = re.compile(r"data:image/(webp|png);base64,([A-Za-z0-9+/=]+)")


def chapter_page(executed: str) -> tuple[str, dict[str, bytes]]:
    """A chapter's notebook as its page shows it, and the figures that it refers to, by name.

    The page says neither "not done yet" of an exercise nor where the book was built, and shows no progress bars, whose
    state takes megabytes. Figures become files: as text in the page they would take a third more.
    """
    notebook = nbformat.reads(executed, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if _SILENT & set(tags(cell)):
            cell.outputs = []
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
        if cell.cell_type == "code" and (title := folded_title(cell)):
            cell.metadata["mystnb"] = {"code_prompt_show": title, "code_prompt_hide": title}
    figures: dict[str, bytes] = {}

    def moved(url: re.Match[str]) -> str:
        content = base64.b64decode(url[2])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{url[1]}"
        figures[f"{FIGURES}/{name}"] = content
        return f"../_static/{FIGURES}/{name}"

    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "text/html" in output.get("data", {}):
            output.data["text/html"] = _DATA_URL.sub(moved, output.data["text/html"])
    return nbformat.writes(notebook), figures
