"""Zero-shot accuracy of a miniature on the procedural world, for training curves and model cards."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from calip_core.miniature.architecture import ClipModel
from calip_core.miniature.batches import to_input, tokenize
from calip_core.world.captions import DIGIT_TEMPLATES, SCENE_TEMPLATES, SOLID_TEMPLATES
from calip_core.world.digits import render_digits, unseen_digits
from calip_core.world.drawing import render_scenes
from calip_core.world.scenes import Pairs, sample_scenes
from calip_core.world.solids import render_solids, sample_solids
from calip_core.world.vocabulary import (
    COLOURS,
    DIGITS,
    HELD_OUT_PAIRS,
    SHAPES,
    SOLIDS,
    TEXTURES,
)


@dataclass(frozen=True)
class Question:
    """Pictures, their classes, and the templates that put a class into words."""

    pictures: UInt8[np.ndarray, "n h w 3"]
    labels: Int64[np.ndarray, " n"]
    classnames: tuple[str, ...]
    templates: tuple[str, ...]


TEXTURE_TEMPLATES: tuple[str, ...] = tuple("a picture of a {} " + shape + "." for shape in SHAPES)
"""No caption names a texture without a shape, so there is one template per shape."""

QUESTIONS: tuple[str, ...] = ("mini-shapes", "mini-pairs", "mini-textures", "solid-views", "digits")


@lru_cache(maxsize=8)
def make_question(name: str, n: int, seed: int) -> Question:
    """``n`` new pictures for one of ``QUESTIONS`` ("digits" has at most 899: the unseen half).

    Raises:
        ValueError: the name is not in ``QUESTIONS``.
    """
    if name not in QUESTIONS:
        raise ValueError(f"question {name!r}: expected one of {', '.join(QUESTIONS)}")
    if name == "solid-views":
        solids = sample_solids(n, seed)
        return Question(render_solids(solids), solids.solid, SOLIDS, SOLID_TEMPLATES)
    if name == "digits":
        digits = unseen_digits()[:n]
        return Question(render_digits(digits), digits.digit, DIGITS, DIGIT_TEMPLATES)
    return _scene_question(name, n, seed)


def _scene_question(name: str, n: int, seed: int) -> Question:
    pairs: Pairs = "held_out" if name == "mini-pairs" else "seen"
    scenes = sample_scenes(n, seed, pairs)
    if name == "mini-pairs":
        index = {pair: i for i, pair in enumerate(HELD_OUT_PAIRS)}
        labels = np.array(
            [index[COLOURS[c], SHAPES[s]] for c, s in zip(scenes.colour, scenes.shape, strict=True)]
        )
        classnames = tuple(f"{colour} {shape}" for colour, shape in HELD_OUT_PAIRS)
    elif name == "mini-shapes":
        labels, classnames = scenes.shape, SHAPES
    else:
        labels, classnames = scenes.texture, TEXTURES
    templates = TEXTURE_TEMPLATES if name == "mini-textures" else SCENE_TEMPLATES
    return Question(render_scenes(scenes), labels, classnames, templates)


@torch.no_grad()
def answer(model: ClipModel, question: Question, batch_size: int = 100) -> Bool[np.ndarray, " n"]:
    """Whether each picture's most similar class text is correct. The model's training mode is restored."""
    was_training = model.training
    model.eval()
    text = _classifier(model, question)
    resolution = int(model.visual.input_resolution)
    predictions = [
        (_unit(model.encode_image(to_input(question.pictures[i : i + batch_size], resolution))) @ text.T).argmax(1)
        for i in range(0, len(question.labels), batch_size)
    ]
    model.train(was_training)
    return np.asarray(torch.cat(predictions).numpy() == question.labels)


def _classifier(model: ClipModel, question: Question) -> Float[Tensor, "k c"]:
    """One unit-length row per class: the mean direction of its prompts."""
    rows = [
        _unit(model.encode_text(tokenize([template.format(name) for template in question.templates]))).mean(0)
        for name in question.classnames
    ]
    return _unit(torch.stack(rows))


def _unit(features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    return torch.nn.functional.normalize(features, dim=-1)
