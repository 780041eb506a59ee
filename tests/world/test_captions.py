import numpy as np
import pytest

from calip_core.world import (
    COLOURS,
    HELD_OUT_PAIRS,
    SHAPES,
    SOLIDS,
    captions_for,
    sample_digits,
    sample_scenes,
    sample_solids,
)
from calip_core.world.captions import WORDS, choices, describe, fact_table, truth


def test_one_seed_one_list_of_captions():
    scenes = sample_scenes(40, 0)
    assert captions_for(scenes, 1) == captions_for(scenes, 1) != captions_for(scenes, 2)


def test_a_caption_claims_the_words_that_it_uses_and_they_are_true():
    for pictures in (sample_scenes(200, 0), sample_solids(50, 0), sample_digits(50, 0)):
        captions, facts = describe(pictures, 0), fact_table(pictures)
        for text, claims, fact in zip(captions.texts, captions.claims, facts, strict=True):
            words = text.rstrip(".").replace('"', "").split()
            for claim, value, vocabulary in zip(claims, fact, WORDS.values(), strict=True):
                if claim >= 0:
                    assert claim == value and vocabulary[claim] in words


def test_captions_of_scenes_name_the_shape_and_often_more():
    scenes = sample_scenes(300, 0)
    captions = captions_for(scenes, 0)
    assert all(SHAPES[s] in text for text, s in zip(captions, scenes.shape, strict=True))
    named = np.mean([COLOURS[c] in text.split() for text, c in zip(captions, scenes.colour, strict=True)])
    assert 0.3 < named < 0.9


def test_training_captions_never_name_a_held_out_pair():
    texts = captions_for(sample_scenes(5000, 0, pairs="seen"), 0)
    texts += [text for choice in choices(sample_scenes(5, 0, pairs="seen"), 0) for text in choice.texts]
    held_out = set(HELD_OUT_PAIRS)
    for text in texts:
        words = text.rstrip(".").split()
        assert not {(c, s) for c in words if c in COLOURS for s in words if s in SHAPES} & held_out


def test_truth_by_hand():
    facts = np.array([[1, 2, -2], [1, 3, -2], [-2, -2, 5]])  # two scenes and something of another kind
    claims = np.array([[1, -1, -1], [1, 2, -1], [-1, -1, 5], [-1, 3, -1]])
    expected = [[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert np.array_equal(truth(facts, claims), np.array(expected, bool))


def test_a_pictures_own_caption_is_true_of_it():
    scenes = sample_scenes(100, 0)
    assert truth(fact_table(scenes), describe(scenes, 0).claims).diagonal().all()


def test_exactly_one_text_of_a_choice_is_true():
    scenes = sample_scenes(60, 0, pairs="seen")
    shape, pair, texture = choices(scenes, 0)
    assert len(shape.texts) == len(SHAPES) and len(pair.texts) == len(COLOURS) * len(SHAPES) - len(HELD_OUT_PAIRS)
    for i in range(len(scenes)):
        assert SHAPES[scenes.shape[i]] in shape.texts[shape.answers[i]]
        assert f"{COLOURS[scenes.colour[i]]} {SHAPES[scenes.shape[i]]}" in pair.texts[pair.answers[i]]
        assert SHAPES[scenes.shape[i]] in texture.texts[texture.answers[i]]
    (solid,) = choices(sample_solids(5, 0), 0)
    assert len(solid.texts) == len(SOLIDS)
    (digit,) = choices(sample_digits(5, 0), 0)
    assert len(digit.texts) == 10


def test_choices_refuse_held_out_pictures():
    with pytest.raises(ValueError, match="held-out pair"):
        choices(sample_scenes(5, 0, pairs="held_out"), 0)
