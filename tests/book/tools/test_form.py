"""A chapter has its parts, in their order; each that is missing is named."""

from pathlib import Path

import pytest

from book.tools.chapters import ChapterError, chapter_number, read_chapter
from book.tools.form import check_form
from tests.book.tools.chapter import CHAPTER


def check(text: str, stem: str = "00_x") -> None:
    check_form(read_chapter(Path(stem), text), stem)


def test_a_chapter_with_all_parts_passes() -> None:
    check(CHAPTER)
    check(CHAPTER.replace("# # 0 A title", "# # A A title").replace("Exercise 0.", "Exercise A."), "A_x")
    check(CHAPTER.replace("# %% [markdown]\n# **In short.** It is a text.", "# %%\nx.in_short(seed)"))


@pytest.mark.parametrize(("stem", "number"), [("00_start", "0"), ("07_clouds", "7"), ("11_x", "11"), ("A_train", "A")])
def test_a_chapters_number_is_its_files(stem: str, number: str) -> None:
    assert chapter_number(stem) == number


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tags=["parameters"]', "", "0 cells tagged 'parameters'"),
        ("# # 0 A title", "# # A title", "does not open with the title '# 0 ...'"),
        ("# # 0 A title", "# # 1 A title", "does not open with the title '# 0 ...'"),
        ("**Question.** What is it?", "", "does not say **Question.**"),
        ("**Time**: a second.", "", "does not say **Time**"),
        ("**You need** nothing.", "", "does not say **You need**"),
        ("seed: int = 0  # draws", "seed = 0  # draws", "not 'name: type = value'"),
        ("seed: int = 0  # draws", "seed: int = 0", "seed is not described"),
        ("seed: int = 0", "\n".join(f"a{i}: int = 0  # a" for i in range(7)) + "\nseed: int = 0", "8 parameters"),
        ("seed=Seed", "", "does not check seed"),
        ("check_parameters(", "check(", "does not check the parameters"),
        ('tags=["imports", "hide-input"]', 'tags=["imports"]', "its imports are not folded"),
        ('tags=["imports", "hide-input"]', "", "0 cells tagged 'imports'"),
        ("**In short.** It is a text.", "It is a text.", "does not answer its question"),
        ("# ## What we found\n", "", "has no section '## What we found'"),
        ("# ## Further reading", "# Further reading", "has no section '## Further reading'"),
        ("# ## What we found", "# ## Exercises\n#\n# ## What we found", "in this order, each once"),
        ("# %%\n1 + seed\n\n# %% [m", '# %% tags=["exercise"]\n...\n\n# %% [m', "a check and a solution for each"),
        ("Exercise 0.1", "Exercise 1.1", "has the exercises 1.1, 0.2, 0.3, expected 0.1, 0.2, 0.3"),
        ("Exercise 0.2 (predict: what happens)", "Exercise 0.2", "has the exercises 0.1, 0.3"),
        ("**Exercise 0.3 (open: why).** Ask it.", "", "has the exercises 0.1, 0.2, expected"),
        ("(predict: what happens)", "(what happens)", "has no exercise with the label (predict: ...)"),
        ("(open: why)", "(why)", "has no exercise with the label (open: ...)"),
        ("# %% [markdown]\n# :::{admonition} Hint\n# :class: dropdown\n# Think.\n# :::\n\n", "", "exercise 0.1 has no"),
        ("# :class: dropdown\n# Nobody", "# Nobody", "exercise 0.3 has no folded part 'Solution'"),
    ],
)
def test_a_chapter_of_another_form_is_refused(old: str, new: str, said: str) -> None:
    assert CHAPTER.count(old) >= 1
    with pytest.raises(ChapterError) as caught:
        check(CHAPTER.replace(old, new, 1))
    assert said in str(caught.value)
