"""ModelNet, ScanObjectNN and anyone's own folder as tasks of clouds, through the real loader; what is refused."""

import json
import os
import pickle
import shutil
import socket

import h5py
import numpy as np
import pytest
import trimesh

from calip_core.datasets import disk_datasets, load_card, load_task
from calip_core.datasets.clouds.readers import load_cloud_folder, load_clouds
from calip_core.datasets.inventory import status
from calip_core.datasets.readers.coop import load_benchmark
from calip_core.datasets.readers.disk import MARKER, IncompleteDatasetError, MissingDatasetError
from calip_core.datasets.standins import write_standin
from calip_core.datasets.standins.solids import Solids
from tests.datasets.conftest import CLASSES, IMAGES

NAMES = {
    "modelnet10": ("bathtub", "bed", "chair"),
    "modelnet40": ("airplane", "bottle", "cone"),
    "scanobjectnn": ("bag", "bin", "box"),
    "scanobjectnn_obj_bg": ("bag", "bin", "box"),
    "scanobjectnn_pb_t50_rs": ("bag", "bin", "box"),
}
LAYOUTS = {
    "hdf5": ("modelnet40_ply_hdf5_2048", "train_files.txt, test_files.txt"),
    "text": ("modelnet40_normal_resampled", "modelnet40_train.txt, modelnet40_test.txt"),
    "off": ("ModelNet40", "the folders train and test of every class"),
}
SIZES = {"train": 18, "val": 3, "test": 9}


def sizes(task):
    return {split: len(clouds) for split, clouds in task.splits.items()}


def clouds_of(task):
    return [(cloud.tobytes(), label) for split in task.splits.values() for cloud, label in split]


def make_texts(task):
    return [split.identity for split in task.splits.values()]


def modelnet40(root, layout, **changes):
    write_standin("modelnet40", root, **({"classes": CLASSES, "images": IMAGES, "layout": layout} | changes))
    return root / "modelnet40" / LAYOUTS[layout][0]


