"""Surfaces in OFF, OBJ and STL.

These are read here, because trimesh's readers refuse or misread variants that are in use (OFF in lower case, with
dimensions, wrapped rows or mixed polygons; OBJ with relative indices; STL with bytes behind its triangles) and take
what is left of a truncated file for a whole one. Readers get a file's bytes: no file makes another one be opened.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Int64, Shaped

from calip_core.pointclouds.clouds import check_steps

# Vertices may carry texture coordinates, colours and normals. With n or N, the number of dimensions may come first.
_OFF_HEADER = re.compile(r"((?:ST)?C?N?)OFF\s*(.*)", re.IGNORECASE)
_OFF_EXTRA = {"st": 2, "c": 4, "n": 3}
_STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_STL_START = 84  # a comment of 80 bytes and the number of faces
_STL_VERTEX = re.compile(r"^[ \t]*vertex[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)[ \t\r]*$", re.MULTILINE)

Words = Sequence[str]
Table = tuple[list[Words], list[Words]]
"""The vertices, and the corners of every polygon, as they are written."""


def surface(vertices: Shaped[np.ndarray, "v 3"], polygons: Sequence[list[int]]) -> trimesh.Trimesh:
    """The mesh of some polygons, each as a fan of triangles about its first corner; fewer than 3 corners give none."""
    if any(len(face) != 3 for face in polygons):
        polygons = [[face[0], *face[i : i + 2]] for face in polygons for i in range(1, len(face) - 1)]
    return trimesh.Trimesh(vertices, np.array(polygons, dtype=np.int64).reshape(-1, 3), process=False)


def _coordinates(rows: Sequence[Words]) -> Shaped[np.ndarray, "v 3"]:
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def read_off(content: bytes, path: Path) -> trimesh.Trimesh:
    """An OFF file. Many of ModelNet's have header and counts on one line, as in ``OFF1234 567 0``.

    Raises:
        ValueError: it is damaged, or has less content than its header declares. More lines give a warning.
    """
    text = content.decode("utf-8-sig", "replace")
    lines = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    header = _OFF_HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise ValueError(f"{path} begins with {lines[0][:20] if lines else 'nothing'!r}, expected OFF: is it a mesh?")
    rows = [line.split() for line in (header[2], *lines[1:]) if line]
    extra = re.findall("st|c|n", header[1].lower())
    if "n" in extra and rows and len(rows[0]) == 1:
        extra.remove("n")
        dimensions = rows.pop(0)[0]
        if dimensions != "3":
            raise ValueError(f"{path} has vertices of {dimensions} dimensions, expected 3")
    vertices, faces = _off_counts(rows, path)
    table = _off_table(rows, vertices, faces, 3 + sum(_OFF_EXTRA[name] for name in extra), path)
    return surface(_coordinates(table[0]), [list(map(int, face)) for face in table[1]])


def _off_counts(rows: list[list[str]], path: Path) -> tuple[int, int]:
    """Take the numbers of vertices and faces (and edges) off the rows; they too may be wrapped."""
    counts = rows.pop(0) if rows else []
    while len(counts) < 3 and rows and len(rows[0]) == 1:
        counts = counts + rows.pop(0)
    if len(counts) < 2 or not all(count.isdecimal() for count in counts):
        raise ValueError(f"{path} has the counts {' '.join(counts)!r}, expected those of its vertices, faces and edges")
    return int(counts[0]), int(counts[1])


def _off_table(rows: list[list[str]], vertices: int, faces: int, width: int, path: Path) -> Table:
    more = len(rows) - vertices - faces
    table = _off_lines(rows, vertices, faces) if more == 0 else None
    table = table or _off_words(rows, vertices, faces, width)
    if table is None and more > 0 and (table := _off_lines(rows, vertices, faces)):
        warnings.warn(
            f"{path} declares {vertices} vertices and {faces} faces, and {more} lines follow them: compare it with its "
            "source",
            UserWarning,
            stacklevel=2,
        )
    if table is None:
        raise ValueError(
            f"{path} is cut off: it declares {vertices} vertices and {faces} faces, and {len(rows)} lines follow, with "
            "fewer, more or other numbers; unpack or fetch it again"
        )
    return table


def _off_lines(rows: list[list[str]], vertices: int, faces: int) -> Table | None:
    """A line per vertex and face, each with any more columns; None if the lines differ from that."""
    if len(rows) < vertices + faces or any(len(row) < 3 for row in rows[:vertices]):
        return None
    listed = rows[vertices : vertices + faces]
    if not all(row[0].isdecimal() and 1 <= int(row[0]) < len(row) for row in listed):
        return None
    return [row[:3] for row in rows[:vertices]], [row[1 : int(row[0]) + 1] for row in listed]


def _off_words(rows: list[list[str]], vertices: int, faces: int, width: int) -> Table | None:
    """Numbers without regard to lines, ``width`` per vertex; None if their number differs from the declared one."""
    words = [word for row in rows for word in row]
    at = vertices * width
    if at > len(words):
        return None
    polygons: list[Words] = []
    while len(polygons) < faces and at < len(words) and words[at].isdecimal():
        end = at + 1 + int(words[at])
        polygons.append(words[at + 1 : end])
        at = end
    if len(polygons) < faces or at != len(words):
        return None
    return [words[i : i + 3] for i in range(0, vertices * width, width)], polygons


def read_obj(content: bytes, path: Path) -> trimesh.Trimesh:
    """The polygons of all objects of an OBJ file.

    OBJ declares no counts. A last line without an end is the one trace that truncation leaves, so it gives a warning,
    and where that line is incomplete, an error.

    Raises:
        ValueError: it is damaged or cut off in a line.
    """
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    vertices: list[Words] = []
    polygons: list[list[int]] = []
    for line in text.replace("\\\n", " ").splitlines():
        word, *values = line.partition("#")[0].split() or [""]
        if word == "v":
            vertices.append(values[:3])
        elif word == "f":
            polygons.append([_obj_index(value, len(vertices)) for value in values])
    if any(len(vertex) < 3 for vertex in vertices):
        raise ValueError(f"{path} has a vertex of fewer than 3 coordinates: it is cut off or damaged; fetch it again")
    if polygons and not text.endswith(("\n", "\r")):
        _warn_of_truncation(len(vertices), polygons, path)
    return surface(_coordinates(vertices), polygons)


def _obj_index(corner: str, count: int) -> int:
    """From ``vertex/texture/normal``, counted from 1, or from the latest vertex backwards, to an index from 0."""
    number = int(corner.partition("/")[0])
    return count + number if number < 0 else number - 1


def _warn_of_truncation(vertices: int, polygons: list[list[int]], path: Path) -> None:
    unused = vertices - len({corner for face in polygons for corner in face})
    if len(polygons[-1]) < 3:
        raise ValueError(f"{path} is cut off: its last face has {len(polygons[-1])} corners; unpack or fetch it again")
    warnings.warn(
        f"{path} may be cut off: its last line has no end, and {unused} of {vertices} vertices belong to none of its "
        f"{len(polygons)} faces; compare it with its source, or end the line",
        UserWarning,
        stacklevel=2,
    )


def read_stl(content: bytes, path: Path) -> trimesh.Trimesh:
    """An STL file, binary or text. Bytes behind the triangles of a binary one are ignored, as programs append some.

    Raises:
        ValueError: it is damaged or cut off.
    """
    faces = int.from_bytes(content[_STL_START - 4 : _STL_START], "little")
    end = _STL_START + faces * _STL_FACE.itemsize
    if not _STL_START < end <= len(content):  # text gives numbers above 150 million here
        return _read_stl_text(content, path)
    if (rest := len(content) - end) >= _STL_FACE.itemsize:
        warnings.warn(f"{path} declares {faces} triangles, and {rest} bytes follow them", UserWarning, stacklevel=2)
    table = np.frombuffer(content, dtype=_STL_FACE, count=faces, offset=_STL_START)
    corners = table["corners"].reshape(-1, 3)
    check_steps(corners, path)
    return trimesh.Trimesh(corners, _in_threes(len(corners)), process=False)


def _read_stl_text(content: bytes, path: Path) -> trimesh.Trimesh:
    text = content.decode("utf-8", "replace").lower()
    solids, ends, facets = (len(re.findall(rf"^[ \t]*{word}\b", text, re.M)) for word in ("solid", "endsolid", "facet"))
    corners = _coordinates(_STL_VERTEX.findall(text))
    if not solids:
        raise ValueError(f"{path} is neither a whole binary STL file nor a text one: it is cut off or of another kind")
    if solids != ends or len(corners) != 3 * facets:
        raise ValueError(
            f"{path} is cut off or damaged: it has {solids} solids of which {ends} end, and {facets} triangles with "
            f"{len(corners)} corners; fetch or make it again"
        )
    return trimesh.Trimesh(corners, _in_threes(len(corners)), process=False)


def _in_threes(count: int) -> Int64[np.ndarray, "t 3"]:
    return np.arange(count, dtype=np.int64).reshape(-1, 3)
