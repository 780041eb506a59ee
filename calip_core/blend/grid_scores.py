"""Predictions of a blend and their entropies at every pair of a small grid, for choices without labels."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from calip_core.blend.margins import CHUNK, Contest
from calip_core.tokens import CalipLogits

Weights = Float[np.ndarray, "_"]


@torch.no_grad()
def predictions(logits: CalipLogits, beta2: Weights, beta3: Weights) -> Int64[Tensor, "n p"]:
    """The class that ``CalipLogits.combine`` predicts at every pair; beta2 varies slowest.

    For most images, the prediction at the centre of the grid holds at every pair. For the others, only the classes that
    can overtake it are evaluated.
    """
    pairs = [torch.from_numpy(weights.ravel()).to(logits.clip) for weights in np.meshgrid(beta2, beta3, indexing="ij")]
    box = [(1.0, 1.0), *((float(weights.min()), float(weights.max())) for weights in pairs)]
    terms = (logits.clip, logits.text_attended, logits.visual_attended)
    points = len(pairs[0])
    usual = logits.combine(**{f"beta{i}": float(pairs[i - 2][points // 2]) for i in (2, 3)}).argmax(dim=1)  # (n,)
    predicted = usual.unsqueeze(1).repeat(1, points)  # (n, p)
    contest = Contest.of(terms, usual, box)
    for images, rivals in contest.groups(points):
        # In ascending order: argmax takes the first of equals, the class with the lower number.
        classes = torch.cat([contest.classes[rivals], usual[images].unsqueeze(1)], dim=1).sort(dim=1).values  # (g, s)
        clip, text, visual = (term[images.unsqueeze(1), classes].unsqueeze(1) for term in terms)  # (g, 1, s)
        blend = clip + pairs[0].unsqueeze(1) * text + pairs[1].unsqueeze(1) * visual  # (g, p, s)
        predicted[images] = classes.gather(1, blend.argmax(dim=2))
    return predicted


@torch.no_grad()
def entropies(
    logits: CalipLogits, beta2: Weights, beta3: Weights
) -> tuple[Float[np.ndarray, "r c"], Float[np.ndarray, "r c"]]:
    """Mean entropy of the predictions and entropy of the mean prediction at every pair, in nats.

    The blend is scaled, by one factor per pair, to CLIP's own mean spread over the classes.
    """
    scales = _scales(logits, beta2, beta3)
    classes = logits.clip.shape[1]
    single = np.zeros(scales.shape)
    shares = torch.zeros(*scales.shape, classes, dtype=torch.float64, device=logits.clip.device)
    step = max(1, CHUNK // classes)
    for start in range(0, len(logits), step):
        part = logits[start : start + step]
        for row, weight2 in enumerate(beta2.tolist()):
            along = torch.add(part.clip, part.text_attended, alpha=weight2)  # (m, k), shared by a whole row
            for column, weight3 in enumerate(beta3.tolist()):
                blend = torch.add(along, part.visual_attended, alpha=weight3).mul_(float(scales[row, column]))
                entropy, share = _entropy(blend)
                single[row, column] += entropy
                shares[row, column] += share
    overall = -torch.special.xlogy(shares / len(logits), shares / len(logits)).sum(dim=2)
    return single / len(logits), np.asarray(overall.cpu().numpy())


def _entropy(blend: Float[Tensor, "m k"]) -> tuple[float, Float[Tensor, "k"]]:
    """Entropy and probabilities, summed over the images. Overwrites its argument."""
    blend.sub_(blend.amax(dim=1, keepdim=True))
    likely = blend.exp()  # (m, k), the largest of each image 1
    total = likely.sum(dim=1)  # (m,)
    share = total.reciprocal() @ likely  # (k,)
    entropy = total.log() - blend.mul_(likely).sum(dim=1) / total
    return float(entropy.sum(dtype=torch.float64)), share


def _scales(logits: CalipLogits, beta2: Weights, beta3: Weights) -> Float[np.ndarray, "r c"]:
    """CLIP's mean spread over the classes, divided by the blend's; 1 if the blend's is zero.

    The variance of a blend is a quadratic form of its weights, so the covariances of the terms give it for all pairs.
    """
    step = max(1, CHUNK // logits.clip.shape[1])
    parts = [_covariances(logits[start : start + step]) for start in range(0, len(logits), step)]
    covariances = np.concatenate(parts)  # (n, 3, 3)
    second, third = np.meshgrid(beta2, beta3, indexing="ij")
    weights = np.stack([np.ones_like(second), second, third])  # (3, r, c)
    spread = np.empty(second.shape)
    for row in range(len(beta2)):
        w = weights[:, row]  # (3, c)
        variance = np.einsum("sc,nst,tc->nc", w, covariances, w, optimize=True)
        spread[row] = np.sqrt(variance.clip(0)).mean(axis=0)
    own = np.sqrt(covariances[:, 0, 0]).mean()
    return np.asarray(np.divide(own, spread, out=np.ones_like(spread), where=spread > 0))


def _covariances(logits: CalipLogits) -> Float[np.ndarray, "m 3 3"]:
    terms = torch.stack([logits.clip, logits.text_attended, logits.visual_attended], dim=1).double()  # (m, 3, k)
    terms -= terms.mean(dim=2, keepdim=True)
    return np.asarray((terms @ terms.mT / terms.shape[2]).cpu().numpy())
