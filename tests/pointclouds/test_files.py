"""Meshes and clouds in files: what is read, and what is refused with the file's name."""

import io
import pickle
import time
import warnings

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
        ("OFF\n5 2 0\n", PENTAGON + "5 0 1 2 3 4\n3 0 2 4\n", 4),  # the second face lies on the first
        ("OFF\n5 4 0\n", PENTAGON + "1 0\n2 0 1\n3 0 1 2\n4 0 2 3 4\n", 3),  # points and edges have no area
        ("off\n4 1 0\n", SQUARE + "4 0 1 2 3\n", 4),
        ("\ufeffOFF\n4 1 0\n", SQUARE + "4 0 1 2 3\n", 4),
        ("nOFF\n3\n4 1 0\n", SQUARE + "4 0 1 2 3\n", 4),
        ("NOFF\n4 1 0\n", SQUARE.replace("\n", " 0 0 1\n") + "4 0 1 2 3\n", 4),
        ("OFF\n4\n1\n0\n", SQUARE.replace(" ", "\n") + "4 0 1\n2 3\n", 4),  # wrapped rows
        ("COFF 4 1 0\n", SQUARE.replace("\n", "\n255 0 0 255\n") + "4 0 1 2 3\n", 4),
        ("OFF\n4 1\n", SQUARE.replace("\n", " ") + "4 0 1 2 3", 4),
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
        ("OFF\n4 999999999999 0\n" + SQUARE, "is cut off"),
        ("OFF\n3 1 0\n" + SQUARE + "3 0 1 2\n", "and 5 lines follow, with fewer, more or other numbers"),
        ("nOFF\n4\n4 1 0\n" + SQUARE + "3 0 1 2\n", "has vertices of 4 dimensions, expected 3"),
        ("4OFF\n4 1 0\n" + SQUARE + "3 0 1 2\n", "begins with '4OFF'"),
    ],
)
def test_a_damaged_off_file_is_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_mesh(write(tmp_path / "a.off", text))


def test_lines_that_an_off_file_does_not_declare_give_a_warning(tmp_path):
    path = write(tmp_path / "a.off", "OFF\n4 1 0\n" + SQUARE + "4 0 1 2 3\nmade by\na program\n")
    with pytest.warns(UserWarning, match=r"a\.off declares 4 vertices and 1 faces, and 2 lines follow them"):
        assert read_mesh(path).area == pytest.approx(4)


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


OBJ = "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\nv 9 9 9\nf 1 2 3\nf 1 3 4\n"  # a vertex is in no face


@pytest.mark.parametrize(
    ("text", "area"),
    [
        (OBJ, 4),
        (OBJ.replace("\n", "\r\n"), 4),
        ("\ufeff" + OBJ, 4),
        (SQUARE.replace("\n", "\nv ").join(["v ", ""])[:-2] + "f 1/1/1 2//1 3/2 \\\n 4\nl 1 2\n", 4),
        ("v 0 0 0\nv 2 0 0\nv 2 2 0\nf -3 -2 -1\nv 0 2 0\nf -4 -2 -1\nf 1 2\n", 4),  # relative; an edge
    ],
)
def test_obj_is_read_without_a_word(text, area, tmp_path, recwarn):
    assert read_mesh(write(tmp_path / "a.obj", text)).area == pytest.approx(area)
    assert not recwarn


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OBJ[:-3], "a.obj is cut off: its last face has 2 corners"),
        (OBJ[:10], "a.obj has a vertex of fewer than 3 coordinates"),
        (OBJ.replace("f 1 2 3", "f 1 2 6"), "a.obj: a face names the vertex 5, expected 0 to 4"),
        (OBJ.replace("f 1 2 3", "f 1 2 0"), "a.obj: a face names the vertex -1"),
        (OBJ.replace("f 1 2 3", "f 1 2 x"), "a.obj cannot be read as OBJ"),
        (OBJ.replace("v 2 2 0", "v 2 two 0"), "a.obj cannot be read as OBJ"),
    ],
)
def test_a_damaged_obj_file_is_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_mesh(write(tmp_path / "a.obj", text))


