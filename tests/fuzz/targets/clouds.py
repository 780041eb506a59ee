"""Files of points and meshes."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import trimesh

from calip_core.pointclouds import hdf5
from calip_core.pointclouds.files import read_cloud
from tests.fuzz.harness import Target

BOX = trimesh.creation.box((1, 2, 3))
POINTS = np.random.default_rng(0).random((20, 3))
SQUARE = "0 0 0\n2 0 0\n2 2 0\n0 2 0\n"


def exported(*kinds: str) -> list[bytes]:
    contents = [BOX.export(file_type=kind) for kind in kinds]
    return [content if isinstance(content, bytes) else content.encode() for content in contents]


def off() -> list[bytes]:
    texts = [
        f"OFF\n4 2 0\n{SQUARE}3 0 1 2\n3 0 2 3\n",
        f"off4 1 0 # a comment\n{SQUARE}4 0 1 2 3 0.5 0.5 0.5\n",
        "nOFF\n3\n4 1 0\n0 0\n0 2 0 0\n2 2 0\n0 2\n0 4 0 1 2 3\n",
        "\ufeffSTCNOFF\n4 1 0\n" + SQUARE.replace("\n", " 0 0 1 255 0 0 255 0 1\n") + "4 0 1 2 3\n",
    ]
    return [*exported("off"), *(text.encode() for text in texts)]


def ply() -> list[bytes]:
    position = "property float x\nproperty float y\nproperty float z\n"
    corners = "property list uchar int vertex_indices\n"
    start = f"ply\nformat ascii 1.0\ncomment made by hand\nelement vertex 4\n{position}"
    little = f"ply\nformat binary_little_endian 1.0\nelement vertex 4\n{position}element face 2\n{corners}end_header\n"
    square = np.array(SQUARE.split(), "<f4").tobytes()
    faces = [np.array(face, "<i4") for face in ([0, 1, 2, 3], [0, 1])]
    return [
        BOX.export(file_type="ply"),
        BOX.export(file_type="ply", encoding="ascii"),
        trimesh.PointCloud(POINTS).export(file_type="ply"),
        f"{start}element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n{SQUARE}0 1\n".encode(),
        f"{start}element tristrips 1\n{corners}end_header\n{SQUARE}5 0 1 2 -1 3\n".encode(),
        little.encode() + square + b"".join(bytes([len(face)]) + face.tobytes() for face in faces),
        little.replace("little", "big").encode()
        + np.frombuffer(square, "<f4").astype(">f4").tobytes()
        + b"".join(bytes([len(face)]) + face.astype(">i4").tobytes() for face in faces),
    ]


def obj() -> list[bytes]:
    return [*exported("obj"), b"o a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 1\nf -3//1 -2//1 \\\n -1//1\nl 1 2\n"]


def text() -> list[bytes]:
    rows = [" ".join(map(str, row)) for row in POINTS]
    return ["\n".join(rows).encode(), b"# x y z\n" + ",1\n".join(rows[:5]).replace(" ", ",").encode() + b",1\n"]


def npy() -> list[bytes]:
    arrays = (POINTS, POINTS.astype("f4"), np.asfortranarray(POINTS), (POINTS * 99).astype("u1"))
    contents = []
    for array in arrays:
        buffer = io.BytesIO()
        np.save(buffer, array)
        contents.append(buffer.getvalue())
    return contents


def tables() -> list[bytes]:
    clouds, labels = POINTS[:18].reshape(3, 6, 3).astype("f4"), np.arange(3, dtype="u1")
    contents = []
    for options in ({}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True, "fletcher32": True}):
        for version, shape in (("earliest", (3, 1)), ("latest", (3,))):
            buffer = io.BytesIO()
            with h5py.File(buffer, "w", libver=version) as file:
                file.create_dataset("data", data=clouds, **options)
                file.create_dataset("label", data=labels.reshape(shape))
            contents.append(buffer.getvalue())
    return contents


def read_table(path: Path) -> None:
    hdf5._block.cache_clear()
    for row, _ in enumerate(hdf5.read_labels(path)[:10]):
        hdf5.read_row(path, row)


def target(name: str, seeds: Callable[[], Sequence[bytes]]) -> Target:
    return Target(f"clouds in {name}", f"a.{name}", seeds, partial(read_cloud, count=50, seed=0))


TARGETS = [
    target("off", off),
    target("ply", ply),
    target("obj", obj),
    target("stl", partial(exported, "stl", "stl_ascii")),
    target("xyz", text),
    target("npy", npy),
    Target("clouds in h5", "a.h5", tables, read_table),
]
