"""Captions and their claims, which together determine which captions are true of which pictures."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64

from calip_core.world.scenes import pair_table
from calip_core.world.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    DIGITS,
    SHAPES,
    SIDES,
    SOLIDS,
    TEXTURES,
)

WORDS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "background": BACKGROUNDS,
    "side": SIDES,
    "solid": SOLIDS,
    "digit": DIGITS,
}
"""Every attribute that a caption can mention, with the words for its values."""

# The captions use "a" throughout ("a orange ring"), as CLIP's own prompts do ("a photo of a airliner").
SCENE_TEMPLATES: tuple[str, ...] = ("a picture of a {}.", "a {}.", "an image of a {}.", "a drawing of a {}.")
SOLID_TEMPLATES: tuple[str, ...] = (
    "a depth map of a {}.", "point cloud depth map of a {}.", "a grey depth view of a {}.", "a {} seen in depth.",
)  # fmt: skip
DIGIT_TEMPLATES: tuple[str, ...] = (
    'a photo of the digit "{}".', "the number {}.", "a handwritten {}.", "the digit {}.",
)  # fmt: skip

_NOUN_PHRASES: tuple[tuple[str, float], ...] = (
    ("{shape}", 0.25),
    ("{colour} {shape}", 0.30),
    ("{texture} {shape}", 0.15),
    ("{texture} {colour} {shape}", 0.30),
)
_ENDINGS: tuple[tuple[str, float], ...] = (("", 0.7), (" on a {background} background", 0.15), (" on the {side}", 0.15))


@dataclass(frozen=True)
class Choice:
    """Captions of which exactly one is true of each picture: ``texts[answers[i]]`` for picture i."""

    texts: list[str]
    answers: Int64[np.ndarray, " n"]


@runtime_checkable
class Pictured(Protocol):
    """Scenes, solids or digits: anything whose facts are known."""

    def __len__(self) -> int: ...

    def facts(self) -> dict[str, Int64[np.ndarray, " n"]]:
        """Attribute name -> index of its word."""
        ...


@dataclass(frozen=True)
class Captions:
    """One caption per picture. ``claims[i, a]`` is the value that caption i states for attribute ``a``, or -1."""

    texts: list[str]
    claims: Int64[np.ndarray, "n a"]


def captions_for(pictures: Pictured, seed: int) -> list[str]:
    """One caption per picture; the same seed gives the same captions."""
    return describe(pictures, seed).texts


def describe(pictures: Pictured, seed: int) -> Captions:
    """One caption per picture, with its claims."""
    rng = np.random.default_rng(seed)
    facts = pictures.facts()
    kind = next(kind for kind in ("shape", "solid", "digit") if kind in facts)
    sentences = [_sentence(kind, rng) for _ in range(len(pictures))]
    claims = np.full((len(pictures), len(WORDS)), -1, np.int64)
    for a, name in enumerate(WORDS):
        if name in facts:
            mentioned = np.array(["{" + name + "}" in sentence for sentence in sentences], bool)
            claims[mentioned, a] = facts[name][mentioned]
    texts = [
        sentence.format(**{name: words[row[a]] for a, (name, words) in enumerate(WORDS.items()) if row[a] >= 0})
        for sentence, row in zip(sentences, claims, strict=True)
    ]
    return Captions(texts, claims)


def _sentence(kind: str, rng: np.random.Generator) -> str:
    """A template whose placeholders are attribute names."""
    if kind != "shape":
        templates = SOLID_TEMPLATES if kind == "solid" else DIGIT_TEMPLATES
        return _pick(templates, rng).format("{" + kind + "}")
    noun, ending = _weighted(_NOUN_PHRASES, rng), _weighted(_ENDINGS, rng)
    return _pick(SCENE_TEMPLATES, rng).format(noun + ending)


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def _weighted(choices: tuple[tuple[str, float], ...], rng: np.random.Generator) -> str:
    level, draw = 0.0, rng.random()
    for text, weight in choices:
        level += weight
        if draw < level:
            return text
    return choices[-1][0]


def choices(pictures: Pictured, seed: int) -> list[Choice]:
    """For each attribute of the pictures: one caption per possible value, and the index of the true one.

    Only seen pairs of colour and shape have captions, so the pictures must show no others.
    """
    rng = np.random.default_rng(seed)
    facts = pictures.facts()
    if "solid" in facts:
        return [Choice([_pick(SOLID_TEMPLATES, rng).format(word) for word in SOLIDS], facts["solid"])]
    if "digit" in facts:
        return [Choice([_pick(DIGIT_TEMPLATES, rng).format(word) for word in DIGITS], facts["digit"])]
    return [
        Choice([_pick(SCENE_TEMPLATES, rng).format(word) for word in SHAPES], facts["shape"]),
        _choice_of_two("colour", facts, pair_table("seen"), rng),
        _choice_of_two("texture", facts, np.array(list(np.ndindex(len(TEXTURES), len(SHAPES)))), rng),
    ]


def _choice_of_two(
    adjective: str, facts: dict[str, Int64[np.ndarray, " n"]], table: Int64[np.ndarray, "p 2"], rng: np.random.Generator
) -> Choice:
    """One caption per row (adjective, shape) of ``table``."""
    row_of = np.full((len(WORDS[adjective]), len(SHAPES)), -1, np.int64)
    row_of[tuple(table.T)] = np.arange(len(table))
    texts = [_pick(SCENE_TEMPLATES, rng).format(f"{WORDS[adjective][a]} {SHAPES[s]}") for a, s in table]
    answers = row_of[facts[adjective], facts["shape"]]
    if (answers < 0).any():
        raise ValueError("a picture shows a held-out pair: choices are for training pictures")
    return Choice(texts, answers)


def fact_table(pictures: Pictured) -> Int64[np.ndarray, "n a"]:
    """Facts with one row per picture and one column per key of ``WORDS``; -2 where an attribute does not apply."""
    facts = pictures.facts()
    missing = np.full(len(pictures), -2, np.int64)
    return np.stack([facts.get(name, missing) for name in WORDS], axis=1)


def truth(facts: Int64[np.ndarray, "n a"], claims: Int64[np.ndarray, "m a"]) -> Bool[np.ndarray, "n m"]:
    """Whether every claim of caption j holds for picture i."""
    holds = (claims[None] == facts[:, None]) | (claims[None] == -1)
    return np.asarray(holds.all(axis=-1))
