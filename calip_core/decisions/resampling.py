"""How far a share would move on other images of the same kind: the bootstrap."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calip_core.metrics import LEVEL, Interval


@dataclass(frozen=True, eq=False)
class Resampled:
    """A share measured on some images, and again on samples that are drawn from these images with replacement.

    Attributes:
        value: the share on the images themselves, or a difference of two shares.
        samples: the same on each sample.
        lowest: the smallest value that is possible: 0 for a share, -1 for a difference.
    """

    value: float
    samples: Float[np.ndarray, " r"]
    lowest: float = 0.0

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the basic bootstrap (Davison and Hinkley, 1997, section 5.2), cut to possible values.

        Where samples exceed ``value`` on average, so does ``value`` the truth: this interval takes that back, and may
        therefore lie below ``value``.
        """
        high, low = np.quantile(self.samples, [LEVEL / 2, 1 - LEVEL / 2])
        return Interval(*(float(np.clip(2 * self.value - end, self.lowest, 1.0)) for end in (low, high)))

    def __sub__(self, other: "Resampled") -> "Resampled":
        """The difference on the same samples: both must come from the same images in the same order, and one seed.

        Raises:
            ValueError: the numbers of samples differ.
        """
        if len(self.samples) != len(other.samples):
            raise ValueError(
                f"{len(self.samples)} and {len(other.samples)} samples: expected both on the same samples, which takes "
                "the same images, seed and draws"
            )
        return Resampled(self.value - other.value, self.samples - other.samples, lowest=-1.0)


def resampled_sums(rows: Float[np.ndarray, "n d"], *, seed: int, draws: int) -> Float[np.ndarray, "r d"]:
    """Column sums over ``draws`` samples of n rows each, drawn with replacement; n and the seed decide which rows.

    Raises:
        ValueError: there are no rows or no draws.
    """
    if draws < 1 or len(rows) == 0:
        raise ValueError(f"{draws} draws of {len(rows)} images: expected at least one of each")
    rng, n = np.random.default_rng(seed), len(rows)
    counts = (np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(draws))  # how often each row is drawn
    return np.stack([drawn @ rows for drawn in counts])
