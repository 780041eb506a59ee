"""The Colab edition has the same cells and the same code, and Markdown that needs no Sphinx."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from book.tools.chapters import NOTEBOOKS, ChapterError, chapter_sources, read_chapter, repository_url
from book.tools.colab import ColabEdition, colab_url, equations

COLAB = "https://colab.research.google.com/github/calip-book/calip-book/blob/main/notebooks"


def edition(folder: Path, **chapters: str) -> dict[str, list[Any]]:
    for name, text in chapters.items():
        lines = "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())
        (folder / f"{name}.py").write_text(f"# %% [markdown]\n# # 0 {name}\n\n# %% [markdown]\n{lines}")
    made = ColabEdition(folder)
    return {s.stem: made.cells(read_chapter(s), s.stem) for s in chapter_sources(folder)}


def plain(folder: Path, text: str) -> str:
    result: str = edition(folder, A_x=text, B_y="$$\ny\n$$ (eq-y)")["A_x"][1].source
    return result


@pytest.mark.parametrize("source", chapter_sources(), ids=lambda source: source.stem)
def test_committed_editions_have_the_cells_and_the_code_of_their_source(source: Path) -> None:
    notebook = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells = read_chapter(source).cells
    assert [cell["cell_type"] for cell in notebook["cells"]] == [cell.cell_type for cell in cells]
    for there, here in zip(notebook["cells"], cells, strict=True):
        if here.cell_type == "code":
            assert re.sub(r"\A#@title .*\n", "", "".join(there["source"])) == here.source
            assert there["outputs"] == [] and there["metadata"].get("tags") == here.metadata.get("tags")
        else:
            assert not re.search(r"\{[a-z:]+\}`|:::|\$\$ \(", "".join(there["source"]))
    assert notebook["metadata"]["accelerator"] == "GPU" and "jupytext" not in notebook["metadata"]


def test_folded_cells_are_forms_with_a_title_and_others_stay_as_they_are(tmp_path: Path) -> None:
    cells = {
        "setup": "Set-up",
        "imports": "Imports and checks",
        "solution": "Solution",
        "hide-input": "Code of this exhibit",
    }
    (tmp_path / "A_x.py").write_text(
        "# %% [markdown]\n# # A x\n\n"
        + "".join(f'# %% tags=["{tag}"]\nx = 1\n\n' for tag in cells)
        + '# %% tags=["parameters"]\nx = 1\n'
    )
    *folded, open_one = ColabEdition(tmp_path).cells(read_chapter(tmp_path / "A_x.py"), "A_x")[1:]
    assert [cell.source for cell in folded] == [f"#@title {title}\nx = 1" for title in cells.values()]
    assert all(cell.metadata["cellView"] == "form" and cell.metadata["jupyter"]["source_hidden"] for cell in folded)
    assert open_one.source == "x = 1" and open_one.metadata == {"tags": ["parameters"]}


def test_the_first_cell_opens_the_chapter_on_colab(tmp_path: Path) -> None:
    assert f"]({COLAB}/A_x.ipynb)" in edition(tmp_path, A_x="")["A_x"][0].source
    assert colab_url("A_x") == f"{COLAB}/A_x.ipynb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{cite:t}`guo2023calip` keep", "[Guo et al. (2023)](https://arxiv.org/abs/2209.14169) keep"),
        ("so {cite:p}`mcnemar1947,he2016resnet`.", "so ([McNemar, 1947](https://doi.org/10.1007/BF02295996); "
         "[He et al., 2016](https://doi.org/10.1109/CVPR.2016.90))."),
        ("see [chapter 5](B_y) and [](B_y)", f"see [chapter 5]({COLAB}/B_y.ipynb) and [0 B_y]({COLAB}/B_y.ipynb)"),
        ("the [notation](../notation)", f"the [notation]({repository_url()}/blob/main/book/notation.md)"),
        ("the [speeds](../speed)", "the speeds"),
        ("a [page](https://example.org)", "a [page](https://example.org)"),
        ("$$\nx\n$$ (eq-x)\n\nby {eq}`eq-x` and {eq}`eq-y`",
         f"$$\nx \\tag{{1}}\n$$\n\nby (1) and [(2)]({COLAB}/B_y.ipynb)"),
        ("$$x$$ (eq-x)", "$$x\\tag{1}$$"),
        ("so $$x$$ is", "so $$x$$ is"),
        ("`[a](b)` and $[a](b)$", "`[a](b)` and $[a](b)$"),
        ("```python\n[a](b)\n```", "```python\n[a](b)\n```"),
        (":::{admonition} Hint\n:class: dropdown\nThink of {cite:t}`guo2023calip`.\n:::",
         "<details>\n<summary>Hint</summary>\n\nThink of [Guo et al. (2023)](https://arxiv.org/abs/2209.14169).\n\n</details>"),
        (":::{note}\nOne\n\nTwo\n:::", "> **Note**\n>\n> One\n>\n> Two"),
        (":::{admonition} A title\n:class: tip\nOne\n:::\n\nafter", "> **A title**\n>\n> One\n\nafter"),
        ("::::{note}\n:::{admonition} Hint\n:class: dropdown\nx\n:::\n::::",
         "> **Note**\n>\n> <details>\n> <summary>Hint</summary>\n>\n> x\n>\n> </details>"),
    ],
)  # fmt: skip
def test_myst_becomes_plain(tmp_path: Path, text: str, shown: str) -> None:
    assert plain(tmp_path, text) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{cite:t}`nobody1900`", "cites 'nobody1900'"),
        ("[chapter 9](09_gone)", "links to '09_gone', which is no chapter"),
        ("{eq}`eq-gone`", "the equation 'eq-gone', which no chapter has"),
        ("{ref}`here`", "role 'ref', which has no plain form"),
        (":::{figure} x.png\nx\n:::", "directive 'figure', which has no plain form"),
        ("```{image} x.png\n```", "which has no plain form"),
        ("word\n: meaning", "which has no plain form"),
        ("$$\nz\n$$ (eq-y)", "B_y.py has the equation eq-y, as A_x has"),
    ],
)
def test_what_leads_nowhere_or_has_no_plain_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ChapterError) as caught:
        plain(tmp_path, text)
    assert said in str(caught.value)


def test_every_label_of_the_book_is_there_once_and_numbered_in_reading_order() -> None:
    places = equations(chapter_sources(NOTEBOOKS))
    assert [place.number for place in places.values()] == list(range(1, len(places) + 1))
    assert [place.chapter for place in places.values()] == sorted(place.chapter for place in places.values())