@pytest.mark.parametrize("name", disk_datasets(kind="clouds"))
def test_a_dataset_is_read(name, standins):
    card, task = load_card(name), load_clouds(name, standins)
    assert task.classnames == NAMES[name]
    assert (task.name, task.title, task.standin) == (name, f"{card.title} (stand-in)", True)
    assert task.templates == card.templates == ("point cloud depth map of a {}.",)
    assert sizes(task) == SIZES
    assert len(set(clouds_of(task))) == CLASSES * IMAGES  # every cloud once, in one split alone
    for split in task.splits.values():
        assert set(split.labels) == set(range(CLASSES))
        for cloud, _ in split:
            assert (cloud.dtype, cloud.shape) == (np.float32, (2048, 3))
    again = pickle.loads(pickle.dumps(task.splits["test"]))
    assert np.array_equal(again[-1][0], task.splits["test"][-1][0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_modelnet40_is_read_in_three_formats(layout, tmp_path):
    modelnet40(tmp_path, layout)
    task = load_clouds("modelnet40", tmp_path)
    assert task.split_source.startswith(f"stand-in: {LAYOUTS[layout][1]}; 20 % of every class in train is val")
    assert (task.classnames, sizes(task)) == (NAMES["modelnet40"], SIZES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_formats_may_lie_below_the_root_itself(layout, tmp_path):
    folder = modelnet40(tmp_path / "made", layout)
    shutil.copy(folder.parent / MARKER, folder / MARKER)
    (tmp_path / "other").mkdir()
    folder.rename(tmp_path / "other" / folder.name)
    assert sizes(load_clouds("modelnet40", tmp_path / "other")) == SIZES


def test_the_first_format_that_is_there_is_read(tmp_path):
    modelnet40(tmp_path / "a", "off")
    folder = modelnet40(tmp_path / "b", "hdf5")
    folder.rename(tmp_path / "a/modelnet40" / folder.name)
    assert "train_files.txt" in load_clouds("modelnet40", tmp_path / "a").split_source


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_belong_to_the_clouds(layout, tmp_path):
    modelnet40(tmp_path, layout)
    task, solids = load_clouds("modelnet40", tmp_path), Solids(0)
    made = {label: {solids.points(label, number, 2048)[:, :3].tobytes() for number in range(10)} for label in range(3)}
    for split in task.splits.values():
        for cloud, label in split:
            if layout == "hdf5":
                assert cloud.tobytes() in made[label]
            if layout == "off":  # every class has a kind of solid of its own: a ball, a box, a cone
                radii = np.linalg.norm(cloud / np.abs(cloud).max(axis=0), axis=1)
                assert (radii.std() < 0.02, np.abs(radii - 1).min() < 0.3) == (label == 0, True)
    if layout == "text":
        names = [name.split("/")[0] for name in task.splits["test"]._read.names]
        assert [NAMES["modelnet40"][label] for label in task.splits["test"].labels] == names


def test_lists_name_paths_of_another_machine(tmp_path):
    folder = modelnet40(tmp_path, "hdf5")
    before = clouds_of(load_clouds("modelnet40", tmp_path))
    for name in ("train_files.txt", "test_files.txt"):
        files = [line.rsplit("/", 1)[1] for line in (folder / name).read_text().split()]
        (folder / name).write_text("\n".join(f"../../etc/{file}" for file in files))
    assert clouds_of(load_clouds("modelnet40", tmp_path)) == before


def test_names_serve_without_their_file(tmp_path):
    folder = modelnet40(tmp_path, "text")
    (folder / "modelnet40_shape_names.txt").unlink()
    assert load_clouds("modelnet40", tmp_path).classnames == NAMES["modelnet40"]


def test_names_of_several_words_are_readable(tmp_path):
    for layout in LAYOUTS:
        modelnet40(tmp_path / layout, layout, classes=10, images=5)
        names = load_clouds("modelnet40", tmp_path / layout).classnames
        assert {"flower pot", "glass box", "night stand", "range hood"} < set(names)
        assert names == tuple(sorted(names))


def test_the_variants_of_scanobjectnn_may_share_their_archives_folders(standins, tmp_path):
    archive = tmp_path / "ScanObjectNN/h5_files"
    for name in ("scanobjectnn", "scanobjectnn_obj_bg"):
        for file in (standins / name).rglob("*.h5"):
            (archive / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, archive / file.parent.name)
            shutil.copy(standins / name / MARKER, archive / file.parent.name)
        assert sizes(load_clouds(name, tmp_path)) == SIZES
    with pytest.raises(MissingDatasetError, match="main_split with training_objectdataset_augmentedrot_scale75.h5 and"):
        load_clouds("scanobjectnn_pb_t50_rs", tmp_path)
    (archive / "main_split/test_objectdataset.h5").unlink()
    with pytest.raises(IncompleteDatasetError, match="has no test_objectdataset.h5"):
        load_clouds("scanobjectnn_obj_bg", tmp_path)


# What the points depend on


def test_a_mesh_is_sampled_by_seed_and_name_alone(standins, copied):
    task = load_clouds("modelnet10", standins)
    same, other = load_clouds("modelnet10", standins), load_clouds("modelnet10", standins, seed=1)
    assert clouds_of(same) == clouds_of(task)
    assert make_texts(same) == make_texts(task)
    assert not set(clouds_of(other)) & set(clouds_of(task))
    root = copied("modelnet10")
    whole = load_cloud_folder(tree(root), "x")
    before = dict(zip(files(whole), clouds_of(whole), strict=True))
    (tree(root) / "bed/train/bed_0002.off").unlink()
    fewer = load_cloud_folder(tree(root), "x")
    assert all(before[name] == cloud for name, cloud in zip(files(fewer), clouds_of(fewer), strict=True))


def tree(root):
    return root / "modelnet10/ModelNet10"


def files(task):
    return [name for split in task.splits.values() for name in split._read.names]


def test_more_points_are_sampled_where_more_are_asked_for(standins):
    few, many = (load_clouds("modelnet10", standins, points=points) for points in (10, 5000))
    assert few.splits["test"][0][0].shape == (2048, 3)
    assert many.splits["test"][0][0].shape == (5000, 3)
    assert not set(make_texts(few)) & set(make_texts(many))
    assert make_texts(few) == make_texts(load_clouds("modelnet10", standins, points=2048))


def test_stored_clouds_depend_on_no_seed(standins):
    task, other = (load_clouds("scanobjectnn", standins, seed=seed, points=3000 * seed + 1) for seed in (0, 1))
    assert clouds_of(task) == clouds_of(other)
    assert make_texts(task) == make_texts(other)


def test_a_changed_file_changes_what_the_clouds_were_made_from(copied):
    root = copied("modelnet10", "scanobjectnn")
    before = [make_texts(load_clouds(name, root)) for name in ("modelnet10", "scanobjectnn")]
    path = tree(root) / "bed/test/bed_0010.off"
    path.write_text(path.read_text().replace("\n", "\r\n"))
    with h5py.File(root / "scanobjectnn/main_split_nobg/test_objectdataset.h5", "a") as file:
        file["more"] = np.arange(1000)
    after = [make_texts(load_clouds(name, root)) for name in ("modelnet10", "scanobjectnn")]
    for old, new in zip(before, after, strict=True):
        assert [a == b for a, b in zip(old, new, strict=True)] == [True, True, False]  # of test alone


def test_val_is_cut_the_same_wherever_the_data_lie(copied, tmp_path):
    root = copied("modelnet10", "scanobjectnn")
    before = [load_clouds(name, root).splits["val"] for name in ("modelnet10", "scanobjectnn")]
    expected = [[(cloud.tobytes(), label) for cloud, label in split] for split in before]
    root.rename(tmp_path / "elsewhere")
    after = [load_clouds(name, tmp_path / "elsewhere").splits["val"] for name in ("modelnet10", "scanobjectnn")]
    assert [[(cloud.tobytes(), label) for cloud, label in split] for split in after] == expected


# What is refused


def test_a_task_of_images_is_no_task_of_clouds_nor_the_other_way_round(standins):
    with pytest.raises(ValueError, match="dtd is a task of images, expected one of point clouds"):
        load_clouds("dtd", standins)
    with pytest.raises(ValueError, match="modelnet10 is a dataset of point clouds, expected one of images"):
        load_benchmark("modelnet10", standins)


@pytest.mark.parametrize("name", disk_datasets(kind="clouds"))
def test_a_missing_dataset_says_how_to_get_it(name, tmp_path):
    with pytest.raises(MissingDatasetError, match=f"is not under .*calip fetch {name}"):
        load_clouds(name, tmp_path)


def test_without_its_marker_a_stand_in_is_counted_against_the_card(copied):
    root = copied("modelnet10", "modelnet40")
    for name in ("modelnet10", "modelnet40"):
        (root / name / MARKER).unlink()
        with pytest.raises(ValueError, match="has 3 classes by .*, expected .0 by the card modelnet.0.yaml"):
            load_clouds(name, root)


@pytest.mark.parametrize(
    ("layout", "official", "fault"),
    [
        ("hdf5", {"train": 10, "val": 11, "test": 9}, None),  # train and val are counted together
        ("hdf5", {"train": 10, "val": 12, "test": 9}, IncompleteDatasetError),
        ("off", {"train": 18, "val": 3, "test": 8}, ValueError),
        ("text", {"train": 18, "val": 3, "test": 9}, None),
    ],
)
def test_sizes_are_counted_by_format(layout, official, fault, tmp_path, monkeypatch):
    folder = modelnet40(tmp_path, layout)
    (folder.parent / MARKER).unlink()
    card = load_card("modelnet40")
    places = [place.model_copy(update={"own_sizes": place.own_sizes and official}) for place in card.layout.places]
    layout_ = card.layout.model_copy(update={"places": tuple(places)})
    card = card.model_copy(update={"classes": 3, "sizes": official, "layout": layout_})
    monkeypatch.setattr("calip_core.datasets.clouds.readers.load_card", lambda name: card)
    if fault is None:
        assert load_clouds("modelnet40", tmp_path).title == "ModelNet40"
        return
    with pytest.raises(fault, match=r"has 18/3/9 \(train/val/test\) clouds by .* expected .* by the card modelnet40"):
        load_clouds("modelnet40", tmp_path)


@pytest.mark.parametrize(("name", "sizes_"), [("modelnet10", (3991, 908)), ("modelnet40", (9843, 2468))])
def test_the_cards_of_modelnet_add_up(name, sizes_):
    card = load_card(name)
    assert (card.sizes["train"] + card.sizes["val"], card.sizes["test"]) == sizes_


@pytest.mark.parametrize(
    ("name", "sizes_"),
    [
        ("scanobjectnn", (2309, 581)), ("scanobjectnn_obj_bg", (2309, 581)), ("scanobjectnn_pb_t50_rs", (11416, 2882))
    ],
)  # fmt: skip
def test_the_cards_of_scanobjectnn_add_up(name, sizes_):
    card = load_card(name)
    assert (card.sizes["train"] + card.sizes["val"], card.sizes["test"]) == sizes_
    # Their authors' mapping from ModelNet40's labels (mapping2.py), for the classes that have the same word in both
    modelnet = load_card("modelnet40").classnames
    same = {2: 10, 8: 4, 12: 5, 13: 7, 29: 12, 30: 13, 33: 9, 35: 14}
    assert all(modelnet[theirs] == card.classnames[ours] for theirs, ours in same.items())


def test_a_label_without_a_class_is_named(copied):
    root = copied("scanobjectnn", "modelnet40")
    for path in (root / "scanobjectnn/main_split_nobg/test_objectdataset.h5", hdf5_of(root) / "ply_data_train1.h5"):
        with h5py.File(path, "a") as file:
            file["label"][5] = 3
        with pytest.raises(ValueError, match=rf"{path.name}: cloud 5 has the label 3, expected 0 to 2"):
            load_clouds(path.parents[1].name, root)


def hdf5_of(root):
    return root / "modelnet40/modelnet40_ply_hdf5_2048"


def test_wrong_keys_are_named(copied):
    root = copied("scanobjectnn")
    with h5py.File(root / "scanobjectnn/main_split_nobg/test_objectdataset.h5", "a") as file:
        file.move("data", "points")
    with pytest.raises(ValueError, match=r"test_objectdataset.h5 has the keys \['label', 'points'\]"):
        load_clouds("scanobjectnn", root)
    assert status("scanobjectnn", root).state == "incomplete"


@pytest.mark.parametrize("name", ["train_files.txt", "ply_data_train1.h5"])
def test_an_absent_file_is_named(name, copied):
    root = copied("modelnet40")
    (hdf5_of(root) / name).unlink()
    with pytest.raises(IncompleteDatasetError, match=f"incomplete: it has no {name}"):
        load_clouds("modelnet40", root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("airplane", "modelnet40_test.txt has the line 'airplane', expected class_number, as in airplane_0001"),
        ("zeppelin_0001", "has the line 'zeppelin_0001'"),
        ("../airplane_0001", "leads out"),
        ("airplane_9999", "1 of 22 clouds that .* names are not in .*airplane/airplane_9999.txt"),
    ],
)
def test_a_bad_line_of_a_list_is_named(line, message, tmp_path):
    (modelnet40(tmp_path, "text") / "modelnet40_test.txt").write_text(line)
    with pytest.raises(ValueError, match=message):
        load_clouds("modelnet40", tmp_path)


def test_a_folder_that_is_no_class_is_named(copied):
    root = copied("modelnet10")
    shutil.copytree(tree(root) / "bed", tree(root) / "zeppelin")
    with pytest.raises(ValueError, match="has the class 'zeppelin', expected only classes of ModelNet10"):
        load_clouds("modelnet10", root)
    (tree(root) / "zeppelin").rename(tree(root) / "__MACOSX")
    assert sizes(load_clouds("modelnet10", root)) == SIZES


def test_a_class_without_meshes_is_named(copied):
    root = copied("modelnet10")
    shutil.rmtree(tree(root) / "bed/test")
    with pytest.raises(IncompleteDatasetError, match=r"folder .*bed/test has no OFF meshes"):
        load_clouds("modelnet10", root)


def test_a_mesh_that_is_missing_is_noticed(copied):
    root = copied("modelnet10")
    (tree(root) / "bed/test/bed_0008.off").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"has 18/3/8 \(train/val/test\) clouds"):
        load_clouds("modelnet10", root)


def test_a_cut_off_mesh_is_named_when_it_is_read(copied):
    root = copied("modelnet10")
    path = tree(root) / "bathtub/test/bathtub_0008.off"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"bathtub_0008\.off is cut off"):
        load_clouds("modelnet10", root).splits["test"][0]


