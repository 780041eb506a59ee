"""Tip-Adapter-F: a cache of the support set whose keys are trained."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from calip_core.methods.base import Labels, Validation
from calip_core.methods.tip_adapter import (
    BETA_STEPS,
    check_cache,
    first_blend,
    last_alpha,
    mean_of_views,
    searched_betas,
    tip_search,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import Support, TrainingOptions
from calip_core.methods.validation import check_validation
from calip_core.tokens import ImageTokens


class TipAdapterF(TrainedHead):
    """logits = s F_v F_t^T + alpha exp(-beta (1 - F_v K^T)) V, with K trained (Zhang et al., 2022, section 3.3).

    The keys K start as the support set's features, the values V are its labels as one-hot rows and stay.

    The published code keeps the keys of the epoch that is best on the *test* features (its author on issue 11: "Sorry
    for this mistake"). Here the last epoch's keys are kept, whatever they score.

    Args:
        alpha: weight of the cache, together with ``beta`` or not at all. Left out, training takes what the published
            code starts from on ImageNet, 1.17 and 1, alpha in proportion to the logit scale, which is 100 there; then
            both are chosen on the validation set (``tip_search``), and without one they stay.
        beta: sharpness of the cache.
        alpha_max: how far alpha is searched, from 0. Left out, as far as published for ImageNet, 3, in proportion to
            the logit scale; ``published_tip`` has the maxima of other data sets.
        beta_max: how far beta is searched, from 0.1; 7 is published for ImageNet.
        beta_steps: in how many steps.
        views: how many consecutive rows of the support tokens are augmented views of one image. Its key starts as the
            mean of their features, brought back to unit length; each view is a row to train on.
        training: the recipe, as an object or by its fields; the published one when left out.
        seed: of the order of the rows.
        logit_scale: s.
        progress: whether to show a bar while training.

    Attributes:
        report: of the training run; None before and after loading.

    Raises:
        ValueError: a number is out of range, or only one of alpha and beta is given.
    """

    name = "tip_adapter_f"

    def __init__(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        alpha_max: float | None = None,
        beta_max: float = 7.0,
        beta_steps: int = BETA_STEPS,
        views: int = 1,
        training: TrainingOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
        logit_scale: float = 100.0,
        progress: bool = False,
    ) -> None:
        check_cache(self.name, alpha, beta, alpha_max, beta_max, views, logit_scale)
        if beta_steps < 1:
            raise ValueError(f"{self.name}: beta_steps is {beta_steps}, expected at least 1")
        default = TrainingOptions.tip_adapter_f()
        super().__init__(training, default, seed=seed, logit_scale=logit_scale, progress=progress)
        self.alpha, self.beta, self.alpha_max, self.beta_max = alpha, beta, alpha_max, beta_max
        self.beta_steps, self.views = beta_steps, views

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "TipAdapterF":
        """Train the keys on the support set; the validation set is used for alpha and beta alone.

        Raises:
            ValueError: the support set is missing, lacks a class, is of another width than the text, or the rows are
                no whole number of images with ``views`` views and one label each.
            TrainingDivergedError: the head is then the last one with a finite loss.
        """
        support = Support.of(tokens, labels, text, self.name)
        given = self.alpha is not None and self.beta is not None
        chosen_on = None if val is None or given else check_validation(val, text, self.name)
        pooled = support.tokens.pooled
        keys, classes = mean_of_views(pooled.detach(), support.targets.cpu().numpy(), self.views)
        blend = (self.alpha, self.beta) if given else first_blend(self.logit_scale)
        state = {
            "text": support.text,
            "keys": keys.clone().requires_grad_(),
            "classes": torch.from_numpy(classes).to(pooled.device),
            "blend": torch.tensor(blend, dtype=torch.float64),
        }
        self._learn(state, lambda rows: self._logits(pooled[rows], state), support)
        reason = "given" if given else "published for ImageNet, as there is no validation set"
        if chosen_on is not None:
            reason = self._choose(*chosen_on)
        self.chosen_by = f"{reason}: {self._numbers()}"
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus what the cache adds.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: features of another width.
        """
        with torch.no_grad():
            tokens = self._checked(tokens)
            return self._logits(tokens.pooled, self._placed(tokens))

    def options(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {
            "alpha": self.alpha, "beta": self.beta, "alpha_max": self.alpha_max, "beta_max": self.beta_max,
            "beta_steps": self.beta_steps, "views": self.views,
        }  # fmt: skip
        return {**own, **super().options()}

    def shapes(self) -> dict[str, str]:
        """Text features, keys, their classes, alpha and beta."""
        return {"text": "k c", "keys": "s c", "classes": "s", "blend": "2"}

    def _numbers(self) -> str:
        alpha, beta = self._state["blend"].tolist()
        return f"alpha = {alpha:g}, beta = {beta:g}"

    def _logits(self, pooled: Float[Tensor, "n c"], state: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        """The published keys are not made unit length again while they learn, nor are these."""
        alpha, beta = state["blend"].tolist()
        values = one_hot(state["classes"], len(state["text"])).to(pooled.dtype)
        cache = torch.exp(-beta * (1 - pooled @ state["keys"].T)) @ values
        logits: Float[Tensor, "n k"] = self.logit_scale * pooled @ state["text"].T + alpha * cache
        return logits

    @torch.no_grad()
    def _choose(self, tokens: ImageTokens, labels: Labels) -> str:
        """Take the pair that is best on validation; says how."""
        tokens = self._checked(tokens)
        state, pooled = self._placed(tokens), tokens.pooled
        clip, affinity = self.logit_scale * pooled @ state["text"].T, pooled @ state["keys"].T
        betas, end = searched_betas(self.beta_max, self.beta_steps), last_alpha(self.alpha_max, self.logit_scale)
        choice = tip_search(clip, affinity, state["classes"].cpu().numpy(), labels, betas=betas, alpha_max=end)
        self._state["blend"] = torch.tensor([choice.alpha, choice.beta], dtype=torch.float64)
        return f"exact search on {choice.images} validation images"
