"""Exercises that grade themselves, offline."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

_RTOL, _ATOL = 1e-4, 1e-5


class Grade(str):
    """A grade that has already been printed, so that a notebook does not show it again."""

    __slots__ = ()

    def _ipython_display_(self) -> None:
        pass


def grade(function: Callable[..., Any], cases: Sequence[tuple[Any, Any]]) -> Grade:
    """Call a solution on worked cases; print and return the grade.

    Args:
        function: the reader's solution; a stub returns ``None`` or ``...``.
        cases: pairs of arguments (a tuple) and expected result: numbers, arrays, tensors, or tuples of them.

    Returns:
        ``"correct"``, ``"not done yet"``, or what is wrong with the first failing case.

    Raises:
        ValueError: there are no cases.
    """
    if not cases:
        raise ValueError("grade needs at least one case, got none")
    result = Grade(_grade(function, cases))
    print(result)
    return result


def _grade(function: Callable[..., Any], cases: Sequence[tuple[Any, Any]]) -> str:
    for number, (arguments, expected) in enumerate(cases, 1):
        own = [_copy(a) for a in (arguments if isinstance(arguments, tuple) else (arguments,))]
        try:
            answer = function(*own)
        except Exception as error:
            return f"case {number} of {len(cases)} stops with {type(error).__name__}: {error}"
        if answer is None or answer is ...:
            return "not done yet"
        if complaint := _differs(answer, expected):
            return f"case {number} of {len(cases)}: {complaint}"
    return "correct"


def _copy(value: Any) -> Any:
    """Copy arguments, because a solution that writes into its arrays must not spoil the next case."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def _is_numeric(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.generic | int | float)


def _differs(answer: Any, expected: Any) -> str:
    if isinstance(expected, tuple | list):
        return _items_differ(answer, expected)
    if not _is_numeric(expected):
        return "" if answer == expected else f"got {answer!r}, expected {expected!r}"
    if not _is_numeric(answer):
        return f"got {type(answer).__name__}, expected {_describe(expected)}"
    got, want = _array(answer), _array(expected)
    if got.shape != want.shape:
        return f"got shape {got.shape}, expected {want.shape}"
    if np.allclose(got, want, rtol=_RTOL, atol=_ATOL, equal_nan=True):
        return ""
    if got.ndim == 0:
        return f"got {got:.6g}, expected {want:.6g}"
    wrong = ~np.isclose(got, want, rtol=_RTOL, atol=_ATOL, equal_nan=True)
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{wrong.sum()} of {wrong.size} values differ; at {where} got {got[where]:.6g}, expected {want[where]:.6g}"


def _items_differ(answer: Any, expected: Sequence[Any]) -> str:
    if not isinstance(answer, tuple | list) or len(answer) != len(expected):
        return f"expected {len(expected)} results, got {len(answer) if isinstance(answer, tuple | list) else 'one'}"
    for index, (got, want) in enumerate(zip(answer, expected, strict=True)):
        if complaint := _differs(got, want):
            return f"result {index}: {complaint}"
    return ""


def _array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def _describe(value: Any) -> str:
    shape = _array(value).shape
    return f"an array of shape {shape}" if shape else "a number"