@pytest.mark.parametrize("cut", range(2, 400, 17))
def test_an_obj_cut_off_in_a_line_is_refused_or_gives_a_warning(cut, tmp_path):
    path = write(tmp_path / "a.obj", trimesh.creation.icosphere(subdivisions=1).export(file_type="obj").strip()[:-cut])
    if path.read_text().endswith("\n"):
        return
    with pytest.raises((ValueError, UserWarning), match=r"a\.obj (is|may be) cut off"), warnings.catch_warnings():
        warnings.simplefilter("error")
        read_mesh(path)


def test_a_warning_counts_what_a_cut_left_over(tmp_path):
    path = write(tmp_path / "a.obj", OBJ[:-1])
    with pytest.warns(UserWarning, match=r"a\.obj may be cut off.* 1 of 5 vertices belong to none of its 2 faces"):
        assert read_mesh(path).area == pytest.approx(4)


@pytest.mark.parametrize("rest", [b"\n", b"\0" * 49, b"made by a program"])
def test_an_stl_may_have_a_few_bytes_more(rest, tmp_path, recwarn):
    assert read_mesh(write(tmp_path / "a.stl", exported("stl") + rest)).area == pytest.approx(22)
    assert not recwarn


def test_an_stl_with_more_triangles_than_it_declares_gives_a_warning(tmp_path):
    content = exported("stl")
    with pytest.warns(UserWarning, match=r"a\.stl declares 11 triangles, and 50 bytes follow"):
        assert len(read_mesh(write(tmp_path / "a.stl", content[:80] + b"\x0b" + content[81:])).faces) == 11


TWO_SOLIDS = (exported("stl_ascii") * 2).decode()


@pytest.mark.parametrize("text", [TWO_SOLIDS, TWO_SOLIDS.upper(), TWO_SOLIDS.replace("\n", " \r\n  ")])
def test_all_solids_of_a_text_stl_are_read(text, tmp_path):
    assert read_mesh(write(tmp_path / "a.stl", text)).area == pytest.approx(44)


def test_blank_lines_in_a_text_stl_cost_little(tmp_path):
    start = time.process_time()
    assert read_mesh(write(tmp_path / "a.stl", "\n" * 100_000 + TWO_SOLIDS)).area == pytest.approx(44)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", [TWO_SOLIDS[:-12], TWO_SOLIDS[:-200], TWO_SOLIDS.replace("vertex", "corner", 1)])
def test_a_text_stl_that_lacks_something_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=r"a\.stl is cut off or damaged: it has 2 solids"):
        read_mesh(write(tmp_path / "a.stl", text))


CORNERS = "property list uchar int vertex_indices\n"


def ply(vertices, rows, faces=None):
    lists = f"element face {faces}\n{CORNERS}" if faces is not None else ""
    return f"ply\nformat ascii 1.0\nelement vertex {vertices}\n{XYZ}{lists}end_header\n{rows}"


@pytest.mark.parametrize(
    ("elements", "rows", "area"),
    [
        (f"element face 2\n{CORNERS}", "3 0 1 2\n4 0 2 3 4\n", 3),  # polygons
        (f"element face 2\n{CORNERS}", "2 0 1\n5 0 1 2 3 4\n", 3),  # an edge has no area
        (f"element tristrips 1\n{CORNERS}", "8 0 1 2 -1 0 2 4 3\n", 3),
        (f"element face 1\n{CORNERS}property list uchar float texcoord\n", "3 0 1 2 6 0 0 0 0 0 0\n", 1),
        (f"element face 1\nproperty uchar red\n{CORNERS}", "255 3 0 1 2\n", 1),
        (f"element edge 1\nproperty int vertex1\nproperty int vertex2\nelement face 1\n{CORNERS}", "0 1\n3 0 1 2\n", 1),
    ],
)
def test_faces_in_ply_are_read(elements, rows, area, tmp_path):
    header = f"ply\nformat ascii 1.0\ncomment by hand\nelement vertex 5\n{XYZ}{elements}end_header\n"
    path = write(tmp_path / "a.ply", header + PENTAGON + rows)
    assert read_mesh(path).area == pytest.approx(area)
    for end in ("\r\n", "\r"):
        write(path, (header + PENTAGON + rows).replace("\n", end))
        assert read_mesh(path).area == pytest.approx(area)


