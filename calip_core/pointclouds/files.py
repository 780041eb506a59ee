"""Files with one shape each: meshes (OFF, OBJ, STL, PLY) and clouds (XYZ and other text, NPY, PLY).

Files are untrusted. None is unpickled, none can cause another file to be opened (readers get bytes, not a folder), and
the counts that a header declares are compared with the content.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Shaped

from calip_core.pointclouds.clouds import Cloud, check_cloud
from calip_core.pointclouds.surfaces import sample_mesh

MESHES = (".off", ".obj", ".stl")
"""Suffixes of files that contain a surface."""
EITHER = (".ply",)
"""Suffixes of files that contain a surface if they list faces, else a cloud."""
TEXTS = (".xyz", ".txt")
"""Suffixes of text files: x, y, z and possibly more columns (normals, colours), separated by white space or commas."""
ARRAYS = (".npy",)
SUFFIXES = (*MESHES, *EITHER, *TEXTS, *ARRAYS)
"""All readable suffixes, in lower case; matching ignores case."""


def read_cloud(path: Path, count: int, seed: int) -> Cloud:
    """The cloud in a file: its stored points in their order, or points sampled from its surface.

    Args:
        path: a file with one of ``SUFFIXES``.
        count: number of points to sample from a mesh.
        seed: seed of the sampling.

    Raises:
        ValueError: the file is damaged, truncated or of an unknown kind, or its points or faces form no valid shape.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in (*MESHES, *EITHER):
        return read_points(path)
    shape = _load(path)
    if isinstance(shape, trimesh.PointCloud) and path.suffix.lower() in EITHER:
        return check_cloud(np.asarray(shape.vertices), path)
    return sample_mesh(_as_mesh(shape), count, seed, path)


def read_points(path: Path) -> Cloud:
    """All points of a text, NPY or PLY file, in order; columns after the third are dropped.

    Raises:
        ValueError: the file is damaged or of another kind, or its points form no valid cloud.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in TEXTS:
        return check_cloud(_read_text(path), path)
    if suffix in ARRAYS:
        return check_cloud(_read_array(path), path)
    if suffix in EITHER:
        return check_cloud(np.asarray(_load(path).vertices), path)
    raise ValueError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join((*TEXTS, *ARRAYS, *EITHER))}")


def _read_text(path: Path) -> Shaped[np.ndarray, "p 3"]:
    try:
        text = path.read_text("utf-8-sig").replace(",", " ")
        lines = [line for line in text.splitlines() if line.partition("#")[0].strip()]
        return np.loadtxt(lines, usecols=(0, 1, 2), ndmin=2) if lines else np.empty((0, 3))
    except ValueError as error:
        raise ValueError(f"{path} needs one point per line, as in '0.1 0.2 -0.5' ({error}): repair it") from error


def _read_array(path: Path) -> Shaped[np.ndarray, "..."]:
    try:
        # A memory map refuses a header that promises more than the file contains before anything is allocated.
        # Unlike numpy.load, this function cannot unpickle.
        array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array of numbers in NumPy's format ({error}): save it again") from error
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"{path} holds {array.shape}, expected p rows of x, y, z (and perhaps more columns)")
    return np.asarray(array[:, :3])


def _load(path: Path) -> trimesh.Trimesh | trimesh.PointCloud:
    """Parse a file's bytes with trimesh; several objects in one file are merged."""
    kind = path.suffix.lower()
    if kind not in (*MESHES, *EITHER):
        raise ValueError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join((*MESHES, *EITHER))}")
    content = path.read_bytes()
    if kind == ".off":
        _check_off(content, path)
    try:
        # From bytes, so that there is no folder in which trimesh could look for materials or textures.
        scene = trimesh.load_scene(io.BytesIO(content), file_type=kind[1:], process=False, skip_materials=True)
    except Exception as error:  # trimesh raises ValueError, IndexError, NameError, struct.error, ...
        raise ValueError(
            f"{path} cannot be read as {kind[1:].upper()} ({type(error).__name__}: {error}): it is damaged or of "
            "another kind; fetch or make it again"
        ) from error
    shape = _joined(scene)
    if kind == ".ply":
        _check_ply(content, shape, path)
    return shape


def _joined(scene: trimesh.Scene) -> trimesh.Trimesh | trimesh.PointCloud:
    meshes, clouds = [], []
    for shape in scene.geometry.values():
        if isinstance(shape, trimesh.PointCloud):
            clouds.append(shape)
        elif isinstance(shape, trimesh.Trimesh):
            meshes.append(shape)
    if clouds and not meshes:
        return clouds[0]
    vertices = np.concatenate([np.empty((0, 3)), *(mesh.vertices for mesh in meshes)])
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces.reshape(-1, 3) + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
    return trimesh.Trimesh(vertices, np.concatenate([np.empty((0, 3), int), *faces]), process=False)


def _as_mesh(shape: trimesh.Trimesh | trimesh.PointCloud) -> trimesh.Trimesh:
    """Turn a cloud into a mesh without faces, which ``check_mesh`` then refuses."""
    return shape if isinstance(shape, trimesh.Trimesh) else trimesh.Trimesh(vertices=shape.vertices, process=False)


def _check_off(content: bytes, path: Path) -> None:
    """Refuse a truncated OFF file: trimesh reads the faces that are present and ignores the missing ones.

    Many of ModelNet's files have header and counts on one line, as in ``OFF1234 567 0``.
    """
    lines = [line for raw in content.decode("utf-8", "replace").splitlines() if (line := raw.split("#")[0].strip())]
    header = re.fullmatch(r"[A-Z]*?OFF\s*(.*)", lines[0]) if lines else None
    if header is None:
        raise ValueError(f"{path} begins with {lines[0][:20] if lines else 'nothing'!r}, expected OFF: is it a mesh?")
    rows = [header[1], *lines[1:]] if header[1] else lines[1:]
    counts = rows[0].split() if rows else []
    if len(counts) < 2 or not all(count.isdecimal() for count in counts):
        raise ValueError(f"{path} has the counts {' '.join(counts)!r}, expected those of its vertices, faces and edges")
    vertices, faces = int(counts[0]), int(counts[1])
    listed = rows[1 + vertices : 1 + vertices + faces]
    if len(rows) - 1 < vertices + faces or any(_is_short(face) for face in listed):
        raise ValueError(
            f"{path} is cut off: it declares {vertices} vertices and {faces} faces, and {len(rows) - 1} lines follow, "
            "or a face among them has too few corners; unpack or fetch it again"
        )


def _is_short(face: str) -> bool:
    corners = face.split()
    return not corners[0].isdecimal() or not 3 <= int(corners[0]) < len(corners)


def _check_ply(content: bytes, shape: trimesh.Trimesh | trimesh.PointCloud, path: Path) -> None:
    """Refuse a PLY file with less content than its header declares; trimesh notices this only in binary files."""
    header = content.partition(b"end_header")[0]
    declared = {name: int(count) for name, count in re.findall(rb"^element (\w+) (\d+)\s*$", header, re.MULTILINE)}
    promised = declared.get(b"vertex", 0), declared.get(b"face", 0)
    held = len(shape.vertices), len(getattr(shape, "faces", ()))
    if held[0] < promised[0] or held[1] < promised[1]:
        raise ValueError(
            f"{path} is cut off: it declares {promised[0]} vertices and {promised[1]} faces, but holds {held[0]} and "
            f"{held[1]} (as triangles); fetch or make it again"
        )
