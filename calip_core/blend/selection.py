"""How the blend weights are chosen: the data that a choice uses decides what its result means.

``fixed`` uses no data, ``label_free`` uses predictions, ``validation`` a validation split. Only ``oracle`` uses test
labels, as the released code does, and its results say so. It is not known on which labels the ``published`` pairs were
chosen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from calip_core.blend.grid_scores import entropies, predictions
from calip_core.blend.landscape import BetaLandscape, beta_landscape, checked_weights, plateau_centre, released_grid
from calip_core.blend.protocols import LabelsSeen, Protocol
from calip_core.published import published_betas
from calip_core.tokens import CalipLogits

FIXED = (1.12, 0.02)
"""One pair for every dataset: the paper's for ImageNet with RN50, as SuS-X's code reports it."""

# Most label-free criteria evaluate all logits at every pair, so their grid is coarser than the exact landscape's.
_LABEL_FREE_STEPS = 20


@dataclass(frozen=True, eq=False)
class Grid:
    """Pairs to choose from: every beta2 with every beta3.

    Raises:
        ValueError: a weight is not finite, or there is none.
    """

    beta2: Float[np.ndarray, "r"]
    beta3: Float[np.ndarray, "c"]

    def __post_init__(self) -> None:
        for name in ("beta2", "beta3"):
            object.__setattr__(self, name, checked_weights(name, getattr(self, name)))

    def __str__(self) -> str:
        """Number of pairs and range of the weights: "200 x 200 pairs, beta2 0.001 to 1.99, beta3 0.001 to 0.0995"."""
        ends = [f"{weights.min():.4g} to {weights.max():.4g}" for weights in (self.beta2, self.beta3)]
        return f"{len(self.beta2)} x {len(self.beta3)} pairs, beta2 {ends[0]}, beta3 {ends[1]}"

    @classmethod
    def released(cls, beta2_bound: float = 2.0, beta3_bound: float = 0.1, steps: int = 200) -> "Grid":
        """The grid of the released ``run_imagenet.py``."""
        return cls(*released_grid(beta2_bound, beta3_bound, steps))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of beta2 and of beta3."""
        return len(self.beta2), len(self.beta3)

    def pairs(self) -> Iterator[tuple[float, float]]:
        """All pairs; beta2 in the outer loop, beta3 in the inner one."""
        for beta2 in self.beta2:
            for beta3 in self.beta3:
                yield float(beta2), float(beta3)


@dataclass(frozen=True)
class Selection:
    """A pair of blend weights and where it comes from.

    Attributes:
        beta2: weight of the text-attended term; beta1 is 1.
        beta3: weight of the visual-attended term.
        protocol: one of ``PROTOCOLS``.
        chosen_by: the criterion or the source, in words.
        labels: the labels that the choice has seen.
        images: number of images used for the choice.
        score: the criterion's value at the pair; None if nothing was measured.
        grid: the pairs that were searched, in words; None if there was no search.
    """

    beta2: float
    beta3: float
    protocol: Protocol
    chosen_by: str
    labels: LabelsSeen = "none"
    images: int = 0
    score: float | None = None
    grid: str | None = None


def fixed(beta2: float = FIXED[0], beta3: float = FIXED[1]) -> Selection:
    """The same pair for all datasets.

    On ImageNet itself the default pair is not a blind choice: the paper's authors chose it there.
    """
    return Selection(beta2, beta3, "fixed", f"the same for every dataset: {beta2:g} and {beta3:g}")


def published(dataset: str, backbone: str = "RN50") -> Selection:
    """The paper's pair for a dataset, as other code reports it. The labels that it was chosen on are unknown.

    Args:
        dataset: its name, not an alias (``datasets.resolve_name``).
        backbone: its name.

    Raises:
        ValueError: there is no pair for this dataset with this backbone; the message lists the known ones.
    """
    table = published_betas()
    if (dataset, backbone) not in table:
        known = ", ".join(sorted(" with ".join(key) for key in table))
        raise ValueError(
            f"no published blend weights for {dataset} with {backbone}, only for {known}: choose the protocol 'fixed'"
        )
    pair = table[dataset, backbone]
    return Selection(pair.beta2, pair.beta3, "published", pair.source, "unknown")


