"""The search for a minimum, and what it says where there is none to be found."""

import pytest
import torch

from calip_core.methods.lbfgs import NotConvergedWarning, minimise


def test_a_search_that_stops_before_the_minimum_says_so():
    start = torch.tensor([[3.0, -2.0]], dtype=torch.float64)

    def valley(weights):
        x, y = weights[0]
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    with pytest.warns(NotConvergedWarning, match="head: stopped after 2 iterations before the minimum .*: the error"):
        minimise(valley, start, iterations=2, what="head")
    torch.testing.assert_close(minimise(valley, start), torch.ones_like(start), rtol=1e-3, atol=1e-3)
    with pytest.raises(ArithmeticError, match="head: the loss is nan"):
        minimise(lambda weights: valley(weights) * torch.nan, start, what="head")
