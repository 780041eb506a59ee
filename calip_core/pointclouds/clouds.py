"""The point cloud type, and its validity check."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

Cloud = Float32[np.ndarray, "p 3"]
"""The coordinates x, y and z of every point, in the unit and the pose of their file."""


def check_cloud(points: Shaped[np.ndarray, "..."], origin: Path | str) -> Cloud:
    """Return the points in single precision if they form a valid cloud.

    Args:
        points: one row of three numbers per point.
        origin: where they come from, for error messages: a file, or a file and a row.

    Raises:
        ValueError: there are no points, a row does not have three numbers, a coordinate is NaN or infinite (or too
            large for single precision), or all points coincide.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise ValueError(f"{origin} has {points.dtype} points of shape {points.shape}, expected p rows of x, y and z")
    if not len(points):
        raise ValueError(f"{origin} is an empty cloud, expected at least one point: make it again, or remove it")
    with np.errstate(over="ignore"):  # overflow becomes infinite and is refused below
        cloud: Cloud = np.ascontiguousarray(points, dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(cloud).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{origin}: {len(wrong)} of {len(cloud)} points are not finite, the first is number {wrong[0]} with "
            f"{points[wrong[0]].tolist()}: expected three numbers that single precision holds; remove such points"
        )
    if (cloud == cloud[0]).all():
        raise ValueError(f"{origin}: all {len(cloud)} points are {cloud[0].tolist()}, expected points that differ")
    return cloud
