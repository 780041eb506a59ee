"""CLIP's symmetric contrastive loss, for batches in which several captions can be true of one picture."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def contrastive_loss(
    image_features: Float[Tensor, "n c"],
    text_features: Float[Tensor, "n c"],
    logit_scale: Float[Tensor, ""],
    true: Bool[Tensor, "n n"],
) -> Float[Tensor, ""]:
    """Cross-entropy between softmax(scale * cosine) and the uniform distribution over true pairs, in both directions.

    If only the diagonal is true, this is CLIP's loss (Radford et al. 2021, figure 3). In a small world, many captions
    of a batch fit a picture; treating them as wrong would train on label noise.

    Args:
        image_features: of any length; they are normalised here.
        text_features: likewise.
        logit_scale: the multiplier, not its logarithm.
        true: whether caption j is true of picture i. The diagonal must be true.
    """
    image_unit = image_features / image_features.norm(dim=-1, keepdim=True)
    text_unit = text_features / text_features.norm(dim=-1, keepdim=True)
    logits = logit_scale * image_unit @ text_unit.T  # (n, c) @ (c, n) -> (n, n)
    return 0.5 * (_one_way(logits, true) + _one_way(logits.T, true.T))


def choice_loss(
    image_features: Float[Tensor, "n c"],
    text_features: Float[Tensor, "k c"],
    logit_scale: Float[Tensor, ""],
    answers: Int[Tensor, " n"],
) -> Float[Tensor, ""]:
    """Cross-entropy of zero-shot classification: each picture against captions of which exactly one is true.

    This is the contrastive loss over captions that differ in one attribute only. Such captions rarely meet in a random
    batch, and without them shapes are learnt much more slowly than colours.
    """
    image_unit = image_features / image_features.norm(dim=-1, keepdim=True)
    text_unit = text_features / text_features.norm(dim=-1, keepdim=True)
    return torch.nn.functional.cross_entropy(logit_scale * image_unit @ text_unit.T, answers)  # logits (n, k)


def _one_way(logits: Float[Tensor, "n m"], true: Bool[Tensor, "n m"]) -> Float[Tensor, ""]:
    target = true.float() / true.sum(dim=1, keepdim=True)  # (n, m), rows sum to 1
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
