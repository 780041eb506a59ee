"""The committed notebooks are what their sources make; every way in which they could drift is caught."""

import json
import shutil

import nbformat
import pytest

from book.tools import sync
from book.tools.chapters import NOTEBOOKS, ChapterError, chapter_sources, repository_url

CHAPTER = '''# %% [markdown]
# # A title
#
# :::{admonition} In this chapter
# **You will learn** x. **Time**: a second. **You need** nothing.
# :::

# %% tags=["setup", "hide-input"]
# setup

# %% tags=["parameters"]
seed: int = 0  # draws

# %%
check_parameters(globals(), seed=Seed)

# %% [markdown]
# Text.

# %%
1 + seed

# %%
1 + seed

# %% tags=["exercise"]
...

# %% tags=["exercise-check"]
1

# %% tags=["solution"]
1

# %% [markdown]
# ## Further reading
'''
EXERCISE = CHAPTER[CHAPTER.index('# %% tags=["exercise"]') : CHAPTER.index("# %% [markdown]\n# ## Further")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "00_x.py").write_text(CHAPTER)
    sync.sync(tmp_path)
    return tmp_path


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_committed_notebooks_are_in_step():
    assert len(chapter_sources()) >= 5
    assert [path.name for path in sync.stale()] == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_notebooks_are_valid_and_hold_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert repository_url() in notebook.cells[1].source


def test_a_second_sync_changes_nothing(folder):
    assert sync.stale(folder) == []
    assert sync.sync(folder) == []


def test_ids_come_from_the_content_and_are_unique(folder, tmp_path_factory):
    def ids(at):
        return [cell["id"] for cell in json.loads((at / "00_x.ipynb").read_text())["cells"]]

    before = ids(folder)
    other = tmp_path_factory.mktemp("other")
    (other / "00_x.py").write_text(CHAPTER.replace("# Text.", "# Other text."))
    sync.sync(other)
    assert len(set(before)) == len(before)
    assert [a == b for a, b in zip(before, ids(other), strict=True)] == [True] * 4 + [False] + [True] * 6


@pytest.mark.parametrize(
    "fault",
    [
        lambda at: replace(at / "00_x.ipynb", '"outputs": []', '"outputs": [1]'),
        lambda at: (at / "00_x.ipynb").unlink(),
        lambda at: replace(at / "00_x.py", "Text", "Changed"),
        lambda at: replace(at / "00_x.py", "github.com", "elsewhere.org"),
        lambda at: shutil.copy(at / "00_x.ipynb", at / "09_gone.ipynb"),
    ],
    ids=["outputs", "no notebook", "edited source", "edited set-up", "no source"],
)
def test_each_planted_fault_is_found_and_mended(folder, fault):
    fault(folder)
    assert sync.stale(folder)
    sync.sync(folder)
    assert sync.stale(folder) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tags=["parameters"]', "", "0 cells tagged 'parameters'"),
        ("# # A title", "# A title", "does not open with a title"),
        ("seed: int = 0  # draws", "seed = 0  # draws", "not 'name: type = value'"),
        ("seed: int = 0  # draws", "seed: int = 0", "seed is not described"),
        ("seed=Seed", "", "does not check seed"),
        ("# %%\n1 + seed\n\n#", '# %% tags=["exercise"]\n...\n\n#', "a check and a solution for every one"),
        (EXERCISE, "", "at least one exercise"),
        (":::{admonition} In this chapter", ":::{note}", "does not say In this chapter"),
        ("**You will learn** x.", "", "does not say **You will learn**"),
        ("**Time**: a second.", "", "does not say **Time**"),
        ("**You need** nothing.", "", "does not say **You need**"),
        ("# ## Further reading", "# Further reading", "has no section '## Further reading'"),
        ("seed: int = 0", "\n".join(f"a{i}: int = 0  # a" for i in range(6)) + "\nseed: int = 0", "7 parameters"),
    ],
)
def test_a_chapter_of_another_form_is_refused_by_name(folder, old, new, said):
    assert old in CHAPTER
    (folder / "00_x.py").write_text(CHAPTER.replace(old, new))
    with pytest.raises(ChapterError, match=r"00_x\.py") as caught:
        sync.stale(folder)
    assert said in str(caught.value)


def test_the_command_fails_on_stale_files_and_names_them(folder, monkeypatch, capsys):
    monkeypatch.setattr(sync, "stale", lambda: [folder / "00_x.ipynb"])
    assert sync.main(["--check"]) == 1
    assert "00_x.ipynb" in capsys.readouterr().out
    monkeypatch.setattr(sync, "stale", lambda: [])
    assert sync.main(["--check"]) == 0
