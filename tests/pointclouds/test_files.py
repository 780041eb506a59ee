"""Meshes and clouds in files: what is read, and what is refused with the file's name."""

import io
import pickle

import numpy as np
import pytest
import trimesh

from calip_core.pointclouds import files
from calip_core.pointclouds.files import SUFFIXES, read_cloud, read_points
from calip_core.pointclouds.surfaces import check_mesh

SQUARE = "0 0 0\n2 0 0\n2 2 0\n0 2 0\n"
PENTAGON = "0 0 0\n2 0 0\n2 1 0\n1 2 0\n0 1 0\n"  # area 3
XYZ = "property float x\nproperty float y\nproperty float z\n"
BOX = trimesh.creation.box((1, 2, 3))  # area 22


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_mesh(path):
    """The surface whose points ``read_cloud`` samples."""
    mesh = files.read_mesh(path)
    check_mesh(mesh, path)
    return mesh


def exported(kind, **options):
    content = BOX.export(file_type=kind, **options)
    return content if isinstance(content, bytes) else content.encode()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("header", "body", "area"),
    [
        ("OFF\n4 2 0\n", SQUARE + "3 0 1 2\n3 0 2 3\n", 4),
        ("OFF4 2 0\n", SQUARE + "3 0 1 2\n3 0 2 3\n", 4),  # the famous missing line break
        ("OFF 4 2 0\r\n", (SQUARE + "3 0 1 2\n3 0 2 3").replace("\n", "\r\n"), 4),
        ("# made by hand\nOFF\n\n4 1 0  # counts\n", SQUARE + "4 0 1 2 3\n", 4),
        ("OFF5 1 0\n", PENTAGON + "5 0 1 2 3 4\n", 3),
        ("OFF\n5 2 0\n", PENTAGON + "3 0 1 2\n4 0 2 3 4\n", 3),  # both kinds of faces
        ("COFF\n4 1 0\n", SQUARE.replace("\n", " 255 0 0 255\n") + "4 0 1 2 3 0.5 0.5 0.5\n", 4),
    ],
)
def test_off_is_read(header, body, area, tmp_path):
    assert read_mesh(write(tmp_path / "a.off", header + body)).area == pytest.approx(area)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.off begins with 'nothing', expected OFF"),
        ("solid cube\n", "a.off begins with 'solid cube'"),
        ("OFF\n", "has the counts ''"),
        ("OFF\nfour 2 0\n", "has the counts 'four 2 0'"),
        ("OFF\n4 2 0\n0 0 0\n2 0 0\n", "is cut off: it declares 4 vertices and 2 faces, and 2 lines follow"),
        ("OFF\n4 2 0\n" + SQUARE + "3 0 1 2\n", "is cut off"),
        ("OFF4 2 0\n" + SQUARE + "3 0 1 2\n3 0 2\n", "is cut off"),  # in the middle of a line
        ("OFF\n4 1 0\n" + SQUARE + "2 0 1\n", "a.off is a mesh without faces"),
        ("OFF\n4 0 0\n" + SQUARE, "a.off is a mesh without faces"),
        ("OFF\n4 1 0\n" + SQUARE + "3 0 1 9\n", "a.off: a face names the vertex 9, expected 0 to 3"),
        ("OFF\n4 1 0\n" + SQUARE.replace("2 2 0", "2 x 0") + "4 0 1 2 3\n", "a.off cannot be read as OFF"),
        ("OFF\n4 1 0\n" + SQUARE.replace("2 2 0", "2 nan 0") + "4 0 1 2 3\n", "a.off: a corner of a face is NaN"),
        ("OFF\n999999999999 1 0\n" + SQUARE, "is cut off"),
    ],
)
def test_a_damaged_off_file_is_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_mesh(write(tmp_path / "a.off", text))


@pytest.mark.parametrize("cut", range(5, 200, 13))
def test_an_off_file_cut_off_anywhere_is_refused(cut, tmp_path):
    content = exported("off")
    with pytest.raises(ValueError, match=r"a\.off"):
        read_mesh(write(tmp_path / "a.off", content[: -cut - 5]))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("off", {}), ("obj", {}), ("stl", {}), ("stl_ascii", {}), ("ply", {}), ("ply", {"encoding": "ascii"})],
)
def test_meshes_of_all_kinds_are_read_and_sampled(kind, options, tmp_path):
    path = write(tmp_path / f"a.{kind[:3].upper()}", exported(kind, **options))
    assert read_mesh(path).area == pytest.approx(22)
    points = read_cloud(path, 60, seed=5)
    assert points.shape == (60, 3)
    assert np.isclose(np.abs(points) / [0.5, 1, 1.5], 1).any(axis=1).all()  # every point is on a side of the box
    assert np.array_equal(points, read_cloud(path, 60, seed=5))


@pytest.mark.parametrize("kind", ["obj", "stl", "ply"])
@pytest.mark.parametrize("content", [b"", b"words", bytes(range(256))])
def test_what_is_no_mesh_is_named(kind, content, tmp_path):
    with pytest.raises(ValueError, match=rf"a\.{kind}"):
        read_cloud(write(tmp_path / f"a.{kind}", content), 10, 0)


