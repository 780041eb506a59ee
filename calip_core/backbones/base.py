"""A backbone: encodes images and texts as unit vectors in a joint space."""

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from hashlib import sha256
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from calip_core.backbones.clip_import import ClipModule, clip, reads_short_texts
from calip_core.backbones.dense import DenseTower, dense_tower
from calip_core.backbones.names import Precision, TokenSpace
from calip_core.backbones.precision import choose_dtype, prepare
from calip_core.backbones.tokenizers import BytePairs, Tokenizer
from calip_core.prompts import listed_texts
from calip_core.tokens import ImageTokens

Preprocess = Callable[[Image.Image], Float[Tensor, "3 h w"]]

# Images that go through a CPU together, a thread: more of them leave its caches (measured with RN50: 8 on two threads
# are a fifth faster than 32).
_IMAGES_PER_THREAD = 4


class Backbone:
    """An image encoder with spatial tokens and a text encoder, as ``load_backbone`` returns them.

    Attributes:
        name: the name that it was loaded by.
        published_name: name of the published model with these weights; its own name if the weights match no known
            model.
        embed_dim: width c of the joint space.
        resolution: height and width of the images, in pixels.
        grid: rows and columns of the spatial tokens; m = grid[0] * grid[1].
        token_space: the space of the spatial tokens, "joint" by default (``names.TokenSpace``).
        logit_scale: s, the factor between cosines and CLIP's logits.
        logit_bias: b of the logits s cos + b that SigLIP is trained with; 0 for all other models. It shifts all classes
            alike, so it changes no ranking and no softmax over classes. Blends use ``logit_scale`` alone.
        preprocess: PIL image -> "3 h w", the input of ``encode_image``.
        context_length: maximum number of tokens of a text, including its marks.
        device: the device of computation and results.
        dtype: the format of the weights; results are float32.
        model: the underlying CLIP, prepared for inference.
    """

    VERSION: ClassVar[int] = 1
    """Version of the code around the towers and of ``prepare``: increment it when a change alters the features."""

    def __init__(
        self,
        name: str,
        model: ClipModule,
        tower: DenseTower,
        *,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        resolution: int,
        logit_scale: float,
        logit_bias: float = 0.0,
        published_name: str | None = None,
    ) -> None:
        self.published_name = published_name or name
        self.name, self.model, self.preprocess, self.resolution = name, model, preprocess, resolution
        if not 0 < logit_scale < math.inf:
            raise ValueError(
                f"{name} has the logit scale {logit_scale}, expected a finite number above 0: CLIP's weights hold its "
                "logarithm, such as 4.6 for 100"
            )
        self.grid, self.embed_dim, self.token_space = tower.grid, tower.embed_dim, tower.tokens
        self.logit_scale, self.logit_bias = logit_scale, logit_bias
        self.context_length = tokenizer.context_length
        first = next(model.visual.parameters())
        self.device: torch.device = first.device
        self.dtype: torch.dtype = first.dtype
        self._tower, self._tokenizer = tower, tokenizer

    @classmethod
    def from_clip(
        cls,
        name: str,
        model: ClipModule,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        tokens: TokenSpace = "joint",
        published_name: str | None = None,
    ) -> "Backbone":
        """Make a backbone from a ``clip.model.CLIP``.

        The model is taken over: it is prepared for inference in place (``precision.prepare``). Pass a ``copy.deepcopy``
        of a model that is still being trained.

        Raises:
            ValueError: the precision or the token space is unknown, or the logit scale is infinite, NaN or 0.
        """
        device = torch.device(device)
        logit_scale: float = model.logit_scale.detach().exp().item()
        prepare(model, device, choose_dtype(precision, device))
        resolution: int = model.visual.input_resolution
        return cls(
            name,
            model,
            dense_tower(model.visual, tokens),
            preprocess=clip.clip._transform(resolution),
            tokenizer=BytePairs(name, model.context_length),
            resolution=resolution,
            logit_scale=logit_scale,
            published_name=published_name,
        )

    @property
    def encoder(self) -> str:
        """The declared versions of the library's code between an image and its tokens."""
        return f"backbone {self.VERSION}, {type(self._tower).__name__} {self._tower.VERSION}"

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the image encoder's parameters and buffers as prepared: names, types, shapes and bytes.

        If the encoder uses the exact GELU instead of CLIP's own, that is part of the digest.
        """
        return _digest(self.model.visual)

    @cached_property
    def text_weights_sha256(self) -> str:
        """SHA-256 of everything but the image encoder."""
        return _digest(self.model, leave_out="visual.")

    # Results may feed heads that are trained: inference_mode would forbid that, no_grad does not.
    @torch.no_grad()
    def encode_image(self, images: Float[Tensor, "n 3 h w"]) -> ImageTokens:
        """Pooled and spatial features of preprocessed images: float32 rows of unit length, on ``device``.

        Args:
            images: stacked results of ``preprocess``.

        Raises:
            ValueError: there are no images, they are not of this backbone's resolution, or they hold NaN or infinity.
        """
        self._check_images(images)
        images = images.to(self.device, non_blocking=True)  # in its own type: pinned images are copied without a wait
        images = images.to(self.dtype, memory_format=torch.channels_last)
        together = _IMAGES_PER_THREAD * torch.get_num_threads() if self.device.type == "cpu" else len(images)
        parts = [self._encode(part) for part in torch.split(images, max(1, together))]
        tokens = ImageTokens.cat(parts)
        self._check_finite(tokens, images)
        return tokens

    @torch.no_grad()
    def encode_text(self, prompts: Iterable[str]) -> Float[Tensor, "p c"]:
        """Features of texts: float32 rows of unit length, on ``device``.

        Raises:
            ValueError: ``prompts`` is a single text, or empty; one of them is not a text, is longer than the context,
                or holds one of the vocabulary's marks.
        """
        features = self._text_features(self.tokenize(prompts).to(self.device))
        return normalize(features.float(), dim=-1)

    def tokenize(self, prompts: Iterable[str]) -> Int[Tensor, "p length"]:
        """Numbers of the texts' tokens, as the text encoder reads them (``tokenizers``).

        Raises:
            ValueError: as ``encode_text``; the prompt is named.
        """
        return self._tokenizer(listed_texts("prompts", prompts))

    def _encode(self, images: Float[Tensor, "n 3 h w"]) -> ImageTokens:
        pooled, spatial = self._tower(images)
        return ImageTokens(normalize(pooled.float(), dim=-1), normalize(spatial.float(), dim=-1), self.grid)

    def _text_features(self, tokens: Int[Tensor, "p length"]) -> Float[Tensor, "p c"]:
        """In OpenAI's CLIP text attends backwards only, so the zeros after the end mark need not be computed."""
        if tokens.shape[1] < self.context_length and not self._reads_short_texts:
            tokens = nn.functional.pad(tokens, (0, self.context_length - tokens.shape[1]))
        features: Tensor = self.model.encode_text(tokens)
        return features

    @cached_property
    def _reads_short_texts(self) -> bool:
        return reads_short_texts(self.model)

    def _check_images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise ValueError(f"images is a {type(images).__name__}, expected one tensor: torch.stack(images) makes it")
        if len(images) == 0:
            raise ValueError("images is an empty batch, expected at least one image")
        expected = (3, self.resolution, self.resolution)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or not images.is_floating_point():
            raise ValueError(
                f"images have shape {tuple(images.shape)} and type {images.dtype}, but {self.name} needs floats of "
                f"shape (n, {', '.join(map(str, expected))}): apply backbone.preprocess to each image first"
            )

    def _check_finite(self, tokens: ImageTokens, images: Tensor) -> None:
        """NaN in an image reaches its features, so the large input is searched only if something is wrong."""
        if tokens.pooled.isfinite().all() and tokens.spatial.isfinite().all():
            return
        bad = torch.nonzero(~images.isfinite().flatten(1).all(dim=1)).flatten().tolist()
        if bad:
            raise ValueError(f"images hold NaN or infinity in {len(bad)} of {len(images)}, the first at {bad[:5]}")
        raise ValueError(
            f"{self.name} gives NaN or infinity in {self.dtype}: load it with precision='fp32'; if that does not help, "
            "its weights are damaged"
        )


def _digest(model: ClipModule, leave_out: str | None = None) -> str:
    digest = sha256()
    for name, tensor in model.state_dict().items():
        if leave_out is None or not name.startswith(leave_out):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if any(isinstance(module, nn.GELU) for module in model.modules()):
        digest.update(b"exact GELU\n")
    return digest.hexdigest()
