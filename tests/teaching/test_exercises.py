"""Grades: right, not done yet, or a hint at what is wrong."""

import numpy as np
import pytest
import torch

from calip_core.teaching import grade


def test_right_answers_within_tolerance_are_correct_and_printed_once(capsys):
    cases = [((2.0,), 4.0), ((torch.tensor([1.0, 3.0]),), torch.tensor([1.0, 9.0]) + 1e-6), ((np.ones(2),), np.ones(2))]
    result = grade(lambda x: x**2, cases)
    assert result == "correct"
    assert capsys.readouterr().out == "correct\n"
    assert result._ipython_display_() is None


@pytest.mark.parametrize("answer", [None, ...])
def test_a_stub_is_not_done_yet(answer):
    assert grade(lambda x: answer, [((1,), 1)]) == "not done yet"


@pytest.mark.parametrize(
    ("answer", "expected", "hint"),
    [
        (2.0, 3.0, "case 1 of 1: got 2, expected 3"),
        (torch.ones(2, 3), torch.ones(3, 2), "got shape (2, 3), expected (3, 2)"),
        (np.array([1.0, 5.0, 3.0]), np.array([1.0, 2.0, 3.0]), "1 of 3 values differ; at (1,) got 5, expected 2"),
        ("a", "b", "got 'a', expected 'b'"),
        ("a", torch.ones(2), "got str, expected an array of shape (2,)"),
        ("a", 1.0, "got str, expected a number"),
        ((1.0, 2.0), (1.0, 3.0), "result 1: got 2, expected 3"),
        ((1.0,), (1.0, 3.0), "expected 2 results, got 1"),
        (1.0, (1.0, 3.0), "expected 2 results, got one"),
    ],
)
def test_a_wrong_answer_gets_a_hint(answer, expected, hint):
    assert hint in grade(lambda x: answer, [((1,), expected)])


def test_an_exception_is_reported_with_its_case():
    result = grade(lambda x: 1 / x, [((1,), 1.0), ((0,), 0.0)])
    assert result == "case 2 of 2 stops with ZeroDivisionError: division by zero"


def test_a_solution_that_writes_into_its_arguments_does_not_spoil_the_cases():
    shared = torch.ones(2)
    assert grade(lambda x: x.add_(1), [((shared,), torch.full((2,), 2.0))] * 2) == "correct"
    assert shared.eq(1).all()


def test_nothing_to_grade_is_an_error():
    with pytest.raises(ValueError, match="at least one case"):
        grade(lambda: 1, [])
