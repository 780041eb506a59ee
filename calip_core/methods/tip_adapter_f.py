"""Tip-Adapter-F: a cache of the support set whose keys are trained."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from calip_core.methods.base import Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_validation,
    check_width,
    single,
)
from calip_core.methods.tip_adapter import (
    BETA_STEPS,
    check_cache,
    first_blend,
    last_alpha,
    mean_of_views,
    published_blend,
    searched_betas,
    searched_blend,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import TrainingOptions
from calip_core.tokens import ImageTokens


class TipAdapterF(TrainedHead):
    """logits = s F_v F_t^T + alpha exp(-beta (1 - F_v K^T)) V, with K trained (Zhang et al., 2022, section 3.3).

    The keys K start as the support set's features, the values V are its labels as one-hot rows and stay fixed.

    The published code keeps the keys of the epoch that is best on the *test* features (its author on issue 11: "Sorry
    for this mistake"). Here the last epoch's keys are kept, regardless of their score.
    """

    name = "tip_adapter_f"
    published_protocol = "validation"
    numbers = ("alpha", "beta")

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of Tip-Adapter-F.

        Attributes:
            alpha: weight of the cache; give both ``alpha`` and ``beta`` or neither. By default, training uses the
                initial values of the published code on ImageNet, 1.17 and 1, alpha in proportion to the logit scale,
                which is 100 there; then both are chosen on the validation set (``tip_search``); without one they stay
                the same.
            beta: sharpness of the cache.
            alpha_max: alpha is searched from 0 to this value. By default, the value published for ImageNet, 3, in
                proportion to the logit scale; ``published_tip`` has the maxima of other datasets.
            beta_max: beta is searched from 0.1 to this value; 7 is published for ImageNet.
            beta_steps: number of steps of that search.
            views: how many consecutive rows of the support tokens are augmented views of one image. Its key starts as
                the mean of their features, normalised to unit length; each view is a row to train on.
            training: the recipe; by default, the published one.

        Raises:
            ValueError: a number is out of range, or only one of alpha and beta is given.
        """

        alpha: float | None = None
        beta: float | None = None
        alpha_max: float | None = None
        beta_max: float = 7.0
        beta_steps: int = BETA_STEPS
        views: int = 1
        training: TrainingOptions = field(default_factory=TrainingOptions.tip_adapter_f)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_cache(
                "tip_adapter_f", self.alpha, self.beta, self.alpha_max, self.beta_max, self.views, self.logit_scale
            )
            check_at_least_one("beta_steps", self.beta_steps, "tip_adapter_f")

    options: Options

    @classmethod
    def fixed(cls, shots: int) -> Recipe:
        """The defaults, which include the published 20 epochs."""
        cls._check_shots(shots)
        return Recipe({}, "this library's defaults")

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """Tip-Adapter's values and schedule."""
        options, source = published_blend(dataset, backbone, logit_scale)
        return Recipe({**options, "training": cls._known_training(dataset, shots)}, source)

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """20 epochs at any number of shots, and 100 for EuroSAT."""
        return TrainingOptions.tip_adapter_f(100 if dataset == "eurosat" else 20)

    def shapes(self) -> dict[str, str]:
        """Text features, keys, their classes, alpha and beta."""
        return {"text": "k c", "keys": "s c", "classes": "s", "alpha": "", "beta": ""}

    def learned(self) -> tuple[str, ...]:
        """The keys."""
        return ("keys",)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "TipAdapterF":
        """Train the keys on the support set; the validation set is used for alpha and beta alone.

        Raises:
            ValueError: the support set is missing, lacks a class, differs in width from the text, or the rows are not a
                whole number of images with ``views`` views and one label each.
            TrainingDivergedError: the loss is not finite; the head keeps the last parameters with a finite loss.
        """
        support, options = Support.of(tokens, labels, text, self.name), self.options
        blend, reason = first_blend(options.logit_scale), "published for ImageNet; no validation images were used"
        if options.alpha is not None and options.beta is not None:
            blend, reason, val = (options.alpha, options.beta), "given", None
        checked = None if val is None else check_validation(val, text, self.name)
        pooled = support.tokens.pooled
        keys, classes = mean_of_views(pooled.detach(), support.labels, options.views)
        self._keep("text", support.text)
        self._keep("keys", keys.clone())
        self._keep("classes", torch.from_numpy(classes).to(pooled.device))
        self._choose(reason, alpha=blend[0], beta=blend[1])
        self._learn(lambda rows: self._logits(pooled[rows]), support)
        if checked is not None:
            betas = searched_betas(options.beta_max, options.beta_steps)
            end = last_alpha(options.alpha_max, options.logit_scale)
            alpha, beta = searched_blend(self, self._terms, classes, checked, betas=betas, alpha_max=end)
            self._choose(f"exact search on {len(checked[1])} validation images", alpha=alpha, beta=beta)
        return self

    @torch.no_grad()
    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Zero-shot logits plus the cache's contribution."""
        check_width(tokens, self._width(), self.name)
        return self._logits(single(tokens.pooled))

    def _logits(self, pooled: Float[Tensor, "n c"]) -> Float[Tensor, "n k"]:
        """As in the published code, keys are not renormalised while they are trained."""
        text, keys = self._fitted("text", pooled), self._fitted("keys", pooled)
        values = one_hot(self._fitted("classes").to(pooled.device), len(text)).to(pooled.dtype)  # (s, k)
        cache = torch.exp(-self._number("beta") * (1 - pooled @ keys.T)) @ values  # (n, k)
        logits: Float[Tensor, "n k"] = self.options.logit_scale * pooled @ text.T + self._number("alpha") * cache
        return logits

    @torch.no_grad()
    def _terms(self, tokens: ImageTokens) -> tuple[Tensor, Tensor]:
        """Zero-shot logits "n k" and products with the keys "n s"."""
        pooled = single(tokens.pooled)
        text, keys = self._fitted("text", pooled), self._fitted("keys", pooled)
        return self.options.logit_scale * pooled @ text.T, pooled @ keys.T
