"""Simple solids: a fixed kind per class, with slight variations."""

from collections.abc import Callable

import numpy as np
import trimesh
from jaxtyping import Float32
from trimesh import creation

KINDS: tuple[Callable[[], trimesh.Trimesh], ...] = (
    lambda: creation.icosphere(subdivisions=2, radius=0.5),
    lambda: creation.box(extents=(1, 1, 1)),
    lambda: creation.cone(radius=0.5, height=1, sections=24),
    lambda: creation.cylinder(radius=0.4, height=1, sections=24),
    lambda: creation.torus(major_radius=0.4, minor_radius=0.12, major_sections=24, minor_sections=12),
    lambda: creation.capsule(height=0.8, radius=0.2, count=[16, 16]),
    lambda: creation.annulus(r_min=0.25, r_max=0.5, height=0.5, sections=24),
)


class Solids:
    """Generates solids; the same seed and the same calls give the same ones."""

    def __init__(self, seed: int) -> None:
        """Set the seed of the proportions and of the sampled points."""
        self._seed = seed

    def mesh(self, label: int, number: int) -> trimesh.Trimesh:
        """Solid ``number`` of a class, about one unit in size; classes beyond the number of kinds are taller ones."""
        solid = KINDS[label % len(KINDS)]()
        stretch = np.random.default_rng((self._seed, label, number)).uniform(0.8, 1.2, 3)
        stretch[2] *= 1 + label // len(KINDS)
        return trimesh.Trimesh(solid.vertices * stretch, solid.faces, process=False)

    def points(self, label: int, number: int, count: int) -> Float32[np.ndarray, "p 6"]:
        """Points sampled from that solid with their normals, in the unit sphere, as in the published clouds."""
        solid = self.mesh(label, number)
        centred = solid.vertices - solid.bounds.mean(axis=0)
        solid.vertices = centred / np.linalg.norm(centred, axis=1).max()
        seed = int(np.random.default_rng((self._seed, label, number, count)).integers(2**31))
        points, faces = trimesh.sample.sample_surface(solid, count, seed=seed)
        return np.hstack([points, solid.face_normals[faces]]).astype(np.float32)