# One's own folder


def test_too_few_points_name_the_file(standins):
    for name, said in (
        ("modelnet40", r"ply_data_test0\.h5, row \d+ has 2048 points, fewer than the 2049 asked for"),
        ("scanobjectnn", r"test_objectdataset\.h5, row 0 has 2048 points, fewer than the 2049 asked for"),
    ):
        test = load_task(name, standins, points=2049).splits["test"]
        assert test.fewest_points() == 2048
        with pytest.raises(ValueError, match=said):
            test.depth_map(0)


@pytest.fixture
def shapes(tmp_path):
    root, rng = tmp_path / "shapes", np.random.default_rng(0)
    for number in range(4):
        for kind in ("off", "obj", "stl", "ply", "npy"):
            path = root / f"{'a_box' if kind in ('off', 'obj', 'npy') else 'ball'}/{number}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "npy":
                np.save(path, rng.random((100 + number, 3)))
            else:
                trimesh.creation.box((1, 2, 3 + number)).export(path)
        (root / f"ball/{number}.xyz").write_text("\n".join(" ".join(map(str, row)) for row in rng.random((9, 6))))
    return root


def test_sub_folders_are_classes(shapes):
    task = load_cloud_folder(shapes, "points:shapes")
    assert (task.name, task.classnames, task.standin) == ("points:shapes", ("a box", "ball"), False)
    assert task.templates == ("point cloud depth map of a {}.",)
    assert sizes(task) == {"train": 12, "val": 4, "test": 8}
    assert len(set(clouds_of(task))) == 24
    lengths = {len(cloud) for split in task.splits.values() for cloud, _ in split}
    assert lengths == {2048, 9, 100, 101, 102, 103}
    assert clouds_of(load_cloud_folder(shapes, "x")) == clouds_of(task)


