"""What few-shot measurements say together: who leads, and whether the draws could have made it so."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calip_core.metrics import mean_interval


@dataclass(frozen=True)
class Leader:
    """The best of some methods by its mean over the draws, and how far it is ahead of the next one.

    Attributes:
        name: of the best.
        mean: its accuracy, from 0 to 1.
        runner_up: name of the next; empty where there is no other.
        lead: mean difference of the two on the same draws, from 0 to 1.
        half: half the width of the 95 % t-interval of the lead; NaN for a single draw.
    """

    name: str
    mean: float
    runner_up: str
    lead: float
    half: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the lead lies above zero. A single draw is never clear."""
        return bool(self.lead > self.half)


def leader(accuracy: Mapping[str, Float[np.ndarray, "draws"]]) -> Leader:
    """Who is best, and whether the draws could have made it so.

    Args:
        accuracy: method -> shares, one a draw, the same draws for all. Of equals the first leads.

    Raises:
        ValueError: there are no methods.
    """
    if not accuracy:
        raise ValueError("accuracy is empty, expected the shares of at least one method")
    first, *others = sorted(accuracy, key=lambda name: -float(np.mean(accuracy[name])))
    mean = float(np.mean(accuracy[first]))
    if not others:
        return Leader(first, mean, "", 0.0, float("nan"))
    lead, half = mean_interval(np.asarray(accuracy[first]) - np.asarray(accuracy[others[0]]))
    return Leader(first, mean, others[0], lead, half)
