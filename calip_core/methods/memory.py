"""The memory of a head that sees a stream: per class, the images of the least entropy so far."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def entropies(probabilities: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Entropy of each row, as a share of the largest possible, log k."""
    logs = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    return -(probabilities * logs).sum(dim=1) / math.log(max(2, probabilities.shape[1]))


class Memory:
    """Vectors by class, at most ``capacity`` per class.

    Attributes:
        keys: the vectors, "k capacity c"; zero where there is none.
        filled: where there is one, "k capacity", 1 or 0.
    """

    def __init__(self, classes: int, capacity: int, like: Float[Tensor, "n c"]) -> None:
        """An empty memory for vectors of the width, device and format of ``like``."""
        self.keys = like.new_zeros(classes, capacity, like.shape[1])
        self.filled = like.new_zeros(classes, capacity)
        self._entropies: list[list[float]] = [[] for _ in range(classes)]

    def offer(self, owner: int, entropy: float, key: Float[Tensor, " c"]) -> int | None:
        """Take a vector if its class has room, or in place of the class's one of the largest entropy if that is larger.

        Returns:
            Its place in the class, or None.
        """
        held = self._entropies[owner]
        if len(held) < self.filled.shape[1]:
            held.append(entropy)
            place = len(held) - 1
        else:
            place = max(range(len(held)), key=held.__getitem__)
            if entropy >= held[place]:
                return None
            held[place] = entropy
        self.keys[owner, place] = key
        self.filled[owner, place] = 1
        return place

    def weights(self, image: Float[Tensor, " c"], sharpness: float) -> Float[Tensor, "k capacity"]:
        """exp(-sharpness (1 - cos)) for each vector; 0 where there is none."""
        return torch.exp(-sharpness * (1 - self.keys @ image)) * self.filled
