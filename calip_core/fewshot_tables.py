"""What few-shot records say together: who leads over the draws, and how they differ from what was published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calip_core.fewshot import SEEDS, FewShotRecord
from calip_core.metrics import mean_interval

_PUBLISHED_VIEWS = {"tip_adapter": 10, "tip_adapter_f": 10}
"""Augmented views of a support image; the other published recipes crop and mirror anew in every epoch."""


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


def differences(records: Sequence[FewShotRecord], epochs: int | None = None) -> tuple[str, ...]:
    """In what the records of one setting differ from the published procedure, in words; empty where in nothing known.

    Args:
        records: of one method, data set and number of shots, one a draw.
        epochs: of the published recipe, if it trains.
    """
    first = records[0]
    own = (first.options.get("training") or {}).get("epochs")
    seeds = sorted({record.seed for record in records})
    views = _PUBLISHED_VIEWS.get(first.method)
    found = [
        (first.hyperparameters != "published", f"hyperparameters {first.hyperparameters}"),
        (seeds != list(SEEDS), f"draws {', '.join(map(str, seeds))}"),
        (first.limit is not None, f"at most {first.limit} test images"),
        (views is not None and first.augmentations != views, f"{first.augmentations} augmented views, not {views}"),
        (views is None and not first.augmentations, "no crop and mirroring"),
        (None not in (own, epochs) and own != epochs, f"{own} epochs, not {epochs}"),
    ]
    return tuple(words for differs, words in found if differs)
