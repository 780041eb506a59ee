"""Solids as signed distance functions, and their depth views: near is bright, empty is black.

The distances come from constructive geometry (unions, intersections, revolutions). Views are sphere-traced (J. C.
Hart, "Sphere tracing", The Visual Computer 12, 1996) with parallel rays along -z.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from calip_core.world.vocabulary import SOLIDS

Points = Float[Tensor, "3 n m"]
Distance = Float[Tensor, "n m"]
Proportion = Float[Tensor, "n 1"]

_TRACED_SIDE = 64  # rays per side; the view is then enlarged to the requested resolution
_STEPS = 18
_CHUNK = 16
_NEAR, _FAR = 1.1, -1.1  # the range of z that contains every solid


@dataclass(frozen=True)
class Solids:
    """``n`` solids in the unit ball; ``solids[i:j]`` are solids again."""

    solid: Int64[np.ndarray, " n"]
    proportion: Float32[np.ndarray, " n"]
    rotation: Float32[np.ndarray, "n 3 3"]
    scale: Float32[np.ndarray, " n"]
    centre: Float32[np.ndarray, "n 2"]
    sparse: Bool[np.ndarray, " n"]
    point_seed: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.solid)

    def __getitem__(self, index: Any) -> "Solids":
        if isinstance(index, int | np.integer):
            index = [int(index)]
        return Solids(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    def facts(self) -> dict[str, Int64[np.ndarray, " n"]]:
        """The true attributes of each view: attribute name -> index of its word."""
        return {"solid": self.solid}


def sample_solids(n: int, seed: int) -> Solids:
    """Sample ``n`` solids with random kind, proportion, rotation, size and position; half become sparse points."""
    if n < 0:
        raise ValueError(f"n = {n}: expected a number of solids of at least 0")
    rng = np.random.default_rng(seed)
    return Solids(
        solid=rng.integers(0, len(SOLIDS), n),
        proportion=rng.uniform(0, 1, n).astype(np.float32),
        rotation=_random_rotations(rng, n),
        scale=rng.uniform(0.55, 0.95, n).astype(np.float32),
        centre=rng.uniform(-0.12, 0.12, (n, 2)).astype(np.float32),
        sparse=rng.random(n) < 0.5,
        point_seed=rng.integers(0, 2**31, n),
    )


def _random_rotations(rng: np.random.Generator, n: int) -> Float32[np.ndarray, "n 3 3"]:
    """Uniformly distributed rotations: unit quaternions from normal samples."""
    q = rng.standard_normal((n, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1).astype(np.float32)


def render_solids(solids: Solids, resolution: int = 128) -> UInt8[np.ndarray, "n h w 3"]:
    """Depth views of the solids, ``resolution`` x ``resolution`` pixels with three equal channels."""
    images = np.empty((len(solids), resolution, resolution, 3), np.uint8)
    order = np.argsort(solids.solid, kind="stable")
    for start in range(0, len(order), _CHUNK):
        index = order[start : start + _CHUNK]
        depth = _trace(solids[index])
        _thin_out(depth, solids[index])
        view = torch.nn.functional.interpolate(
            depth.unsqueeze(1), (resolution, resolution), mode="bilinear", align_corners=False
        )
        images[index] = view.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return images


def _trace(solids: Solids) -> Float[Tensor, "n s s"]:
    """March all rays together; brightness falls from 1 at the near plane to 1/4 at the far plane."""
    side = (torch.arange(_TRACED_SIDE) + 0.5) * (2.0 / _TRACED_SIDE) - 1.0
    rays_x, rays_y = (axis.reshape(1, -1) for axis in torch.meshgrid(side, side, indexing="xy"))
    scale = torch.from_numpy(solids.scale).view(-1, 1)
    start_x, start_y = (
        (rays - torch.from_numpy(solids.centre[:, i]).view(-1, 1)) / scale
        for i, rays in enumerate((rays_x, rays_y))
    )
    rotation = torch.from_numpy(solids.rotation)
    column = [rotation[:, :, i].T.unsqueeze(-1) for i in range(3)]
    origin = column[0] * start_x + column[1] * start_y
    z = torch.full_like(start_x, _NEAR)
    for _ in range(_STEPS):
        distance = _distances(solids, origin + column[2] * z)
        z -= distance
    hit = (distance < 0.02) & (z > _FAR)
    brightness = 0.25 + 0.75 * (z - _FAR) / (_NEAR - _FAR)
    return (brightness.clamp(0, 1) * hit).view(-1, _TRACED_SIDE, _TRACED_SIDE)


def _distances(solids: Solids, points: Points) -> Distance:
    """The signed distance of each solid at its own points."""
    result = torch.empty_like(points[0])
    proportion = torch.from_numpy(solids.proportion).view(-1, 1)
    for kind in np.unique(solids.solid):
        rows = np.flatnonzero(solids.solid == kind)
        run = slice(int(rows[0]), int(rows[-1]) + 1)
        if run.stop - run.start != len(rows):
            raise ValueError("expected solids sorted by kind: sort them first")
        result[run] = SOLID_DISTANCES[SOLIDS[kind]](points[:, run], proportion[run])
    return result


def _thin_out(depth: Float[Tensor, "n s s"], solids: Solids) -> None:
    """Keep 20 % to 60 % of the pixels of sparse views, like the projection of a point cloud; in place."""
    for view, sparse, seed in zip(depth, solids.sparse, solids.point_seed, strict=True):
        if sparse:
            rng = np.random.default_rng(int(seed))
            kept = rng.random(view.shape, dtype=np.float32) < rng.uniform(0.2, 0.6)
            view *= torch.from_numpy(kept)


def _length(*axes: Tensor) -> Tensor:
    return torch.sqrt(sum((axis * axis for axis in axes), torch.zeros(())))


def _box(p: Points, x: Any, y: Any, z: Any) -> Distance:
    qx, qy, qz = p[0].abs() - x, p[1].abs() - y, p[2].abs() - z
    outside = _length(qx.clamp_min(0), qy.clamp_min(0), qz.clamp_min(0))
    return outside + torch.maximum(torch.maximum(qx, qy), qz).clamp_max(0)


def sphere(p: Points, _: Proportion) -> Distance:
    """Ball of radius 0.85."""
    return _length(p[0], p[1], p[2]) - 0.85


def cube(p: Points, _: Proportion) -> Distance:
    """Cube of side 1.1."""
    return _box(p, 0.55, 0.55, 0.55)


def cylinder(p: Points, t: Proportion) -> Distance:
    """Cylinder along y, 1.4 to 1.6 long, of radius 0.35 to 0.5."""
    qx = torch.hypot(p[0], p[2]) - (0.35 + 0.15 * t)
    qy = p[1].abs() - (0.8 - 0.1 * t)
    return torch.maximum(qx, qy).clamp_max(0) + torch.hypot(qx.clamp_min(0), qy.clamp_min(0))


def cone(p: Points, t: Proportion) -> Distance:
    """Cone along y from the tip at -0.9 to a base of radius 0.5 to 0.65 at 0.6 (a lower bound on the distance)."""
    slope = (0.5 + 0.15 * t) / 1.5
    side = (torch.hypot(p[0], p[2]) - (p[1] + 0.9) * slope) / torch.sqrt(1 + slope**2)
    return torch.maximum(side, p[1] - 0.6)


def torus(p: Points, t: Proportion) -> Distance:
    """Ring around y: mean radius 0.62, thickness 0.17 to 0.29."""
    return torch.hypot(torch.hypot(p[0], p[2]) - 0.62, p[1]) - (0.17 + 0.12 * t)


def pyramid(p: Points, t: Proportion) -> Distance:
    """Square base at y = 0.5 with half side 0.55 to 0.65, tip at -0.8 (a lower bound on the distance)."""
    slope = (0.55 + 0.1 * t) / 1.3
    side = (torch.maximum(p[0].abs(), p[2].abs()) - (p[1] + 0.8) * slope) / torch.sqrt(1 + slope**2)
    return torch.maximum(side, p[1] - 0.5)


def capsule(p: Points, t: Proportion) -> Distance:
    """Rod along y with round ends, of radius 0.2 to 0.32."""
    along = p[1] - p[1].clamp(-0.6, 0.6)
    return _length(p[0], along, p[2]) - (0.2 + 0.12 * t)


def octahedron(p: Points, _: Proportion) -> Distance:
    """Regular octahedron of circumradius 0.9 (a lower bound on the distance)."""
    return (p[0].abs() + p[1].abs() + p[2].abs() - 0.9) / math.sqrt(3)


def bowl(p: Points, t: Proportion) -> Distance:
    """The lower half of a spherical shell, 0.06 to 0.12 thick on each side."""
    shell = (_length(p[0], p[1] + 0.3, p[2]) - 0.75).abs() - (0.06 + 0.06 * t)
    return torch.maximum(shell, -0.3 - p[1])


def table(p: Points, t: Proportion) -> Distance:
    """A slab on four legs, all boxes; the four legs are one box, folded by symmetry."""
    top = _box(torch.stack([p[0], p[1] + 0.4, p[2]]), 0.65, 0.09, 0.45 + 0.15 * t)
    leg = torch.stack([p[0].abs() - 0.52, p[1] - 0.1, p[2].abs() - (0.32 + 0.15 * t)])
    return torch.minimum(top, _box(leg, 0.09, 0.5, 0.09))


_FUNCTIONS: tuple[Callable[[Points, Proportion], Distance], ...] = (
    sphere, cube, cone, cylinder, torus, pyramid, capsule, octahedron, bowl, table,
)  # fmt: skip
SOLID_DISTANCES: dict[str, Callable[[Points, Proportion], Distance]] = dict(
    zip(SOLIDS, _FUNCTIONS, strict=True)
)
"""Distance of each solid at points (x, y, z), y down, for a proportion in [0, 1]; never more than the true distance."""
