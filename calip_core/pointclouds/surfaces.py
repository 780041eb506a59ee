"""From a mesh to a cloud: points sampled uniformly over its surface."""

import hashlib
from pathlib import Path

import numpy as np
import trimesh
from trimesh.sample import sample_surface

from calip_core.pointclouds.clouds import Cloud, in_single_precision


def check_mesh(mesh: trimesh.Trimesh, origin: Path | str) -> None:
    """Refuse a mesh whose surface cannot be sampled.

    Raises:
        ValueError: the mesh has no faces or no area, or a face names a vertex that is missing or not finite.
    """
    if not len(mesh.faces):
        raise ValueError(
            f"{origin} is a mesh without faces, expected a surface to sample: is the file cut off? Points alone belong "
            "into an XYZ, NPY or PLY file"
        )
    first, last = int(mesh.faces.min()), int(mesh.faces.max())
    if first < 0 or last >= len(mesh.vertices):
        wrong = first if first < 0 else last
        raise ValueError(
            f"{origin}: a face names the vertex {wrong}, expected 0 to {len(mesh.vertices) - 1}: the file is damaged"
        )
    with np.errstate(over="ignore"):
        corners = mesh.triangles.astype(np.float32)
    if not np.isfinite(corners).all():
        raise ValueError(
            f"{origin}: a corner of a face is NaN, infinite or too large for single precision: repair the mesh"
        )
    if not 0 < mesh.area < np.inf:
        raise ValueError(f"{origin}: the surface of {len(mesh.faces)} faces has the area {mesh.area}, expected some")


def sample_mesh(mesh: trimesh.Trimesh, count: int, seed: int, origin: Path | str = "the mesh") -> Cloud:
    """Sample points uniformly over the surface: each face gets points in proportion to its area.

    Args:
        mesh: triangles.
        count: number of points to sample.
        seed: seed of the sampling; the same mesh and seed give the same points.
        origin: where the mesh comes from, for error messages.

    Returns:
        ``count`` points, in the mesh's own coordinates, but for one that lies far from its origin (``Cloud``).

    Raises:
        ValueError: ``count`` is below 1, or the mesh has no surface to sample (``check_mesh``).
    """
    if count < 1:
        raise ValueError(f"{origin}: the number of points to sample is {count}, expected at least 1")
    check_mesh(mesh, origin)
    return in_single_precision(sample_surface(mesh, count, seed=seed)[0], origin)


def seed_for(name: str, seed: int) -> int:
    """A seed derived from a file's name, so that neither the number nor the order of files changes its points.

    Args:
        name: the file's name below its dataset's folder, with ``/`` between the parts.
        seed: seed of the whole dataset.
    """
    stated = f"{seed} {name}".encode(errors="surrogateescape")  # file names may hold bytes that are not UTF-8
    return int.from_bytes(hashlib.sha256(stated).digest()[:8], "big")
