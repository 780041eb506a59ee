"""Scenes with several objects: what is pasted comes from other scenes, and the truth holds every object."""

import numpy as np
import pytest

from calip_core import world
from calip_core.datasets.builtin import several
from calip_core.datasets.builtin.several import several_objects


@pytest.fixture
def drawn(monkeypatch):
    """The scenes that were drawn, kept on their way."""
    kept = []

    def sample(*arguments, **options):
        kept.append(world.scenes.sample_scenes(*arguments, **options))
        return kept[-1]

    monkeypatch.setattr(several.world, "sample_scenes", sample)
    return kept


def test_a_scene_is_its_own_picture_with_objects_of_others_and_the_truth_lists_them(drawn):
    split, truth = several_objects("val", 12, seed=0)
    (scenes,) = drawn
    rendered, masks = world.render_scenes(scenes), world.object_masks(scenes)
    for number in range(12):
        picture = np.asarray(split[number][0])
        changed = (picture != rendered[number]).any(axis=2)
        assert not (changed & masks[number]).any(), "the first object stays whole"
        found = {int(scenes.shape[number])}
        for other in range(len(scenes)):
            if (picture[masks[other]] == rendered[other][masks[other]]).all() and other != number:
                found.add(int(scenes.shape[other]))
                changed &= ~masks[other]
        assert not changed.any(), "nothing else was changed"
        assert set(np.flatnonzero(truth[number])) == found
        assert split[number][1] == scenes.shape[number]


def test_most_scenes_show_two_or_three_shapes():
    """One shape only where both objects have it, or where no other object fits."""
    counts = np.bincount(several_objects("test", 200, seed=0)[1].sum(axis=1))
    assert len(counts) == 4 and counts[1] < 60 < counts[2] and counts[3] > 30


def test_split_and_seed_decide():
    first, again, *others = (
        several_objects(split, 6, seed=seed) for split, seed in (("a", 1), ("a", 1), ("a", 2), ("b", 1))
    )
    assert np.array_equal(np.asarray(first[0][5][0]), np.asarray(again[0][5][0]))
    for other in others:
        assert not np.array_equal(np.asarray(first[0][0][0]), np.asarray(other[0][0][0]))


def test_no_scenes_are_refused():
    with pytest.raises(ValueError, match="count is 0, expected at least one scene"):
        several_objects("test", 0, seed=0)
