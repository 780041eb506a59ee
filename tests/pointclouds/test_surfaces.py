"""Points on a surface: as many as asked, on it, evenly by area, the same each time."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from calip_core.pointclouds.surfaces import sample_mesh, seed_for

STEP = trimesh.Trimesh(  # a floor of area 9 in two triangles, a wall of area 1 in one
    [[0, 0, 0], [3, 0, 0], [3, 3, 0], [0, 3, 0], [0, 0, 2], [1, 0, 0]], [[0, 1, 2], [0, 2, 3], [0, 5, 4]], process=False
)


def test_a_face_gets_points_by_its_area():
    points = sample_mesh(STEP, 20_000, seed=0)
    wall = points[:, 2] > 0
    below = ~wall & (points[:, 1] < points[:, 0])
    counts = [below.sum(), (~wall & ~below).sum(), wall.sum()]
    assert chisquare(counts, [9_000, 9_000, 2_000]).pvalue > 1e-3


def test_points_are_even_inside_a_face():
    points = sample_mesh(STEP, 20_000, seed=1)
    floor = points[points[:, 2] == 0]
    cells = np.histogram2d(floor[:, 0], floor[:, 1], bins=3, range=[[0, 3], [0, 3]])[0]
    assert chisquare(cells.ravel()).pvalue > 1e-3


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_points_lie_on_the_surface(count, seed):
    points = sample_mesh(STEP, count, seed)
    assert points.shape == (count, 3)
    assert points.dtype == np.float32
    on_floor = (points[:, 2] == 0) & (points[:, :2] >= 0).all(1) & (points[:, :2] <= 3).all(1)
    on_wall = (points[:, 1] == 0) & (points >= 0).all(1) & (points[:, 0] + points[:, 2] / 2 <= 1 + 1e-6)
    assert (on_floor | on_wall).all()


def test_a_sphere_is_covered_on_all_sides():
    points = sample_mesh(trimesh.creation.icosphere(subdivisions=3), 8_000, seed=0)
    octants = np.bincount((points > 0) @ [4, 2, 1], minlength=8)
    assert chisquare(octants).pvalue > 1e-3


def test_a_seed_gives_the_same_points():
    assert np.array_equal(sample_mesh(STEP, 50, 3), sample_mesh(STEP, 50, 3))
    assert not np.array_equal(sample_mesh(STEP, 50, 3), sample_mesh(STEP, 50, 4))


def test_a_file_has_a_seed_of_its_own():
    seeds = {seed_for(name, seed) for name in ("a/1.off", "a/2.off", "b/1.off") for seed in (0, 1)}
    assert len(seeds) == 6
    assert seed_for("a/1.off", 0) == seed_for("a/1.off", 0)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.empty((0, 3), int), "x.off is a mesh without faces"),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 3]], "names the vertex 3, expected 0 to 2"),
        ([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, -1]], "names the vertex -1"),
        ([[0, 0, 0], [1, 0, np.nan], [0, 1, 0]], [[0, 1, 2]], "NaN, infinite or too large"),
        ([[0, 0, 0], [1, 0, 1e39], [0, 1, 0]], [[0, 1, 2]], "NaN, infinite or too large"),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], "1 faces has the area 0.0"),
    ],
)
def test_what_has_no_surface_is_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=message):
        sample_mesh(trimesh.Trimesh(vertices, faces, process=False), 10, 0, "x.off")


def test_no_points_are_not_sampled():
    with pytest.raises(ValueError, match="points to sample is 0"):
        sample_mesh(STEP, 0, 0)
