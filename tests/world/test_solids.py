import dataclasses

import numpy as np
import pytest
import torch

from calip_core.world import SOLIDS, render_solids, sample_solids
from calip_core.world.solids import SOLID_DISTANCES


def dense(solids, **fields):
    """Without sparse points, in the middle, at full size, unturned unless ``fields`` say otherwise."""
    n = len(solids)
    plain = {
        "sparse": np.zeros(n, bool),
        "centre": np.zeros((n, 2), np.float32),
        "scale": np.ones(n, np.float32),
        "rotation": np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
    }
    return dataclasses.replace(solids, **(plain | fields))


def of_kind(name, n=1):
    return {"solid": np.full(n, SOLIDS.index(name), np.int64)}


def test_the_same_solids_give_the_same_bytes_alone_or_among_others():
    solids = sample_solids(40, 1)
    images = render_solids(solids)
    assert images.shape == (40, 128, 128, 3) and images.dtype == np.uint8
    assert np.array_equal(images, render_solids(sample_solids(40, 1)))
    assert np.array_equal(images[17:20], render_solids(solids[17:20]))


def test_a_sphere_is_a_disc_brightest_in_its_middle():
    image = render_solids(dense(sample_solids(1, 0), **of_kind("sphere")))[0, ..., 0]
    covered = image > 80  # half of the rim's brightness
    # Rays that pass within 0.02 count as hits: the radius comes out between 0.85 and 0.87.
    assert covered.sum() == pytest.approx(np.pi * (0.86 * 64) ** 2, rel=0.035)
    middle = image[62:66, 62:66].mean() / 255
    assert middle == pytest.approx(0.25 + 0.75 * (0.85 + 1.1) / 2.2, abs=0.01)
    assert image[64, 64] == image.max()
    assert image[0, 0] == 0


def test_a_cube_seen_from_its_face_is_a_flat_square():
    image = render_solids(dense(sample_solids(1, 0), **of_kind("cube")))[0, ..., 0]
    inner = image[34:94, 34:94]
    assert inner.min() == inner.max() > 150
    assert (image > 103).sum() == pytest.approx((1.1 * 64) ** 2, rel=0.05)


def test_rotations_are_rotations():
    rotation = sample_solids(20, 0).rotation
    assert rotation @ rotation.transpose(0, 2, 1) == pytest.approx(np.tile(np.eye(3), (20, 1, 1)), abs=1e-5)
    assert np.linalg.det(rotation) == pytest.approx(np.ones(20), abs=1e-5)


@pytest.mark.parametrize("name", SOLIDS)
def test_every_solid_fits_the_unit_ball_and_no_distance_is_too_long(name):
    side = torch.linspace(-1.15, 1.15, 25)
    grid = torch.stack(torch.meshgrid(side, side, side, indexing="ij")).reshape(3, 1, -1)
    for proportion in (0.0, 1.0):
        distance = SOLID_DISTANCES[name](grid, torch.full((1, 1), proportion))[0]
        points = grid[:, 0].T
        inside = distance <= 0
        assert inside.any()
        assert points[inside].norm(dim=1).max() <= 1.05
        nearest = torch.cdist(points[~inside], points[inside]).min(dim=1).values
        assert (distance[~inside] <= nearest + 1e-5).all()


def test_sparse_views_keep_some_of_the_pixels():
    solids = dense(sample_solids(1, 0), **of_kind("sphere"))
    full = render_solids(solids)[0, ..., 0] > 30
    sparse = render_solids(dataclasses.replace(solids, sparse=np.ones(1, bool)))[0, ..., 0] > 30
    assert 0.2 * full.sum() < sparse.sum() < 0.95 * full.sum()


def test_slices_and_facts():
    solids = sample_solids(10, 0)
    assert len(solids[2:5]) == 3 and len(solids[4]) == 1
    assert np.array_equal(solids.facts()["solid"], solids.solid)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="n = -2"):
        sample_solids(-2, 0)
