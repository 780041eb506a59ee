"""What counts as a point cloud."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

Cloud = Float32[np.ndarray, "p 3"]
"""The coordinates x, y and z of every point, in the unit and the pose of the file that they come from."""


def check_cloud(points: Shaped[np.ndarray, "..."], origin: Path | str) -> Cloud:
    """The points in single precision, if they are a cloud that can be looked at.

    Args:
        points: one row of three numbers a point.
        origin: where they come from, for the message: a file, or a file and a row.

    Raises:
        ValueError: there is no point, a row has other than three numbers, a coordinate is NaN or infinite (or too
            large for single precision), or all points are one and the same.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise ValueError(f"{origin} has {points.dtype} points of shape {points.shape}, expected p rows of x, y and z")
    if not len(points):
        raise ValueError(f"{origin} is an empty cloud, expected at least one point: make it again, or remove it")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused in the next line
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
