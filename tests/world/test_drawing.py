import dataclasses

import numpy as np
import pytest

from calip_core.world import COLOURS, SHAPES, TEXTURES, object_masks, render_scenes, sample_scenes
from calip_core.world.vocabulary import COLOUR_RGB


def clean(scenes, **main):
    """The scenes without noise and distractors, upright objects in the middle, fields of ``main`` replaced."""
    n = len(scenes)
    middle = {"x": 0.5, "y": 0.5, "radius": 0.25, "angle": 0.0} | main
    fields = {
        name: np.full(n, value, getattr(scenes.main, name).dtype) if np.ndim(value) == 0 else value
        for name, value in middle.items()
    }
    return dataclasses.replace(
        scenes,
        main=dataclasses.replace(scenes.main, **fields),
        n_distractors=np.zeros(n, np.int64),
        noise_level=np.zeros(n, np.float32),
    )


def test_the_same_scenes_give_the_same_bytes_alone_or_among_others():
    scenes = sample_scenes(70, 5)
    images = render_scenes(scenes)
    assert images.shape == (70, 128, 128, 3) and images.dtype == np.uint8
    assert np.array_equal(images, render_scenes(sample_scenes(70, 5)))
    assert np.array_equal(images[33:36], render_scenes(scenes[33:36]))


def test_a_circle_has_the_area_and_centre_of_its_radius():
    scenes = clean(sample_scenes(4, 0), shape=SHAPES.index("circle"), x=0.4, y=0.6)
    for mask in object_masks(scenes, 256):
        assert mask.sum() == pytest.approx(np.pi * (0.9 * 0.25 * 256) ** 2, rel=0.01)
        rows, columns = np.nonzero(mask)
        assert rows.mean() == pytest.approx(0.6 * 256, abs=1) and columns.mean() == pytest.approx(0.4 * 256, abs=1)


def test_a_turned_square_covers_other_pixels_but_as_many():
    square = SHAPES.index("square")
    upright, turned = (
        object_masks(clean(sample_scenes(1, 0), shape=square, angle=angle), 256)[0] for angle in (0.0, np.pi / 4)
    )
    assert upright.sum() == pytest.approx(turned.sum(), rel=0.02)
    assert (upright ^ turned).sum() > 0.1 * upright.sum()


def test_masks_are_where_the_object_changes_the_picture():
    scenes = sample_scenes(60, 1)
    red, green = (
        dataclasses.replace(scenes, main=dataclasses.replace(scenes.main, rgb=np.tile(np.float32(rgb), (60, 1))))
        for rgb in ((1, 0, 0), (0, 1, 0))
    )
    differs = (render_scenes(red).astype(int) - render_scenes(green)).__abs__().max(axis=-1)
    masks = object_masks(scenes)
    assert (differs[masks] > 10).all()
    overlap = (masks & (differs > 0)).sum() / (differs > 0).sum()
    assert overlap > 0.9  # the rest is the soft edge


def test_a_plain_object_has_its_colour():
    plain = TEXTURES.index("plain")
    for colour, name in enumerate(COLOURS):
        scenes = clean(sample_scenes(1, colour), colour=colour, texture=plain, shape=SHAPES.index("square"))
        rgb = np.tile(np.float32(COLOUR_RGB[name]), (1, 1))
        scenes = dataclasses.replace(scenes, main=dataclasses.replace(scenes.main, rgb=rgb))
        assert render_scenes(scenes)[0, 64, 64] / 255 == pytest.approx(COLOUR_RGB[name], abs=0.01)


@pytest.mark.parametrize("texture", [name for name in TEXTURES if name != "plain"])
def test_a_texture_shows_both_its_tones(texture):
    scenes = clean(sample_scenes(3, 0), texture=TEXTURES.index(texture), shape=SHAPES.index("square"))
    scenes = dataclasses.replace(
        scenes, main=dataclasses.replace(scenes.main, rgb=np.ones((3, 3), np.float32), angle=np.zeros(3, np.float32))
    )
    for image, mask in zip(render_scenes(scenes), object_masks(scenes), strict=True):
        inside = image[..., 0][mask] / 255
        assert 0.15 < (inside < 0.45).mean() < 0.85 and (inside > 0.8).mean() > 0.15


def test_other_resolutions_show_the_same_scene():
    scenes = sample_scenes(8, 2)
    small, large = object_masks(scenes, 64), object_masks(scenes, 128)
    assert np.array_equal(small.shape, (8, 64, 64))
    assert small.mean(axis=(1, 2)) == pytest.approx(large.mean(axis=(1, 2)), abs=0.01)
    assert render_scenes(scenes, 64).shape == (8, 64, 64, 3)


def test_nothing_to_draw_is_legal():
    assert render_scenes(sample_scenes(0, 0)).shape == (0, 128, 128, 3)
