"""PLY files: text, and binary of either byte order, with polygons, triangle strips or points alone.

These are read here, because trimesh's reader gives neither points nor faces where a file has edges, drops vertices that
no face uses where it has texture coordinates, does not know triangle strips, and refuses polygons of mixed sizes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Shaped

from calip_core.pointclouds.clouds import check_steps
from calip_core.pointclouds.meshes import surface

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?ply[ \t]*(\r\n|\n|\r).*?[\r\n]end_header[ \t]*(?:\1|\r\n)", re.DOTALL)
_CORNERS = ("vertex_indices", "vertex_index")

Numbers = Shaped[np.ndarray, " n"]
Rows = dict[str, Sequence[Numbers] | Numbers]
"""The values of every property of an element: a number per row, or a list of them per row."""


@dataclass(frozen=True)
class _Property:
    """One number per row, or a list of them if it has the type of a length."""

    name: str
    dtype: np.dtype[np.generic]
    length: np.dtype[np.generic] | None = None


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property]


class _Text:
    """The numbers of a text file, in order. What a file does not have raises a ValueError."""

    def __init__(self, body: bytes) -> None:
        self.numbers = np.array(body.split(), dtype=np.float64)
        self.at = 0

    def take(self, dtype: np.dtype[np.generic], count: int) -> Numbers:
        """The next numbers; the type says nothing about how they are written."""
        if not 0 <= count <= len(self.numbers) - self.at:
            raise ValueError(f"{count} more numbers are declared than there are")
        self.at += count
        return self.numbers[self.at - count : self.at]

    def table(self, element: _Element) -> Rows:
        """All rows of an element without lists, by property."""
        width = len(element.properties)
        rows = self.take(np.dtype("f8"), element.count * width).reshape(element.count, width)
        return {entry.name: rows[:, column] for column, entry in enumerate(element.properties)}

    def ends(self) -> bool:
        """Whether everything has been taken."""
        return self.at == len(self.numbers)


class _Bytes:
    """The numbers of a binary file, in order. What a file does not have raises a ValueError."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, dtype: np.dtype[np.generic], count: int) -> Numbers:
        """The next numbers of a type."""
        end = self.at + count * dtype.itemsize
        if not self.at <= end <= len(self.body):
            raise ValueError(f"{count} more numbers are declared, and {len(self.body) - self.at} bytes are left")
        start, self.at = self.at, end
        return np.frombuffer(self.body[start:end], dtype)

    def table(self, element: _Element) -> Rows:
        """All rows of an element without lists, by property."""
        row = np.dtype([(entry.name, entry.dtype) for entry in element.properties])
        rows = self.take(row, element.count)
        return {entry.name: rows[entry.name] for entry in element.properties}

    def ends(self) -> bool:
        """Whether everything has been taken but a line break at the end."""
        return not self.body[self.at :].strip(b"\r\n")


def read_ply(content: bytes, path: Path) -> trimesh.Trimesh:
    """The vertices and faces of a PLY file; a cloud has no faces. What else it holds, such as edges, is ignored.

    Raises:
        ValueError: the file is damaged, or has more or less content than its header declares.
    """
    order, elements, body = _header(content, path)
    _check_counts(elements, body, path)
    source = _Text(body) if order == "=" else _Bytes(body)
    held = {element.name: _rows(element, source) for element in elements}
    if not source.ends():
        raise ValueError(f"{path} holds more than it declares ({_declared(elements)}); fetch or make it again")
    vertices = _points(held.get("vertex", {}), path)
    polygons = [face for name in ("face", "tristrips") for face in _polygons(name, held, path)]
    return surface(vertices, polygons)


def _header(content: bytes, path: Path) -> tuple[str, list[_Element], bytes]:
    """The byte order, the elements in their order, and what follows the header."""
    found = _HEADER.match(content)
    if found is None:
        raise ValueError(f"{path} has no header from 'ply' to 'end_header': it is cut off or of another kind")
    order, elements = "", list[_Element]()
    for line in found[0].decode("latin-1").splitlines():
        match line.split():
            case ["format", name, _]:
                order = _ORDERS[name]
            case ["element", name, count]:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, kind, name]:
                elements[-1].properties.append(_Property(name, _dtype(order, kind), _dtype(order, length)))
            case ["property", kind, name]:
                elements[-1].properties.append(_Property(name, _dtype(order, kind)))
    if not order:
        raise ValueError(f"{path} does not say its format, expected one of {', '.join(_ORDERS)}")
    return order, elements, content[found.end() :]


def _dtype(order: str, name: str) -> np.dtype[np.generic]:
    return np.dtype(order + _TYPES[name])


def _check_counts(elements: Sequence[_Element], body: bytes, path: Path) -> None:
    """Refuse counts that the rest of the file is too short for, whatever follows, before anything is allocated.

    A number takes two bytes as text, or one and more in binary.
    """
    fewest = sum(element.count * len(element.properties) for element in elements)
    if any(element.count < 0 for element in elements) or fewest > len(body):
        raise ValueError(f"{path} is cut off: it declares {_declared(elements)}, and {len(body)} bytes follow")


def _declared(elements: Sequence[_Element]) -> str:
    return ", ".join(f"{element.count} of {element.name}" for element in elements) or "nothing"


def _rows(element: _Element, source: _Text | _Bytes) -> Rows:
    """All rows of an element."""
    if not element.properties:
        return {}
    if all(entry.length is None for entry in element.properties):
        return source.table(element)
    lists: dict[str, list[Numbers]] = {entry.name: [] for entry in element.properties}
    for _ in range(element.count):
        for entry in element.properties:
            count = 1 if entry.length is None else _whole(source.take(entry.length, 1))[0]
            lists[entry.name].append(source.take(entry.dtype, count))
    return dict(lists)


def _points(vertex: Rows, path: Path) -> Shaped[np.ndarray, "v 3"]:
    if not {"x", "y", "z"} <= vertex.keys():
        raise ValueError(f"{path} has vertices with {', '.join(vertex) or 'nothing'}, expected x, y and z")
    points: Shaped[np.ndarray, "v 3"] = np.stack([vertex[axis] for axis in "xyz"], axis=1).reshape(-1, 3)
    check_steps(points, path)
    return points


def _polygons(
    name: str, held: dict[str, Rows], path: Path
) -> list[list[int]]:
    """The polygons that faces or triangle strips form."""
    rows = held.get(name, {})
    lists = [rows[key] for key in _CORNERS if key in rows]
    if rows and not lists:
        raise ValueError(f"{path} has {name} with {', '.join(rows)}, expected {_CORNERS[0]}")
    corners = [_whole(row) for row in (lists[0] if lists else ())]
    return corners if name == "face" else [triangle for strip in corners for triangle in _strip(strip)]


def _whole(numbers: Numbers) -> list[int]:
    values: list[float] = numbers.tolist()
    whole = [int(value) for value in values]
    if whole != values:
        raise ValueError(f"{values} are declared as whole numbers")
    return whole


def _strip(corners: list[int]) -> list[list[int]]:
    """The triangles of strips in which each vertex forms one with the two before it; -1 begins another strip."""
    triples = [corners[start : start + 3] for start in range(len(corners) - 2)]
    return [triple for triple in triples if min(triple) >= 0]
