"""Reading MATLAB files, of all formats up to 7.3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calip_core.reading import read_in_child

CHILD = Path(__file__).with_name("matlab_child.py")
"""What reads the file in another process: SciPy's reader crashes at some damaged files."""


def read_mat(path: Path, variable: str) -> list[Any]:
    """One variable of a ``.mat`` file, without MATLAB's axes of length one.

    Raises:
        ValueError: the file is damaged, has no such variable, or has a struct in its place.
        OSError: the file cannot be opened.
    """
    value = _read(path, variable)
    if isinstance(value, dict):
        raise ValueError(f"{path}: {variable} has the fields {sorted(value)}, expected a list: is it the right file?")
    return value if isinstance(value, list) else [value]


def read_structs(path: Path, variable: str, fields: Sequence[str]) -> list[list[Any]]:
    """The values of each of ``fields`` in a ``.mat`` file's array of structs, as many of each.

    Raises:
        ValueError: the file is damaged, or has no such variable with these fields.
        OSError: the file cannot be opened.
    """
    value = _read(path, variable)
    found = value if isinstance(value, dict) else {}
    columns = [found[field] for field in fields if isinstance(found.get(field), list)]
    if len(columns) != len(fields) or len({len(column) for column in columns}) != 1:
        raise ValueError(f"{path} has {variable} without {' and '.join(fields)}: is it the file with labels?")
    return columns


def _read(path: Path, variable: str) -> Any:
    found = read_in_child(CHILD, path, "a MATLAB file", variable)
    if "value" not in found:
        raise ValueError(f"{path} has the variables {found['known']}, expected {variable}: is it the right file?")
    return found["value"]


def whole_numbers(values: Sequence[Any], path: Path) -> list[int]:
    """Numbers from a file that stand for classes or images; MATLAB keeps them as floating-point numbers.

    Raises:
        ValueError: one is not a whole number.
    """
    for value in values:
        if not isinstance(value, int | float) or value != value // 1:
            raise ValueError(f"{path} has {value!r} in place of a class or an image, expected a whole number")
    return [int(value) for value in values]