def test_hidden_files_and_notes_are_ignored(shapes):
    expected = clouds_of(load_cloud_folder(shapes, "x"))
    for name in ("ball/.hidden.off", "ball/notes.txt", "ball/texture.png", "README.md"):
        (shapes / name).write_text("words")
    (shapes / ".git").mkdir()
    assert clouds_of(load_cloud_folder(shapes, "x")) == expected


def test_a_file_name_that_is_not_utf_8_is_as_good_as_another(shapes):
    before = len(clouds_of(load_cloud_folder(shapes, "x")))
    name = os.fsdecode(b"caf\xe9.off")
    shutil.copy(shapes / "a_box/0.off", shapes / "a_box" / name)
    task = load_cloud_folder(shapes, "x")
    assert len(clouds_of(task)) == before + 1
    assert any(file.endswith(name) for file in files(task))
    assert make_texts(task) == make_texts(load_cloud_folder(shapes, "x"))
    (shapes / "a_box" / name).write_text("words")
    with pytest.raises(ValueError, match="caf.*begins with 'words'"):
        load_cloud_folder(shapes, "x")


def test_the_home_of_nobody_is_no_folder():
    with pytest.raises(ValueError, match="~nobody-at-all/x begins with a home folder that is not known here"):
        load_task("points:~nobody-at-all/x")


