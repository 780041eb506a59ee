"""The one exact core under every search for the weights of a linear blend.

A blend ``sum_t w_t L_t`` calls an image rightly where the label's lead ``sum_t w_t (L_t[y] - L_t[j])`` over every other
class j is positive (a tie goes to the lower class number). A lead is linear in the weights, which is used twice:

* over a box of weights its extremes follow from the box's middle and half its sides, so most classes drop out and most
  images are decided at once (``Contest``);
* along a line of weights each class that is left bounds one side (``bounds``).

What lies so close to a tie that rounding could decide it is evaluated as the blend itself rounds (``wins``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.metrics import checked_labels

CHUNK = 1 << 18  # numbers handled at once: few enough for a cache
# Let S be the sum over the t terms of the largest weight times the largest logit. A blend rounds each of its numbers t
# times at most (a product, t - 1 sums); a lead is found by at most t + 7 further roundings of numbers up to 2 S. Each
# errs by half an eps: at most (2 t + 7) eps S in all. This factor is four for each term and for five terms more, which
# leaves room for terms that are themselves rounded (an exponential, say). Products that underflow err by half the
# smallest denormal each, eps * tiny in all formats: S is therefore taken as tiny at least.
_ROUNDINGS_PER_TERM, _OTHER_TERMS = 4, 5

Terms = Sequence[Float[Tensor, "n k"]]
Box = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Contest:
    """What a box of weights leaves open: images that it does not decide, and the classes that could overtake them.

    Attributes:
        sure: how many images are right at all weights of the box.
        images: the contested ones, those with few rivals first.
        counts: how many rivals each of them has.
        starts: where each one's rivals start in ``classes``.
        classes: numbers of the rivals, image by image.
        tolerance: within which of zero a lead may have either sign once rounded, for each of all n images.
    """

    sure: int
    images: Int64[Tensor, "j"]
    counts: Int64[Tensor, "j"]
    starts: Int64[Tensor, "j"]
    classes: Int64[Tensor, "e"]
    tolerance: Float64[Tensor, "n"]

    @classmethod
    def of(cls, terms: Terms, target: Int64[Tensor, "n"], box: Box) -> "Contest":
        """Compare each label with all classes over the box: smallest and largest weight of each term."""
        slack = tolerance(terms, box)
        middle, spread = _leads_over(terms, target, box)  # (n, k) each: every lead is within middle +- spread
        return cls.between(middle, spread, terms, target, slack)

    @classmethod
    def between(
        cls, middle: Float[Tensor, "n k"], spread: Float[Tensor, "n k"], terms: Terms, target: Int64[Tensor, "n"],
        slack: Float64[Tensor, "n"],
    ) -> "Contest":  # fmt: skip
        """Compare each label with all classes, given that its lead stays within ``middle`` +- ``spread``.

        Args:
            middle: between the smallest and the largest lead over each class.
            spread: how far the lead can differ from that.
            terms: classes with equal terms are equal wherever the contest reaches.
            target: the labels.
            slack: becomes ``tolerance``.
        """
        slack_k = slack.unsqueeze(1).to(middle.dtype)
        # Where numbers overflow, neither side of a comparison holds: so ask what is certain, and negate.
        rows, classes = (~(middle - spread > slack_k)).nonzero(as_tuple=True)  # (e,)
        behind = middle[rows, classes] + spread[rows, classes] < -slack_k[rows, 0]
        lost = torch.zeros_like(target, dtype=torch.bool)
        lost[rows[behind]] = True
        kept = ~lost[rows]
        rows, classes = rows[kept], classes[kept]
        # A class equal to the label in all terms ties with it everywhere, and its number alone decides.
        twins = torch.arange(len(rows), device=rows.device)
        for term in terms:
            image = rows[twins]
            twins = twins[term[image, classes[twins]] == term[image, target[image]]]
        kept = torch.ones_like(rows, dtype=torch.bool)
        kept[twins] = False
        lost[rows[twins[classes[twins] < target[rows[twins]]]]] = True
        kept &= ~lost[rows]
        rows, classes = rows[kept], classes[kept]
        counts = torch.bincount(rows, minlength=len(target))
        images = (counts > 0).nonzero().flatten()
        images = images[counts[images].argsort()]
        starts = (counts.cumsum(0) - counts)[images]
        sure = len(target) - int(lost.sum()) - len(images)
        return cls(sure, images, counts[images], starts, classes, slack)

    def groups(self, lines: int) -> Iterator[tuple[Int64[Tensor, "g"], Int64[Tensor, "g s"]]]:
        """Contested images with their rivals, few enough at once for a cache when each meets so many lines.

        Where an image has fewer rivals than others of its group, its last one is repeated, which changes no extreme.
        """
        sizes, start = self.counts.tolist(), 0
        while start < len(sizes):
            stop = start + 1
            while stop < len(sizes) and (stop + 1 - start) * sizes[stop] * lines <= CHUNK:
                stop += 1
            place = torch.arange(sizes[stop - 1], device=self.classes.device)  # (s,)
            place = torch.minimum(place, self.counts[start:stop, None] - 1)  # (g, s)
            yield self.images[start:stop], self.classes[self.starts[start:stop, None] + place]
            start = stop


def tolerance(terms: Terms, box: Box) -> Float64[Tensor, "n"]:
    """No rounded lead differs from the true one by more than this, image by image; infinity where sums overflow."""
    kind = torch.finfo(terms[0].dtype)
    largest = torch.stack([torch.maximum(term.amax(dim=1), -term.amin(dim=1)) for term in terms])  # (t, n)
    if not largest.isfinite().all():
        raise ValueError("logits hold NaN or infinity: they have no largest class")
    weights = [max(abs(low), abs(high), 1e-300) for low, high in box]
    size = largest.new_tensor(weights, dtype=torch.float64) @ largest.double()
    overflows = (size >= kind.max / 8) | (largest >= kind.max / 8).any(dim=0)
    roundings = _ROUNDINGS_PER_TERM * (len(terms) + _OTHER_TERMS)
    return (roundings * kind.eps * size.clamp_min(kind.tiny)).masked_fill_(overflows, torch.inf)


def leads(
    terms: Terms, target: Int64[Tensor, "n"], images: Int64[Tensor, "g"], classes: Int64[Tensor, "g s"]
) -> Float64[Tensor, "t g s"]:
    """By how much the label leads each rival, term by term."""
    rows, own = images.unsqueeze(1), target[images].unsqueeze(1)
    return torch.stack([term[rows, own].double() - term[rows, classes].double() for term in terms])


def bounds(
    offset: Float64[Tensor, "g s l"], slope: Float64[Tensor, "g s l"] | Float64[Tensor, "g s 1"],
    slack: Float64[Tensor, "g 1 1"] | float = 0.0,
) -> tuple[Float64[Tensor, "g l"], Float64[Tensor, "g l"]]:  # fmt: skip
    """Between which steps along each line all leads ``offset + step * slope`` exceed ``slack``.

    Nowhere unless low < high; a level lead of just the slack gives NaN, which is not less either.
    Division rounds monotonously, so a step that is strictly inside the rounded bounds is inside the true ones.
    """
    slope = slope + 0.0  # -0.0 becomes 0.0: a level lead's bound is the infinity on the side that its offset says
    crossing = (slack - offset).div_(slope)  # (g, s, l)
    # A rising lead has no upper bound, a falling one no lower bound. Extremes are several times as fast as masks.
    none = torch.copysign(slope.new_tensor(torch.inf), slope)
    low = torch.minimum(crossing, none).amax(dim=1)
    return low, torch.maximum(crossing, none, out=crossing).amin(dim=1)


def without_ties(
    offset: Float64[Tensor, "g s"], own: Int64[Tensor, "g"], classes: Int64[Tensor, "g s"]
) -> Float64[Tensor, "g s"]:
    """Leads where a tie is a lead of the lower class number, by the least number there is: so a level tie stays one."""
    side = torch.where(classes > own.unsqueeze(1), 1.0, -1.0).to(offset)
    return torch.where(offset == 0, side * 5e-324, offset)


def wins(
    terms: Terms, weights: Sequence[Tensor], target: Int64[Tensor, "n"],
    images: Int64[Tensor, "q"], classes: Int64[Tensor, "q s"],
) -> Bool[Tensor, "q"]:  # fmt: skip
    """Whether the label wins the blend itself, rounded as ``combine`` rounds it: one image and one weight per row."""
    own = target[images].unsqueeze(1)  # (q, 1)
    theirs, ours = blend(terms, weights, images, classes), blend(terms, weights, images, own)
    return ~((theirs > ours) | ((theirs == ours) & (classes < own))).any(dim=1)


def blend(
    terms: Terms, weights: Sequence[Tensor], images: Int64[Tensor, "q"], classes: Int64[Tensor, "q s"]
) -> Float[Tensor, "q s"]:
    """The weighted sum of the terms for some classes, product by product and sum by sum from the left."""
    rows = images.unsqueeze(1)
    total = weights[0] * terms[0][rows, classes]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        total = total + weight * term[rows, classes]
    return total


def checked(terms: Terms, labels: ArrayLike) -> Int64[Tensor, "n"]:
    """Labels as class numbers beside the logits, once both fit each other.

    Raises:
        ValueError: the terms differ in shape, labels do not fit, or logits are NaN or in half precision.
    """
    shapes = {tuple(term.shape) for term in terms}
    if len(shapes) != 1:
        raise ValueError(f"the terms have shapes {sorted(shapes)}: expected one shape, images by classes")
    if terms[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits are {terms[0].dtype}, expected float32 or float64: their sums decide")
    return torch.from_numpy(checked_labels(terms[0], labels)).to(terms[0].device)


def _leads_over(
    terms: Terms, target: Int64[Tensor, "n"], box: Box
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The leads in the middle of the box, and how far they can differ from that within it."""
    own = target.unsqueeze(1)
    middle, spread = torch.zeros_like(terms[0]), torch.zeros_like(terms[0])
    for term, (low, high) in zip(terms, box, strict=True):
        lead = term.gather(1, own) - term  # (n, k)
        middle.add_(lead, alpha=low / 2 + high / 2)
        if high > low:
            spread.add_(lead.abs_(), alpha=high / 2 - low / 2)
    return middle, spread
