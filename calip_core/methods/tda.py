"""TDA: a cache of the stream's sure images, and one of its unsure ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.methods.inputs import PUBLISHED_SCALE, check_at_least_one, check_weight
from calip_core.methods.memory import Memory, entropies
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens


class Tda(TextOnly):
    """logits = s f F_t^T + cache of sure images - cache of unsure ones (Karmanov et al., CVPR 2024, arXiv 2403.18293).

    Each image enters the caches before it is classified. A cached image i adds alpha exp(-beta (1 - f k_i)) to its
    predicted class; an unsure one subtracts the like, with its own alpha and beta, from the classes whose probability
    was between ``mask_low`` and ``mask_high``. A full class keeps the images of the least entropy. alpha is for
    CLIP's scale of 100 and is scaled with s.
    """

    name = "tda"
    sees = "stream"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of TDA; the defaults are those of the published code for ImageNet.

        Attributes:
            capacity: sure images per class.
            alpha: their weight.
            beta: their sharpness.
            negative_capacity: unsure images per class.
            negative_alpha: their weight.
            negative_beta: their sharpness.
            unsure_low: least entropy of an unsure image, as a share of the largest possible.
            unsure_high: largest entropy of one.
            mask_low: least probability of a class that an unsure image speaks against.
            mask_high: largest probability of one.

        Raises:
            ValueError: an option is out of range.
        """

        capacity: int = 3
        alpha: float = 2.0
        beta: float = 5.0
        negative_capacity: int = 2
        negative_alpha: float = 0.117
        negative_beta: float = 1.0
        unsure_low: float = 0.2
        unsure_high: float = 0.5
        mask_low: float = 0.03
        mask_high: float = 1.0

        def __post_init__(self) -> None:
            for name in ("capacity", "negative_capacity"):
                check_at_least_one(name, getattr(self, name), "tda")
            for name in (
                "alpha", "beta", "negative_alpha", "negative_beta", "unsure_low", "unsure_high", "mask_low", "mask_high"
            ):  # fmt: skip
                check_weight(name, getattr(self, name), "tda")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The images are the stream, in its order."""
        images, text = self._pair(tokens)
        options = self.options
        clip = options.logit_scale * (images @ text.T)  # (n, k)
        probabilities = clip.softmax(dim=1)
        entropy = entropies(probabilities)
        predicted, shares = clip.argmax(dim=1).tolist(), entropy.tolist()
        speaks_against = ((probabilities > options.mask_low) & (probabilities < options.mask_high)).to(images)  # (n, k)
        sure = Memory(len(text), options.capacity, images)
        unsure = Memory(len(text), options.negative_capacity, images)
        masks = images.new_zeros(*unsure.filled.shape, len(text))  # (k, capacity, k)
        weight = options.logit_scale / PUBLISHED_SCALE
        rows = []
        for i, image in enumerate(images):
            sure.offer(predicted[i], shares[i], image)
            if options.unsure_low < shares[i] < options.unsure_high:
                place = unsure.offer(predicted[i], shares[i], image)
                if place is not None:
                    masks[predicted[i], place] = speaks_against[i]
            supports = options.alpha * sure.weights(image, options.beta).sum(dim=1)  # (k)
            against = options.negative_alpha * unsure.weights(image, options.negative_beta)  # (k, capacity)
            rows.append(clip[i] + weight * (supports - torch.tensordot(against, masks, dims=2)))
        return torch.stack(rows)
