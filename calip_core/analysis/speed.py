"""Speed as ratios: alternatives alternate in one process, so a noisy or slow machine affects all of them equally."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calip_core.attention import calip_logits
from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import ClipModule
from calip_core.environment import processor_name
from calip_core.tokens import CalipLogits, ImageTokens


def paired_seconds(alternatives: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each alternative; they run alternately, after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(repeats + 1):
        for name, run in alternatives.items():
            _wait_for_gpu()
            start = time.perf_counter()
            run()
            _wait_for_gpu()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def released_loop(tokens: ImageTokens, text: Float[Tensor, "k c"]) -> CalipLogits:
    """The released code's computation, image by image, with every product materialised, including F_t^a (K x C).

    Rewritten with the order of operations of ``run_imagenet.py``, its memory layout (features as columns), its softmax
    over the strided dimension and its maximum that also returns indices; temperature 1/2, scale 100.
    """
    columns = text.T.contiguous()  # (c, k)
    terms = []
    for pooled, tokens_as_columns in zip(tokens.pooled, tokens.spatial.transpose(1, 2), strict=True):
        affinity = 2 * (tokens_as_columns.T @ columns)  # (m, c) @ (c, k) -> (m, k)
        text_attended = tokens_as_columns @ affinity.softmax(dim=0)  # (c, m) @ (m, k) -> (c, k)
        spatial_attended = affinity.softmax(dim=1) @ columns.T  # (m, k) @ (k, c) -> (m, c)
        visual_attended = spatial_attended.mean(dim=0) + spatial_attended.max(dim=0).values  # (c)
        terms.append((100 * pooled @ columns, 100 * pooled @ text_attended, 100 * visual_attended @ columns))
    return CalipLogits(*(torch.stack(term) for term in zip(*terms, strict=True)))


@dataclass(frozen=True)
class AttentionSpeed:
    """Seconds for all images, for three implementations.

    Attributes:
        loop: the released code's order of operations.
        products: the two matrix products that no exact method avoids, A = F_s F_t^T and weights times F_t.
        ours: ``calip_logits``.
        images: number of images.
    """

    loop: float
    products: float
    ours: float
    images: int

    @property
    def times_faster(self) -> float:
        """How many times faster ``calip_logits`` is than the loop."""
        return self.loop / self.ours

    @property
    def share_of_bare_products(self) -> float:
        """Speed relative to the two bare products: 1 would be the upper limit."""
        return self.products / self.ours


def attention_speed(
    images: int = 256, grid: tuple[int, int] = (7, 7), width: int = 1024, classes: int = 1000,
    device: str = "cpu", repeats: int = 5,
) -> AttentionSpeed:
    """Time CALIP's attention on random float32 unit vectors (the default size is that of ImageNet with RN50)."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, generator=generator), dim=-1).to(device)

    tokens, text = ImageTokens(unit(images, width), unit(images, grid[0] * grid[1], width), grid), unit(classes, width)
    flat = tokens.spatial.flatten(0, 1)
    seconds = paired_seconds(
        {
            "loop": lambda: released_loop(tokens, text),
            "products": lambda: (flat @ text.T) @ text,
            "ours": lambda: calip_logits(tokens, text),
        },
        repeats,
    )
    return AttentionSpeed(images=images, **seconds)


def encoding_seconds(
    backbone: Backbone, plain: ClipModule, images: int = 16, repeats: int = 3
) -> tuple[float, float]:
    """Seconds that ``plain.encode_image`` (float32, as shipped in the package) and ``backbone`` take for random images.

    The backbone's time includes all spatial tokens, the plain call's only the pooled vector.
    """
    size = backbone.resolution
    batch = torch.randn(images, 3, size, size, generator=torch.Generator().manual_seed(0)).to(backbone.device)

    def plain_call() -> Tensor:
        with torch.inference_mode():
            features: Tensor = plain.encode_image(batch)
            return features

    seconds = paired_seconds({"plain": plain_call, "ours": lambda: backbone.encode_image(batch)}, repeats)
    return seconds["plain"], seconds["ours"]


def machine() -> str:
    """The processor, its threads and the GPU if there is one: the context of a measured time."""
    processor = processor_name()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    threads = torch.get_num_threads()
    return f"{processor}, {threads} thread{'s' * (threads != 1)}{gpu}, torch {torch.__version__}"


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
