"""What is done to a cloud before it is looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calip_core.pointclouds.poses import first_points, jittered, prepare, to_unit_sphere, turned, y_up

CLOUD = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3] + 5


def rng():
    return np.random.default_rng(1)


@given(arrays(np.float64, (6, 3), elements=st.floats(-1e3, 1e3)))
def test_a_cloud_fills_the_unit_sphere_whatever_its_place_and_size(points):
    points = np.vstack([points, [[-1, 0, 0], [1, 0, 0]]])  # not all equal
    unit = to_unit_sphere(points, "cloud")
    assert np.abs(unit.mean(axis=0)).max() < 1e-9
    assert np.linalg.norm(unit, axis=1).max() == pytest.approx(1)
    assert np.allclose(to_unit_sphere(points * 3 + 7, "cloud"), unit, atol=1e-9)


def test_the_first_points_are_taken():
    assert (first_points(CLOUD, 3, "cloud") == CLOUD[:3]).all()
    with pytest.raises(ValueError, match="chair 7 has 50 points, fewer than the 51 asked for"):
        first_points(CLOUD, 51, "chair 7")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.ones((4, 3)), "points that differ"),
        (np.full((4, 3), np.nan), "NaN|finite"),
        (np.array([[0.0, 0, 0], [np.inf, 0, 0]]), "inf|finite"),
        (np.zeros((0, 3)), "no points|empty"),
    ],
)
def test_what_is_no_cloud_is_refused_and_named(points, said):
    with pytest.raises(ValueError, match=f"chair 7.*({said})"):
        to_unit_sphere(points, "chair 7")


def test_z_up_becomes_y_up_by_a_rotation():
    assert (y_up(np.eye(3), "z") == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]).all()
    assert np.linalg.det(y_up(np.eye(3), "z")) == pytest.approx(1)
    assert y_up(CLOUD, "y") is CLOUD


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turn_about_an_axis_keeps_that_axis_and_all_distances(axis):
    number = "xyz".index(axis)
    after = turned(CLOUD, axis, rng())
    assert np.allclose(after[:, number], CLOUD[:, number])
    assert not np.allclose(after, CLOUD)
    assert np.allclose(np.linalg.norm(after, axis=1), np.linalg.norm(CLOUD, axis=1))


def test_any_turn_keeps_shapes_and_none_changes_nothing():
    after = turned(CLOUD, "any", rng())
    assert np.allclose(after @ after.T, CLOUD @ CLOUD.T)
    assert turned(CLOUD, "none", rng()) is CLOUD


def test_noise_has_the_asked_size_and_no_outliers():
    noise = jittered(np.zeros((20_000, 3)), 0.1, rng())
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert np.abs(noise).max() <= 0.5


def test_preparing_is_deterministic_by_seed():
    def made(seed):
        return prepare(CLOUD, 40, up="z", turn="any", jitter=0.01, seed=(seed, 3), origin="cloud")

    assert made(0).dtype == np.float32 and made(0).shape == (40, 3)
    assert (made(0) == made(0)).all()
    assert not np.allclose(made(0), made(1))


def plain(points, count, seed=0, **options):
    return prepare(points, count, up="y", turn="none", jitter=0.0, seed=(seed, 3), origin="cloud", **options)


def test_fewer_points_are_the_same_picture_with_gaps():
    far = np.vstack([CLOUD, [[100.0, 0.0, 0.0]]])  # the farthest point is not among the first
    whole = plain(far, 51)
    assert (plain(far, 20) == whole[:20]).all()
    assert np.linalg.norm(whole, axis=1).max() == pytest.approx(1)


def test_a_cloud_that_fills_the_unit_sphere_is_cut_as_published():
    stored = to_unit_sphere(CLOUD, "cloud").astype(np.float32)
    assert np.abs(plain(stored, 20) - stored[:20]).max() < 1e-6


def test_a_scan_keeps_random_points_and_not_its_first_lines():
    scan = np.stack(np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40)), axis=2).reshape(-1, 2)
    scan = np.column_stack([scan, np.zeros(len(scan))])
    assert plain(scan, 400)[:, 1].max() < -0.2  # the first quarter of the lines alone
    kept = plain(scan, 400, shuffle=True)
    assert np.abs(kept.mean(axis=0)).max() < 0.1 and (kept.max(axis=0)[:2] > 0.6).all()
    assert len(np.unique(kept, axis=0)) == 400
    assert (plain(scan, 400, shuffle=True) == kept).all()
    assert (plain(scan, 100, shuffle=True) == kept[:100]).all()
    assert not (plain(scan, 400, seed=1, shuffle=True) == kept).all()
