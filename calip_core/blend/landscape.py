"""The exact accuracy of CALIP's blend over a grid of its two weights.

An image is classified correctly where K - 1 linear inequalities hold in (beta2, beta3): inside a convex polygon, so on
one interval of every line of the grid. One pass over the margins gives what a search evaluates point by point.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from calip_core.blend.margins import Box, Contest, bounds, checked, wins
from calip_core.tokens import CalipLogits

_ROWS = 40  # rows of the grid that are counted at once


@dataclass(frozen=True)
class Blend:
    """A pair of weights and its accuracy, a fraction from 0 to 1."""

    beta2: float
    beta3: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class BetaLandscape:
    """Number of correctly classified images at every pair of a grid. Landscapes of disjoint sets of images add.

    Attributes:
        beta2: weights of the text-attended term, one per row.
        beta3: weights of the visual-attended term, one per column.
        correct: counts, equal to those of evaluating ``CalipLogits.combine`` at each pair.
        images: number of images.
        beta1: weight of CLIP's own logits.
    """

    beta2: Float[np.ndarray, "r"]
    beta3: Float[np.ndarray, "c"]
    correct: Int64[np.ndarray, "r c"]
    images: int
    beta1: float = 1.0

    def __add__(self, other: "BetaLandscape") -> "BetaLandscape":
        for name in ("beta1", "beta2", "beta3"):
            if not np.array_equal(getattr(self, name), getattr(other, name)):
                raise ValueError(f"the landscapes have different {name}: expected one grid to add them, point by point")
        correct, images = self.correct + other.correct, self.images + other.images
        return BetaLandscape(self.beta2, self.beta3, correct, images, self.beta1)

    @property
    def accuracy(self) -> Float[np.ndarray, "r c"]:
        """Fraction of correctly classified images at each pair."""
        return self.correct / self.images

    def plateau(self) -> Bool[np.ndarray, "r c"]:
        """Mask of the pairs with the best accuracy of the grid."""
        return np.asarray(self.correct == self.correct.max())

    def best(self) -> Blend:
        """The centre of the plateau: of all best pairs, the one farthest from any other pair.

        A search that keeps the first of many equal pairs ends at the edge of a plateau, which a few other images may
        move. Distances are measured in steps of the grid; its border counts as outside the plateau.
        """
        return self._blend(*plateau_centre(self.plateau()))

    def first_best(self) -> Blend:
        """The first best pair in the order of the released search: beta2 in the outer loop, beta3 inside."""
        row, column = np.unravel_index(int(self.correct.argmax()), self.correct.shape)
        return self._blend(int(row), int(column))

    def share_within(self, points: float) -> float:
        """Sensitivity: fraction of the grid whose accuracy is at most ``points`` percentage points below the best."""
        return float((self.accuracy >= self.accuracy.max() - points / 100 - 1e-12).mean())

    def _blend(self, row: int, column: int) -> Blend:
        return Blend(float(self.beta2[row]), float(self.beta3[column]), float(self.accuracy[row, column]))


def plateau_centre(plateau: Bool[np.ndarray, "r c"]) -> tuple[int, int]:
    """Row and column of the pair of a plateau that is farthest from any pair outside, and from the border."""
    depth = ndimage.distance_transform_edt(np.pad(plateau, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), plateau.shape)
    return int(row), int(column)


def released_grid(
    beta2_bound: float = 2.0, beta3_bound: float = 0.1, steps: int = 200
) -> tuple[Float[np.ndarray, "s"], Float[np.ndarray, "s"]]:
    """The grid that the released ``run_imagenet.py`` searches: 0.001 + i (bound - 0.001) / steps, i < steps."""
    i = np.arange(steps)
    return 0.001 + i * (beta2_bound - 0.001) / steps, 0.001 + i * (beta3_bound - 0.001) / steps


@torch.no_grad()
def beta_landscape(
    logits: CalipLogits, labels: ArrayLike, *, beta2: ArrayLike, beta3: ArrayLike, beta1: float = 1.0
) -> BetaLandscape:
    """Accuracy at every pair of a grid, exactly equal to evaluating each, from one pass over the margins.

    Classes that cannot overtake the label anywhere on the grid drop out first; a few per image remain. Along a line of
    fixed beta3, each of them bounds beta2 from one side. If rounding could decide, the blend itself is evaluated.

    Args:
        logits: the three terms, float32 or float64; they may live on a GPU.
        labels: "n" class numbers. Of equal logits, the class with the lower number wins, as in ``metrics``.
        beta2: weights of the text-attended term, in any order.
        beta3: weights of the visual-attended term, in any order.
        beta1: weight of CLIP's own logits.

    Raises:
        ValueError: there are no images, the labels do not fit, the grid is empty, weights or logits are not finite, or
            logits are in half precision.
    """
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    target = checked(terms, labels)
    rows, columns = checked_weights("beta2", beta2), checked_weights("beta3", beta3)
    order = np.argsort(rows, kind="stable")
    given = (beta1, rows[order], columns)
    grid = _Grid(*(torch.as_tensor(weights, dtype=terms[0].dtype, device=target.device) for weights in given))
    contest = Contest.of(terms, target, grid.box)
    # Some rows at a time leave fewer images and fewer rivals than all of them.
    parts = [grid.rows(slice(start, start + _ROWS)) for start in range(0, len(rows), _ROWS)]
    counts = torch.cat([_count(contest.within(part.box), part) for part in parts], dim=1)  # (c, r)
    correct = np.empty((len(rows), len(columns)), np.int64)
    correct[order] = counts.T.cpu().numpy()
    return BetaLandscape(rows, columns, correct, len(target), beta1)


@dataclass(frozen=True)
class _Grid:
    """The weights in the precision of the blend, with ascending beta2."""

    beta1: Float[Tensor, ""]
    beta2: Float[Tensor, "r"]
    beta3: Float[Tensor, "c"]

    @property
    def box(self) -> Box:
        return [(float(weights.min()), float(weights.max())) for weights in (self.beta1, self.beta2, self.beta3)]

    def rows(self, some: slice) -> "_Grid":
        return replace(self, beta2=self.beta2[some])


def _count(contest: Contest, grid: _Grid) -> Int64[Tensor, "c r"]:
    """Number of correct images, per line."""
    # +1 where an image becomes correct, -1 where it becomes wrong
    changes = torch.zeros(len(grid.beta3), len(grid.beta2) + 1, dtype=torch.int64, device=grid.beta2.device)
    for images, rivals in contest.groups(len(grid.beta3)):
        slack = contest.tolerance[images].view(-1, 1, 1)
        first, last, doubtful = _runs(contest.leads[:, rivals], slack, grid)
        _add_runs(changes, first, last)
        for begin, end in doubtful:
            _add_evaluated(changes, begin, end, contest, grid, images, contest.classes[rivals])
    return contest.sure + changes.cumsum(dim=1)[:, :-1]


def _runs(
    lead: Float64[Tensor, "3 g s"], slack: Float64[Tensor, "g 1 1"], grid: _Grid
) -> tuple[Int64[Tensor, "g c"], Int64[Tensor, "g c"], list[tuple[Int64[Tensor, "g c"], Int64[Tensor, "g c"]]]]:
    """The range of beta2 in which an image is surely correct on each line, and the doubtful ranges before and after it.

    If sums overflow, the slack is infinite and the whole range is doubtful.
    """
    offset, slope2, slope3 = lead.masked_fill(slack.isinf().squeeze(2), 0.0)  # (g, s) each
    offset = (grid.beta1.double() * offset).unsqueeze(2) + slope3.unsqueeze(2) * grid.beta3.double()  # (g, s, c)
    slope, beta2 = slope2.unsqueeze(2), grid.beta2.double()
    low, high = bounds(offset, slope, slack)  # (g, c) each
    sure = torch.searchsorted(beta2, low, right=True), torch.searchsorted(beta2, high)
    low, high = bounds(offset, slope, -slack)
    possible = torch.searchsorted(beta2, low), torch.searchsorted(beta2, high, right=True)
    empty = sure[0] >= sure[1]
    first = torch.where(empty, possible[1], sure[0]).maximum(possible[0])
    last = torch.where(empty, possible[1], sure[1]).minimum(possible[1]).maximum(first)
    return first, last, [(possible[0], first), (last, possible[1])]


def _add_runs(changes: Int64[Tensor, "c r1"], first: Int64[Tensor, "g c"], last: Int64[Tensor, "g c"]) -> None:
    """Count every image of the group as correct from ``first`` (inclusive) to ``last`` (exclusive), per line."""
    ones = torch.ones_like(first)
    changes.scatter_add_(1, first.T.contiguous(), ones.T.contiguous())
    changes.scatter_add_(1, last.T.contiguous(), -ones.T.contiguous())


def _add_evaluated(
    changes: Int64[Tensor, "c r1"], begin: Int64[Tensor, "g c"], end: Int64[Tensor, "g c"],
    contest: Contest, grid: _Grid, images: Int64[Tensor, "g"], classes: Int64[Tensor, "g s"],
) -> None:  # fmt: skip
    """Evaluate the blend itself at the grid points from ``begin`` to ``end``."""
    lengths = (end - begin).clamp_min(0)
    rows, lines = lengths.nonzero(as_tuple=True)
    many = lengths[rows, lines]
    for piece in torch.arange(len(rows), device=rows.device).split(1 << 12):
        repeat = torch.repeat_interleave(piece, many[piece])  # (q,): one entry per point
        within = torch.arange(len(repeat), device=rows.device)
        within -= torch.repeat_interleave(many[piece].cumsum(0) - many[piece], many[piece])
        row, line = rows[repeat], lines[repeat]
        index = begin[row, line] + within
        weights = grid.beta1, grid.beta2[index].unsqueeze(1), grid.beta3[line].unsqueeze(1)
        right = wins(contest.terms, weights, contest.target, images[row], classes[row])
        where = line[right] * changes.shape[1] + index[right]
        changes.view(-1).scatter_add_(0, where, torch.ones_like(where))
        changes.view(-1).scatter_add_(0, where + 1, -torch.ones_like(where))


def checked_weights(name: str, weights: ArrayLike) -> Float[np.ndarray, "g"]:
    """Weights of one term of the blend, as a float64 array.

    Raises:
        ValueError: there are none, or one is not finite.
    """
    grid = np.atleast_1d(np.asarray(weights, dtype=np.float64))
    if grid.ndim != 1 or len(grid) == 0 or not np.isfinite(grid).all():
        raise ValueError(f"{name} has shape {grid.shape}: expected a list of at least one finite weight")
    return grid
