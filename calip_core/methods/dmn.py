"""DMN: a second class vector for each image, read from a memory of the stream."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.methods.inputs import check_at_least_one, check_weight
from calip_core.methods.memory import Memory, entropies
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens


class Dmn(TextOnly):
    """logits = s f F_t^T + alpha s f v_k, DMN without training (Zhang et al., CVPR 2024, arXiv 2403.17589).

    v_k is the direction of the memory of class k, each of its images weighted by exp(-beta (1 - cos)) with the image
    in question. The memory of a class holds its text vector and, of the images that CLIP assigned to it, those of the
    least entropy; each image enters before it is classified. The original reads 64 views of each image; here there is
    one.
    """

    name = "dmn"
    sees = "stream"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of DMN.

        Attributes:
            capacity: images per class.
            alpha: weight of the second class vectors.
            beta: sharpness of the weights, 5.5 as published.

        Raises:
            ValueError: an option is out of range.
        """

        capacity: int = 50
        alpha: float = 1.0
        beta: float = 5.5

        def __post_init__(self) -> None:
            check_at_least_one("capacity", self.capacity, "dmn")
            for name in ("alpha", "beta"):
                check_weight(name, getattr(self, name), "dmn")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The images are the stream, in its order."""
        images, text = self._pair(tokens)
        options = self.options
        clip = options.logit_scale * (images @ text.T)  # (n, k)
        shares, predicted = entropies(clip.softmax(dim=1)).tolist(), clip.argmax(dim=1).tolist()
        memory = Memory(len(text), options.capacity + 1, images)
        for k, row in enumerate(text):
            memory.offer(k, -1.0, row)  # below every entropy: it stays
        rows = []
        for i, image in enumerate(images):
            memory.offer(predicted[i], shares[i], image)
            weights = memory.weights(image, options.beta).unsqueeze(1)  # (k, 1, capacity)
            vectors = normalize((weights @ memory.keys).squeeze(1), dim=1)  # (k, c)
            rows.append(clip[i] + options.alpha * options.logit_scale * (vectors @ image))
        return torch.stack(rows)