def validation(val_logits: CalipLogits, val_labels: ArrayLike, grid: Grid | None = None) -> Selection:
    """The centre of the plateau of best accuracy on a validation split.

    Args:
        val_logits: the three terms of the validation images.
        val_labels: their class numbers.
        grid: pairs to choose from; by default, the released grid.

    Raises:
        ValueError: there are no images, the labels do not fit, or logits are not finite.
    """
    return of_landscape(_landscape(val_logits, val_labels, grid))


def of_landscape(val: BetaLandscape) -> Selection:
    """The same choice from the landscape of a validation split, which may be the sum of those of its parts."""
    chosen_by = "centre of the plateau of accuracy on the validation split"
    return _most_accurate(val, "validation", chosen_by, "validation")


def oracle(test_logits: CalipLogits, test_labels: ArrayLike, grid: Grid | None = None) -> Selection:
    """The best pair *on the test labels themselves*, as the released code chooses it.

    This is not an honest measure of accuracy: read its gain beside ``oracle_control``.

    Raises:
        ValueError: there are no images, the labels do not fit, or logits are not finite.
    """
    chosen_by = "centre of the plateau of accuracy on the test labels"
    return _most_accurate(_landscape(test_logits, test_labels, grid), "oracle", chosen_by, "test")


@dataclass(frozen=True)
class OracleControl:
    """The oracle's gain over CLIP, and the gains of the same search when there is nothing to find.

    Attributes:
        gain: best accuracy of the grid minus CLIP's, as a fraction.
        by_selection: the same difference in each repetition with permuted attention terms, due to selection alone.
    """

    gain: float
    by_selection: Float[np.ndarray, "repeats"]

    @property
    def p_value(self) -> float:
        """Fraction of searches, including this one, in which selection alone gains as much (a permutation test)."""
        return float((1 + (self.by_selection >= self.gain).sum()) / (1 + len(self.by_selection)))


def oracle_control(
    test_logits: CalipLogits, test_labels: ArrayLike, *, seed: int, repeats: int = 20, grid: Grid | None = None
) -> OracleControl:
    """The control for the oracle: the same search with the attention terms of other images.

    Each repetition gives every image both attention terms of another, randomly drawn image. The terms keep their sizes,
    their relation to each other and their preferences among classes, but no longer depend on the image. What remains
    is the effect of selection, and of a fixed preference among classes.

    Raises:
        ValueError: there are no repetitions or no images, the labels do not fit, or logits are not finite.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}, expected at least one permutation")
    rng = np.random.default_rng(seed)

    def gain(logits: CalipLogits) -> float:
        landscape = _landscape(logits, test_labels, grid)
        return float(landscape.accuracy.max() - clip)

    clip = float(beta_landscape(test_logits, test_labels, beta2=[0.0], beta3=[0.0]).accuracy[0, 0])
    permuted = []
    for _ in range(repeats):
        order = torch.from_numpy(rng.permutation(len(test_logits))).to(test_logits.clip.device)
        attended = test_logits.text_attended[order], test_logits.visual_attended[order]
        permuted.append(gain(CalipLogits(test_logits.clip, *attended)))
    return OracleControl(gain(test_logits), np.array(permuted))


Criterion = Callable[[CalipLogits, Grid], Float[np.ndarray, "r c"]]
"""(logits of unlabelled images, grid) -> one score per pair; the largest is chosen."""


def certainty(logits: CalipLogits, grid: Grid) -> Float[np.ndarray, "r c"]:
    """Minus the mean entropy of the predictions, in nats (as test-time adaptation minimises it; Tent, ICLR 2021).

    The blend is first scaled to CLIP's own spread over the classes, because larger logits give smaller entropies, right
    or wrong. The three terms spread differently, so normalising the sum of the weights would not be enough.
    """
    return -entropies(logits, grid.beta2, grid.beta3)[0]


def information(logits: CalipLogits, grid: Grid) -> Float[np.ndarray, "r c"]:
    """Mutual information of image and prediction, in nats: large if predictions are certain and varied.

    Entropy of the mean prediction minus mean entropy of the predictions, of the blend scaled as for ``certainty``.
    Unlike ``certainty``, it does not reward predicting one class for all images.
    """
    each, overall = entropies(logits, grid.beta2, grid.beta3)
    return np.asarray(overall - each)


def term_agreement(logits: CalipLogits, grid: Grid) -> Float[np.ndarray, "r c"]:
    """Fraction of the three terms that predict the same class as the blend, averaged over the images."""
    predicted = predictions(logits, grid.beta2, grid.beta3)  # (n, r c)
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    agreed = torch.stack([(predicted == term.argmax(dim=1, keepdim=True)).sum(dim=0) for term in terms]).sum(dim=0)
    return np.asarray((agreed.double() / (3 * len(logits))).cpu().numpy().reshape(grid.shape))


CRITERIA: dict[str, Criterion] = {
    "certainty": certainty,
    "information": information,
    "term_agreement": term_agreement,
}
"""Label-free criteria that need only the images' logits."""


