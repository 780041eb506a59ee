"""Comparison of few-shot methods: which one leads, and whether the lead could be due to the draws of support sets."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calip_core.metrics import mean_interval


@dataclass(frozen=True)
class Leader:
    """The best method by mean accuracy over the draws, and its lead over the runner-up.

    Attributes:
        name: name of the best method.
        mean: its accuracy, from 0 to 1.
        runner_up: name of the second-best method; empty if there is no other.
        lead: mean difference between the two on the same draws, from 0 to 1.
        half: half-width of the 95 % t-interval of the lead; NaN for a single draw.
    """

    name: str
    mean: float
    runner_up: str
    lead: float
    half: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the lead lies above zero. The lead from a single draw is never clear."""
        return bool(self.lead > self.half)


def leader(accuracy: Mapping[str, Float[np.ndarray, "draws"]]) -> Leader:
    """Find the best method and its lead.

    Args:
        accuracy: method -> accuracies, one per draw, with the same draws for all methods. Ties go to the first method.

    Raises:
        ValueError: there are no methods.
    """
    if not accuracy:
        raise ValueError("accuracy is empty, expected at least one method")
    first, *others = sorted(accuracy, key=lambda name: -float(np.mean(accuracy[name])))
    mean = float(np.mean(accuracy[first]))
    if not others:
        return Leader(first, mean, "", 0.0, float("nan"))
    lead, half = mean_interval(np.asarray(accuracy[first]) - np.asarray(accuracy[others[0]]))
    return Leader(first, mean, others[0], lead, half)