@pytest.mark.parametrize("kind", ["stl", "ply"])
def test_half_a_binary_mesh_is_refused(kind, tmp_path):
    content = exported(kind)
    with pytest.raises(ValueError, match=rf"a\.{kind}"):
        read_mesh(write(tmp_path / f"a.{kind}", content[: len(content) // 2]))


def test_an_obj_makes_no_other_file_be_opened(tmp_path, monkeypatch):
    (tmp_path / "a.mtl").write_text("newmtl red\nmap_Kd secret.png\n")
    path = write(tmp_path / "a.obj", "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\no b\nf 3 2 1\n")
    opened = []
    monkeypatch.setattr("builtins.open", lambda name, *_, **__: opened.append(name))
    assert read_mesh(path).area == pytest.approx(1)  # both objects
    assert not opened


def test_an_obj_of_vertices_alone_has_no_faces(tmp_path):
    path = write(tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    for read in (read_mesh, lambda path: read_cloud(path, 10, 0)):
        with pytest.raises(ValueError, match="is a mesh without faces.*XYZ, NPY or PLY"):
            read(path)


def ply(vertices, rows, faces=None):
    lists = f"element face {faces}\nproperty list uchar int vertex_indices\n" if faces is not None else ""
    return f"ply\nformat ascii 1.0\nelement vertex {vertices}\n{XYZ}{lists}end_header\n{rows}"


def test_polygons_in_ply_become_triangles(tmp_path):
    path = write(tmp_path / "a.ply", ply(5, PENTAGON + "3 0 1 2\n4 0 2 3 4\n", faces=2))
    assert read_mesh(path).area == pytest.approx(3)


@pytest.mark.parametrize("faces", [None, 0])
def test_a_ply_without_faces_is_a_cloud(faces, tmp_path):
    path = write(tmp_path / "a.ply", ply(4, SQUARE, faces))
    assert read_cloud(path, 100, 0).tolist() == [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]
    assert np.array_equal(read_points(path), read_cloud(path, 100, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ply(40, SQUARE), "a.ply is cut off: it declares 40 of vertex, and 24 bytes follow"),
        (ply(4, SQUARE, faces=3), "a.ply cannot be read as PLY .*1 more numbers are declared than there are"),
        (ply(4, SQUARE + "4 0 1 2 30\n", faces=1), "names the vertex 30, expected 0 to 3"),
        (ply(0, ""), "a.ply"),
    ],
)
def test_a_damaged_ply_file_is_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_cloud(write(tmp_path / "a.ply", content), 10, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xyz", "0 0 1\n2.5 -1e-3 4\n"),
        ("a.XYZ", "# x y z\n0\t0\t1\n\n2.5 -1e-3 4 255 0 0\n".replace("0\t0\t1", "0\t0\t1 9 9 9")),
        ("a.txt", "0,0,1,0,0,1\n2.5,-0.001,4,1,0,0\n"),
        ("a.npy", npy(np.array([[0, 0, 1], [2.5, -1e-3, 4]]))),
        ("a.npy", npy(np.array([[0, 0, 1, 7], [2.5, -1e-3, 4, 7]], order="F"))),
    ],
)
def test_stored_points_are_read_whole_in_their_order_without_more_columns(name, content, tmp_path):
    path = write(tmp_path / name, content)
    expected = np.array([[0, 0, 1], [2.5, -1e-3, 4]], np.float32)
    assert np.array_equal(read_points(path), expected)
    assert np.array_equal(read_cloud(path, 1, 0), expected)


class _Evil:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xyz", "", "is an empty cloud"),
        ("a.xyz", "# only words\n", "is an empty cloud"),
        ("a.xyz", "1 2\n", r"holds \(1, 2\), expected p rows of x, y, z"),
        ("a.xyz", "1 2 3\n1 2\n", "cannot be read as one point per line"),
        ("a.xyz", "1 2 3\nx y z\n", "cannot be read as one point per line"),
        ("a.xyz", b"\xff\xfe\x00", "cannot be read as one point per line"),
        ("a.xyz", "1 2 3\n1 2 inf\n", "the first is number 1"),
        ("a.xyz", "1 2 3\n1 2 3\n", "all 2 points"),
        ("a.npy", b"", "cannot be read as an array of numbers"),
        ("a.npy", b"words and more words", "cannot be read as an array of numbers"),
        ("a.npy", npy(np.zeros((0, 3))), "a.npy"),
        ("a.npy", npy(np.zeros((5, 2))), r"holds \(5, 2\), expected p rows"),
        ("a.npy", npy(np.zeros((5, 4, 3))), r"holds \(5, 4, 3\)"),
        ("a.npy", npy(np.random.default_rng(0).random((50, 3)))[:-100], "cannot be read as an array of numbers"),
        ("a.npy", npy(np.array([[1, 2, _Evil()]], dtype=object)), "cannot be read as an array of numbers"),
        ("a.npy", pickle.dumps(_Evil()), "cannot be read as an array of numbers"),
    ],
)
def test_damaged_points_are_named_and_nothing_is_unpickled(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(write(tmp_path / name, content), 10, 0)
    assert str(tmp_path / name) in str(caught.value)


def test_a_suffix_of_no_shape_is_refused(tmp_path):
    path = write(tmp_path / "a.glb", b"")
    for read in (read_mesh, read_points, lambda path: read_cloud(path, 10, 0)):
        with pytest.raises(ValueError, match="has the suffix '.glb', expected one of"):
            read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_there_is_named(suffix, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_cloud(tmp_path / f"nowhere{suffix}", 10, 0)
