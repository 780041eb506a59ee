"""CoOp: the words around a class name become learned vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.methods.base import Recipe
from calip_core.methods.inputs import (
    PUBLISHED_SCALE,
    Labels,
    Support,
    Validation,
    check_at_least_one,
    check_width,
    single,
)
from calip_core.methods.trained import TrainedHead
from calip_core.methods.training import TrainingOptions, coop_training
from calip_core.tokens import ImageTokens

Position = Literal["end", "middle"]

_STD = 0.02  # of the first context vectors, as CLIP's own word vectors start


class CoOp(TrainedHead):
    """logits = s F_v unit(T([start] v_1 ... v_L [class name] . [end]))^T, with the v learned (Zhou et al., 2022).

    Training uses cached pooled features and backpropagates through the text encoder T alone. The text features given to
    ``fit`` are only checked: they were made from templates, which this head replaces. A fitted head needs neither
    encoder nor names; the features of its learned prompts are in its state.

    Args:
        backbone: a CLIP of OpenAI's architecture, whose text encoder is used. Needed for ``fit``.
        classnames: the task's class names, in order. Needed for ``fit``.
        options: the fields of ``Options``.
    """

    name = "coop"
    needs = ("backbone", "classnames")

    @dataclass(frozen=True, kw_only=True)
    class Options(TrainedHead.Options):
        """Options of CoOp.

        Attributes:
            context: the number L of learned vectors.
            class_specific: whether each class has its own context vectors.
            position: where the class name stands: "end", or in the "middle" of the context.
            init: words that the context starts from, such as "a photo of a"; then L is their number of tokens. None
                draws vectors from N(0, 0.02).
            chunk: classes that go through the encoder together. With more classes than that, the backward pass
                recomputes activations chunk by chunk instead of keeping them.

        Raises:
            ValueError: an option is out of range.
        """

        context: int = 16
        class_specific: bool = False
        position: Position = "end"
        init: str | None = None
        chunk: int = 256

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.position not in get_args(Position):
                raise ValueError(f"position is {self.position!r}, expected one of {list(get_args(Position))}")
            for what in ("context", "chunk"):
                check_at_least_one(what, getattr(self, what), "coop")
            if self.init is not None and not self.init.strip():
                raise ValueError(f"init is {self.init!r}, expected words such as 'a photo of a', or None")

    options: Options

    def __init__(
        self, *, backbone: Backbone | None = None, classnames: Sequence[str] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.backbone = backbone
        self.classnames = None if classnames is None else tuple(classnames)

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """CoOp's schedule, for any dataset."""
        training = cls._known_training(dataset, shots)
        return Recipe({"training": training}, f"CoOp's schedule: {training.epochs} epochs at {shots} shots")

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """CoOp's schedule."""
        return coop_training(dataset, shots)

    def shapes(self) -> dict[str, str]:
        """Features of the learned prompts, and the context, with one vector per initial token."""
        return {"text": "k c", "context": "k l d" if self.options.class_specific else "l d"}

    def learned(self) -> tuple[str, ...]:
        """The context."""
        return ("context",)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "CoOp":
        """Learn the context from the support set; the validation set is not used.

        Raises:
            ValueError: there is no backbone or it has another architecture, the class names are missing or differ in
                number from the text, a prompt is too long, or the support set is missing, lacks a class, or differs in
                width from the text.
            TrainingDivergedError: the loss is not finite; the head keeps the last parameters with a finite loss.
        """
        support, options = Support.of(tokens, labels, text, self.name), self.options
        prompts = self._prompts(len(text))
        self._keep("context", prompts.first_context(options.class_specific, options.init, options.seed))
        pooled = support.tokens.pooled
        try:
            self._learn(
                lambda rows: self._logits(pooled[rows], prompts.features(self._fitted("context"))), support
            )
        finally:
            with torch.no_grad():
                self._keep("text", prompts.features(self._fitted("context")).to(pooled))
        return self

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Cosines of pooled features and those of the learned prompts, times s."""
        check_width(tokens, self._width(), self.name)
        return self._logits(single(tokens.pooled), self._fitted("text"))

    def _logits(self, pooled: Float[Tensor, "n c"], text: Float[Tensor, "k c"]) -> Float[Tensor, "n k"]:
        return self.options.logit_scale * pooled @ text.to(pooled).T

    def _prompts(self, classes: int) -> "Prompts":
        if self.backbone is None or self.classnames is None:
            raise ValueError(
                "coop learns through a text encoder from class names: make it with backbone=load_backbone(...) and "
                "classnames=task.classnames"
            )
        if len(self.classnames) != classes:
            raise ValueError(
                f"coop has {len(self.classnames)} class names and text features of {classes} classes: give the "
                "classnames that the text features were made from"
            )
        options = self.options
        return Prompts.of(self.backbone, self.classnames, self._context_length(), options.position, options.chunk)

    def _context_length(self) -> int:
        if self.options.init is None or self.backbone is None:
            return self.options.context
        return len(_word_tokens(self.backbone, [self.options.init])[0])


@dataclass(frozen=True)
class Prompts:
    """Prompts with places for context vectors, and the encoder that reads them.

    All prompts begin with the start mark and, if the context is shared, the context vectors. Text attends backwards
    only, so this beginning is identical for every class and is encoded once.

    Attributes:
        encoder: a CLIP whose text half computes in float32.
        context: how many context vectors a prompt has.
        fixed: vectors of marks and names, "k length d"; arbitrary at the places of context vectors.
        slots: index of the context vector at each place.
        open: whether each place holds a context vector.
        ends: place of each prompt's end mark, where the feature is read.
        together: number of classes encoded at once.
    """

    encoder: "TextTower"
    context: int
    fixed: Float[Tensor, "k length d"]
    slots: Int64[Tensor, "k length"]
    open: Bool[Tensor, "k length"]
    ends: Int64[Tensor, " k"]
    together: int

    @classmethod
    def of(
        cls, backbone: Backbone, classnames: Sequence[str], context: int, position: Position, together: int
    ) -> "Prompts":
        """Lay out one prompt per class, as short as the longest of them allows.

        Raises:
            ValueError: the backbone has another architecture than OpenAI's, or a prompt is longer than its context.
        """
        encoder = TextTower.of(backbone)
        names = _word_tokens(backbone, classnames)
        before = context if position == "end" else context // 2
        sentences = backbone.tokenize([f"{name.replace('_', ' ')}." for name in classnames])
        length = sentences.shape[1] + context
        if length > backbone.context_length:
            raise ValueError(
                f"with {context} context vectors the longest prompt has {length} tokens, and {backbone.name} reads "
                f"{backbone.context_length}: use at most {context - (length - backbone.context_length)}"
            )
        order = torch.stack([_order(len(name), context, before, sentences.shape[1]) for name in names])
        is_open = order < 0
        ids = sentences.gather(1, order.clamp_min(0))
        return cls(
            encoder, context, encoder.words(ids), (order + context).clamp_max(context - 1).to(encoder.device),
            is_open.to(encoder.device), (sentences.argmax(dim=1) + context).to(encoder.device), together,
        )  # fmt: skip

    def first_context(self, class_specific: bool, init: str | None, seed: int) -> Tensor:
        """Context vectors at step 0: "l d", or "k l d" if each class has its own."""
        k, _, d = self.fixed.shape
        shape = (k, self.context, d) if class_specific else (self.context, d)
        if init is None:
            drawn = _STD * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        else:
            drawn = self.encoder.words(_word_tokens(self.encoder.backbone, [init])[0].unsqueeze(0))[0].expand(shape)
        return drawn.clone().to(self.encoder.device)

    def features(self, context: Float[Tensor, "*k l d"]) -> Float[Tensor, "k c"]:
        """Unit rows, one per class."""
        chunks = torch.arange(len(self.fixed), device=self.fixed.device).split(self.together)
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._encode(context, chunk) for chunk in chunks])
        return torch.cat([checkpoint(self._encode, context, chunk, use_reentrant=False) for chunk in chunks])

    def _encode(self, context: Float[Tensor, "*k l d"], classes: Int64[Tensor, " j"]) -> Float[Tensor, "j c"]:
        slots = self.slots[classes]
        vectors = context[slots] if context.ndim == 2 else context[classes.unsqueeze(1), slots]
        embedded = torch.where(self.open[classes].unsqueeze(2), vectors, self.fixed[classes])
        return self.encoder(embedded, self.ends[classes], self._alike(context.ndim == 2))

    def _alike(self, shared: bool) -> int:
        """Number of initial places that all prompts share: the start mark and the first run of context."""
        return 1 + (int(self.open[0, 1:].long().cumprod(0).sum()) if shared else 0)


@dataclass(frozen=True)
class TextTower:
    """The text half of OpenAI's CLIP from word vectors on, in float32, with a gradient for its input alone."""

    backbone: Backbone
    model: ClipModule

    @classmethod
    def of(cls, backbone: Backbone) -> "TextTower":
        """Check the architecture.

        Raises:
            ValueError: it is not OpenAI's.
        """
        if not isinstance(backbone.model, clip.model.CLIP):
            raise ValueError(
                f"coop needs a text encoder of OpenAI's architecture, {backbone.name} has a "
                f"{type(backbone.model).__name__}: choose one of OpenAI's models or a miniature"
            )
        return cls(backbone, backbone.model)

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self.backbone.device

    @torch.no_grad()
    def words(self, ids: Int64[Tensor, "p length"]) -> Float[Tensor, "p length d"]:
        """Word vectors, before positions are added."""
        vectors: Tensor = self.model.token_embedding(ids.to(self.device))
        return vectors.float()

    def __call__(
        self, embedded: Float[Tensor, "j length d"], ends: Int64[Tensor, " j"], alike: int
    ) -> Float[Tensor, "j c"]:
        """Features at the end marks, as unit rows; the first ``alike`` places are identical in all rows.

        What CLIP's ``encode_text`` computes after its word embedding, in float32 regardless of the format of the
        weights.
        """
        placed = embedded + self.model.positional_embedding[: embedded.shape[1]].float()
        head, tail = placed[:1, :alike], placed[:, alike:]
        for block in self.model.transformer.resblocks:
            head, tail = _block(block, head, tail)
        read = _norm(self.model.ln_final, tail[torch.arange(len(tail), device=tail.device), ends - alike])
        return normalize(read @ self.model.text_projection.float(), dim=-1)


