"""What is a cloud, and what is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calip_core.pointclouds.clouds import check_cloud, check_columns

COORDINATES = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, st.tuples(st.integers(2, 20), st.just(3)), elements=COORDINATES))
def test_points_come_back_as_they_are(points):
    if (points == points[0]).all():
        points[0] += max(1, abs(points[0, 0]))
    cloud = check_cloud(points, "here")
    assert cloud.dtype == np.float32
    assert np.array_equal(cloud, points)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_every_kind_of_number_becomes_single_precision(dtype):
    assert check_cloud(np.array([[0, 1, 2], [3, 4, 5]], dtype), "here").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), "here is an empty cloud"),
        (np.zeros((4, 2)), r"here has float64 points of shape \(4, 2\), expected p rows of x, y and z"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([["a", "b", "c"]]), "here has <U1 points"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), r"1 of 2 points are not finite, the first is number 1 with \[0.0, nan"),
        (np.array([[0, 0, -np.inf], [0, 0, 0]]), "the first is number 0"),
        (np.array([[0, 0, 0], [0, 0, 1e39]]), r"not finite.*1e\+39"),  # only in double precision
        (np.ones((7, 3)), r"all 7 points are \[1.0, 1.0, 1.0\]"),
    ],
)
def test_what_is_no_cloud_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        check_cloud(points, "here")


OFFSET = np.array([500_000, 4_649_776, 100])  # of a place in UTM coordinates


def test_a_cloud_far_from_its_origin_is_centred_before_it_is_rounded():
    points = np.random.default_rng(0).random((64, 3))
    assert np.array_equal(check_cloud(points + 50, "here"), (points + 50).astype(np.float32))  # near enough
    far = points + OFFSET
    assert np.allclose(check_cloud(far, "here"), points - points.mean(axis=0), atol=1e-6)
    whole = np.array([[4_000_000, 0, 0], [4_000_001, 5, 0]])
    assert check_cloud(whole, "here").tolist() == [[-0.5, -2.5, 0], [0.5, 2.5, 0]]


def test_what_was_rounded_far_from_its_origin_is_refused():
    far = np.random.default_rng(0).random((64, 3)) + OFFSET
    with pytest.raises(ValueError, match=r"here: coordinates lie at 4.65e\+06 with an extent of 1, where float32"):
        check_cloud(far.astype(np.float32), "here")


@pytest.mark.parametrize("shape", [(3, 1024), (6, 7), (4, 9), (5,), (5, 2), (5, 4, 3)])
def test_a_table_of_another_layout_is_refused(shape):
    with pytest.raises(ValueError, match="here h"):
        check_columns(shape, "here")


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (6, 6), (1024, 6), (5, 6), (0, 3)])
def test_a_row_per_point_is_taken(shape):
    check_columns(shape, "here")
