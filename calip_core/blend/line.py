"""The exact accuracy of a linear blend at all points of a line of weights."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.blend.margins import Contest, bounds, checked


@dataclass(frozen=True)
class LinePlateau:
    """The widest interval of a line with the best accuracy, from ``low`` to ``high``, and its centre ``t``."""

    t: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class LineLandscape:
    """Accuracy of ``base + t * direction``: ``correct[i]`` images between ``edges[i]`` and the next edge.

    Landscapes of disjoint sets of images add if they cover the same range.
    """

    edges: Float[np.ndarray, "e"]
    correct: Int64[np.ndarray, "p"]
    images: int

    @classmethod
    def of(
        cls, ends: Float64[np.ndarray, "2 j"], *, low: float, high: float, sure: int, images: int
    ) -> "LineLandscape":
        """Build it from the interval in which each contested image is correct; ``sure`` others are always correct."""
        first, last = ends.clip(low, high)
        first, last = first[first < last], last[first < last]
        edges = np.unique(np.concatenate([[low, high], first, last]))
        steps = np.bincount(np.searchsorted(edges, first), minlength=len(edges))
        steps -= np.bincount(np.searchsorted(edges, last), minlength=len(edges))
        return cls(edges, sure + steps.cumsum()[:-1].astype(np.int64), images)

    def __add__(self, other: "LineLandscape") -> "LineLandscape":
        if self.edges[[0, -1]].tolist() != other.edges[[0, -1]].tolist():
            ranges = [f"{line.edges[0]:g} to {line.edges[-1]:g}" for line in (self, other)]
            raise ValueError(f"the lines run from {ranges[0]} and from {ranges[1]}: expected one range to add them")
        edges = np.union1d(self.edges, other.edges)
        return LineLandscape(edges, self._at(edges[:-1]) + other._at(edges[:-1]), self.images + other.images)

    def accuracy_at(self, t: ArrayLike) -> Float[np.ndarray, "..."]:
        """Accuracy at any t of the searched range (at an edge, that of the interval to its right)."""
        return np.asarray(self._at(np.asarray(t)) / self.images)

    def best(self) -> LinePlateau:
        """The widest interval of best accuracy; adjacent intervals of equal accuracy count as one."""
        starts = np.flatnonzero(np.diff(self.correct, prepend=-1))
        low, high = self.edges[starts], np.append(self.edges[starts[1:]], self.edges[-1])
        count = self.correct[starts]
        widths = np.where(count == count.max(), high - low, -1.0)
        i = int(widths.argmax())
        return LinePlateau(float((low[i] + high[i]) / 2), float(count[i] / self.images), float(low[i]), float(high[i]))

    def _at(self, t: Float[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        piece = np.searchsorted(self.edges, t, side="right") - 1
        return np.asarray(self.correct[piece.clip(0, len(self.correct) - 1)])


@torch.no_grad()
def line_landscape(
    base: Float[Tensor, "n k"], direction: Float[Tensor, "n k"], labels: ArrayLike, *, low: float, high: float
) -> LineLandscape:
    """Exact accuracy of ``base + t * direction`` for every t from ``low`` to ``high``.

    Any linear blend has such lines: CALIP's betas, Tip-Adapter's alpha, PointCLIP's view weights. Margins are
    computed in float64; the result at the finitely many t where two classes tie is undefined.

    Raises:
        ValueError: shapes differ, the labels do not fit, values are not finite, or low >= high.
    """
    if not low < high or not np.isfinite([low, high]).all():
        raise ValueError(f"the line runs from {low} to {high}: expected two finite numbers, the smaller first")
    target = checked((base, direction), labels)
    contest = Contest.of((base, direction), target, ((1.0, 1.0), (low, high)))
    ends = [torch.empty(2, 0, dtype=torch.float64)]
    for _, rivals in contest.groups(1):
        offset, slope = contest.leads[:, rivals].unsqueeze(-1)  # (g, s, 1) each
        # A class that leads the label by a constant along the line leaves no interval: its bound is infinite.
        ends.append(torch.stack(bounds(offset, slope)).squeeze(2).cpu())  # (2, g)
    return LineLandscape.of(torch.cat(ends, dim=1).numpy(), low=low, high=high, sure=contest.sure, images=len(target))
