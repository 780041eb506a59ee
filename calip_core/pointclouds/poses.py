"""What is done to a cloud before it is looked at: a fixed number of points, a pose, noise, the unit sphere."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from calip_core.pointclouds.clouds import check_cloud

Turn = Literal["none", "x", "y", "z", "any"]
"""About which axis every cloud is turned by a random angle; "any" is a random rotation. Clouds have y up."""
UpAxis = Literal["y", "z"]

_JITTER_BOUND = 5.0  # standard deviations: no point flies off
_ORDER = 1  # sets the stream that shuffles points apart from the one that turns them


def first_points(points: Float[np.ndarray, "q 3"], count: int, origin: str) -> Float[np.ndarray, "p 3"]:
    """The first ``count`` points, as the field takes 1,024 of ModelNet40's 2,048.

    Raises:
        ValueError: there are fewer points than asked for.
    """
    if len(points) < count:
        raise ValueError(
            f"{origin} has {len(points)} points, fewer than the {count} asked for: ask for fewer points, as "
            f"load_task(..., points={len(points)}) does, or chapter 6 with views 'pointclip, {len(points)} points'"
        )
    return points[:count]


def to_unit_sphere(points: Float[np.ndarray, "p 3"], origin: str) -> Float[np.ndarray, "p 3"]:
    """Move the mean of the points to the origin and the farthest point to distance 1 (PointNet's normalisation).

    Raises:
        ValueError: no points, coordinates that are not finite, or all points are equal.
    """
    check_cloud(points, origin)
    centred = points - points.mean(axis=0)
    scaled: Float[np.ndarray, "p 3"] = centred / np.linalg.norm(centred, axis=1).max()
    return scaled


def y_up(points: Float[np.ndarray, "p 3"], up: UpAxis) -> Float[np.ndarray, "p 3"]:
    """The points with the y axis pointing up; a quarter turn about x takes z there."""
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
    """Normal noise of standard deviation ``sigma`` on every coordinate, cut at five of them."""
    noise = rng.standard_normal(points.shape).clip(-_JITTER_BOUND, _JITTER_BOUND)
    return points + sigma * noise


def prepare(
    points: Float[np.ndarray, "q 3"], count: int,
    *, up: UpAxis, turn: Turn, jitter: float, seed: tuple[int, ...], origin: str, shuffle: bool = False,
) -> Float32[np.ndarray, "p 3"]:  # fmt: skip
    """A cloud as it is looked at: y up, in the unit sphere, some of its points, turned, with noise.

    The whole stored cloud is put into the unit sphere before it is cut, so that fewer points are the same picture with
    gaps. PointCLIP does not normalise at all (``datasets/modelnet40.py``): its stored clouds fill the unit sphere.

    Args:
        points: as stored.
        count: how many to keep.
        up: which stored axis points up.
        turn: about which axis.
        jitter: standard deviation of the noise, in radii of the stored cloud.
        seed: of order, turn and noise.
        origin: what the cloud is, for messages.
        shuffle: keep random points, not the first: a scanner's first 1,024 are a corner of what it saw. The published
            files are in random order, and the field takes the first of each.

    Raises:
        ValueError: too few points, coordinates that are not finite, or all points equal.
    """
    rng = np.random.default_rng(seed)
    cloud = to_unit_sphere(y_up(points.astype(np.float64), up), origin)
    if shuffle:
        cloud = np.random.default_rng((*seed, _ORDER)).permutation(cloud)
    kept = first_points(cloud, count, origin)
    return jittered(turned(kept, turn, rng), jitter, rng).astype(np.float32)
