"""A chapter's code is what it teaches, and little else."""

from pathlib import Path

import pytest

from book.tools.chapters import chapter_sources, read_chapter
from tests.book.bars import faults, shares

IMPORTS = '# %% tags=["imports", "hide-input"]\nfrom calip_core import exhibits, load_task\n'
IMPORTS += "from calip_core.exhibits import baseline as figures\nfrom calip_core.teaching import prose\n\n"


@pytest.mark.parametrize("source", chapter_sources(), ids=lambda source: source.stem)
def test_a_chapter_teaches_more_than_it_displays(source: Path) -> None:
    assert faults(read_chapter(source), source.stem) == []


def of(*cells: str, stem: str = "00_x") -> list[str]:
    return faults(read_chapter(Path(stem), IMPORTS + "\n\n".join(f"# %% {cell}" for cell in cells)), stem)


@pytest.mark.parametrize(
    ("code", "teaches", "displays"),
    [
        ("\nx = 1\n\n# a comment\ny = 2", 2, 0),
        ('tags=["hide-input"]\nx = 1\ny = 2', 0, 2),
        ("\nfigures.bars(\n    1,\n)", 0, 3),
        ("\nexhibits.Plot(1)", 0, 1),
        ('\nprose(f"{x}")\nprint(x)\ndisplay(x)', 0, 3),
        ("\nload_task(1)", 1, 0),
        ("\nimport math\nfrom os import (\n    path,\n)\nx = 1", 1, 0),
        ("\nfor x in y:\n    z = x\n    print(z)", 2, 1),
        ("\nfor x in y:\n    print(z)", 0, 2),
        ("\ndef f(x):\n    if x:\n        return 1\n    else:\n        print(x)", 3, 1),
        ("\nwith x as y:\n    z = prose(y).a", 0, 2),
        *(
            (f'tags=["{tag}"]\nx = 1\nprint(x)', 0, 0)
            for tag in ("setup", "parameters", "imports", "exercise", "exercise-check", "solution")
        ),
    ],
)
def test_a_line_teaches_or_displays(code: str, teaches: int, displays: int) -> None:
    counts = shares(read_chapter(Path("00_x"), f"{IMPORTS}# %% {code}\n"))
    assert (counts["teaches"], counts["displays"]) == (teaches, displays)


def test_a_chapter_with_as_many_lines_of_each_passes() -> None:
    assert of("\nx = 1", "\nprint(x)") == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["\nx = 1", "\nprint(x)\nprint(x)"], "1 lines teach, 2 display"),
        (["\n" + "x = 1\n" * 41], "a cell of 41 lines"),
        (["\nx = (\n'a'\n'b'\n'c'\n'd'\n)"], "a string joined over 4 lines"),
        (["\nx = (\nf'a{y}'\n'b'\n'c'\nf'{z}'\n)"], "a string joined over 4 lines"),
        (["\nx = (\n'a'\n+ y\n+ y\n+ y\n)"], "a string joined over 4 lines"),
        (["\nx = f(\n'a'\n+ y\n+ ('b' if z else c)\n+ d\n)"], "a string joined over 4 lines"),
    ],
    ids=["more displays", "long cell", "beside", "f-strings", "sum", "sum with a choice"],
)
def test_each_planted_fault_is_found(cells: list[str], said: str) -> None:
    (fault,) = of(*cells)
    assert fault.startswith("00_x: ") and said in fault


def test_chapter_6_has_a_bar_for_all_of_its_code() -> None:
    cells = ["\n" + "x = 1\n" * 37] * 4  # and three lines of imports
    assert of(*cells[:3], stem="06_benchmarks_2d") == []
    assert of(*cells, stem="06_benchmarks_2d") == ["06_benchmarks_2d: 151 lines of code, expected fewer than 150"]
    assert of(*cells, stem="07_point_clouds") == []


@pytest.mark.parametrize(
    "code",
    ["x = '''\na\nb\nc\n'''", "x = ('a'\n'b'\n'c')", "x = (\na\n+ b\n+ c\n+ d\n)", "x = f'''\n{a['b']}\n\n\n'''"],
)
def test_a_short_or_single_string_and_a_sum_of_numbers_pass(code: str) -> None:
    assert of("\n" + code) == []
