"""CALIP's parameter-free attention between spatial image features and text features.

``parameter_free_attention`` is the version to read; ``calip_logits`` is the version to use. Notation: F_v (C) pooled,
F_s (M x C) spatial, F_t (K x C) text, all of unit length; A = F_s F_t^T is the affinity. Shape comments use n images,
m tokens, k classes and c feature dimensions.

Source: CALIP (Guo et al., AAAI 2023, arXiv 2209.14169), as released in ``run_imagenet.py`` of ZiyuGuo99/CALIP. The
body of the paper was not available: statements about it rely on the ports by SuS-X and for Dassl.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.tokens import CalipLogits, ImageTokens

Pool = Callable[[Float[Tensor, "n m c"]], Float[Tensor, "n c"]]

# exp(1 / alpha) must stay well inside float32's range when one exponential serves both softmaxes.
_SMALLEST_SHARED_ALPHA = 1 / 30
# Affinities per chunk: few enough to stay in a processor's cache, many enough to fill a GPU.
_CPU_CHUNK_ELEMENTS = 1 << 20
_GPU_CHUNK_ELEMENTS = 1 << 27


def _mean_plus_max(features: Float[Tensor, "n m c"]) -> Float[Tensor, "n c"]:
    return features.mean(dim=1) + features.amax(dim=1)


POOLS: dict[str, Pool] = {
    "mean+max": _mean_plus_max,
    "mean": lambda features: features.mean(dim=1),
    "max": lambda features: features.amax(dim=1),
}


@dataclass(frozen=True)
class CalipConfig:
    """The choices that the equations leave open. Each named constructor is one published interpretation.

    Attributes:
        alpha_t: temperature of the softmax over the M image tokens (text attends to the image).
        alpha_s: temperature of the softmax over the K classes (the image attends to the text).
        pooling: how M attended tokens become F_v^a: a key of ``POOLS`` or a function "n m c" -> "n c".
        normalize: whether F_t^a and F_v^a are normalised to unit length before they are compared.

    Raises:
        ValueError: a temperature that is not positive and finite, or an unknown pooling.
    """

    alpha_t: float
    alpha_s: float
    pooling: Literal["mean+max", "mean", "max"] | Pool = "mean+max"
    normalize: bool = False

    def __post_init__(self) -> None:
        for name, alpha in (("alpha_t", self.alpha_t), ("alpha_s", self.alpha_s)):
            _check_temperature(name, alpha)
        if not callable(self.pooling) and self.pooling not in POOLS:
            raise ValueError(f"pooling is {self.pooling!r}, expected a function or one of {sorted(POOLS)}")

    @classmethod
    def official(cls) -> "CalipConfig":
        """The authors' released code, which multiplies A by 2: a temperature of one half."""
        return cls(alpha_t=0.5, alpha_s=0.5)

    @classmethod
    def paper(cls) -> "CalipConfig":
        """The paper's text as the ports by SuS-X and for Dassl read it: both temperatures are 2.

        Neither port says how the paper combines average and maximum; this adds them, as the released code does.
        """
        return cls(alpha_t=2.0, alpha_s=2.0)

    @classmethod
    def susx(cls, pool: Pool | None = None) -> "CalipConfig":
        """SuS-X's port: temperature 2 and unit-length attended features.

        Args:
            pool: CLIP's own attention pool, which SuS-X uses. That layer has weights and belongs to a backbone:
                ``calip_core.backbones.dense.attention_pooling`` returns it as a function. Without it, the mean is
                used.
        """
        return cls(alpha_t=2.0, alpha_s=2.0, pooling=pool or "mean", normalize=True)

    @classmethod
    def dassl(cls) -> "CalipConfig":
        """The port to the Dassl toolbox (yuranusduke/CALIP): temperature 2. Its logit scale is 1/0.07."""
        return cls(alpha_t=2.0, alpha_s=2.0)

    @classmethod
    def ttabc(cls) -> "CalipConfig":
        """The version in walawalagoose/TTABC: the released code's temperature with the model's own logit scale."""
        return cls(alpha_t=0.5, alpha_s=0.5)

    def pool(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n c"]:
        """F_v^a = Pool(F_s^a)."""
        return self.pooling(features) if callable(self.pooling) else POOLS[self.pooling](features)


def parameter_free_attention(
    spatial: Float[Tensor, "n m c"], text: Float[Tensor, "k c"], *, alpha_t: float, alpha_s: float
) -> tuple[Float[Tensor, "n k c"], Float[Tensor, "n m c"]]:
    """Both directions of the attention, materialised in full as in the released code.

    This is the version to read and to inspect. ``calip_logits`` computes the same classification without
    materialising the first result, which takes n * k * c numbers.

    Args:
        spatial: F_s, rows of unit length.
        text: F_t, rows of unit length.
        alpha_t: temperature of the softmax over tokens.
        alpha_s: temperature of the softmax over classes.

    Returns:
        F_t^a = softmax over m of (A / alpha_t), transposed, times F_s: "n k c";
        F_s^a = softmax over k of (A / alpha_s) times F_t: "n m c".

    Raises:
        ValueError: feature widths differ, or a temperature is not positive and finite.
    """
    _check_temperature("alpha_t", alpha_t)
    _check_temperature("alpha_s", alpha_s)
    _check_width("spatial tokens", spatial, text)
    affinity = spatial @ text.T  # (n, m, c) @ (c, k) -> (n, m, k)
    text_attended = (affinity / alpha_t).softmax(dim=1).transpose(1, 2) @ spatial  # (n, k, m) @ (n, m, c) -> (n, k, c)
    visual_attended = (affinity / alpha_s).softmax(dim=2) @ text  # (n, m, k) @ (k, c) -> (n, m, c)
    return text_attended, visual_attended


@torch.no_grad()
def calip_logits(
    tokens: ImageTokens,
    text: Float[Tensor, "k c"],
    config: CalipConfig | None = None,
    logit_scale: float = 100.0,
) -> CalipLogits:
    """The three logit terms that CALIP blends, as in the released ``run_imagenet.py``.

    Memory beyond the result is bounded: images are processed in chunks, and F_t^a (K x C per image) is never
    materialised, because F_v F_t^aT = (F_v F_s^T) softmax_M(A / alpha_t).

    Args:
        tokens: pooled and spatial features; float64, float32, bfloat16 or float16.
        text: F_t, rows of unit length, on the device and in the precision of ``tokens``.
        config: temperatures and pooling; by default, those of the released code.
        logit_scale: s, CLIP's ``exp(logit_scale)``.

    Returns:
        Logits "n k" in float32 (float64 for float64 input): half precision would lose too much in the sums over
        tokens and classes.

    Raises:
        ValueError: the feature widths, precisions or devices differ, there are no classes or no spatial tokens, a
            feature is NaN or infinite, or the logit scale is not positive and finite.
    """
    config = config or CalipConfig.official()
    if not 0 < logit_scale < math.inf:
        raise ValueError(f"logit_scale is {logit_scale}, expected a positive finite number such as 100")
    _check_alike(tokens, text)
    _check_width("image tokens", tokens.pooled, text)
    if len(text) == 0:
        raise ValueError("text has no rows: CALIP needs the features of at least one class")
    if tokens.spatial.shape[1] == 0:
        raise ValueError("the images have pooled features alone: CALIP needs their spatial tokens as well")
    step = _chunk_length(tokens, len(text))
    chunks = [_chunk_logits(tokens[i : i + step], text, config) for i in range(0, len(tokens), step)]
    logits = CalipLogits.cat(chunks) if chunks else _no_logits(tokens, text)
    _check_finite(logits, tokens, text)
    return CalipLogits(
        logits.clip.mul_(logit_scale), logits.text_attended.mul_(logit_scale), logits.visual_attended.mul_(logit_scale)
    )


@torch.no_grad()
def visual_prior(
    text: Float[Tensor, "k c"],
    config: CalipConfig | None = None,
    logit_scale: float = 100.0,
    *,
    places: int = 1,
) -> Float[Tensor, " k"]:
    """The part of the visual-attended term that no image has a say in, to first order in A / alpha_s.

    At an infinite temperature every token attends to all classes alike and becomes the mean class vector
    t = mean_k F_t,k. The term is then s Pool(t, ..., t) . F_t,k for every image, and this function returns it.

    Args:
        text: F_t, rows of unit length.
        config: its pooling and ``normalize`` are used; by default, those of the released code.
        logit_scale: s.
        places: M, the number of tokens, for a pooling function that depends on it. The named ones do not.

    Returns:
        One logit per class, in float32 (float64 for float64 input).
    """
    config = config or CalipConfig.official()
    mean = text.mean(dim=0).expand(1, places, -1)  # (k, c) -> (1, m, c)
    pooled = config.pool(mean)
    if config.normalize:
        pooled = normalize(pooled, dim=-1)
    return _widen(pooled @ text.T).squeeze(0) * logit_scale


def _chunk_logits(tokens: ImageTokens, text: Float[Tensor, "k c"], config: CalipConfig) -> CalipLogits:
    """The three cosine terms of one chunk, by the cheapest exact algorithm for this configuration."""
    clip = _widen(tokens.pooled @ text.T)  # (n, c) @ (c, k) -> (n, k)
    if config.alpha_t == config.alpha_s >= _SMALLEST_SHARED_ALPHA and not config.normalize:
        text_attended, spatial_attended = _attend_sharing_exponential(tokens, text, config.alpha_s)
    else:
        text_attended, spatial_attended = _attend(tokens, text, config)
    visual = config.pool(spatial_attended)  # (n, m, c) -> (n, c)
    if config.normalize:
        visual = normalize(visual, dim=-1)
    return CalipLogits(clip, text_attended, _widen(visual @ text.T))  # all (n, k)


def _attend_sharing_exponential(
    tokens: ImageTokens, text: Float[Tensor, "k c"], alpha: float
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n m c"]]:
    """Both softmaxes from one exponential: they differ only in the sum that they divide by.

    Cosines divided by alpha are small, so there is no need to subtract a maximum. The sums over tokens and the
    weighted queries come from one batched product with k columns.
    """
    n, m, c = tokens.spatial.shape
    weights = _widen(tokens.spatial.reshape(n * m, c) @ (text / alpha).T).exp_()  # (n m, c) @ (c, k) -> (n m, k)
    over_classes = weights.sum(dim=1, keepdim=True)  # (n m, 1)
    queries = torch.bmm(tokens.spatial, tokens.pooled.unsqueeze(2)).transpose(1, 2)  # F_v F_s^T, (n, 1, m)
    rows = torch.cat([_widen(queries), torch.ones_like(queries, dtype=weights.dtype)], dim=1)  # (n, 2, m)
    numerator, over_tokens = torch.bmm(rows, weights.view(n, m, -1)).unbind(dim=1)  # two of (n, k)
    attended = (weights.div_(over_classes).to(text.dtype) @ text).view(n, m, c)  # (n m, k) @ (k, c) -> (n, m, c)
    return numerator / over_tokens, attended


def _attend(
    tokens: ImageTokens, text: Float[Tensor, "k c"], config: CalipConfig
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n m c"]]:
    """Two separate softmaxes: for unequal or very sharp temperatures, and for normalised attended features."""
    affinity = _widen(tokens.spatial @ text.T)  # (n, m, c) @ (c, k) -> (n, m, k)
    over_tokens = (affinity / config.alpha_t).softmax(dim=1)  # (n, m, k), sums to 1 over m
    queries = _widen(torch.bmm(tokens.spatial, tokens.pooled.unsqueeze(2)))  # (n, m, 1)
    text_attended = (queries * over_tokens).sum(dim=1)  # (n, k)
    if config.normalize:
        text_attended = text_attended / _attended_text_norms(tokens.spatial, over_tokens)
    visual = (affinity / config.alpha_s).softmax(dim=2).to(text.dtype) @ text  # (n, m, k) @ (k, c) -> (n, m, c)
    return text_attended, visual


def _attended_text_norms(spatial: Float[Tensor, "n m c"], weights: Float[Tensor, "n m k"]) -> Float[Tensor, "n k"]:
    """Lengths of the rows of F_t^a = W^T F_s from the M x M Gram matrix of F_s: |W^T F_s|^2 = W^T (F_s F_s^T) W."""
    gram = _widen(spatial @ spatial.transpose(1, 2))  # (n, m, m)
    squares = (weights * (gram @ weights)).sum(dim=1)  # (n, m, k) -> (n, k)
    return squares.clamp_min(torch.finfo(weights.dtype).tiny).sqrt()


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _chunk_length(tokens: ImageTokens, classes: int) -> int:
    elements = _CPU_CHUNK_ELEMENTS if tokens.spatial.device.type == "cpu" else _GPU_CHUNK_ELEMENTS
    return max(1, elements // (tokens.spatial.shape[1] * classes))


def _no_logits(tokens: ImageTokens, text: Tensor) -> CalipLogits:
    return CalipLogits(*(_widen(tokens.pooled @ text.T) for _ in range(3)))


def _check_temperature(name: str, alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise ValueError(f"{name} is {alpha}, expected a positive finite temperature such as 0.5")


def _check_alike(tokens: ImageTokens, text: Tensor) -> None:
    if not isinstance(text, Tensor):
        raise ValueError(f"text is a {type(text).__name__}, expected a tensor: torch.as_tensor(text) makes it")
    image = tokens.pooled
    if (text.dtype, text.device) != (image.dtype, image.device):
        raise ValueError(
            f"text features are {text.dtype} on {text.device}, image tokens {image.dtype} on {image.device}, expected "
            "the same: text.to(tokens.pooled) makes it so"
        )


def _check_width(what: str, features: Tensor, text: Tensor) -> None:
    if features.shape[-1] != text.shape[-1]:
        raise ValueError(
            f"{what} have width {features.shape[-1]}, text features have width {text.shape[-1]}: "
            "encode both with the same backbone"
        )


def _check_finite(logits: CalipLogits, tokens: ImageTokens, text: Tensor) -> None:
    """NaN spreads to the small results, so the large inputs are searched only if something is wrong."""
    if all(term.isfinite().all() for term in (logits.clip, logits.text_attended, logits.visual_attended)):
        return
    for name, features in (("pooled", tokens.pooled), ("spatial", tokens.spatial), ("text", text)):
        bad = torch.nonzero(~features.isfinite().flatten(1).all(dim=1)).flatten().tolist()
        if bad:
            raise ValueError(f"{name} features hold NaN or infinity in {len(bad)} rows, the first at {bad[:5]}")
    raise ValueError("features are finite but their logits are not: rows must have unit length")
