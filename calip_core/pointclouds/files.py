"""Files with one shape each: meshes (OFF, OBJ, STL, PLY) and clouds (XYZ and other text, NPY, PLY).

Files are untrusted. None is unpickled, none can cause another file to be opened (readers get bytes, not a folder), and
the counts that a header declares are compared with the content.
"""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Shaped

from calip_core.pointclouds.clouds import Cloud, check_cloud, check_columns
from calip_core.pointclouds.meshes import read_obj, read_off, read_stl
from calip_core.pointclouds.ply import read_ply
from calip_core.pointclouds.surfaces import sample_mesh
from calip_core.reading import reading

MESHES = (".off", ".obj", ".stl")
"""Suffixes of files that contain a surface."""
EITHER = (".ply",)
"""Suffixes of files that contain a surface if they list faces of three corners or more, else a cloud."""
TEXTS = (".xyz", ".txt")
"""Suffixes of text files: x, y, z and possibly more columns (normals, colours), separated by white space or commas."""
ARRAYS = (".npy",)
SUFFIXES = (*MESHES, *EITHER, *TEXTS, *ARRAYS)
"""All readable suffixes, in lower case; matching ignores case."""

_READERS = {".off": read_off, ".obj": read_obj, ".stl": read_stl, ".ply": read_ply}


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
    mesh = read_mesh(path)
    if path.suffix.lower() in EITHER and not len(mesh.faces):
        return check_cloud(np.asarray(mesh.vertices), path)
    return sample_mesh(mesh, count, seed, path)


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
        return check_cloud(np.asarray(read_mesh(path).vertices), path)
    raise ValueError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join((*TEXTS, *ARRAYS, *EITHER))}")


def read_mesh(path: Path) -> trimesh.Trimesh:
    """The triangles in a file, not yet checked; the points of a PLY file without faces are a mesh without faces.

    Raises:
        ValueError: the file is damaged, truncated or of another kind.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join(_READERS)}")
    with reading(path, suffix[1:].upper()):
        return _READERS[suffix](path.read_bytes(), path)


def _read_text(path: Path) -> Shaped[np.ndarray, "p 3"]:
    with reading(path, "one point per line, as in '0.1 0.2 -0.5'"):
        text = path.read_text("utf-8-sig").replace(",", " ")
        lines = [line for line in text.splitlines() if line.partition("#")[0].strip()]
        if not lines:
            return np.empty((0, 3))
        check_columns((len(lines), len(lines[0].split())), path)
        return np.loadtxt(lines, usecols=(0, 1, 2), ndmin=2)


def _read_array(path: Path) -> Shaped[np.ndarray, "..."]:
    with reading(path, "an array of numbers in NumPy's format"):
        # A memory map refuses a header that promises more than the file contains before anything is allocated.
        # Unlike numpy.load, this function cannot unpickle.
        array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
        check_columns(array.shape, path)
        return np.asarray(array[:, :3])
