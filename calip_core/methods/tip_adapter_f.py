"""Tip-Adapter-F: a cache of the support set whose keys are trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from calip_core.betas import line_landscape
from calip_core.methods.base import Labels, Validation
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import Support, TrainingOptions
from calip_core.tokens import ImageTokens

FIRST_ALPHA, FIRST_BETA = 1.17, 1.0
"""What the published ImageNet configuration trains with (Tip-Adapter, configs/imagenet.yaml)."""


class TipAdapterF(TrainedHead):
    """logits = s F_v F_t^T + alpha exp(-beta (1 - F_v K^T)) V, with K trained (Zhang et al., 2022, section 3.3).

    The keys K start as the support set's features, the values V are its labels as one-hot rows and stay.

    The published code keeps the keys of the epoch that is best on the *test* features (its author on issue 11: "Sorry
    for this mistake"). Here the last epoch's keys are kept, whatever they score.

    Args:
        alpha: weight of the cache. None trains with 1.17 and then chooses on validation, exactly along the line from 0
            to ``alpha_max``; without a validation set 1.17 stays.
        beta: sharpness of the cache. None trains with 1 and then chooses on validation from ``beta_steps`` values
            up to ``beta_max``; without a validation set 1 stays.
        alpha_max: largest alpha of the search (3 for ImageNet; up to 50 in the published configurations).
        beta_max: largest beta of the search (7 for ImageNet; up to 50).
        beta_steps: how many values of beta are tried, from 0.1 in equal steps.
        training: the recipe, as an object or by its fields; the published one when left out.
        seed: of the order of the rows.
        logit_scale: s.
        progress: whether to show a bar while training.

    Attributes:
        report: of the training run; None before and after loading.

    Raises:
        ValueError: a number is out of range.
    """

    name = "tip_adapter_f"

    def __init__(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        alpha_max: float = 3.0,
        beta_max: float = 7.0,
        beta_steps: int = 20,
        training: TrainingOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
        logit_scale: float = 100.0,
        progress: bool = False,
    ) -> None:
        for what, value in (("alpha", alpha), ("beta", beta), ("alpha_max", alpha_max), ("beta_max", beta_max)):
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{what} is {value}, expected a positive finite number such as 1.0")
        if beta_steps < 1:
            raise ValueError(f"beta_steps is {beta_steps}, expected at least 1")
        default = TrainingOptions.tip_adapter_f()
        super().__init__(training, default, seed=seed, logit_scale=logit_scale, progress=progress)
        self.alpha, self.beta = alpha, beta
        self.alpha_max, self.beta_max, self.beta_steps = alpha_max, beta_max, beta_steps

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "TipAdapterF":
        """Train the keys on the support set; the validation set is used for alpha and beta alone.

        Raises:
            ValueError: the support set is missing, lacks a class, or is of another width than the text.
            TrainingDivergedError: the head is then the last one with a finite loss.
        """
        support = Support.of(tokens, labels, text, self.name)
        alpha, beta = self.alpha or FIRST_ALPHA, self.beta or FIRST_BETA
        pooled = support.tokens.pooled
        state = {
            "text": support.text,
            "keys": pooled.detach().clone().requires_grad_(),
            "classes": support.targets,
            "blend": torch.tensor([alpha, beta], dtype=torch.float64),
        }
        self._learn(state, lambda rows: self._logits(pooled[rows], state), support)
        if val is not None and (self.alpha is None or self.beta is None):
            self._state["blend"] = torch.tensor(self._choose(*val), dtype=torch.float64)
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus what the cache adds.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: features of another width.
        """
        with torch.no_grad():
            return self._logits(self._checked(tokens).pooled, self._state)

    def options(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {
            "alpha": self.alpha, "beta": self.beta, "alpha_max": self.alpha_max, "beta_max": self.beta_max,
            "beta_steps": self.beta_steps,
        }  # fmt: skip
        return {**own, **super().options()}

    def _logits(self, pooled: Float[Tensor, "n c"], state: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        alpha, beta = (float(weight) for weight in state["blend"])
        return self.logit_scale * pooled @ state["text"].T + alpha * _cache(pooled, state, beta)

    @torch.no_grad()
    def _choose(self, tokens: ImageTokens, labels: Labels) -> tuple[float, float]:
        """The pair that is best on validation; of equals the one with the smaller beta."""
        pooled = self._checked(tokens).pooled
        zero_shot = self.logit_scale * pooled @ self._state["text"].T
        betas = np.linspace(0.1, self.beta_max, self.beta_steps) if self.beta is None else [self.beta]
        best = (-1.0, FIRST_ALPHA, FIRST_BETA)
        for beta in betas:
            cache = _cache(pooled, self._state, float(beta))
            if self.alpha is None:
                found = line_landscape(zero_shot, cache, labels, low=0.0, high=self.alpha_max).best()
                score, alpha = found.accuracy, found.t
            else:
                alpha = self.alpha
                line = line_landscape(zero_shot, cache, labels, low=0.0, high=2 * alpha)
                score = float(line.accuracy_at(alpha))
            best = max(best, (score, alpha, float(beta)), key=lambda entry: entry[0])
        return best[1], best[2]


def _cache(pooled: Float[Tensor, "n c"], state: Mapping[str, Tensor], beta: float) -> Float[Tensor, "n k"]:
    """exp(-beta (1 - F_v K^T)) V; the published keys are not made unit length again while they learn, nor are these."""
    values = one_hot(state["classes"], len(state["text"])).to(pooled.dtype)
    return torch.exp(-beta * (1 - pooled @ state["keys"].T)) @ values
