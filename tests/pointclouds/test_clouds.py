"""What is a cloud, and what is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calip_core.pointclouds.clouds import check_cloud

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