def test_some_classes_of_modelnet_keep_their_split(copied):
    root = copied("modelnet10")
    shutil.rmtree(tree(root) / "bed")
    task = load_cloud_folder(tree(root), "x")
    assert (task.classnames, sizes(task)) == (("bathtub", "chair"), {"train": 12, "val": 2, "test": 6})
    assert task.split_source.startswith("the folders train and test of every class; 20 %")
    assert all("/test/" in name for name in task.splits["test"]._read.names)


def test_unreadable_files_are_all_named(shapes):
    (shapes / "ball/2.ply").write_bytes(b"words")
    (shapes / "a_box/1.npy").write_bytes(b"")
    (shapes / "a_box/empty.xyz").write_text("")
    with pytest.raises(ValueError, match=r"(?s)3 of 25 clouds in .*shapes cannot be read.*repair or remove") as caught:
        load_cloud_folder(shapes, "x")
    for name in ("ball/2.ply", "a_box/1.npy", "a_box/empty.xyz"):
        assert str(shapes / name) in str(caught.value)


def test_many_unreadable_files_are_counted(shapes):
    for number in range(12):
        (shapes / f"ball/x{number}.off").write_text("OFF")
    with pytest.raises(ValueError, match=r"(?s)12 of 36.*and 2 more"):
        load_cloud_folder(shapes, "x")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda path: None, FileNotFoundError, "there is no folder .*mine"),
        (lambda path: path.write_text(""), NotADirectoryError, "mine is a file, expected a folder .* of clouds"),
        (lambda path: path.mkdir(), ValueError, "mine has no sub-folders, expected one for each class.*its clouds"),
        (lambda path: (path / "cat").mkdir(parents=True), ValueError, "cat has no clouds of its own: add some"),
    ],
)
def test_what_is_no_folder_of_classes_is_refused(make, kind, message, tmp_path):
    make(tmp_path / "mine")
    with pytest.raises(kind, match=message):
        load_cloud_folder(tmp_path / "mine", "x")


def test_nothing_reaches_the_network(shapes, standins, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    clouds_of(load_cloud_folder(shapes, "x"))
    for name in disk_datasets(kind="clouds"):
        clouds_of(load_clouds(name, standins))


def test_the_marker_counts_clouds(standins):
    marker = json.loads((standins / "modelnet10" / MARKER).read_text())
    assert (marker["dataset"], marker["classes"], marker["images"]) == ("modelnet10", CLASSES, CLASSES * IMAGES)


def test_unknown_names_still_list_what_can_be_loaded(tmp_path):
    with pytest.raises(ValueError, match="unknown dataset 'modelnet41'"):
        load_task("modelnet41", tmp_path)
