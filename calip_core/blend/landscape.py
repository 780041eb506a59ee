"""The exact accuracy of CALIP's blend over its weights: on a grid, along a line, and for a single image.

An image is classified rightly where K - 1 linear inequalities hold in (beta2, beta3): inside a convex polygon, and
along a line inside one interval. One pass over the margins therefore gives what a search evaluates point by point.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from calip_core.metrics import checked_labels
from calip_core.tokens import CalipLogits

_CHUNK_ELEMENTS = 1 << 19  # numbers handled at once: few enough for a cache
# A blend of three rounded products and two rounded sums errs by less than this many units in the last place.
_ROUNDING = 16
_TINY = 1e-300  # stands for a slope of zero: its bound lies beyond every grid, on the side that its offset says


@dataclass(frozen=True)
class Blend:
    """A pair of weights and the accuracy at it, a share from 0 to 1."""

    beta2: float
    beta3: float
    accuracy: float


@dataclass(frozen=True)
class BetaLandscape:
    """How many of ``images`` are classified rightly at every pair of a grid.

    Attributes:
        beta2: weights of the text-attended term, one a row.
        beta3: weights of the visual-attended term, one a column.
        correct: counts, exactly those of evaluating ``CalipLogits.combine`` at each pair.
        images: how many images were classified.
    """

    beta2: Float[np.ndarray, "r"]
    beta3: Float[np.ndarray, "c"]
    correct: Int64[np.ndarray, "r c"]
    images: int

    @property
    def accuracy(self) -> Float[np.ndarray, "r c"]:
        """Share of rightly classified images at each pair."""
        return self.correct / self.images

    def plateau(self) -> Bool[np.ndarray, "r c"]:
        """Where the accuracy is the best of the grid."""
        return np.asarray(self.correct == self.correct.max())

    def best(self) -> Blend:
        """The centre of the plateau: of all best pairs the one farthest from any pair that is not.

        A search that keeps the first of many equals sits at the edge of a plateau, where a few other images may move
        the best pairs away from it. Distances count steps of the grid, and its border bounds a plateau like lesser
        pairs do.
        """
        return self._blend(*plateau_centre(self.plateau()))

    def first_best(self) -> Blend:
        """The first best pair in the order of the released search: beta2 outside, beta3 inside."""
        row, column = np.unravel_index(int(self.correct.argmax()), self.correct.shape)
        return self._blend(int(row), int(column))

    def share_within(self, points: float) -> float:
        """Sensitivity: share of the grid whose accuracy is at most ``points`` percentage points below the best."""
        return float((self.accuracy >= self.accuracy.max() - points / 100 - 1e-12).mean())

    def _blend(self, row: int, column: int) -> Blend:
        return Blend(float(self.beta2[row]), float(self.beta3[column]), float(self.accuracy[row, column]))


def plateau_centre(plateau: Bool[np.ndarray, "r c"]) -> tuple[int, int]:
    """Row and column of the pair of a plateau that is farthest from any pair that is not, the border included."""
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

    Classes that cannot overtake the label anywhere on the grid drop out first, a few per image remain. Along a line of
    fixed beta3 each of them bounds beta2 from one side. Where rounding could decide, the blend itself is evaluated.

    Args:
        logits: the three terms, float32 or float64; they may live on a GPU.
        labels: "n" class numbers. Among equal logits the class with the lower number wins, as in ``metrics``.
        beta2: weights of the text-attended term, in any order.
        beta3: weights of the visual-attended term, in any order.
        beta1: weight of CLIP's own logits.

    Raises:
        ValueError: no images, labels that do not fit, an empty grid, weights or logits that are not finite, or logits
            in half precision.
    """
    target = _checked_labels(logits, labels)
    rows, columns = checked_weights("beta2", beta2), checked_weights("beta3", beta3)
    order = np.argsort(rows, kind="stable")
    grid = _Grid.of(logits, beta1, rows[order], columns)
    changes = torch.zeros(len(columns), len(rows) + 1, dtype=torch.int64, device=target.device)
    step = max(1, _CHUNK_ELEMENTS // logits.clip.shape[1])
    for start in range(0, len(target), step):
        _add_chunk(changes, logits[start : start + step], target[start : start + step], grid)
    correct = np.empty((len(rows), len(columns)), np.int64)
    correct[order] = changes.cumsum(dim=1)[:, :-1].T.cpu().numpy()
    return BetaLandscape(rows, columns, correct, len(target))


@dataclass(frozen=True)
class _Grid:
    """The weights as the blend rounds them, ascending beta2, and how far rounding can move a margin."""

    beta1: Float[Tensor, ""]
    beta2: Float[Tensor, "r"]
    beta3: Float[Tensor, "c"]

    @classmethod
    def of(cls, logits: CalipLogits, beta1: float, beta2: np.ndarray, beta3: np.ndarray) -> "_Grid":
        dtype, device = logits.clip.dtype, logits.clip.device
        return cls(*(torch.as_tensor(weights, dtype=dtype, device=device) for weights in (beta1, beta2, beta3)))

    def tolerance(self, logits: CalipLogits) -> Float[Tensor, "n 1"]:
        """No sum of rounded products differs from the true margin by more than this, image by image."""
        terms = (logits.clip, logits.text_attended, logits.visual_attended)
        sizes = [
            weights.abs().max() * term.abs().amax(dim=1, keepdim=True)
            for weights, term in zip((self.beta1, self.beta2, self.beta3), terms, strict=True)
        ]
        return _ROUNDING * torch.finfo(logits.clip.dtype).eps * torch.stack(sizes).sum(dim=0)


def _add_chunk(changes: Tensor, logits: CalipLogits, target: Tensor, grid: _Grid) -> None:
    """Count one chunk: +1 in a line's ``changes`` where an image becomes right, -1 where it ceases to be."""
    tolerance = grid.tolerance(logits)
    rivals, hopeless = _rivals(logits, target, grid, tolerance)
    counts = rivals.sum(dim=1)
    everywhere = int(((counts == 0) & ~hopeless).sum())
    changes[:, 0] += everywhere
    changes[:, -1] -= everywhere
    contested = torch.nonzero((counts > 0) & ~hopeless).flatten()
    contested = contested[counts[contested].argsort()]
    for group in _groups(counts[contested], len(grid.beta3)):
        _add_contested(changes, logits, target, grid, tolerance, rivals, contested[group])


def _rivals(
    logits: CalipLogits, target: Tensor, grid: _Grid, tolerance: Tensor
) -> tuple[Bool[Tensor, "n k"], Bool[Tensor, " n"]]:
    """Classes that beat the label at some pairs only, and the images whose label is beaten at every pair.

    A margin is linear in both weights, so over a rectangle its extremes follow from the ends of each weight alone.
    """
    own = target.unsqueeze(1)
    low = high = torch.zeros((), dtype=logits.clip.dtype, device=target.device)
    same = torch.ones((), dtype=torch.bool, device=target.device)
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    for weights, term in zip((grid.beta1, grid.beta2, grid.beta3), terms, strict=True):
        margin = term.gather(1, own) - term
        at_ends = weights.min() * margin, weights.max() * margin
        low, high = low + torch.minimum(*at_ends), high + torch.maximum(*at_ends)
        same = same & (margin == 0)
    # A class equal to the label in all three terms ties with it everywhere: its number alone decides.
    numbers = torch.arange(logits.clip.shape[1], device=target.device)
    hopeless = ((high < -tolerance) | (same & (numbers < own))).any(dim=1)
    return ~same & (low <= tolerance), hopeless


def _groups(counts: Tensor, lines: int) -> Iterator[slice]:
    """Cut images, sorted by their number of rivals, where padding to the largest would take too much memory."""
    sizes, start = counts.tolist(), 0
    while start < len(sizes):
        stop = start + 1
        while stop < len(sizes) and (stop + 1 - start) * sizes[stop] * lines <= _CHUNK_ELEMENTS:
            stop += 1
        yield slice(start, stop)
        start = stop


def _add_contested(
    changes: Tensor, logits: CalipLogits, target: Tensor, grid: _Grid, tolerance: Tensor, rivals: Tensor, images: Tensor
) -> None:
    chosen, present = _padded(rivals[images])
    margins = _margins(logits[images], target[images], chosen, present, grid.beta1)
    slack = tolerance[images].double()
    beta2 = grid.beta2.double()
    low, high = _bounds(*margins, grid.beta3.double(), slack)
    sure = torch.searchsorted(beta2, low, right=True), torch.searchsorted(beta2, high)
    low, high = _bounds(*margins, grid.beta3.double(), -slack)
    possible = torch.searchsorted(beta2, low), torch.searchsorted(beta2, high, right=True)
    empty = sure[0] >= sure[1]
    first = torch.where(empty, possible[1], sure[0]).maximum(possible[0])
    last = torch.where(empty, possible[1], sure[1]).minimum(possible[1]).maximum(first)
    _add_runs(changes, first, last)
    for begin, end in ((possible[0], first), (last, possible[1])):
        _add_uncertain(changes, begin, end, logits, target, grid, images, chosen, present)


def _padded(rivals: Bool[Tensor, "g k"]) -> tuple[Int64[Tensor, "g s"], Bool[Tensor, "g s"]]:
    """Class numbers of each image's rivals, filled up with class 0, and which of them are meant."""
    rows, classes = torch.nonzero(rivals, as_tuple=True)
    counts = rivals.sum(dim=1)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    chosen = torch.zeros(len(rivals), int(counts.max()), dtype=torch.int64, device=rows.device)
    chosen[rows, place] = classes
    present = torch.arange(chosen.shape[1], device=rows.device) < counts.unsqueeze(1)
    return chosen, present


def _margins(
    logits: CalipLogits, target: Tensor, chosen: Tensor, present: Tensor, beta1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The label's lead over each rival, term by term, "g s" in float64; where none is meant, a lead for ever."""
    own = target.unsqueeze(1)
    leads = [
        (term.gather(1, own).double() - term.gather(1, chosen).double()).masked_fill(~present, 0.0)
        for term in (logits.clip, logits.text_attended, logits.visual_attended)
    ]
    leads[0] = (beta1.double() * leads[0]).masked_fill(~present, torch.inf)
    return leads[0], leads[1], leads[2]


def _bounds(
    offset: Tensor, slope2: Tensor, slope3: Tensor, beta3: Tensor, slack: Tensor
) -> tuple[Float[Tensor, "g c"], Float[Tensor, "g c"]]:
    """Between which beta2, line by line, the label leads all rivals by more than ``slack``."""
    slope2 = torch.where(slope2 == 0, _TINY, slope2).unsqueeze(2)
    crossing = (slack - offset).unsqueeze(2) - slope3.unsqueeze(2) * beta3
    crossing /= slope2
    low = crossing.masked_fill(slope2 < 0, -torch.inf).amax(dim=1)
    return low, crossing.masked_fill_(slope2 > 0, torch.inf).amin(dim=1)


def _add_runs(changes: Tensor, first: Int64[Tensor, "g c"], last: Int64[Tensor, "g c"]) -> None:
    """Count every image of the group as right from ``first`` up to but without ``last``, line by line."""
    ones = torch.ones_like(first)
    changes.scatter_add_(1, first.T.contiguous(), ones.T.contiguous())
    changes.scatter_add_(1, last.T.contiguous(), -ones.T.contiguous())


def _add_uncertain(
    changes: Tensor, begin: Tensor, end: Tensor, logits: CalipLogits, target: Tensor, grid: _Grid,
    images: Tensor, chosen: Tensor, present: Tensor,
) -> None:  # fmt: skip
    """Evaluate the blend itself, rounded as ``combine`` rounds it, at the grid points from ``begin`` to ``end``."""
    lengths = (end - begin).clamp_min(0)
    rows, lines = torch.nonzero(lengths, as_tuple=True)
    many = lengths[rows, lines]
    for piece in torch.arange(len(rows), device=rows.device).split(1 << 14):
        repeat = torch.repeat_interleave(piece, many[piece])
        within = torch.arange(len(repeat), device=rows.device)
        within -= torch.repeat_interleave(many[piece].cumsum(0) - many[piece], many[piece])
        row, line = rows[repeat], lines[repeat]
        index = begin[row, line] + within
        right = _evaluate(logits, target, images[row], chosen[row], present[row], grid, index, line)
        where = line[right] * changes.shape[1] + index[right]
        changes.view(-1).scatter_add_(0, where, torch.ones_like(where))
        changes.view(-1).scatter_add_(0, where + 1, -torch.ones_like(where))


def _evaluate(
    logits: CalipLogits, target: Tensor, images: Tensor, chosen: Tensor, present: Tensor, grid: _Grid,
    index2: Tensor, index3: Tensor,
) -> Bool[Tensor, " q"]:  # fmt: skip
    """Whether the label wins at (beta2[index2], beta3[index3]): one image a point."""
    beta2, beta3 = grid.beta2[index2].unsqueeze(1), grid.beta3[index3].unsqueeze(1)
    own = target[images].unsqueeze(1)

    def blend(classes: Tensor) -> Tensor:
        rows = images.unsqueeze(1)
        result: Tensor = (
            grid.beta1 * logits.clip[rows, classes] + beta2 * logits.text_attended[rows, classes]
        ) + beta3 * logits.visual_attended[rows, classes]
        return result

    theirs, ours = blend(chosen), blend(own)
    ahead = (theirs > ours) | ((theirs == ours) & (chosen < own))
    return ~(ahead & present).any(dim=1)


@dataclass(frozen=True)
class LinePlateau:
    """The widest stretch of a line with the best accuracy: between ``low`` and ``high``, its middle ``t``."""

    t: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class LineLandscape:
    """Accuracy of ``base + t * direction``: ``correct[i]`` images between ``edges[i]`` and the next edge."""

    edges: Float[np.ndarray, "e"]
    correct: Int64[np.ndarray, "p"]
    images: int

    def accuracy_at(self, t: ArrayLike) -> Float[np.ndarray, "..."]:
        """Accuracy at any t of the searched range (at an edge itself: that of the stretch to its right)."""
        piece = np.searchsorted(self.edges, np.asarray(t), side="right") - 1
        return np.asarray(self.correct[piece.clip(0, len(self.correct) - 1)] / self.images)

    def best(self) -> LinePlateau:
        """The middle of the widest stretch of best accuracy; stretches of equal accuracy that touch count as one."""
        starts = np.flatnonzero(np.diff(self.correct, prepend=-1))
        low, high = self.edges[starts], np.append(self.edges[starts[1:]], self.edges[-1])
        count = self.correct[starts]
        widths = np.where(count == count.max(), high - low, -1.0)
        i = int(widths.argmax())
        return LinePlateau(float((low[i] + high[i]) / 2), float(count[i] / self.images), float(low[i]), float(high[i]))


@torch.no_grad()
def line_landscape(
    base: Float[Tensor, "n k"], direction: Float[Tensor, "n k"], labels: ArrayLike, *, low: float, high: float
) -> LineLandscape:
    """Exact accuracy of ``base + t * direction`` for every t from ``low`` to ``high``.

    Any linear blend has such lines: CALIP's betas, Tip-Adapter's alpha, PointCLIP's view weights. Margins are taken in
    float64; at the finitely many t where two classes tie, neither side is claimed.

    Raises:
        ValueError: shapes differ, labels that do not fit, values that are not finite, or low >= high.
    """
    if not low < high or not np.isfinite([low, high]).all():
        raise ValueError(f"the line runs from {low} to {high}: expected two finite numbers, the smaller first")
    target = _checked_labels(CalipLogits(base, direction, direction), labels)
    step = max(1, _CHUNK_ELEMENTS // base.shape[1])
    intervals = [
        _winning_interval(base[i : i + step].double(), direction[i : i + step].double(), target[i : i + step])
        for i in range(0, len(target), step)
    ]
    first = torch.cat([begin for begin, _ in intervals]).cpu().numpy().clip(low, high)
    last = torch.cat([end for _, end in intervals]).cpu().numpy().clip(low, high)
    first, last = first[first < last], last[first < last]
    edges = np.unique(np.concatenate([[low, high], first, last]))
    steps = np.bincount(np.searchsorted(edges, first), minlength=len(edges))
    steps -= np.bincount(np.searchsorted(edges, last), minlength=len(edges))
    return LineLandscape(edges, steps.cumsum()[:-1].astype(np.int64), len(target))


def _winning_interval(base: Tensor, direction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Between which t the label leads all other classes; first >= last where it never does."""
    own = target.unsqueeze(1)
    offset, slope = base.gather(1, own) - base, direction.gather(1, own) - direction
    numbers = torch.arange(base.shape[1], device=base.device)
    level = slope == 0
    lost = (level & ((offset < 0) | ((offset == 0) & (numbers < own)))).any(dim=1)
    crossing = -offset / torch.where(level, 1.0, slope)
    first = crossing.masked_fill(level | (slope < 0), -torch.inf).amax(dim=1)
    last = crossing.masked_fill(level | (slope > 0), torch.inf).amin(dim=1)
    return first.masked_fill(lost, torch.inf), last.masked_fill(lost, -torch.inf)


def winning_polygon(
    logits: CalipLogits, image: int, label: int,
    *, beta2: tuple[float, float] = (0.0, 2.0), beta3: tuple[float, float] = (0.0, 0.1), beta1: float = 1.0,
) -> Float[np.ndarray, "v 2"]:  # fmt: skip
    """The pairs (beta2, beta3) of a rectangle at which ``label`` wins image number ``image``: a convex polygon.

    Returns:
        Its corners in order, none where the label never wins.
    """
    terms = [term[image].double().cpu().numpy() for term in (logits.clip, logits.text_attended, logits.visual_attended)]
    offset, slope2, slope3 = (term[label] - np.delete(term, label) for term in terms)
    corners = np.array([*zip((*beta2, *beta2[::-1]), np.repeat(beta3, 2), strict=True)], dtype=np.float64)
    for a, b, c in zip(beta1 * offset, slope2, slope3, strict=True):
        corners = _cut(corners, a + corners @ (b, c))
    return corners


def _cut(corners: Float[np.ndarray, "v 2"], lead: Float[np.ndarray, "v"]) -> Float[np.ndarray, "w 2"]:
    """What is left of a convex polygon where a linear function, known at its corners, is not negative."""
    kept = []
    for i in range(len(corners)):
        here, there = lead[i - 1], lead[i]
        if here * there < 0:
            kept.append(corners[i - 1] + (corners[i] - corners[i - 1]) * here / (here - there))
        if there >= 0:
            kept.append(corners[i])
    return np.array(kept).reshape(-1, 2)


def _checked_labels(logits: CalipLogits, labels: ArrayLike) -> Int64[Tensor, " n"]:
    shapes = {tuple(term.shape) for term in (logits.clip, logits.text_attended, logits.visual_attended)}
    if len(shapes) != 1:
        raise ValueError(f"the terms have shapes {sorted(shapes)}: expected one shape, images by classes")
    if logits.clip.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits are {logits.clip.dtype}, expected float32 or float64: their sums decide")
    target = torch.from_numpy(checked_labels(logits.clip, labels)).to(logits.clip.device)
    for term in (logits.clip, logits.text_attended, logits.visual_attended):
        if not term.isfinite().all():
            raise ValueError("logits hold NaN or infinity: they have no largest class")
    return target


def checked_weights(name: str, weights: ArrayLike) -> Float[np.ndarray, "g"]:
    """Weights of one term of the blend, as a list of float64.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    grid = np.atleast_1d(np.asarray(weights, dtype=np.float64))
    if grid.ndim != 1 or len(grid) == 0 or not np.isfinite(grid).all():
        raise ValueError(f"{name} has shape {grid.shape}: expected a list of at least one finite weight")
    return grid
