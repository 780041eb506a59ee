import dataclasses

import numpy as np
import pytest

from calip_core.world import COLOURS, HELD_OUT_PAIRS, SHAPES, sample_scenes
from calip_core.world.scenes import object_is_distractor


def named_pairs(objects, chosen=slice(None)):
    return {
        (COLOURS[c], SHAPES[s])
        for c, s in zip(objects.colour[chosen].ravel(), objects.shape[chosen].ravel(), strict=True)
    }


def flat(scenes):
    for record in (scenes.main, scenes.distractors, scenes):
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if isinstance(value, np.ndarray):
                yield field.name, value


def test_one_seed_one_world_another_seed_another():
    first, again, other = sample_scenes(50, 3), sample_scenes(50, 3), sample_scenes(50, 4)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(flat(first), flat(again), strict=True))
    assert not np.array_equal(first.main.x, other.main.x)


def test_seen_scenes_show_every_seen_pair_and_no_held_out_one():
    scenes = sample_scenes(4000, 0, pairs="seen")
    held_out = set(HELD_OUT_PAIRS)
    every = {(c, s) for c in COLOURS for s in SHAPES}
    assert named_pairs(scenes.main) == every - held_out


@pytest.mark.parametrize("pairs", ["seen", "held_out", "all"])
def test_distractors_never_show_a_held_out_pair(pairs):
    assert not named_pairs(sample_scenes(3000, 1, pairs=pairs).distractors) & set(HELD_OUT_PAIRS)


def test_held_out_scenes_show_held_out_pairs_alone():
    assert named_pairs(sample_scenes(3000, 2, pairs="held_out").main) == set(HELD_OUT_PAIRS)


def test_slices_are_scenes():
    scenes = sample_scenes(20, 0)
    part = scenes[5:9]
    assert len(part) == 4
    assert np.array_equal(part.shape, scenes.shape[5:9])
    assert len(scenes[3]) == 1 and scenes[3].colour[0] == scenes.colour[3]
    assert np.array_equal(scenes[np.array([2, 7])].texture, scenes.texture[[2, 7]])


def test_side_follows_the_place():
    scenes = sample_scenes(500, 0)
    assert (scenes.main.x[scenes.side == 0] < 0.4).all()
    assert (scenes.main.x[scenes.side == 2] >= 0.6).all()


def test_up_to_three_distractors():
    drawn = object_is_distractor(sample_scenes(500, 0)).sum(axis=1)
    assert set(drawn) == {0, 1, 2, 3}


def test_no_scenes_is_legal():
    assert len(sample_scenes(0, 0)) == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="n = -1"):
        sample_scenes(-1, 0)


def test_unknown_pairs_are_named(shapes_unchecked):
    with pytest.raises(ValueError, match="'unseen'.*\"held_out\""):
        sample_scenes(2, 0, pairs="unseen")
