"""CALIP's training-free classifier: three logits, blended."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.attention import CalipConfig, calip_logits, visual_prior
from calip_core.blend import selection
from calip_core.blend.landscape import BetaLandscape, beta_landscape
from calip_core.blend.selection import FIXED, Grid, Selection
from calip_core.methods.base import Head, Recipe, Sees
from calip_core.methods.configs import CONFIG_NAMES, PRIOR_NAMES
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Validation,
    check_no_support,
    check_positive,
    check_unlabelled,
    check_validation,
    exact,
)
from calip_core.tokens import CalipLogits, ImageTokens, TokenStream

CONFIGS: Mapping[str, CalipConfig] = MappingProxyType(
    {name: getattr(CalipConfig, name)() for name in CONFIG_NAMES}
)
"""CALIP's published readings, by the names used in options and records.

Two more have names in ``CalipConfig`` and none here: ``dassl`` has the temperatures and the pooling of ``paper``, and
``ttabc`` those of ``official``. They differ by a logit scale, which multiplies all three terms and so never changes the
largest logit, and by their own weights and tokens, which here come from the protocol and the backbone. Measuring them
would repeat results; appendix C compares all five as published.
"""


class Calip(Head):
    """logits = beta1 s F_v F_t^T + beta2 s F_v F_t^aT + beta3 s F_v^a F_t^T: CALIP, as released.

    Attributes:
        grid: pairs to choose from; None means the released grid. Set it before ``fit``.
        selection: the pair and how it was chosen; None before ``fit`` and for a loaded head.
    """

    name = "calip"
    sees: Sees = "nothing"
    reads_spatial = True
    label_free = True
    numbers = ("beta2", "beta3")
    nested = {"config": CalipConfig}  # noqa: RUF012

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        """Options of CALIP.

        Attributes:
            beta1: weight of CLIP's own logits.
            beta2: weight of the text features that attended to the image. The default pair (1.12, 0.02) is the paper's
                for ImageNet with RN50, as SuS-X transcribes it, fixed here for every task. If both are None, they are
                chosen on the validation set; without one, the default pair is used.
            beta3: weight of the image feature that attended to the text.
            config: temperatures and pooling: a name in ``CONFIGS``, an object, or a mapping of its fields.
            logit_scale: the factor s on the cosines.
            prior: what to do with the class prior of the visual-attended term, a preference among classes that is the
                same for every image. "keep" leaves it, as released. "constant" subtracts its first-order value
                (``attention.visual_prior``), which needs nothing but the text. "mean" subtracts the term's mean over
                images without labels, which ``fit`` takes in place of a support set; the head then sees "unlabelled".

        Raises:
            ValueError: only one of beta2 and beta3 is given, or a value is unknown or out of range.
        """

        beta1: float = 1.0
        beta2: float | None = FIXED[0]
        beta3: float | None = FIXED[1]
        config: str | CalipConfig = "official"
        logit_scale: float = 100.0
        prior: str = "keep"

        def __post_init__(self) -> None:
            if (self.beta2 is None) != (self.beta3 is None):
                raise ValueError(
                    f"beta2 is {self.beta2} and beta3 is {self.beta3}: give both, or None for both to choose them"
                )
            if isinstance(self.config, str) and self.config not in CONFIGS:
                raise ValueError(f"config is {self.config!r}, expected one of {', '.join(CONFIGS)}, or a CalipConfig")
            if self.prior not in PRIOR_NAMES:
                raise ValueError(f"prior is {self.prior!r}, expected one of {', '.join(PRIOR_NAMES)}")
            check_positive("logit_scale", self.logit_scale, "calip")

    options: Options

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.options.prior == "mean":
            self.sees = "unlabelled"
        self.grid: Grid | None = None
        self.selection: Selection | None = None

    @classmethod
    def choosing(cls, shots: int) -> Recipe:
        """Leave the pair of weights to be chosen."""
        return Recipe({"beta2": None, "beta3": None}, cls.fixed(shots).source)

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """The paper's pair of weights for a dataset."""
        known = selection.published(dataset, backbone)
        return Recipe({"beta2": known.beta2, "beta3": known.beta3}, known.chosen_by)

    @property
    def config(self) -> CalipConfig:
        """Temperatures and pooling."""
        config = self.options.config
        return CONFIGS[config] if isinstance(config, str) else config

    @property
    def chosen(self) -> dict[str, float]:
        """The three weights of the fitted head."""
        return {"beta1": self.options.beta1} | super().chosen

    def shapes(self) -> dict[str, str]:
        """As of every head; with the prior "mean" also that mean, one number per class."""
        return super().shapes() | ({"prior": "k"} if self.options.prior == "mean" else {})

    def fit(
        self,
        tokens: TokenStream | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Calip":
        """Keep the text features, and choose the blend on the validation set if it is left open.

        Args:
            tokens: None; with the prior "mean", images without labels.
            labels: None.
            text: class features.
            val: labelled images to choose the blend on.

        Raises:
            ValueError: there is a support set, images without labels are missing or not wanted, or the validation set
                does not fit the text.
        """
        self._take_prior(tokens, labels, text.detach())
        beta2, beta3 = self.options.beta2, self.options.beta3
        if beta2 is not None and beta3 is not None:
            return self._take(selection.fixed(beta2, beta3), "given")
        if val is None:
            return self._take(selection.fixed(), "the paper's for ImageNet; no validation images were used")
        stream, checked = check_validation(val, text, self.name)
        grid = self.grid or Grid.released()
        terms = self._scaled_terms(stream)
        return self.take_landscape(beta_landscape(terms, checked, beta2=grid.beta2, beta3=grid.beta3))

    def take_landscape(self, val: BetaLandscape) -> "Calip":
        """Choose the pair of a fitted head from the landscape of ``scaled_terms`` of validation images.

        It may be the sum of the landscapes of the parts of a large validation split.
        """
        return self._take(selection.of_landscape(val), f"exact landscape of {val.images} validation images")

    def adapt(
        self, tokens: TokenStream, criterion: str = "term_agreement", grid: Grid | None = None
    ) -> "Calip":
        """Choose the pair of a fitted head without labels, for instance on the test images.

        Args:
            tokens: of unlabelled images.
            criterion: one of ``selection.CRITERIA``.
            grid: pairs to choose from; by default, the coarse grid of ``selection.label_free``.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: unknown criterion, no images, or features of the wrong width.
        """
        found = selection.label_free(self._scaled_terms(tokens), criterion, grid)
        return self._take(found, f"{criterion} on {found.images} images without labels")

    def terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits before they are blended, in the precision of text or tokens, whichever is higher.

        The visual-attended one is without its prior, unless the prior is kept.
        """
        terms = self._terms(tokens)
        if self.options.prior == "keep":
            return terms
        visual = terms.visual_attended
        if self.options.prior == "mean":
            prior = self._fitted("prior", visual)
        else:
            places = tokens.spatial.shape[1]
            text = self._fitted("text", visual)
            prior = visual_prior(text, self.config, self.options.logit_scale, places=places)
        return CalipLogits(terms.clip, terms.text_attended, visual - prior)

    def _terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits as released."""
        text = self._fitted("text")
        dtype = torch.promote_types(text.dtype, tokens.pooled.dtype)
        return calip_logits(
            tokens.to(dtype), text.to(tokens.pooled.device, dtype), self.config, self.options.logit_scale
        )

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The blend of the three terms."""
        terms = self.terms(tokens)
        return terms.combine(self.options.beta1, beta2=self._number("beta2"), beta3=self._number("beta3"))

    def _take_prior(self, tokens: TokenStream | None, labels: Labels | None, text: Float[Tensor, "k c"]) -> None:
        """Keep the text and, if it is asked for, the visual-attended term's mean over images without labels."""
        if self.options.prior != "mean":
            check_no_support(tokens, self.name)
            self._keep("text", text)
            return
        stream = check_unlabelled(tokens, labels, self.name)
        self._keep("text", text)

        def sums(batch: ImageTokens) -> tuple[Tensor]:
            return (exact(self._terms(batch).visual_attended).sum(dim=0, keepdim=True),)

        (parts,) = self._parts(stream, sums, fused=False)
        mean = parts.sum(dim=0) / len(stream)
        self._keep("prior", mean.to(text.device, torch.promote_types(text.dtype, torch.float32)))

    def scaled_terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits of a batch, CLIP's own already multiplied by beta1."""
        terms = self.terms(tokens)
        return CalipLogits(self.options.beta1 * terms.clip, terms.text_attended, terms.visual_attended)

    def _scaled_terms(self, tokens: TokenStream) -> CalipLogits:
        """One row per item."""

        def parts(batch: ImageTokens) -> tuple[Tensor, ...]:
            terms = self.scaled_terms(batch)
            return terms.clip, terms.text_attended, terms.visual_attended

        return CalipLogits(*self._parts(tokens, parts))

    def _take(self, found: Selection, reason: str) -> "Calip":
        self.selection = found
        self._choose(reason, beta2=found.beta2, beta3=found.beta3)
        return self
