"""Point clouds sampled from the procedural solids: an offline stand-in for scanned and modelled objects."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Float32, Int64
from scipy.spatial.transform import Rotation
from skimage.measure import marching_cubes

from calip_core.pointclouds.surfaces import sample_mesh
from calip_core.world.solids import SOLID_DISTANCES
from calip_core.world.vocabulary import SOLIDS

STORED_POINTS = 2048
"""Points per cloud, as in ModelNet40's and ScanObjectNN's files."""

_REACH, _CELLS = 1.15, 48  # half side of a cube around every solid; cells per side of the marching-cubes grid
_PROPORTIONS = 8  # meshes per kind of solid
_OVERSAMPLING = 2  # points sampled per point kept, because parts are removed

TILT = 12.0
"""Standard deviation of a solid's lean off the vertical, in degrees."""
STRETCH = 0.15
"""Each axis is stretched or shrunk by up to this fraction."""
NOISE = 0.01
"""Standard deviation of a point's error along each axis, for a solid of about unit size."""
HIDDEN = 0.4
"""Largest fraction of the points hidden on the side facing away from the scanner."""
HOLE = 0.35
"""Largest radius of the ball of missing points."""


def solid_mesh(kind: str, proportion: float) -> trimesh.Trimesh:
    """The surface of a solid from the procedural world, y up, roughly within the unit ball.

    Args:
        kind: one of ``world.SOLIDS``.
        proportion: from 0 to 1, for example from slender to stout.

    Raises:
        ValueError: the kind is unknown, or the proportion is out of range.
    """
    if kind not in SOLIDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(SOLIDS)}")
    if not 0 <= proportion <= 1:
        raise ValueError(f"proportion is {proportion}, expected 0 to 1")
    axis = torch.linspace(-_REACH, _REACH, _CELLS + 1)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, 1, -1)
    distance = SOLID_DISTANCES[kind](grid, torch.tensor([[proportion]]))
    field = distance.reshape((_CELLS + 1,) * 3).numpy()
    corners, faces, _, _ = marching_cubes(field, level=0.0, spacing=(2 * _REACH / _CELLS,) * 3)
    # The world is drawn with y down; half a turn about x puts y up without mirroring the solid.
    return trimesh.Trimesh((corners - _REACH) * [1, -1, -1], faces, process=False)


@cache
def _mesh(kind: str, level: int) -> trimesh.Trimesh:
    return solid_mesh(kind, (level + 0.5) / _PROPORTIONS)


@dataclass(frozen=True)
class SolidClouds:
    """Generates cloud i: a solid with its own proportion, pose, stretch, noise, hidden side and missing part.

    Attributes:
        kinds: the solid of each cloud, as an index into ``world.SOLIDS``.
        seed: seed of everything else; cloud i depends only on ``(seed, i)`` and its kind.
    """

    kinds: Int64[np.ndarray, " n"]
    seed: int

    def __call__(self, index: int) -> Float32[np.ndarray, "p 3"]:
        rng = np.random.default_rng([self.seed, index])
        mesh = _mesh(SOLIDS[self.kinds[index]], int(rng.integers(_PROPORTIONS)))
        points = sample_mesh(mesh, STORED_POINTS * _OVERSAMPLING, int(rng.integers(2**31)))
        points = points * rng.uniform(1 - STRETCH, 1 + STRETCH, 3) @ _pose(rng).T
        points = _without_part(_without_far_side(points, rng), rng)
        kept = points[rng.permutation(len(points))[:STORED_POINTS]]
        return (kept + rng.normal(0, NOISE, kept.shape)).astype(np.float32)


def _pose(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A random rotation about the vertical y axis, then a small lean in a random direction."""
    turn = Rotation.from_rotvec([0, rng.uniform(0, 2 * np.pi), 0])
    side = rng.uniform(0, 2 * np.pi)
    lean = Rotation.from_rotvec(np.radians(rng.normal(0, TILT)) * np.array([np.cos(side), 0, np.sin(side)]))
    matrix: Float[np.ndarray, "3 3"] = (lean * turn).as_matrix()
    return matrix


def _without_far_side(points: Float[np.ndarray, "p 3"], rng: np.random.Generator) -> Float[np.ndarray, "q 3"]:
    """Half of the clouds lose the points farthest from a scanner at a random position around the solid."""
    direction = rng.uniform(0, 2 * np.pi)
    share = rng.uniform(0, HIDDEN) if rng.random() < 0.5 else 0.0
    depth = points @ np.array([np.cos(direction), 0, np.sin(direction)])
    kept: Float[np.ndarray, "q 3"] = points[depth >= np.quantile(depth, share)]
    return kept


def _without_part(points: Float[np.ndarray, "p 3"], rng: np.random.Generator) -> Float[np.ndarray, "q 3"]:
    """Half of the clouds lose a ball of points around one of their points, provided that enough remain."""
    centre = points[rng.integers(len(points))]
    radius = rng.uniform(0, HOLE) if rng.random() < 0.5 else 0.0
    kept = points[np.linalg.norm(points - centre, axis=1) >= radius]
    return kept if len(kept) >= STORED_POINTS else points


def sample_kinds(n: int, seed: int) -> Int64[np.ndarray, " n"]:
    """``n`` kinds of solids in random order, balanced as far as possible."""
    kinds = np.arange(n, dtype=np.int64) % len(SOLIDS)
    return np.random.default_rng(seed).permutation(kinds)