@pytest.mark.parametrize(("name", "order"), [("little", "<"), ("big", ">")])
def test_binary_ply_of_mixed_polygons_is_read(name, order, tmp_path):
    header = f"ply\nformat binary_{name}_endian 1.0\nelement vertex 5\n{XYZ}element face 3\n{CORNERS}end_header\n"
    faces = [[0, 1, 2], [0, 1], [0, 2, 3, 4]]
    body = np.array(PENTAGON.split(), f"{order}f4").tobytes()
    body += b"".join(bytes([len(face)]) + np.array(face, f"{order}i4").tobytes() for face in faces)
    path = write(tmp_path / "a.ply", header.encode() + body)
    assert read_mesh(path).area == pytest.approx(3)
    for content, message in ((body[:-1], "cannot be read as PLY"), (body + b"more", "holds more than it declares")):
        with pytest.raises(ValueError, match=rf"a\.ply {message}"):
            read_mesh(write(path, header.encode() + content))


def test_a_wireframe_is_a_cloud(tmp_path):
    edges = "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header"
    path = write(tmp_path / "a.ply", ply(4, SQUARE + "0 1\n").replace("end_header", edges))
    assert read_cloud(path, 100, 0).tolist() == [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]


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
        (ply(4, SQUARE, faces=99999999999), "is cut off: it declares 4 of vertex, 99999999999 of face"),
        (ply(4, SQUARE + "-1\n", faces=1), "cannot be read as PLY"),
        (ply(4, SQUARE + "2.5 0 1\n", faces=1), "declared as whole numbers"),
        (ply(4, SQUARE + "7\n"), "holds more than it declares"),
        (ply(4, SQUARE).replace("float z", "float w"), "has vertices with x, y, w, expected x, y and z"),
        (ply(4, SQUARE + "1 0\n", faces=1).replace("vertex_indices", "rim"), "face with rim, expected vertex_indices"),
        (ply(4, SQUARE).replace("float", "number"), "cannot be read as PLY"),
        (ply(4, SQUARE).replace("format ascii 1.0\n", ""), "does not say its format, expected one of ascii, binary"),
        (ply(4, SQUARE).replace("end_", "and_"), "has no header from 'ply' to 'end_header'"),
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


@pytest.mark.parametrize("rows", [3, 4, 6])
@pytest.mark.parametrize("suffix", [".npy", ".xyz"])
def test_a_transposed_cloud_is_refused(rows, suffix, tmp_path):
    cloud = np.random.default_rng(0).random((1024, rows))
    content = [npy(array) if suffix == ".npy" else text(array) for array in (cloud, cloud.T)]
    path = write(tmp_path / f"a{suffix}", content[0])
    assert read_points(path).shape == (1024, 3)
    with pytest.raises(ValueError, match=rf"a\{suffix} has {rows} rows of 1024 numbers.*: transpose it"):
        read_points(write(path, content[1]))


def text(array):
    return "\n".join(" ".join(map(str, row)) for row in array)


OFFSET = np.array([500_000, 4_649_776, 100])


@pytest.mark.parametrize("suffix", [".npy", ".xyz", ".ply"])
def test_a_cloud_in_map_coordinates_keeps_its_shape(suffix, tmp_path):
    cloud = np.random.default_rng(0).random((512, 3))
    rows = text(cloud + OFFSET)
    content = {".npy": npy(cloud + OFFSET), ".xyz": rows, ".ply": ply(512, rows).replace("float", "double")}[suffix]
    points = read_points(write(tmp_path / f"a{suffix}", content))
    assert np.allclose(points, cloud - cloud.mean(axis=0), atol=1e-6)


def test_a_mesh_in_map_coordinates_keeps_its_shape(tmp_path):
    box = BOX.copy().apply_translation(OFFSET)
    points = read_cloud(write(tmp_path / "a.off", box.export(file_type="off")), 500, 0)
    assert np.allclose(np.ptp(points, axis=0), [1, 2, 3], atol=1e-6)
    with pytest.raises(ValueError, match=r"a\.stl: coordinates lie at 4\.65e\+06 with an extent of 3"):
        read_cloud(write(tmp_path / "a.stl", box.export(file_type="stl")), 500, 0)


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
        ("a.npy", npy(np.zeros((5, 3))).replace(b"}", b"("), r"cannot be read as an array of numbers .*TokenError"),
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
