"""Clouds of procedural solids."""

import numpy as np
import pytest
import torch

from calip_core.world import SOLIDS
from calip_core.world import solid_clouds as solids
from calip_core.world.solid_clouds import STORED_POINTS, SolidClouds, sample_kinds, solid_mesh
from calip_core.world.solids import SOLID_DISTANCES


@pytest.mark.parametrize("kind", SOLIDS)
def test_a_mesh_lies_where_the_distance_of_its_solid_is_zero(kind):
    mesh = solid_mesh(kind, 0.5)
    world = torch.tensor(mesh.vertices * [1, -1, -1], dtype=torch.float32).T[:, None]  # y down there
    distance = SOLID_DISTANCES[kind](world, torch.tensor([[0.5]]))
    assert distance.abs().max() < 0.03
    assert len(mesh.faces) > 200


def test_a_sphere_has_the_area_and_the_radius_of_one():
    mesh = solid_mesh("sphere", 0.3)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.85, abs=0.01)
    assert mesh.area == pytest.approx(4 * np.pi * 0.85**2, rel=0.01)


def test_up_is_y():
    top = solid_mesh("cone", 0.5).vertices
    assert top[:, 1].max() == pytest.approx(0.9, abs=0.05)  # the tip
    assert np.abs(top[top[:, 1] > 0.8][:, [0, 2]]).max() < 0.1


@pytest.mark.parametrize(
    ("kind", "proportion", "said"), [("blob", 0.5, "kind is 'blob'"), ("cone", 1.5, "proportion is 1.5")]
)
def test_unknown_solids_are_refused(kind, proportion, said):
    with pytest.raises(ValueError, match=said):
        solid_mesh(kind, proportion)


def test_a_cloud_depends_on_seed_and_number_alone():
    kinds = sample_kinds(30, 5)
    clouds = SolidClouds(kinds, 5)
    assert clouds(7).shape == (STORED_POINTS, 3) and clouds(7).dtype == np.float32
    assert (clouds(7) == SolidClouds(kinds, 5)(7)).all()
    assert not np.allclose(clouds(7), SolidClouds(kinds, 6)(7))
    assert np.isfinite(clouds(7)).all()


def test_kinds_are_balanced_and_shuffled():
    kinds = sample_kinds(40, 1)
    assert (np.bincount(kinds) == 4).all()
    assert not (kinds == np.arange(40) % 10).all()


def test_hidden_sides_and_missing_parts_take_points_away():
    points = np.random.default_rng(0).normal(size=(4 * STORED_POINTS, 3))
    sizes = {len(solids._without_far_side(points, np.random.default_rng(seed))) for seed in range(20)}
    assert min(sizes) < 0.95 * len(points) and max(sizes) == len(points)
    sizes = {len(solids._without_part(points, np.random.default_rng(seed))) for seed in range(20)}
    assert min(sizes) < len(points) and max(sizes) == len(points)


def test_a_part_is_not_taken_where_too_few_points_would_remain():
    few = np.zeros((STORED_POINTS + 1, 3))
    assert all(len(solids._without_part(few, np.random.default_rng(seed))) == len(few) for seed in range(10))
