"""Weights of the views of a cloud: logits of single views, fused by fixed, published or searched weights.

PointCLIP searches its view weights in nested loops over a grid, on test labels. The fused logits are linear in the
weights, so the accuracy along any line of weights is piecewise constant and known exactly (``line_landscape``).
A search needs some hundreds of lines instead of a million points. Most lines have random directions, because a climb
along one weight at a time soon stops on a ridge. The caller decides which labels the search may see.

The climb searches many directions at once, among the images and classes that one contest around its point leaves open.
It may round at ties, because it only proposes weights; ``line_landscape`` and the fused logits decide.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.blend.line import line_landscape
from calip_core.blend.margins import Contest, bounds, checked
from calip_core.metrics import accuracy
from calip_core.published import published_view_weights
from calip_core.tokens import CalipLogits

_CANDIDATES = 400  # random weights that are tried once; climbs start from the best
_NEIGHBOURHOOD = 1.5  # a climb searches each weight within this factor, then moves its neighbourhood
_LINES = 24  # lines through one point that are searched at once
_PATIENCE = 3  # number of sets of lines without gain that ends a climb
_SMALLEST = 0.02  # smallest weight in a climb (zero has no neighbourhood); the last step may still set it to zero
_LARGEST = 4.0  # upper end of the last step's search along one weight, relative to the largest weight

Weights = Float64[np.ndarray, "v"]


@dataclass(frozen=True, eq=False)
class ViewWeights:
    """Weights of the views and their source; the largest is 1, unless they are published.

    Attributes:
        weights: one per view, none negative.
        chosen_by: the criterion or the source, in words.
        images: number of labelled clouds used for the choice.
        accuracy: accuracy on them, from 0 to 1; None if nothing was measured.
    """

    weights: Weights
    chosen_by: str
    images: int = 0
    accuracy: float | None = None


def fuse(logits: Float[Tensor, "n v k"], weights: ArrayLike) -> Float[Tensor, "n k"]:
    """The weighted sum of the views' logits (PointCLIP, arXiv 2112.02413, equation 4).

    Raises:
        ValueError: there is not one weight per view, or weights are negative, not finite, or all zero.
    """
    chosen = _checked_weights(weights, logits.shape[1])
    return torch.einsum("nvk,v->nk", logits, torch.from_numpy(chosen).to(logits))


def fuse_terms(logits: CalipLogits, weights: ViewWeights) -> CalipLogits:
    """CALIP's three terms per cloud: weighted means over the views, which keep the scale of the logits.

    Args:
        logits: one row per image, the views of a cloud together: "n*v k" each.
        weights: one per view.

    Raises:
        ValueError: the number of rows is not a multiple of the number of views.
    """
    views = len(weights.weights)
    if len(logits) % views:
        raise ValueError(f"there are logits of {len(logits)} images, expected a multiple of {views}, one per view")
    shares = weights.weights / weights.weights.sum()
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    return CalipLogits(*(fuse(term.unflatten(0, (-1, views)), shares) for term in terms))


def uniform(views: int) -> ViewWeights:
    """The same weight for every view.

    Raises:
        ValueError: ``views`` is below 1.
    """
    if views < 1:
        raise ValueError(f"views is {views}, expected at least one")
    return ViewWeights(np.ones(views), "the same for every view")


def published(view_set: str, dataset: str, backbone: str) -> ViewWeights:
    """The weights that a paper's code uses. They were chosen on the test labels of that dataset.

    Raises:
        ValueError: there are no published weights for these three; the message lists the known ones.
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

    Climbs start from uniform weights and from the best of many candidates (single views, random weights). Each step
    searches the whole line along every weight and along random directions, and moves to the centre of the best
    interval. At the end, one weight after another moves to the centre of its widest best interval (``line_landscape``)
    until that gains nothing. The same seed gives the same weights.

    Args:
        logits: logits of every view, float32 or float64.
        labels: class numbers of *these* clouds. Give a validation split: on test labels the accuracy is an oracle's.
        restarts: number of climbs in addition to that from uniform weights.
        seed: seed of the random candidates and directions.

    Raises:
        ValueError: there are no clouds or views, the labels do not fit, logits are not finite or in half precision, or
            ``restarts`` is negative.
    """
    target = _checked_search(logits, labels, restarts)
    terms = logits.cpu().transpose(0, 1).contiguous().unbind()  # (n, k) each, one per view
    rng = np.random.default_rng(seed)
    found = np.ones(len(terms))
    contest = Contest.of(terms, target, [(_SMALLEST / _NEIGHBOURHOOD, _NEIGHBOURHOOD)] * len(terms))
    if len(contest.images):
        climbs = [_climb(contest, start, rng) for start in _starts(contest, restarts, rng)]
        found = max(climbs, key=lambda climb: climb[1])[0]
    weights = _settle(logits.double().cpu(), target.numpy(), found)
    reached = accuracy(fuse(logits, weights), target)
    return ViewWeights(weights, "exact line searches on labelled clouds", len(target), reached)


def _checked_weights(weights: ArrayLike, views: int) -> Weights:
    chosen = np.asarray(weights.cpu() if isinstance(weights, Tensor) else weights, dtype=np.float64)
    if chosen.shape != (views,):
        raise ValueError(f"weights have shape {chosen.shape}: expected one for each of the {views} views")
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not (chosen > 0).any():
        raise ValueError(f"weights are {chosen.tolist()}: expected finite ones, none negative, one of them positive")
    return chosen


def _checked_search(logits: Tensor, labels: ArrayLike, restarts: int) -> Int64[Tensor, "n"]:
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(f"logits have shape {tuple(logits.shape)}: expected (clouds, views, classes), none of them 0")
    if restarts < 0:
        raise ValueError(f"restarts is {restarts}, expected 0 or more")
    return checked(logits.unbind(1), labels).cpu()


def _starts(contest: Contest, restarts: int, rng: np.random.Generator) -> list[Weights]:
    """Uniform weights, then the best of the single views and of random weights."""
    views = len(contest.terms)
    candidates = np.concatenate([np.eye(views), rng.random((_CANDIDATES, views))]).clip(_SMALLEST)
    rows = torch.from_numpy(candidates)
    right = torch.zeros(len(rows), dtype=torch.int64)
    for _, rivals in contest.groups(len(rows)):
        lead = torch.einsum("cv,vgs->csg", rows, contest.leads[:, rivals])  # images last: many at a time
        right += (lead.amin(dim=1) > 0).sum(dim=1)
    order = np.argsort(-right.numpy(), kind="stable")[:restarts]
    return [np.ones(views), *candidates[order]]


def _climb(contest: Contest, start: Weights, rng: np.random.Generator) -> tuple[Weights, int]:
    """Follow the best of many lines, in one neighbourhood after another, until nothing is gained."""
    weights, best = start, -1
    while True:
        before = best
        nearby = _Neighbourhood.of(contest, weights)
        point, misses = np.ones(len(weights)), 0
        while misses < _PATIENCE:
            directions = _directions(len(weights), rng)
            steps, counts, widths = nearby.search(point, directions)
            i = int(np.lexsort((widths, counts))[-1])
            misses = 0 if counts[i] > best else misses + 1
            if counts[i] >= best:  # a step without gain opens other lines
                best, point = int(counts[i]), point + steps[i] * directions[i]
        weights = weights * point
        weights = (weights / weights.max()).clip(_SMALLEST)
        if best == before:
            return weights, best


def _directions(views: int, rng: np.random.Generator) -> Float64[np.ndarray, "l v"]:
    """Each weight alone, then random directions, some of which change only a few weights."""
    random = rng.normal(size=(_LINES, views))
    random *= rng.random((_LINES, views)) < rng.choice([0.35, 0.6, 1.0], size=(_LINES, 1))
    return np.concatenate([np.eye(views), random[np.any(random, axis=1)]])


@dataclass(frozen=True, eq=False)
class _Neighbourhood:
    """Weights within a factor of a point, scaled so that the point is all ones, and the contest among them.

    Attributes:
        leads: the label's lead over each rival, times each view's weight, per group of images.
        sure: number of images that are correct everywhere in the box.
    """

    leads: list[Float64[Tensor, "_ _ v"]]
    sure: int

    @classmethod
    def of(cls, contest: Contest, weights: Weights) -> "_Neighbourhood":
        nearby = contest.within([(w / _NEIGHBOURHOOD, w * _NEIGHBOURHOOD) for w in weights.tolist()])
        scaled = (torch.from_numpy(weights).unsqueeze(1) * nearby.leads).T.contiguous()  # (e, v)
        return cls([scaled[rivals] for _, rivals in nearby.groups(len(weights) + _LINES)], nearby.sure)

    def search(
        self, point: Weights, directions: Float64[np.ndarray, "l v"]
    ) -> tuple[Float64[np.ndarray, "l"], Int64[np.ndarray, "l"], Float64[np.ndarray, "l"]]:
        """Along each direction: centre, number of images and width of the widest best interval in the box.

        A tie along a whole line counts as wrong, because lines only propose.
        """
        low, high = self._ends(point, directions)
        first, last = (end.clip(low, high) for end in self._winning(point, directions))
        last = np.maximum(first, last)
        edges = np.concatenate([first, last, low, high], axis=1)
        change = np.repeat([1, -1, 0], [first.shape[1], last.shape[1], 2])
        order = edges.argsort(axis=1, kind="stable")
        edges = np.take_along_axis(edges, order, axis=1)
        counts = change[order].cumsum(axis=1)[:, :-1]
        widths = np.diff(edges, axis=1)
        # An interval narrower than rounding does not count.
        counts[widths <= 1e-9] = -1
        most = counts.max(axis=1, keepdims=True)
        widths = np.where(counts == most, widths, -1.0)
        rows, best = np.arange(len(edges)), widths.argmax(axis=1)
        middles = (edges[rows, best] + edges[rows, best + 1]) / 2
        return middles, most[:, 0] + self.sure, widths[rows, best]

    def _winning(
        self, point: Weights, directions: Float64[np.ndarray, "l v"]
    ) -> tuple[Float64[np.ndarray, "l j"], Float64[np.ndarray, "l j"]]:
        """The steps between which each image's label leads all its rivals; none if the first exceeds the last."""
        at, along = torch.from_numpy(point), torch.from_numpy(directions.T)
        ends = [torch.empty(2, 0, len(directions), dtype=torch.float64)]
        for lead in self.leads:
            slope = lead @ along  # (g, s, l)
            ends.append(torch.stack(bounds((lead @ at).unsqueeze(2).expand_as(slope), slope)))
        first, last = torch.cat(ends, dim=1).mT.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).numpy()
        return first, last

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
    """Move one weight after another to the centre of its widest best interval, until a round gains nothing."""
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
