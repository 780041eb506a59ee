"""CALIP-FS: CALIP's attention with a few linear layers that learn from a support set.

The authors released no code of it. What the paper fixes: projections before the attention give queries, keys and
values of both modalities, scaled attention runs in both directions, a projection follows, pooling and the blend of
three logits are those of CALIP (arXiv 2209.14169, section 3.3, via yuranusduke/CALIP). All else is an option here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, relu

from calip_core.attention import POOLS
from calip_core.blend.landscape import beta_landscape
from calip_core.methods.base import Labels, Validation
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import Support, TrainingOptions, uniform
from calip_core.methods.validation import check_validation
from calip_core.tokens import CalipLogits, ImageTokens

PreInit = Literal["identity", "random"]
PostInit = Literal["zero", "identity", "random"]
Pooling = Literal["mean+max", "mean", "max"]

_ROLES = ("q", "k", "v")
# Numbers of the largest tensor of a chunk of images that are classified together.
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class CalipFsConfig:
    """What is not known of CALIP-FS.

    Attributes:
        hidden: widths of layers with ReLU between the features and their queries, keys and values; none for a single
            linear layer.
        shared: whether text and image go through the same projections.
        bias: whether layers have one.
        pre_init: "identity" makes queries, keys and values the features themselves at step 0 (without hidden layers
            only), "random" draws weights as torch draws those of a linear layer.
        post_init: "zero" makes all attended features zero at step 0: the head starts exactly at beta1 times zero-shot
            CLIP. With "identity" it starts at attention alone: with ``pre_init="identity"`` that is parameter-free
            CALIP at temperature 1 / scale. "random" starts anywhere.
        scale: factor on the affinities before the softmax; None takes one over the root of the width C.
        pooling: how M attended tokens become F_v^a.

    Raises:
        ValueError: a value is out of range, or an identity is asked of projections with hidden layers.
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
        """This library's choice: one linear layer each, first the identity, and a post-projection from zero.

        Attention begins as the released parameter-free one (scale 2 is its temperature of one half), and the head as
        zero-shot CLIP.
        """
        return cls()

    @classmethod
    def from_calip(cls) -> "CalipFsConfig":
        """The same, but the head starts as parameter-free CALIP (``CalipConfig.official``) instead of zero-shot."""
        return cls(post_init="identity")

    @classmethod
    def yuranusduke(cls) -> "CalipFsConfig":
        """The one known implementation, not the authors': C-128-128-3C shared by both modalities, everything random.

        Its blend, logit scale and recipe are the head's: ``CalipFs.yuranusduke()`` has all of them.
        """
        return cls(hidden=(128, 128), shared=True, bias=True, pre_init="random", post_init="random", scale=None)


