"""Preparing a cloud for projection: a fixed number of points, the unit sphere, a pose, and noise."""

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from calip_core.pointclouds.clouds import check_cloud
from calip_core.pointclouds.names import Turn, UpAxis

_JITTER_BOUND = 5.0  # standard deviations, so that no point is thrown far off
_ORDER = 1  # separates the random stream that shuffles points from the one that rotates them


def first_points(points: Float[np.ndarray, "q 3"], count: int, origin: str) -> Float[np.ndarray, "p 3"]:
    """The first ``count`` points, as is customary with ModelNet40 (1,024 of its 2,048).

    Raises:
        ValueError: there are fewer than ``count`` points.
    """
    if len(points) < count:
        raise ValueError(
            f"{origin} has {len(points)} points, fewer than the {count} asked for: ask for fewer points, as "
            f"load_task(..., points={len(points)}) does, or chapter 7 with views 'pointclip, {len(points)} points'"
        )
    return points[:count]


def to_unit_sphere(points: Float[np.ndarray, "p 3"], origin: str) -> Float[np.ndarray, "p 3"]:
    """Move the mean of the points to the origin and the farthest point to distance 1 (PointNet's normalisation).

    Raises:
        ValueError: there are no points, a coordinate is not finite, or all points are equal.
    """
    check_cloud(points, origin)
    centred = points - points.mean(axis=0)
    scaled: Float[np.ndarray, "p 3"] = centred / np.linalg.norm(centred, axis=1).max()
    return scaled


def y_up(points: Float[np.ndarray, "p 3"], up: UpAxis) -> Float[np.ndarray, "p 3"]:
    """The points with the y axis pointing up; for z up, a quarter turn about x."""
    return points if up == "y" else np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)


def turned(points: Float[np.ndarray, "p 3"], turn: Turn, rng: np.random.Generator) -> Float[np.ndarray, "p 3"]:
    """The points after a random rotation."""
    if turn == "none":
        return points
    if turn == "any":
        rotation = Rotation.random(random_state=rng)
    else:
        rotation = Rotation.from_euler(turn, rng.uniform(0, 2 * np.pi))
    result: Float[np.ndarray, "p 3"] = rotation.apply(points)
    return result


def jittered(points: Float[np.ndarray, "p 3"], sigma: float, rng: np.random.Generator) -> Float[np.ndarray, "p 3"]:
    """Add normal noise of standard deviation ``sigma`` to every coordinate, clipped at five standard deviations."""
    noise = rng.standard_normal(points.shape).clip(-_JITTER_BOUND, _JITTER_BOUND)
    return points + sigma * noise


def prepare(
    points: Float[np.ndarray, "q 3"], count: int,
    *, up: UpAxis, turn: Turn, jitter: float, seed: tuple[int, ...], origin: str, shuffle: bool = False,
) -> Float32[np.ndarray, "p 3"]:  # fmt: skip
    """Prepare a cloud for projection: y up, unit sphere, subset of the points, rotation, noise.

    The whole stored cloud is normalised before points are dropped, so that fewer points give the same picture with
    gaps. PointCLIP does not normalise (``datasets/modelnet40.py``): its stored clouds already fill the unit sphere.

    Args:
        points: the stored cloud.
        count: number of points to keep.
        up: which stored axis points up.
        turn: axis of the random rotation.
        jitter: standard deviation of the noise, in radii of the stored cloud.
        seed: seed of order, rotation and noise.
        origin: name of the cloud, for error messages.
        shuffle: keep random points instead of the first ones, because the first 1,024 points of a scan cover only a
            corner of it. The published files are in random order already.

    Raises:
        ValueError: there are too few points, a coordinate is not finite, or all points are equal.
    """
    rng = np.random.default_rng(seed)
    cloud = to_unit_sphere(y_up(points.astype(np.float64), up), origin)
    if shuffle:
        cloud = np.random.default_rng((*seed, _ORDER)).permutation(cloud)
    kept = first_points(cloud, count, origin)
    return jittered(turned(kept, turn, rng), jitter, rng).astype(np.float32)
