"""Parquet tables: the images and labels that pyarrow itself gives, in any order, and bad ones named."""

import io
import json
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.datasets.hub import table_images
from calip_core.datasets.hub.origin import Origin
from calip_core.evaluation.evaluate import evaluate
from tests.datasets.hub.written import (
    NAMES,
    encoded,
    features,
    picture,
    pixels,
    plain_task,
    rows_of,
    table,
    write_tables,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path):
    return write_tables(tmp_path / "things")


@pytest.fixture
def one(tmp_path):
    """Makes a dataset of one test table."""

    def write(content, name="test-00000-of-00001.parquet"):
        path = tmp_path / "one/data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, path)
        return tmp_path / "one"

    return write


def load(root, **options):
    return load_task(f"parquet:{root}", **options)


def sizes(task):
    return {split: len(images) for split, images in task.splits.items()}


def test_the_task_is_what_the_files_say(root):
    task = load(root)
    assert (task.name, task.title, task.classnames) == (f"parquet:{root}", "Images in things", NAMES)
    assert task.templates == ("a photo of a {}.",)
    assert sizes(task) == {"train": 30, "val": 0, "test": 45}
    assert task.split_source == "own splits train and test; val is absent"


def test_images_are_those_of_pyarrows_own_reading(root):
    for split in ("train", "test"):
        rows = pq.read_table(sorted((root / "data").glob(f"{split}-*.parquet"))).to_pylist()
        theirs = [(Image.open(io.BytesIO(row["image"]["bytes"])).tobytes(), row["label"]) for row in rows]
        assert [(image.tobytes(), label) for image, label in load(root).splits[split]] == theirs


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_an_image_is_read_alone_and_in_any_order(root, batch, monkeypatch):
    monkeypatch.setattr(table_images, "_BATCH", batch)
    test = load(root).splits["test"]
    order = np.random.default_rng(0).permutation(45).tolist()
    for split in (test, pickle.loads(pickle.dumps(test))):
        assert [split[i][0].tobytes() for i in order] == [picture(i, 1).tobytes() for i in order]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: test[i][0].tobytes(), order)) == [picture(i, 1).tobytes() for i in order]


def test_an_evaluation_is_that_of_the_same_pictures_without_files(root, tmp_path):
    backbone = load_backbone("mini-rn", device="cpu")
    for method, shots in (("calip", 0), ("tip_adapter", 4)):
        ours, plain = (
            evaluate(task, backbone, method, shots=shots, seed=1, limit=40, features=tmp_path / "f", progress=False)
            for task in (load(root), plain_task("plain", ("a photo of a {}.",)))
        )
        assert ours.score == plain.score and ours.data.images == 40
        assert ours.data.task == f"parquet:{root}" and "val is absent" in ours.data.split_source


def test_the_image_set_is_the_content_of_the_tables(root, tmp_path):
    first, same = load(root), Path(shutil.copytree(root, tmp_path / "elsewhere"))
    assert first.splits["test"].identity == load(same).splits["test"].identity
    pq.write_table(table(rows_of(22, 5)), same / "data/test-00000-of-00002.parquet")
    assert first.splits["test"].identity != load(same).splits["test"].identity


def test_fetched_tables_say_from_where(root):
    Origin(repository="owner/things", revision="ab" * 20, files={}).write(root)
    task = load(root)
    assert task.split_source.endswith(f"val is absent; owner/things at revision {'ab' * 20}")
    assert task.title == "owner/things"


def test_the_hubs_own_conversion_has_a_folder_per_split(tmp_path):
    for split, size in (("train", 9), ("validation", 3), ("test", 6)):
        (tmp_path / "default" / split).mkdir(parents=True)
        pq.write_table(table(rows_of(size)), tmp_path / "default" / split / "0000.parquet")
    assert sizes(load(tmp_path)) == {"train": 9, "val": 3, "test": 6}
    assert sizes(load(tmp_path / "default")) == {"train": 9, "val": 3, "test": 6}


def test_other_splits_are_left_out_and_named(root):
    shutil.copy(root / "data/test-00000-of-00002.parquet", root / "data/jpeg_compression-00000-of-00001.parquet")
    with pytest.warns(UserWarning, match=r"left out of .*things: tables of other splits \(jpeg_compression\)"):
        assert sizes(load(root)) == {"train": 30, "val": 0, "test": 45}


