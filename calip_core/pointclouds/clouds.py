"""The point cloud type, its validity checks, and its way into single precision."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Shaped

Cloud = Float32[np.ndarray, "p 3"]
"""The coordinates x, y and z of every point, in the unit and the pose of their file. A cloud that lies far from its
origin, as in map coordinates, is moved there first, because single precision could not tell its points apart."""

FAR = 100
"""From the origin, in extents of a cloud: beyond it, a cloud is moved before it becomes single precision."""
STEPS = 256
"""Fewest different values that a file's numbers must be able to hold across a cloud's extent."""
TRANSPOSED = (3, 4, 6, 7, 9)
"""Numbers per point that files hold: coordinates alone, or with intensity, normals, colours."""


def check_cloud(points: Shaped[np.ndarray, "..."], origin: Path | str) -> Cloud:
    """Return the points in single precision if they form a valid cloud.

    Args:
        points: one row of three numbers per point.
        origin: where they come from, for error messages: a file, or a file and a row.

    Raises:
        ValueError: there are no points, a row does not have three numbers, a coordinate is NaN or infinite (or too
            large for single precision), all points coincide, or their numbers are too coarse (``check_steps``).
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise ValueError(f"{origin} has {points.dtype} points of shape {points.shape}, expected p rows of x, y and z")
    if not len(points):
        raise ValueError(f"{origin} is an empty cloud, expected at least one point: make it again, or remove it")
    cloud = in_single_precision(points, origin)
    wrong = np.flatnonzero(~np.isfinite(cloud).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{origin}: {len(wrong)} of {len(cloud)} points are not finite, the first is number {wrong[0]} with "
            f"{points[wrong[0]].tolist()}: expected three numbers that single precision holds; remove such points"
        )
    if (cloud == cloud[0]).all():
        raise ValueError(f"{origin}: all {len(cloud)} points are {cloud[0].tolist()}, expected points that differ")
    return cloud


def in_single_precision(points: Shaped[np.ndarray, "p 3"], origin: Path | str) -> Cloud:
    """The points in single precision; a cloud far from its origin is centred on its mean first.

    At 4,600,000 metres, single precision has steps of half a metre.

    Raises:
        ValueError: the numbers are too coarse already (``check_steps``).
    """
    check_steps(points, origin)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and callers refuse it
        wide: Float64[np.ndarray, "p 3"] = points.astype(np.float64)
        largest, extent = _reach(wide)
        moved = wide - wide.mean(axis=0) if np.inf > largest > FAR * extent > 0 else points
        return np.ascontiguousarray(moved, dtype=np.float32)


def check_steps(points: Shaped[np.ndarray, "p 3"], origin: Path | str) -> None:
    """Refuse points that were rounded far from the origin until their shape was lost.

    Raises:
        ValueError: floating-point numbers of that type and size have fewer than ``STEPS`` values across the extent.
    """
    if points.dtype.kind != "f" or not len(points) or not np.isfinite(points).all():
        return
    largest, extent = _reach(points.astype(np.float64))
    step = float(np.spacing(np.abs(points).max()))
    if largest > FAR * extent > 0 and step * STEPS > extent:
        raise ValueError(
            f"{origin}: coordinates lie at {largest:.3g} with an extent of {extent:.3g}, where {points.dtype} has "
            f"steps of {step:.2g}: subtract an offset before saving them, or save them in double precision"
        )


def _reach(points: Float64[np.ndarray, "p 3"]) -> tuple[float, float]:
    """The largest absolute coordinate, and the largest extent along an axis."""
    return float(np.abs(points).max(initial=0)), float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def check_columns(shape: tuple[int, ...], origin: Path | str) -> None:
    """Refuse a table that cannot be one row per point.

    Args:
        shape: of the table.
        origin: where it comes from, for error messages.

    Raises:
        ValueError: it is not a table, has fewer than three columns, or is transposed: wider than long, with as many
            rows as a point has numbers.
    """
    if len(shape) != 2 or shape[1] < 3:
        raise ValueError(f"{origin} holds {shape}, expected p rows of x, y, z (and perhaps more columns)")
    if shape[0] in TRANSPOSED and shape[1] > shape[0]:
        raise ValueError(
            f"{origin} has {shape[0]} rows of {shape[1]} numbers, expected one row per point: transpose it"
        )
