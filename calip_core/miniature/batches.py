"""Training batches: pictures and captions of the procedural world as tensors.

A batch is a pure function of (seed, step). Shape comments use n pictures, r pictures per question, k captions per
question and l text tokens.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from calip_core.backbones.clip_import import clip
from calip_core.miniature.architecture import CONTEXT_LENGTH
from calip_core.preprocessing import MEAN, STD
from calip_core.world.captions import Pictured, choices, describe, fact_table, truth
from calip_core.world.digits import render_digits, sample_digits
from calip_core.world.drawing import render_scenes
from calip_core.world.scenes import sample_scenes
from calip_core.world.solids import render_solids, sample_solids

SOLID_SHARE = 0.15
DIGIT_SHARE = 0.15


@dataclass(frozen=True)
class Question:
    """Pictures ``first`` to ``first + r`` of a batch, candidate captions, and the index of each picture's true one."""

    first: int
    tokens: Int[Tensor, "k l"]
    answers: Int[Tensor, " r"]


@dataclass(frozen=True)
class Batch:
    """``n`` preprocessed pictures with one caption each; ``true[i, j]``: caption j is true of picture i.

    ``questions`` contrast captions that differ in one attribute, such as the shape or the texture.
    """

    images: Float[Tensor, "n 3 h w"]
    tokens: Int[Tensor, "n l"]
    true: Bool[Tensor, "n n"]
    questions: tuple[Question, ...]


def make_batch(seed: int, step: int, size: int, resolution: int) -> Batch:
    """The batch of one training step: mostly scenes (with seen pairs only), some solids, some digits."""
    scene_seed, solid_seed, digit_seed, caption_seed = (
        int(word) for word in np.random.SeedSequence([seed, step]).generate_state(4)
    )
    n_solids, n_digits = round(size * SOLID_SHARE), round(size * DIGIT_SHARE)
    scenes = sample_scenes(size - n_solids - n_digits, scene_seed, pairs="seen")
    solids, digits = sample_solids(n_solids, solid_seed), sample_digits(n_digits, digit_seed)
    parts: tuple[Pictured, ...] = (scenes, solids, digits)
    pictures = np.concatenate([render_scenes(scenes), render_solids(solids), render_digits(digits)])  # (n, h, w, 3)
    captions = [describe(part, caption_seed) for part in parts]
    facts = np.concatenate([fact_table(part) for part in parts])  # (n, attributes)
    return Batch(
        images=to_input(pictures, resolution),
        tokens=tokenize([text for caption in captions for text in caption.texts]),
        true=torch.from_numpy(truth(facts, np.concatenate([caption.claims for caption in captions]))),
        questions=_questions(parts, caption_seed),
    )


def _questions(parts: tuple[Pictured, ...], seed: int) -> tuple[Question, ...]:
    found, first = [], 0
    for part in parts:
        found += [Question(first, tokenize(c.texts), torch.from_numpy(c.answers)) for c in choices(part, seed)]
        first += len(part)
    return tuple(found)


def to_input(pictures: UInt8[np.ndarray, "n h w 3"], resolution: int) -> Float[Tensor, "n 3 r r"]:
    """CLIP's preprocessing (bicubic resize, normalise) for an array of square pictures; channels-last memory."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (n, 3, h, w)
    if pixels.shape[-1] != resolution:
        pixels = torch.nn.functional.interpolate(
            pixels, (resolution, resolution), mode="bicubic", antialias=True
        )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def tokenize(texts: list[str]) -> Int[Tensor, "n l"]:
    """CLIP's tokens; each text is tokenised once per process."""
    return torch.tensor([_tokens_of(text) for text in texts])  # (n, l)


@lru_cache(maxsize=65536)
def _tokens_of(text: str) -> tuple[int, ...]:
    # Tuples, because thousands of small cached tensors would fragment memory.
    return tuple(clip.tokenize([text], context_length=CONTEXT_LENGTH)[0].tolist())