def label_free(logits: CalipLogits, criterion: str = "term_agreement", grid: Grid | None = None) -> Selection:
    """The pair with the largest value of a criterion that uses predictions and no labels.

    Args:
        logits: the three terms of unlabelled images, for instance of the test images.
        criterion: one of ``CRITERIA``.
        grid: pairs to choose from; by default, the released grid in 20 x 20 steps.

    Raises:
        ValueError: unknown criterion, or no images.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}, expected one of {', '.join(CRITERIA)}")
    grid = _label_free_grid(len(logits), grid)
    return _best_by_score(CRITERIA[criterion](logits, grid), criterion, len(logits), grid)


def label_free_by_views(first: CalipLogits, second: CalipLogits, grid: Grid | None = None) -> Selection:
    """The pair whose predictions agree most on two views of the same images, such as two crops.

    Agreement is Cohen's kappa, which corrects for chance: predicting one class for all images scores 0.

    Args:
        first: the three terms of one view of each unlabelled image.
        second: the three terms of another view, in the same order.
        grid: pairs to choose from; by default, the released grid in 20 x 20 steps.

    Raises:
        ValueError: the views have different shapes, or there are no images.
    """
    if first.clip.shape != second.clip.shape:
        raise ValueError(
            f"the views have logits of shape {tuple(first.clip.shape)} and {tuple(second.clip.shape)}: expected two "
            "views of the same images, in the same order"
        )

    grid = _label_free_grid(len(first), grid)
    views = predictions(first, grid.beta2, grid.beta3), predictions(second, grid.beta2, grid.beta3)  # (n, r c) each
    classes = first.clip.shape[1]
    scores = [kappa(*pair, classes=classes) for pair in zip(*(view.T for view in views), strict=True)]
    return _best_by_score(np.array(scores).reshape(grid.shape), "agreement of two views", len(first), grid)


def kappa(first: Int64[Tensor, " n"], second: Int64[Tensor, " n"], *, classes: int) -> float:
    """Cohen's kappa (1960) of two classifications of the same images: 1 for full agreement, 0 for chance agreement."""
    shares = [torch.bincount(view, minlength=classes).double() / len(view) for view in (first, second)]
    by_chance = float(shares[0] @ shares[1])
    agreement = float((first == second).double().mean())
    return (agreement - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def _most_accurate(landscape: BetaLandscape, protocol: Protocol, chosen_by: str, seen: LabelsSeen) -> Selection:
    best, grid = landscape.best(), str(Grid(landscape.beta2, landscape.beta3))
    return Selection(best.beta2, best.beta3, protocol, chosen_by, seen, landscape.images, best.accuracy, grid)


def _landscape(logits: CalipLogits, labels: ArrayLike, grid: Grid | None) -> BetaLandscape:
    grid = grid or Grid.released()
    return beta_landscape(logits, labels, beta2=grid.beta2, beta3=grid.beta3)


def _label_free_grid(images: int, grid: Grid | None) -> Grid:
    if images == 0:
        raise ValueError("there are no images to choose the blend weights on: give the logits of at least one")
    return grid or Grid.released(steps=_LABEL_FREE_STEPS)


def _best_by_score(scores: Float[np.ndarray, "r c"], criterion: str, images: int, grid: Grid) -> Selection:
    row, column = plateau_centre(scores >= scores.max() - 1e-12)
    beta2, beta3 = float(grid.beta2[row]), float(grid.beta3[column])
    return Selection(
        beta2, beta3, "label-free", criterion, "none", images, float(scores[row, column]), str(grid)
    )