class CalipFs(TrainedHead):
    """logits = s (beta1 F_v F_t^T + beta2 F_v F_t^aT + beta3 F_v^a F_t^T) with learned attention.

    F_t^a = P(softmax_M(c Q_t K_s^T) V_s), F_s^a = P(softmax_K(c Q_s K_t^T) V_t), F_v^a = Pool(F_s^a): Q, K, V are
    projections of F_s and F_t, P is the post-projection, c the scale.

    Args:
        beta1: weight of CLIP's own logits.
        beta2: weight of the text features that attended to the image. None trains with 1 and then chooses on
            validation, together with beta3; without a validation set 1 stays.
        beta3: weight of the image feature that attended to the text; None likewise.
        beta_max: the search goes from 0 to it for both weights, in ``beta_steps`` steps. At 0 and 0 it is zero-shot.
        beta_steps: intervals of the search.
        config: what the paper leaves open, as an object or by its fields; ``ours`` when left out.
        training: the recipe, as an object or by its fields; CoOp's for 16 shots when left out.
        seed: of the first weights and of the order of the rows.
        logit_scale: s.
        progress: whether to show a bar while training.

    Raises:
        ValueError: only one of beta2 and beta3 is given, a weight is not finite, or the search has no range.
    """

    name = "calip_fs"

    def __init__(
        self,
        beta1: float = 1.0,
        beta2: float | None = None,
        beta3: float | None = None,
        beta_max: float = 2.0,
        beta_steps: int = 40,
        config: CalipFsConfig | Mapping[str, Any] | None = None,
        training: TrainingOptions | Mapping[str, Any] | None = None,
        seed: int = 1,
        logit_scale: float = 100.0,
        progress: bool = False,
    ) -> None:
        super().__init__(training, TrainingOptions.coop(), seed=seed, logit_scale=logit_scale, progress=progress)
        if (beta2 is None) != (beta3 is None):
            raise ValueError(f"beta2 is {beta2} and beta3 is {beta3}: give both, or None for both to choose them")
        for what, value in (("beta1", beta1), ("beta2", beta2), ("beta3", beta3)):
            if value is not None and not np.isfinite(value):
                raise ValueError(f"{what} is {value}, expected a finite weight such as 1.0")
        if not 0 < beta_max < float("inf") or beta_steps < 1:
            raise ValueError(f"beta_max is {beta_max} and beta_steps {beta_steps}, expected a positive range and steps")
        self.beta1, self.beta2, self.beta3 = beta1, beta2, beta3
        self.beta_max, self.beta_steps = beta_max, beta_steps
        self.config = CalipFsConfig(**config) if isinstance(config, Mapping) else config or CalipFsConfig.ours()

    @classmethod
    def yuranusduke(cls, seed: int = 1) -> "CalipFs":
        """All choices of yuranusduke/CALIP: architecture, fixed blend, logit scale 1 / 0.07, 200 epochs."""
        return cls(
            beta2=0.08, beta3=0.02, config=CalipFsConfig.yuranusduke(), training=TrainingOptions.coop(16),
            seed=seed, logit_scale=1 / 0.07,
        )  # fmt: skip

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "CalipFs":
        """Train the projections on the support set; the validation set is used for beta2 and beta3 alone.

        Raises:
            ValueError: the support set is missing, lacks a class, or is of another width than the text.
            TrainingDivergedError: the head is then the last one with a finite loss.
        """
        support = Support.of(tokens, labels, text, self.name)
        given = self.beta2 is not None and self.beta3 is not None
        chosen_on = None if val is None or given else check_validation(val, text, self.name)
        state = self._first_state(support.text)
        self._learn(state, lambda rows: self._blend(self._terms(support.tokens[rows], state), state), support)
        reason = "given" if given else "fixed, as there is no validation set"
        if chosen_on is not None:
            self._choose_betas(*chosen_on)
            reason = f"exact landscape of {len(chosen_on[1])} validation images"
        self.chosen_by = f"{reason}: {self._numbers()}"
        return self

    def shapes(self) -> dict[str, str]:
        """Text features, the blend, and the matrices (and biases) of every projection."""
        widths = ("c", *map(str, self.config.hidden))
        layers = {"post": ("c", "c")}
        for side in ("both",) if self.config.shared else ("s", "t"):
            layers |= {f"{side}_hidden{i}": pair for i, pair in enumerate(pairwise(widths))}
            layers |= {f"{side}_{role}": (widths[-1], "c") for role in _ROLES}
        biases = {f"{name}_bias": outputs for name, (_, outputs) in layers.items() if self.config.bias}
        matrices = {name: f"{outputs} {inputs}" for name, (inputs, outputs) in layers.items()}
        return {"text": "k c", "betas": "3", **matrices, **biases}

    def _numbers(self) -> str:
        beta1, beta2, beta3 = self._state["betas"].tolist()
        return f"beta1 = {beta1:g}, beta2 = {beta2:g}, beta3 = {beta3:g}"

    @torch.no_grad()
    def terms(self, tokens: ImageTokens) -> CalipLogits:
        """The three logits before they are blended, each times s.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: features of another width.
        """
        check = self._checked(tokens[:0])
        n, m, c = tokens.spatial.shape
        step = max(1, _CHUNK_ELEMENTS // (m * max(c, len(self._text()))))
        starts = range(0, n, step) if n else ()
        state = self._placed(check)
        parts = [self._terms(self._checked(tokens[i : i + step]), state) for i in starts]
        return CalipLogits.cat(parts or [self._terms(check, state)])

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The blend of the three."""
        return self._blend(self.terms(tokens), self._state)

    @property
    def betas(self) -> tuple[float, float, float]:
        """The weights as the fitted head uses them."""
        self._text()
        beta1, beta2, beta3 = self._state["betas"].tolist()
        return beta1, beta2, beta3

    def options(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {
            "beta1": self.beta1, "beta2": self.beta2, "beta3": self.beta3, "beta_max": self.beta_max,
            "beta_steps": self.beta_steps, "config": {**asdict(self.config), "hidden": list(self.config.hidden)},
        }  # fmt: skip
        return {**own, **super().options()}

    def _choose_betas(self, tokens: ImageTokens, labels: Labels) -> None:
        grid = np.linspace(0, self.beta_max, self.beta_steps + 1)
        best = beta_landscape(self.terms(tokens), labels, beta2=grid, beta3=grid, beta1=self.beta1).best()
        self._state["betas"] = torch.tensor([self.beta1, best.beta2, best.beta3], dtype=torch.float64)

    def _blend(self, terms: CalipLogits, state: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        beta1, beta2, beta3 = state["betas"].tolist()
        return terms.combine(beta1, beta2=beta2, beta3=beta3)

    def _terms(self, tokens: ImageTokens, state: Mapping[str, Tensor]) -> CalipLogits:
        """The three cosine terms times s, without forming F_t^a (K x C an image): see ``_text_attended``."""
        text = state["text"]
        image, words = (_project(x, side, state, self.config) for x, side in ((tokens.spatial, "s"), (text, "t")))
        scale = text.shape[1] ** -0.5 if self.config.scale is None else self.config.scale
        over_tokens = (scale * words["q"] @ image["k"].transpose(1, 2)).softmax(dim=2)
        over_classes = (scale * image["q"] @ words["k"].T).softmax(dim=2)
        # Rows of weights sum to 1, so projecting the K values projects the attended features, bias included.
        attended = over_classes @ linear(words["v"], state["post"], state.get("post_bias"))
        visual = POOLS[self.config.pooling](attended)
        text_attended = _text_attended(tokens.pooled, over_tokens, image["v"], state)
        return CalipLogits(*(self.logit_scale * x for x in (tokens.pooled @ text.T, text_attended, visual @ text.T)))

    def _first_state(self, text: Float[Tensor, "k c"]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        width, config = text.shape[1], self.config
        betas = [self.beta1, *(1.0 if beta is None else beta for beta in (self.beta2, self.beta3))]
        state = {"text": text, "betas": torch.tensor(betas, dtype=torch.float64)}
        for side in ("both",) if config.shared else ("s", "t"):
            widths = (width, *config.hidden)
            for i, (inputs, outputs) in enumerate(pairwise(widths)):
                state |= _layer(f"{side}_hidden{i}", outputs, inputs, "random", config.bias, generator, text)
            for role in _ROLES:
                state |= _layer(f"{side}_{role}", width, widths[-1], config.pre_init, config.bias, generator, text)
        return state | _layer("post", width, width, config.post_init, config.bias, generator, text)


def _layer(
    name: str, outputs: int, inputs: int, init: PostInit, bias: bool, generator: torch.Generator, like: Tensor
) -> dict[str, Tensor]:
    """First weights of a linear layer, and a bias if it has one: zero unless the weights are random."""
    bound = inputs**-0.5
    if init == "random":
        weight = uniform((outputs, inputs), bound, generator, like)
    else:
        start = torch.eye(outputs) if init == "identity" else torch.zeros(outputs, inputs)
        weight = start.to(like).requires_grad_()
    if not bias:
        return {name: weight}
    return {name: weight, f"{name}_bias": uniform((outputs,), bound if init == "random" else 0.0, generator, like)}


def _project(
    features: Float[Tensor, "... c"], side: str, state: Mapping[str, Tensor], config: CalipFsConfig
) -> dict[str, Float[Tensor, "... c"]]:
    """Queries, keys and values of one modality."""
    side = "both" if config.shared else side
    for i in range(len(config.hidden)):
        features = relu(linear(features, state[f"{side}_hidden{i}"], state.get(f"{side}_hidden{i}_bias")))
    return {
        role: linear(features, state[f"{side}_{role}"], state.get(f"{side}_{role}_bias")) for role in _ROLES
    }


def _text_attended(
    pooled: Float[Tensor, "n c"], weights: Float[Tensor, "n k m"], values: Float[Tensor, "n m c"],
    state: Mapping[str, Tensor],
) -> Float[Tensor, "n k"]:  # fmt: skip
    """F_v F_t^aT with F_t^a = P(W V_s), in the order that is cheap: (F_v P) V_s^T first, then the weights W."""
    looked_for = (pooled @ state["post"]).unsqueeze(2)
    answers = (weights @ (values @ looked_for)).squeeze(2)
    return answers + (pooled @ state["post_bias"]).unsqueeze(1) if "post_bias" in state else answers
