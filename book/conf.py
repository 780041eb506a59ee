"""Sphinx settings of the book. `python -m book.tools.render` gathers the pages and calls Sphinx with them."""

import inspect
import re
import tomllib
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from docutils import nodes
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.domains.python import PyAttribute
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

_BOOK = Path(__file__).resolve().parent
with (_BOOK.parent / "pyproject.toml").open("rb") as _file:
    _project = tomllib.load(_file)["project"]

project = "CALIP, step by step"
author = "The CALIP book's contributors"
copyright = "the contributors, MIT licence"
version = release = _project["version"]
html_title = project
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# The notebooks arrive executed: book/tools/execute.py knows when they are stale, a cache of cells alone does not.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # computed prose may hold mathematics and citations
nb_output_stderr = "remove"  # progress bars
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else every page would ask a server for require.js
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type"]

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

numfig = True
math_numfig = True
math_eqref_format = "({number})"

_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart", short_literals=False)
add_module_names = False  # the section says which module
autodoc_default_options = {"exclude-members": "model_config"}  # pydantic's own
autodoc_preserve_defaults = True  # `DATA_DIR`, not this machine's path
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 60  # longer ones have one parameter per line

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]  # and what packages bring, MathJax and plotly.js, which book/tools/render.py adds
html_css_files = ["calip.css"]
html_js_files = ["calip.js"]
html_favicon = "_static/favicon.svg"
html_copy_source = True
html_sourcelink_suffix = ""
html_show_sphinx = False
html_show_search_summary = False  # it would read other pages, which browsers forbid under file://
# One script with its glyphs inside: no font files, which some browsers do not load from file://.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config: dict[str, Any] = {
    "svg": {"fontCache": "local", "mtextInheritFont": True},
    "options": {"enableMenu": False},  # its speech and explorer parts are not shipped
}