def test_splits_without_published_labels_are_absent(root):
    for path in (root / "data").glob("test-*"):
        path.unlink()
    hidden = [(content, path, -1) for content, path, _ in rows_of(4)]
    pq.write_table(table(hidden), root / "data/test-00000-of-00001.parquet")
    task = load(root)
    assert sizes(task) == {"train": 30, "val": 0, "test": 0}
    assert task.split_source == "own split train; val and test are absent (labels of test are not published)"
    for path in (root / "data").glob("train-*"):
        path.unlink()
    with pytest.raises(ValueError, match="has no labels: all of them are -1"):
        load(root)


def test_a_column_is_chosen_among_several(one):
    fine = {"names": ["x_y", "z"], "_type": "ClassLabel"}
    content = table(rows_of(6), fine=fine).append_column("fine", pa.array([0, 1] * 3))
    root = one(content.replace_schema_metadata(features(fine=fine)))
    with pytest.raises(
        ValueError, match=r"the columns label, fine of type ClassLabel: choose one by load_task\(..., lab"
    ):
        load(root)
    task = load(root, label="fine")
    assert task.classnames == ("x y", "z") and task.splits["test"].labels.tolist() == [0, 1] * 3
    assert load(root, label="label", image="image").classnames == NAMES
    with pytest.raises(ValueError, match="label='size' is none of them"):
        load(root, label="size")
    with pytest.raises(TypeError, match="no option column; it has: prompts, image, label"):
        load(root, column="fine")


ROWS = rows_of(6)


def changed(**row):
    """Rows whose third has other contents."""
    content, path, label = ROWS[2]
    odd = (row.get("content", content), row.get("path", path), row.get("label", label))
    return [*ROWS[:2], odd, *ROWS[3:]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(ROWS, label=None), "parquet declares no column of type ClassLabel: write it with `datasets.Dataset.to_"),
        (table(ROWS, image=None), "parquet declares no column of type Image: write it with `datasets.Dataset.to_parq"),
        (
            table(ROWS).replace_schema_metadata(None),
            "parquet has no `datasets` metadata, which names the classes: write it with `datasets.Dataset.to_parquet` "
            "and the features Image and ClassLabel$",
        ),
        (table(ROWS).replace_schema_metadata({"huggingface": "{"}), "cannot be read as a parquet table"),
        (table(ROWS).replace_schema_metadata({"huggingface": json.dumps({"info": 3})}), "cannot be read as a parquet"),
        (table(ROWS, label={"names": [], "_type": "ClassLabel"}), "ClassLabel 'label' has no list of names"),
        (table(ROWS, label={"names": [1], "_type": "ClassLabel"}), "ClassLabel 'label' has no list of names"),
        (
            table(ROWS, label={"names": ["a", "b"], "_type": "ClassLabel"}),
            "image 2 has the label 2 in 'label', expected",
        ),
        (table(changed(label=-1)), "image 2 has the label -1 in 'label', expected 0 to 2"),
        (table(changed(label=7)), "image 2 has the label 7"),
        (table(changed(label=None)), "row 2 has no label in 'label'"),
        (
            table(ROWS).drop_columns("image").append_column("image", pa.array(["x"] * 6)),
            "'image' is string, expected a s",
        ),
        (
            table(ROWS).drop_columns("label").append_column("label", pa.array(["x"] * 6)),
            "'label' is string, expected who",
        ),
        (table(ROWS).drop_columns("label"), "cannot be read as a parquet table.*label"),
    ],
)
def test_a_wrong_table_is_named(one, content, message):

    root = one(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(root)
    assert "test-00000-of-00001.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"content": None, "path": "/etc/passwd"}, "no bytes, only the path '/etc/passwd': images outside the table"),
        ({"content": None, "path": None}, "no bytes, only the path None"),
        ({"content": b"no picture"}, "cannot be read as an image"),
        ({"content": b""}, "cannot be read as an image"),
        ({"content": encoded(Image.new("1", (9000, 9000)))}, "81,000,000 pixels in"),
    ],
)
def test_a_wrong_image_is_named(one, row, message):
    test = load(one(table(changed(**row)))).splits["test"]
    with pytest.raises(ValueError, match=rf"test-00000-of-00001.parquet, row 2 of row group 0 .*{message}"):
        test[2]
    assert test[3][0].tobytes() == picture(3).tobytes()


