"""How much each view of a cloud counts: logits of single views, fused by weights that are fixed, published or searched.

PointCLIP searches its view weights in nested loops over a grid, on test labels. The fused logits are linear in the
weights, so the accuracy along any line of weights is piecewise constant and known exactly (``betas.line_landscape``):
a search needs some hundreds of lines instead of a million points. Most of them run in random directions, for a climb
along one weight at a time soon stands on a ridge; it is only begun and ended so. Which labels the search may see is the
caller's business.

The last lines are ``betas.line_landscape``'s. The climb has its own code for the same bounds, because it asks for many
directions at once, for images whose undecided classes were found before, and wants the widest best stretch of each. It
may round where two classes tie, as it only proposes; ``line_landscape`` and the fused logits themselves decide.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.blend.line import line_landscape
from calip_core.metrics import checked_labels, correct_predictions
from calip_core.published import published_view_weights
from calip_core.tokens import CalipLogits

_CANDIDATES = 400  # random weights that are tried once; the best are climbed from
_NEIGHBOURHOOD = 1.5  # a climb looks as far as this factor on each weight, then moves its neighbourhood
_LINES = 24  # lines through one point that are searched at once
_PATIENCE = 3  # so many sets of lines without gain end a climb
_SMALLEST = 0.02  # a weight of zero would have no neighbourhood; the last step may still make it zero
_LARGEST = 4.0  # how far the last step looks along one weight, the largest being 1
_TINY = 1e-300  # stands for a slope of zero: its bound lies beyond every line, on the side that its offset says
_CHUNK_ELEMENTS = 1 << 19

Weights = Float64[np.ndarray, "v"]


@dataclass(frozen=True, eq=False)
class ViewWeights:
    """Weights of the views, the largest 1 unless they are published ones, and where they come from.

    Attributes:
        weights: one for each view, none negative.
        chosen_by: the criterion or the source, in words.
        images: on how many labelled clouds they were chosen; 0 where none was looked at here.
        accuracy: on those, from 0 to 1; None where nothing was measured.
    """

    weights: Weights
    chosen_by: str
    images: int = 0
    accuracy: float | None = None


def fuse(logits: Float[Tensor, "n v k"], weights: ArrayLike) -> Float[Tensor, "n k"]:
    """The weighted sum of the views' logits (PointCLIP, arXiv 2112.02413, equation 4).

    Raises:
        ValueError: not one weight a view, or weights that are negative, not finite, or all zero.
    """
    chosen = _checked_weights(weights, logits.shape[1])
    return torch.einsum("nvk,v->nk", logits, torch.from_numpy(chosen).to(logits))


def fuse_terms(logits: CalipLogits, weights: ViewWeights) -> CalipLogits:
    """CALIP's three terms of clouds: each the weighted mean over the cloud's views, which keeps the logits' scale.

    Args:
        logits: one row an image, the views of a cloud together: "n*v k" each.
        weights: one a view.

    Raises:
        ValueError: the rows are no whole number of clouds.
    """
    views = len(weights.weights)
    if len(logits) % views:
        raise ValueError(f"there are logits of {len(logits)} images, expected a multiple of {views}, one a view")
    shares = weights.weights / weights.weights.sum()
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    return CalipLogits(*(fuse(term.unflatten(0, (-1, views)), shares) for term in terms))


def uniform(views: int) -> ViewWeights:
    """The same weight for every view.

    Raises:
        ValueError: no views.
    """
    if views < 1:
        raise ValueError(f"views is {views}, expected at least one")
    return ViewWeights(np.ones(views), "the same for every view")


def published(view_set: str, dataset: str, backbone: str) -> ViewWeights:
    """The weights that a paper's code uses. They were chosen on the test labels of that dataset.

    Raises:
        ValueError: none are published for these three; the message lists those that are.
    """
    table = published_view_weights()
    if (view_set, dataset, backbone) not in table:
        known = "; ".join(sorted(", ".join(key) for key in table))
        raise ValueError(f"no published view weights for {view_set}, {dataset}, {backbone}, only for {known}")
    row = table[view_set, dataset, backbone]
    return ViewWeights(np.array(row.weights), row.source)


@torch.no_grad()
def search(logits: Float[Tensor, "n v k"], labels: ArrayLike, *, restarts: int = 3, seed: int = 0) -> ViewWeights:
    """Weights of high accuracy on labelled clouds, by exact searches along lines of weights.

    From uniform weights and from the best of many candidates (single views, random weights) it climbs: along each
    weight, and along still more directions drawn at random, the whole line is known, and the middle of its best stretch
    is taken. The best weights found are last moved, one weight at a time, to the middle of the widest best stretch
    (``betas.line_landscape``) for as long as that gains. Two runs with one seed find the same.

    Args:
        logits: of every view, float32 or float64.
        labels: class numbers of *these* clouds. Give a validation split: on test labels the accuracy is an oracle's.
        restarts: climbs beside that from uniform weights.
        seed: of the random candidates and directions.

    Raises:
        ValueError: no clouds or views, labels that do not fit, logits that are not finite or in half precision, or
            fewer than 0 restarts.
    """
    target = _checked_search(logits, labels, restarts)
    views = logits.shape[1]
    exact = logits.double().cpu()
    margins = _open_margins(exact, target)
    rng = np.random.default_rng(seed)
    found = np.ones(views)
    if margins.size:
        starts = _starts(margins, restarts, rng)
        climbs = [_climb(margins, start, rng) for start in starts]
        found = max(climbs, key=lambda climb: climb[1])[0]
    weights = _settle(exact, target, found)
    right = correct_predictions(fuse(exact, weights), target)
    return ViewWeights(weights, "exact line searches on labelled clouds", len(target), float(right.mean()))


def _checked_weights(weights: ArrayLike, views: int) -> Weights:
    chosen = np.asarray(weights.cpu() if isinstance(weights, Tensor) else weights, dtype=np.float64)
    if chosen.shape != (views,):
        raise ValueError(f"weights have shape {chosen.shape}: expected one for each of the {views} views")
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not (chosen > 0).any():
        raise ValueError(f"weights are {chosen.tolist()}: expected finite ones, none negative, one of them positive")
    return chosen


def _checked_search(logits: Tensor, labels: ArrayLike, restarts: int) -> Int64[np.ndarray, "n"]:
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(f"logits have shape {tuple(logits.shape)}: expected (clouds, views, classes), none of them 0")
    if logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits are {logits.dtype}, expected float32 or float64: their sums decide")
    if not logits.isfinite().all():
        raise ValueError("logits hold NaN or infinity: they have no largest class")
    if restarts < 0:
        raise ValueError(f"restarts is {restarts}, expected 0 or more")
    return np.asarray(checked_labels(logits[:, 0], labels))


def _open_margins(logits: Float64[Tensor, "n v k"], target: Int64[np.ndarray, "n"]) -> Float64[np.ndarray, "v i k"]:
    """The label's lead, view by view, over each class, of the images that weights can decide.

    An image is sure where the label leads in every view, and lost where one class leads it in all of them.
    """
    own = torch.from_numpy(target)
    lead = (logits.gather(2, own.view(-1, 1, 1).expand(-1, logits.shape[1], 1)) - logits).permute(1, 0, 2).numpy()
    lead = np.ascontiguousarray(lead)
    # A class equal to the label in every view ties with it for ever: its number alone decides.
    lower = np.arange(lead.shape[2]) < target[:, None]
    lead += np.where((lead == 0).all(axis=0), np.where(lower, -1.0, 1.0), 0.0)
    sure = (lead > 0).all(axis=(0, 2))
    lost = np.any((lead < 0).all(axis=0), axis=1)
    return np.ascontiguousarray(lead[:, ~sure & ~lost])


def _starts(margins: Float64[np.ndarray, "v i k"], restarts: int, rng: np.random.Generator) -> list[Weights]:
    """Uniform weights, then the best of the single views and of random weights."""
    views = len(margins)
    candidates = np.concatenate([np.eye(views), rng.random((_CANDIDATES, views))]).clip(_SMALLEST)
    order = np.argsort(-_right(margins, candidates), kind="stable")[:restarts]
    return [np.ones(views), *candidates[order]]


def _right(margins: Float64[np.ndarray, "v i k"], weights: Float64[np.ndarray, "c v"]) -> Int64[np.ndarray, "c"]:
    """How many images each row of weights classifies rightly. Float32: this only ranks."""
    views, images, classes = margins.shape
    flat = torch.from_numpy(margins).float().transpose(1, 2).reshape(views, -1)  # images last: many at a time
    rows = torch.from_numpy(weights).float().split(max(1, _CHUNK_ELEMENTS // (images * classes)))
    counts = [((part @ flat).view(len(part), classes, images).amin(dim=1) > 0).sum(dim=1) for part in rows]
    return np.asarray(torch.cat(counts).numpy())


def _climb(margins: Float64[np.ndarray, "v i k"], start: Weights, rng: np.random.Generator) -> tuple[Weights, int]:
    """Follow the best of many lines, in one neighbourhood after another, until they gain nothing."""
    weights, best = start, -1
    while True:
        before = best
        nearby = _Neighbourhood.of(margins, weights)
        point, misses = np.ones(len(weights)), 0
        while misses < _PATIENCE:
            directions = _directions(len(weights), rng)
            steps, counts, widths = nearby.search(point, directions)
            i = int(np.lexsort((widths, counts))[-1])
            misses = 0 if counts[i] > best else misses + 1
            if counts[i] >= best:  # a step on level ground opens other lines
                best, point = int(counts[i]), point + steps[i] * directions[i]
        weights = weights * point
        weights = weights / weights.max()
        if best == before:
            return weights, best


def _directions(views: int, rng: np.random.Generator) -> Float64[np.ndarray, "l v"]:
    """Each weight alone, then random directions, some of them in a few weights only."""
    random = rng.normal(size=(_LINES, views))
    random *= rng.random((_LINES, views)) < rng.choice([0.35, 0.6, 1.0], size=(_LINES, 1))
    return np.concatenate([np.eye(views), random[np.any(random, axis=1)]])


@dataclass(frozen=True)
class _Neighbourhood:
    """Weights within a factor of a point, scaled so that the point is all ones.

    A margin is linear in the weights, so over a box its extremes follow from the ends of each weight alone: most
    classes cannot overtake a label there, and most images are decided. Only the others are kept.

    Attributes:
        lead: the label's lead in every view over each class that is left, image by image.
        starts: where each image's classes start.
        sure: images that are right everywhere in the box.
    """

    lead: Float64[np.ndarray, "v e"]
    starts: Int64[np.ndarray, "j"]
    sure: int

    @classmethod
    def of(cls, margins: Float64[np.ndarray, "v i k"], weights: Weights) -> "_Neighbourhood":
        scaled = margins * weights[:, None, None]
        small, large = scaled / _NEIGHBOURHOOD, scaled * _NEIGHBOURHOOD
        lost = np.any(np.maximum(small, large).sum(axis=0) < 0, axis=1)
        rivals = (np.minimum(small, large).sum(axis=0) <= 0) & ~lost[:, None]
        images, classes = np.nonzero(rivals)
        starts = np.flatnonzero(np.diff(images, prepend=-1))
        sure = int((~lost & ~rivals.any(axis=1)).sum())
        return cls(np.ascontiguousarray(scaled[:, images, classes]), starts, sure)

    def search(
        self, point: Weights, directions: Float64[np.ndarray, "l v"]
    ) -> tuple[Float64[np.ndarray, "l"], Int64[np.ndarray, "l"], Float64[np.ndarray, "l"]]:
        """Along each direction the middle of the widest best stretch in the box, its count of images and its width."""
        low, high = self._ends(point, directions)
        first, last = (bound.clip(low, high) for bound in self._winning(point, directions))
        last = np.maximum(first, last)
        edges = np.concatenate([first, last, low, high], axis=1)
        change = np.repeat([1, -1, 0], [first.shape[1], last.shape[1], 2])
        order = edges.argsort(axis=1, kind="stable")
        edges = np.take_along_axis(edges, order, axis=1)
        counts = change[order].cumsum(axis=1)[:, :-1]
        widths = np.diff(edges, axis=1)
        # A stretch narrower than rounding is none.
        counts[widths <= 1e-9] = -1
        most = counts.max(axis=1, keepdims=True)
        widths = np.where(counts == most, widths, -1.0)
        rows, best = np.arange(len(edges)), widths.argmax(axis=1)
        middles = (edges[rows, best] + edges[rows, best + 1]) / 2
        return middles, most[:, 0] + self.sure, widths[rows, best]

    def _winning(
        self, point: Weights, directions: Float64[np.ndarray, "l v"]
    ) -> tuple[Float64[np.ndarray, "l j"], Float64[np.ndarray, "l j"]]:
        """Between which steps each image's label leads all other classes; the first beyond the last: nowhere."""
        offset, slope = point @ self.lead, directions @ self.lead
        slope[slope == 0] = _TINY
        with np.errstate(over="ignore"):
            crossing = -offset / slope
        rising = slope > 0
        if not len(self.starts):
            return np.empty((len(directions), 0)), np.empty((len(directions), 0))
        first = np.maximum.reduceat(np.where(rising, crossing, -np.inf), self.starts, axis=1)
        return first, np.minimum.reduceat(np.where(rising, np.inf, crossing), self.starts, axis=1)

    @staticmethod
    def _ends(
        point: Weights, directions: Float64[np.ndarray, "l v"]
    ) -> tuple[Float64[np.ndarray, "l 1"], Float64[np.ndarray, "l 1"]]:
        """The steps at which each line enters and leaves the box."""
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.stack([(1 / _NEIGHBOURHOOD - point) / directions, (_NEIGHBOURHOOD - point) / directions])
        level = directions == 0
        low = np.where(level, -np.inf, sides.min(axis=0)).max(axis=1, keepdims=True)
        high = np.where(level, np.inf, sides.max(axis=0)).min(axis=1, keepdims=True)
        return low, np.maximum(low, high)


def _settle(logits: Float64[Tensor, "n v k"], target: Int64[np.ndarray, "n"], weights: Weights) -> Weights:
    """One weight after another to the middle of its widest best stretch, for as long as a round of that gains."""
    best = -1.0
    while True:
        before = best
        for view in range(len(weights)):
            others = weights.copy()
            others[view] = 0.0
            base = torch.einsum("nvk,v->nk", logits, torch.from_numpy(others))
            plateau = line_landscape(base, logits[:, view], target, low=0.0, high=_LARGEST).best()
            if plateau.accuracy >= best and (plateau.t > 0 or others.any()):
                best = plateau.accuracy
                others[view] = plateau.t
                weights = others / others.max()
        if best <= before:
            return weights
