"""A few numbers that stand for a whole array, to be compared with stated ones."""

import numpy as np
import torch


def summary(values) -> list[float]:
    """Four weighted sums over the root of their number: a change of a few values shows, rounding hardly does."""
    flat = torch.as_tensor(np.asarray(values)).double().flatten()
    steps = torch.arange(1, len(flat) + 1, dtype=torch.float64)
    return [round(float((flat * (steps * rate).cos()).sum()) / len(flat) ** 0.5, 5) for rate in (0.0, 0.37, 1.1, 2.3)]


def check(values, expected: list[float], what: str, *, within: float) -> None:
    """Compare with golden values.

    Args:
        values: the array.
        expected: its ``summary``, as stated.
        what: the stated version number that covers the values, such as "calip_core.world.VERSION".
        within: how far rounding may move each number.
    """
    found = summary(values)
    assert np.allclose(found, expected, rtol=0, atol=within), (
        f"the output moved: {found}, expected {expected}; raise {what} when you meant this change, and state the new "
        "values here"
    )
