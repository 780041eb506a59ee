"""CALIP-FS: CALIP's attention with a few linear layers that learn from a support set.

The authors released no code for it. The paper specifies: projections before the attention give queries, keys and values
of both modalities, scaled attention runs in both directions, a projection follows, pooling and the blend of three
logits are those of CALIP (arXiv 2209.14169, section 3.3, via yuranusduke/CALIP). Everything else is an option here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, relu

from calip_core.attention import POOLS
from calip_core.blend.landscape import beta_landscape
from calip_core.methods.base import Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_validation,
    check_width,
    widened,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import TrainingOptions, uniform
from calip_core.tokens import CalipLogits, ImageTokens, TokenStream

PreInit = Literal["identity", "random"]
PostInit = Literal["zero", "identity", "random"]
Pooling = Literal["mean+max", "mean", "max"]

_ROLES = ("q", "k", "v")
# Elements of the largest tensor of a chunk of images that are classified together.
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class CalipFsConfig:
    """Design choices that the paper leaves open.

    Attributes:
        hidden: widths of layers with ReLU between the features and their queries, keys and values; none for a single
            linear layer.
        shared: whether text and image go through the same projections.
        bias: whether layers have a bias.
        pre_init: "identity" makes queries, keys and values equal to the features at step 0 (only without hidden
            layers), "random" initialises weights like torch's linear layers.
        post_init: "zero" makes all attended features zero at step 0: the head starts exactly at beta1 times zero-shot
            CLIP. With "identity" it starts at attention alone: with ``pre_init="identity"`` that is parameter-free
            CALIP at temperature 1 / scale. "random" initialises the weights randomly.
        scale: factor on the affinities before the softmax; None means one over the square root of the width C.
        pooling: how M attended tokens become F_v^a.

    Raises:
        ValueError: a value is out of range, or "identity" is combined with hidden layers.
    """

    hidden: Sequence[int] = ()
    shared: bool = False
    bias: bool = False
    pre_init: PreInit = "identity"
    post_init: PostInit = "zero"
    scale: float | None = 2.0
    pooling: Pooling = "mean+max"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON has lists alone
        for name, choices in (("pre_init", PreInit), ("post_init", PostInit), ("pooling", Pooling)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {list(get_args(choices))}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden is {self.hidden}, expected widths of at least 1")
        if self.hidden and self.pre_init == "identity":
            raise ValueError(f"pre_init is 'identity' and hidden is {self.hidden}: take 'random', or no hidden layers")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise ValueError(f"scale is {self.scale}, expected a positive finite number such as 2.0, or None")

    @classmethod
    def ours(cls) -> "CalipFsConfig":
        """This library's choice: linear layers starting as the identity, and a post-projection starting at zero.

        Attention starts as the released parameter-free one (scale 2 is its temperature of one half), and the head
        starts as zero-shot CLIP.
        """
        return cls()

    @classmethod
    def from_calip(cls) -> "CalipFsConfig":
        """Like ``ours``, but starts as parameter-free CALIP (``CalipConfig.official``) instead of zero-shot CLIP."""
        return cls(post_init="identity")

    @classmethod
    def yuranusduke(cls) -> "CalipFsConfig":
        """The one known implementation, not the authors': C-128-128-3C shared by both modalities, everything random.

        Its blend, logit scale and recipe are options of the head: ``CalipFs.yuranusduke()`` sets all of them.
        """
        return cls(hidden=(128, 128), shared=True, bias=True, pre_init="random", post_init="random", scale=None)


class CalipFs(TrainedHead):
    """logits = s (beta1 F_v F_t^T + beta2 F_v F_t^aT + beta3 F_v^a F_t^T) with learned attention.

    F_t^a = P(softmax_M(c Q_t K_s^T) V_s), F_s^a = P(softmax_K(c Q_s K_t^T) V_t), F_v^a = Pool(F_s^a): Q, K, V are
    projections of F_s and F_t, P is the post-projection, c the scale.
    """

    name = "calip_fs"
    reads_spatial = True
    numbers = ("beta1", "beta2", "beta3")
    nested = {"config": CalipFsConfig, "training": TrainingOptions}  # noqa: RUF012

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of CALIP-FS.

        Attributes:
            beta1: weight of CLIP's own logits.
            beta2: weight of the text features that attended to the image. None trains with 1 and then chooses it on the
                validation set, together with beta3; without one, it stays 1.
            beta3: weight of the image feature that attended to the text; None likewise.
            beta_max: both weights are searched from 0 to ``beta_max``, in ``beta_steps`` steps. At (0, 0) the head is
                zero-shot CLIP.
            beta_steps: intervals of the search.
            config: design choices that the paper leaves open; ``ours`` by default.

        Raises:
            ValueError: only one of beta2 and beta3 is given, a weight is not finite, or the search has no range.
        """

        beta1: float = 1.0
        beta2: float | None = None
        beta3: float | None = None
        beta_max: float = 2.0
        beta_steps: int = 40
        config: CalipFsConfig = field(default_factory=CalipFsConfig.ours)

        def __post_init__(self) -> None:
            super().__post_init__()
            if (self.beta2 is None) != (self.beta3 is None):
                raise ValueError(
                    f"beta2 is {self.beta2} and beta3 is {self.beta3}: give both, or None for both to choose them"
                )
            for what, value in (("beta1", self.beta1), ("beta2", self.beta2), ("beta3", self.beta3)):
                if value is not None and not np.isfinite(value):
                    raise ValueError(f"{what} is {value}, expected a finite weight such as 1.0")
            if not 0 < self.beta_max < float("inf") or self.beta_steps < 1:
                raise ValueError(
                    f"beta_max is {self.beta_max} and beta_steps {self.beta_steps}, expected a positive range and steps"
                )

    options: Options

    @classmethod
    def yuranusduke(cls, seed: int = 1) -> "CalipFs":
        """All choices of yuranusduke/CALIP: architecture, fixed blend, logit scale 1 / 0.07, 200 epochs."""
        return cls(**cls.published("any", 16).options, seed=seed)

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """The options of the one known implementation, for any dataset."""
        options = {
            "beta2": 0.08, "beta3": 0.02, "config": CalipFsConfig.yuranusduke(),
            "training": cls._known_training(dataset, shots), "logit_scale": 1 / 0.07,
        }  # fmt: skip
        return Recipe(options, "yuranusduke/CALIP, which is not the authors' code")

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """200 epochs of CoOp's recipe at any number of shots."""
        return TrainingOptions.coop(epochs=200)

    def shapes(self) -> dict[str, str]:
        """Text features, the blend, and the matrices (and biases) of every projection."""
        layers, bias = self._layers(), self.options.config.bias
        biases = {f"{name}_bias": outputs for name, (_, outputs) in layers.items() if bias}
        matrices = {name: f"{outputs} {inputs}" for name, (inputs, outputs) in layers.items()}
        return {"text": "k c", **dict.fromkeys(self.numbers, ""), **matrices, **biases}

    def learned(self) -> tuple[str, ...]:
        """Every projection."""
        return tuple(name for name in self.shapes() if name != "text" and name not in self.numbers)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "CalipFs":
        """Train the projections on the support set; the validation set is used for beta2 and beta3 alone.

        Raises:
            ValueError: the support set is missing, lacks a class, or differs in width from the text.
            TrainingDivergedError: the loss is not finite; the head keeps the last parameters with a finite loss.
        """
        support, options = Support.of(tokens, labels, text, self.name), self.options
        beta2, beta3, reason = 1.0, 1.0, "fixed; no validation images were used"
        if options.beta2 is not None and options.beta3 is not None:
            beta2, beta3, reason, val = options.beta2, options.beta3, "given", None
        checked = None if val is None else check_validation(val, text, self.name)
        self._start(support.text)
        self._choose(reason, beta1=options.beta1, beta2=beta2, beta3=beta3)
        self._learn(lambda rows: self._blend(self._terms(support.tokens[rows])), support)
        if checked is not None:
            self._choose_betas(*checked)
        return self

    @torch.no_grad()
    def terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits before they are blended, each times s.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: the features have the wrong width.
        """
        check_width(tokens, self._width(), self.name)
        _, m, c = tokens.spatial.shape
        step = max(1, _CHUNK_ELEMENTS // (m * max(c, len(self._fitted("text")))))
        chunks = list(tokens.batches(step)) or [tokens]
        return CalipLogits.cat([self._terms(widened(chunk)) for chunk in chunks])

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The blend of the three terms."""
        return self._blend(self.terms(tokens))

    @torch.no_grad()
    def moved(self) -> dict[str, float]:
        """How far training turned each matrix away from its start.

        For a matrix W that started at W_0 this is the minimum over a of norm(W - a W_0) / norm(W_0), in Frobenius
        norms. The factor a takes out the shrinkage by weight decay. For a matrix that started at zero it is
        norm(W) / norm(identity).

        Raises:
            RuntimeError: the head has not been fitted.
        """
        start = type(self)(**{option.name: getattr(self.options, option.name) for option in fields(self.options)})
        start._start(self._fitted("text"))
        return {name: _turned(self._fitted(name), start._fitted(name)) for name in self._layers()}

    def _choose_betas(self, tokens: TokenStream, labels: Labels) -> None:
        def parts(batch: ImageTokens) -> tuple[Tensor, ...]:
            terms = self.terms(batch)
            return terms.clip, terms.text_attended, terms.visual_attended

        terms = CalipLogits(*self._parts(tokens, parts))
        grid = np.linspace(0, self.options.beta_max, self.options.beta_steps + 1)
        best = beta_landscape(terms, labels, beta2=grid, beta3=grid, beta1=self.options.beta1).best()
        self._choose(f"exact landscape of {len(labels)} validation images", beta2=best.beta2, beta3=best.beta3)

    def _blend(self, terms: CalipLogits) -> Float[Tensor, "n k"]:
        return terms.combine(self._number("beta1"), beta2=self._number("beta2"), beta3=self._number("beta3"))

    def _terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three cosine terms times s, without forming F_t^a (K x C per image): see ``_text_attended``."""
        pooled, config = tokens.pooled, self.options.config  # (n, c)
        text = self._fitted("text", pooled)  # (k, c)
        image, words = self._project(tokens.spatial, "s"), self._project(text, "t")  # (n, m, c), (k, c)
        scale = text.shape[1] ** -0.5 if config.scale is None else config.scale
        over_tokens = (scale * words["q"] @ image["k"].transpose(1, 2)).softmax(dim=2)  # (n, k, m)
        over_classes = (scale * image["q"] @ words["k"].T).softmax(dim=2)  # (n, m, k)
        # Rows of weights sum to 1, so projecting the K values projects the attended features, bias included.
        visual = POOLS[config.pooling](over_classes @ self._layer("post", words["v"]))  # (n, c)
        text_attended = self._text_attended(pooled, over_tokens, image["v"])
        return CalipLogits(*(self.options.logit_scale * x for x in (pooled @ text.T, text_attended, visual @ text.T)))

    def _text_attended(
        self, pooled: Float[Tensor, "n c"], weights: Float[Tensor, "n k m"], values: Float[Tensor, "n m c"]
    ) -> Float[Tensor, "n k"]:
        """F_v F_t^aT with F_t^a = P(W V_s), in the cheaper order: (F_v P) V_s^T first, then the weights W."""
        looked_for = (pooled @ self._fitted("post", pooled)).unsqueeze(2)  # (n, c, 1)
        answers = (weights @ (values @ looked_for)).squeeze(2)  # (n, k)
        if not self.options.config.bias:
            return answers
        return answers + (pooled @ self._fitted("post_bias", pooled)).unsqueeze(1)

    def _project(self, features: Float[Tensor, "... c"], side: str) -> dict[str, Float[Tensor, "... c"]]:
        """Queries, keys and values of one modality."""
        side = "both" if self.options.config.shared else side
        for i in range(len(self.options.config.hidden)):
            features = relu(self._layer(f"{side}_hidden{i}", features))
        return {role: self._layer(f"{side}_{role}", features) for role in _ROLES}

    def _layer(self, name: str, features: Float[Tensor, "... i"]) -> Float[Tensor, "... o"]:
        bias = self._fitted(f"{name}_bias", features) if self.options.config.bias else None
        return linear(features, self._fitted(name, features), bias)

    def _layers(self) -> dict[str, tuple[str, str]]:
        """Every linear layer with the names of its inputs and outputs, in the order in which weights are drawn."""
        config = self.options.config
        widths = ("c", *map(str, config.hidden))
        layers: dict[str, tuple[str, str]] = {}
        for side in ("both",) if config.shared else ("s", "t"):
            layers |= {f"{side}_hidden{i}": pair for i, pair in enumerate(pairwise(widths))}
            layers |= {f"{side}_{role}": (widths[-1], "c") for role in _ROLES}
        return layers | {"post": ("c", "c")}

    def _start(self, text: Float[Tensor, "k c"]) -> None:
        """Initial weights of all layers, and initial biases if any: zero unless the weights are random."""
        generator, config = torch.Generator().manual_seed(self.options.seed), self.options.config
        self._keep("text", text)
        for name, ends in self._layers().items():
            inputs, outputs = (text.shape[1] if end == "c" else int(end) for end in ends)
            init = config.post_init if name == "post" else "random" if "hidden" in name else config.pre_init
            bound = inputs**-0.5
            if init == "random":
                self._keep(name, uniform((outputs, inputs), bound, generator, text))
            else:
                start = torch.eye(outputs) if init == "identity" else torch.zeros(outputs, inputs)
                self._keep(name, start.to(text))
            if config.bias:
                self._keep(f"{name}_bias", uniform((outputs,), bound if init == "random" else 0.0, generator, text))


def _turned(weight: Float[Tensor, "o i"], start: Float[Tensor, "o i"]) -> float:
    if not start.any():
        return float(weight.norm()) / math.sqrt(min(weight.shape))
    factor = (weight * start).sum() / start.square().sum()
    return float((weight - factor * start).norm() / start.norm())