html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_theme_options = {
    "repository_url": _project["urls"]["Repository"],
    "repository_branch": "main",
    "repository_provider": "github",
    "path_to_docs": "",  # a page's path inside the book is its notebook's path inside the repository
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "use_repository_button": True,
    "use_download_button": True,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search is in the side bar
    "show_toc_level": 2,
    "logo": {"text": project},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_LINES = {"<dl>": '<span class="calip-lines">', "</dl>": "</span>", "<dd>": "<span>", "</dd>": "</span>"}


def _valid_html(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Mend what Sphinx and docutils write against the rules of HTML and ARIA.

    Parameters on lines of their own are a list of definitions without terms, and the entries of a list of references
    have a withdrawn role, so that the list seems to have no items.
    """
    body = _SIGNATURE.sub(lambda match: _replaced(match[0], _LINES), context.get("body", ""))
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


def _unfolding(app: Sphinx, doctree: nodes.document) -> None:
    """Admonitions with the class "dropdown" become HTML's own, which need no script."""
    for box in [box for box in doctree.findall(nodes.admonition) if "dropdown" in box["classes"]]:
        title, *content = box.children
        opening = f'<details class="calip-dropdown"><summary>{escape(title.astext())}</summary>'
        ends = [nodes.raw("", html, format="html") for html in (opening, "</details>")]
        box.parent.replace(box, [ends[0], *content, ends[1]])


def _lead(app: Sphinx, doctree: nodes.document) -> None:
    """A chapter opens with question, picture and answer: the first picture and "In short." go before the code."""
    chapter = next(iter(doctree.findall(nodes.section)), nodes.section())
    cells = [part for part in chapter.children if isinstance(part, nodes.container) and "cell" in part["classes"]]
    if not cells or "tag_setup" not in cells[0]["classes"]:
        return
    paragraphs = [part for part in chapter.children if isinstance(part, nodes.paragraph)]
    answer = [part for part in paragraphs if part.astext().startswith("In short.")][:1]
    end = chapter.index(answer[0]) if answer else len(chapter)
    pictures = [cell for cell in cells if chapter.index(cell) < end and "cell_output" in cell[-1]["classes"]]
    if pictures:
        output = pictures[-1].pop()
        for part in answer:
            chapter.remove(part)
        chapter.insert(chapter.index(cells[0]), [nodes.container("", output, classes=["cell"]), *answer])


_MATHEMATICS = re.compile(r'class="[^"]*\bmath\b(?!-)')


def _add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Plotly's four megabytes only where a figure needs them, MathJax's two where there is mathematics, and the live
    pages' script where there is a panel."""
    body = context.get("body", "")
    if not _MATHEMATICS.search(body):
        scripts = context.get("script_files", [])
        scripts[:] = [script for script in scripts if "mathjax" not in str(getattr(script, "filename", script))]
    if "calip-interactive" in body:
        app.add_js_file("plotly.min.js", loading_method="defer")
    if "calip-live" in body:
        app.add_js_file("live/live.js", loading_method="defer")
        app.add_css_file("live/live.css")


class _Live(SphinxDirective):
    """A panel of the live pages, by its name; the content says what a reader can do with it.

    Without JavaScript and on paper there is nothing of it; on Colab its content is a note.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        panel, about = escape(self.arguments[0]), escape(" ".join(self.content))
        html = f'<div class="calip-live" data-panel="{panel}" role="region" aria-label="Live"><p>{about}</p></div>'
        return [nodes.raw("", html, format="html")]


def _mend(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Ready a docstring for napoleon.

    A constant without a docstring comes with its type's, which goes. And what stands before a colon at the beginning of
    a constant's docstring or of a result's description would be taken for a type: an empty comment before it prevents
    that.
    """
    if what == "data" and "\n".join(lines).strip() == (inspect.getdoc(obj) or "").strip():
        lines.clear()
    elif what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]
    for number, line in reversed(list(enumerate(lines, start=1))):
        if line in ("Returns:", "Yields:"):
            lines[number:number] = ["    ..", ""]


def _plain_types(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Types in signatures as the source names them: ``ArrayLike`` is not expanded, ``Annotated`` shows its first type.

    Constraints of pydantic's fields are in the fields' descriptions.
    """
    return signature and _shortened(signature), returns and _shortened(returns)


def _shortened(text: str) -> str:
    text = text.replace(_ARRAY_LIKE, "ArrayLike")
    while (start := text.find("Annotated[")) >= 0:
        inside = start + len("Annotated[")
        depths = accumulate((c in "[(") - (c in "])") for c in text[inside:])
        marks = [(c, inside + i, depth) for i, (c, depth) in enumerate(zip(text[inside:], depths, strict=True))]
        comma = next(i for c, i, depth in marks if c == "," and depth == 0)
        end = next(i for c, i, depth in marks if c == "]" and depth < 0)
        text = text[:start] + text[inside:comma] + text[end + 1 :]
    return text


class _PlainAttribute(PyAttribute):
    """An attribute whose type is shown as in signatures."""

    def run(self) -> list[nodes.Node]:
        self.options |= {"type": _shortened(self.options["type"])} if "type" in self.options else {}
        return super().run()


def _without_aliases(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Fields of named tuples are described in the tuple's docstring; Python's own says "Alias for field number 0"."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Every page may hold mathematics that Sphinx does not see (captions of computed figures): MathJax on all."""
    app.set_html_assets_policy("always")
    app.connect("html-page-context", _add_scripts)
    app.connect("html-page-context", _valid_html)
    app.connect("doctree-read", _unfolding)
    app.connect("doctree-read", _lead)
    app.connect("autodoc-process-docstring", _mend, priority=400)  # before napoleon's 500
    app.add_directive("live", _Live)
    app.add_directive_to_domain("py", "attribute", _PlainAttribute, override=True)
    app.connect("autodoc-process-signature", _plain_types)
    app.connect("autodoc-skip-member", _without_aliases)