OTHER = table(ROWS, label={"names": ["a"], "_type": "ClassLabel"})
FIRST, SECOND = "test-00000-of-00002.parquet", "test-00001-of-00002.parquet"


def put(name, content=None):
    """Writes a table, or bytes, in place of a file; None removes it."""

    def change(data):
        if isinstance(content, pa.Table):
            pq.write_table(content, data / name)
        elif content is None:
            (data / name).unlink()
        else:
            (data / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([put(SECOND)], "data has 1 of 2 tables of test: fetch the others"),
        ([put(FIRST)], r"has the tables \[1\] of test, expected 0 to the last"),
        ([put("test-00000-of-00003.parquet", OTHER)], r"has the tables \[0, 0, 1\] of test, expected 0 to the last"),
        ([put("dev.parquet", OTHER), put("val.parquet", OTHER)], "has tables of dev and val, expected one of the two"),
        (
            [lambda data: shutil.copytree(data, data.parent / "x")],
            "tables of test in .*data and .*x: name one of these",
        ),
        ([put(SECOND, OTHER)], f"{SECOND} has other classes than .*{FIRST}: fetch"),
        ([put(SECOND, b"x" * 99)], f"{SECOND} cannot be read as a parquet table"),
        ([put(SECOND, b"")], f"{SECOND} cannot be read as a parquet table"),
    ],
)
def test_a_wrong_set_of_files_is_named(root, changes, message):
    for change in changes:
        change(root / "data")
    with pytest.raises(ValueError, match=message):
        load(root)


def test_what_is_no_dataset_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'x'}"):
        load(tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, expected the folder of the tables"):
        load(tmp_path / "file")
    with pytest.raises(ValueError, match="has no tables, expected such as data/test-00000-of-00001.parquet"):
        load(tmp_path)
    pq.write_table(table(ROWS), tmp_path / "partial-test.parquet")
    with pytest.raises(
        ValueError, match=r"partial-test.parquet is named after no split \(train, val, .*\): rename it.* test.parquet"
    ):
        load(tmp_path)


def test_shards_are_not_taken_for_tables(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test/0.tar").touch()
    with pytest.raises(ValueError, match=f"has no tables: for the shards in this folder, write wds:{tmp_path}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("place", "name"),
    [("hub/clip-benchmark/wds_vtab-pets", "wds/vtab/pets"), ("hub/ethz/food101", "hub:ethz/food101")],
)
@pytest.mark.parametrize("prefix", ["wds:", "parquet:"])
def test_what_was_not_fetched_is_said(tmp_path, place, name, prefix):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / place}: `calip fetch {name}` brings"):
        load_task(f"{prefix}{tmp_path / place}")
    with pytest.raises(FileNotFoundError, match="check the path$"):
        load_task(f"{prefix}{tmp_path / 'elsewhere/x'}")


def test_a_table_made_to_fill_memory_is_refused(one, tmp_path):
    zeros = table([(bytes(1 << 24), "x", 0)] * 8)
    root = one(zeros)
    pq.write_table(zeros, root / "data/test-00000-of-00001.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(ValueError, match=r"it claims 134,.* bytes in .*, as files do that are made to fill memory"):
        load(root)


def test_a_table_of_more_rows_than_it_can_hold_is_refused(one):
    rows = 1_100_000
    contents = pa.nulls(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    content = pa.table({"image": contents, "label": np.zeros(rows, np.int64)}).replace_schema_metadata(features())
    with pytest.raises(ValueError, match=r"it claims 1,100,000 rows in [\d,]+ bytes"):
        load(one(content))


def test_equal_pictures_stored_once_do_not_fill_memory(one):
    large = encoded(Image.effect_noise((1200, 1200), 90))
    root = one(table([(large, "x", 0)] * 40))
    path = root / "data/test-00000-of-00001.parquet"
    assert os.path.getsize(path) < 2 * len(large)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_images, "_BYTES", 2 * len(large))
        test = load(root).splits["test"]
        assert test[39][0].size == (1200, 1200)
        assert pa.total_allocated_bytes() < 8 * len(large)
    assert len(pixels(test)) == 40


def test_without_the_package_the_message_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install 'calip-core\[hub\]'"):
        load(root)