def _block(
    block: ClipModule, head: Float[Tensor, "1 a d"], tail: Float[Tensor, "j t d"]
) -> tuple[Float[Tensor, "1 a d"], Float[Tensor, "j t d"]]:
    """One residual attention block on a shared beginning and the rest: the rest attends to both."""
    q, k, v = _heads(block, head)
    new_head = _finish(block, head, scaled_dot_product_attention(q, k, v, is_causal=True))
    (queries, *own), earlier = _heads(block, tail), (k, v)
    keys, values = (
        torch.cat([past.expand(len(tail), -1, -1, -1), now], dim=2) for past, now in zip(earlier, own, strict=True)
    )
    seen = torch.ones(tail.shape[1], keys.shape[2], dtype=torch.bool, device=tail.device).tril(head.shape[1])
    attended = scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
    return new_head, _finish(block, tail, attended)


def _heads(block: ClipModule, x: Float[Tensor, "j t d"]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, "j heads t d/heads" each."""
    attention = block.attn
    x = _norm(block.ln_1, x)
    together = linear(x, attention.in_proj_weight.float(), attention.in_proj_bias.float())
    j, t, _ = together.shape
    q, k, v = together.view(j, t, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def _finish(block: ClipModule, x: Float[Tensor, "j t d"], attended: Float[Tensor, "j h t e"]) -> Float[Tensor, "j t d"]:
    """Join the heads, then the two residual additions of a block."""
    x = x + _affine(block.attn.out_proj, attended.transpose(1, 2).flatten(2))
    mlp = block.mlp
    return x + _affine(mlp.c_proj, mlp.gelu(_affine(mlp.c_fc, _norm(block.ln_2, x))))


def _affine(layer: ClipModule, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
    return linear(x, layer.weight.float(), layer.bias.float())


def _norm(layer: ClipModule, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    return nn.functional.layer_norm(x, layer.normalized_shape, layer.weight.float(), layer.bias.float(), layer.eps)


def _word_tokens(backbone: Backbone, texts: Sequence[str]) -> list[Int64[Tensor, " t"]]:
    """Tokens of texts without their marks."""
    rows = backbone.tokenize([text.replace("_", " ") for text in texts])
    return [row[1 : int(row.argmax())] for row in rows]


def _order(name: int, context: int, before: int, length: int) -> Int64[Tensor, " whole"]:
    """Which token of "[start] name . [end]" stands at each place of a prompt; below 0 for context vectors.

    Context vector i is coded as i - context. The start mark comes first, ``before`` context vectors follow; the others,
    if any, stand between the name and the full stop.
    """
    vectors = torch.arange(context) - context
    tokens = torch.arange(length)
    return torch.cat([tokens[:1], vectors[:before], tokens[1 : 1 + name], vectors[before:], tokens[1 + name :]])
