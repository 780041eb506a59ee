"""Webdataset shards: the images and labels of webdataset's own pipeline, in any order, and bad ones named."""

import io
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from calip_core.backbones import load_backbone
from calip_core.datasets import load_task
from calip_core.datasets.hub import shard_index
from calip_core.datasets.hub.origin import Origin
from calip_core.evaluation.evaluate import evaluate
from tests.datasets.hub.written import NAMES, SIZES, encoded, picture, pixels, plain_task, write_shards

TEMPLATES = ("a photo of {}.", "a picture of {}.")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CALIP_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path):
    return write_shards(tmp_path / "wds_things")


def load(root):
    return load_task(f"wds:{root}")


def add(archive, name, content=b"", **header):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in header.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def write_tar(path, *members):
    """A shard of (name, content) or (name, content, changes of the header)."""
    with tarfile.open(path, "w") as archive:
        for name, content, *header in members:
            add(archive, name, content, **(header[0] if header else {}))
    return path


@pytest.fixture
def one(tmp_path):
    """Makes a dataset of one test shard with these members."""

    def write(*members):
        root = write_shards(tmp_path / "one", {"test": 3})
        write_tar(root / "test/0.tar", *members)
        return root

    return write


IMAGE = encoded(picture(0))


def test_the_task_is_what_the_files_say(root):
    task = load(root)
    assert (task.name, task.title, task.classnames) == (f"wds:{root}", "Images in wds_things", NAMES)
    assert task.templates == TEMPLATES
    assert {split: len(images) for split, images in task.splits.items()} == {"train": 30, "val": 0, "test": 45}
    assert task.split_source == "own splits train and test; val is absent"


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_images_are_those_of_webdatasets_own_pipeline(kind, tmp_path):
    root = write_shards(tmp_path / "x", kind=kind)
    for split in SIZES:
        shards = [str(path) for path in sorted((root / split).glob("*.tar"))]
        pipeline = (
            webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil").to_tuple(kind, "cls")
        )
        ours = load(root).splits[split]
        assert [(image.tobytes(), label) for image, label in ours] == [(i.tobytes(), c) for i, c in pipeline]


def test_an_image_is_read_alone_and_in_any_order(root):
    test = load(root).splits["test"]
    for index in (44, 0, 21, 20, 19):
        image, label = test[index]
        assert (image.tobytes(), label) == (picture(index, 1).tobytes(), index % 3)
    copy = pickle.loads(pickle.dumps(test))
    assert pixels(copy) == pixels(test)


def test_a_shard_is_indexed_once_and_nothing_is_left_beside_it(root, cache, monkeypatch):
    before = sorted(path for path in root.rglob("*"))
    monkeypatch.setattr(shard_index, "_YOUNG_NS", -1)
    first = pixels(load(root).splits["test"])
    assert len(list((cache / "shards").iterdir())) == 5
    monkeypatch.setattr(shard_index.tarfile, "open", None)
    assert pixels(load(root).splits["test"]) == first
    assert sorted(path for path in root.rglob("*")) == before


def test_a_remembered_index_is_not_believed_when_damaged_or_when_the_shard_changed(root, cache, monkeypatch):
    monkeypatch.setattr(shard_index, "_YOUNG_NS", -1)
    first = pixels(load(root).splits["test"])
    for memory in (cache / "shards").iterdir():
        memory.write_bytes(memory.read_bytes()[:-1] + b"x")
    assert pixels(load(root).splits["test"]) == first
    write_tar(root / "test/2.tar", ("k.png", IMAGE), ("k.cls", b"2"))
    assert len(load(root).splits["test"]) == 41


def test_a_shard_that_changes_after_it_was_indexed_is_named(root):
    test = load(root).splits["test"]
    os.truncate(root / "test/2.tar", 600)
    with pytest.raises(ValueError, match=r"2\.tar, byte \d+ cannot be read as an image"):
        test[44]


def test_a_small_part_of_the_cache_that_cannot_be_written_costs_time_alone(root, cache, monkeypatch):
    monkeypatch.setattr(shard_index, "_YOUNG_NS", -1)
    (cache / "shards").write_text("a file in the folder's place")
    assert len(load(root).splits["test"]) == 45


def test_an_evaluation_is_that_of_the_same_pictures_without_files(root, tmp_path):
    backbone = load_backbone("mini-rn", device="cpu")
    for method, shots in (("calip", 0), ("tip_adapter", 4)):
        records = [
            evaluate(task, backbone, method, shots=shots, seed=1, limit=40, features=tmp_path / "f", progress=False)
            for task in (load(root), plain_task("plain", TEMPLATES))
        ]
        ours, plain = records
        assert (ours.score, ours.data.images) == (plain.score, 40)
        assert np.array_equal(ours.correct(), plain.correct())
        assert ours.data.task == f"wds:{root}" and "val is absent" in ours.data.split_source
    with pytest.raises(
        ValueError,
        match="has no val images \\(found: train and test\\):.* protocol of fixed, published, oracle, label-free, or",
    ):
        evaluate(load(root), backbone, protocol="validation")


def test_the_image_set_is_the_content_of_the_shards(root, tmp_path):
    first, same = load(root), Path(shutil.copytree(root, tmp_path / "elsewhere"))
    assert first.splits["test"].identity == load(same).splits["test"].identity
    write_tar(
        same / "test/2.tar", *((f"k{i}.{end}", body) for i in range(5) for end, body in (("png", IMAGE), ("cls", b"1")))
    )
    assert first.splits["test"].identity != load(same).splits["test"].identity


def test_fetched_shards_say_from_where(root):
    Origin(repository="clip-benchmark/wds_things", revision="ab" * 20, files={}).write(root)
    task = load(root)
    assert task.split_source.endswith(f"val is absent; clip-benchmark/wds_things at revision {'ab' * 20}")
    assert task.title == "clip-benchmark/wds_things" and task.source.startswith("clip-benchmark/wds_things at")
    (root / "FETCHED.json").write_text("{")
    with pytest.raises(ValueError, match="FETCHED.json"):
        load(root)


def test_validation_may_have_the_hubs_names(root):
    (root / "train").rename(root / "valid")
    assert {split: len(images) for split, images in load(root).splits.items()} == {"train": 0, "val": 30, "test": 45}
    (root / "val").mkdir()
    with pytest.raises(ValueError, match="the folders val and valid, expected one of the two"):
        load(root)


@pytest.mark.parametrize(("kind", "what"), [("multilabel", "several labels per image"), ("retrieval", "captions")])
def test_other_kinds_of_datasets_are_refused_by_name(root, kind, what):
    (root / "dataset_type.txt").write_text(f"{kind}\n")
    with pytest.raises(ValueError, match=f"dataset_type.txt says '{kind}': this dataset has {what}"):
        load(root)


def test_the_kind_may_be_said(root):
    (root / "dataset_type.txt").write_text("classification")
    assert len(load(root).splits["test"]) == 45


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_type.txt", "films", "dataset_type.txt says 'films', expected classification"),
        ("classnames.txt", None, "has no classnames.txt, which lists the classes"),
        ("classnames.txt", "a\n\nb\nc\n", "classnames.txt: line 2 is blank, expected the name of class 1"),
        ("classnames.txt", "a\nb\n", r"0.tar: image 2 has the class number 2, but .*classnames.txt has 2 names"),
        ("zeroshot_classification_templates.txt", "a photo of {}.", "the template 'a photo of {}.', expected one {c}"),
        ("zeroshot_classification_templates.txt", "{c} and {c}", "the template '{c} and {c}', expected one {c}"),
        ("zeroshot_classification_templates.txt", "\n", "templates.txt has no templates"),
        ("test/nshards.txt", None, "test has no nshards.txt"),
        ("test/nshards.txt", "2", r"nshards.txt says '2', but .*test has 3 shards \(0.tar, 1.tar, 2.tar\)"),
        ("test/nshards.txt", "9" * 90, "nshards.txt says '99999999999999999999', but"),
        ("test/1.tar", None, r"nshards.txt says '3', but .*test has 2 shards \(0.tar, 2.tar\)"),
        ("test/4.tar", "x", "has 4 shards"),
        ("test/0.tar", "", "0.tar cannot be read as a webdataset shard.*empty"),
        ("test/0.tar", "x" * 1024, "0.tar cannot be read as a webdataset shard"),
    ],
)
def test_a_wrong_file_is_named(root, file, content, message):
    (root / file).unlink(missing_ok=True)
    if content is not None:
        (root / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_what_is_no_dataset_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'x'}"):
        load(tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, expected the folder above"):
        load(tmp_path / "file")
    (tmp_path / "test.parquet").touch()
    with pytest.raises(
        ValueError, match=f"has no classnames.txt: for the tables in this folder, write parquet:{tmp_path}$"
    ):
        load(tmp_path)
    (tmp_path / "classnames.txt").write_text("a\n")
    with pytest.raises(ValueError, match="has none of the folders train, val"):
        load(tmp_path)


def test_a_split_alone_leads_to_the_folder_above(root):
    with pytest.raises(ValueError, match=f"classnames.txt lies one level up: write wds:{root}$"):
        load(root / "test")


def test_without_templates_the_usual_one_is_used_and_said(root):
    (root / "zeroshot_classification_templates.txt").unlink()
    with pytest.warns(UserWarning, match="its prompts are 'a photo of a {}.'"):
        assert load(root).templates == ("a photo of a {}.",)


def test_names_without_images_are_counted(root):
    (root / "classnames.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.warns(UserWarning, match="5 names, but 2 of these classes have no image, such as 'd'"):
        load(root)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("k.png", IMAGE), ("k.cls", b"one")], "the class number of 'k' is b'one', expected digits alone"),
        ([("k.png", IMAGE), ("k.cls", b"-1")], "b'-1', expected digits alone"),
        ([("k.png", IMAGE), ("k.cls", b"")], "b'', expected digits alone"),
        ([("k.png", IMAGE), ("k.cls", b"1" * 5000)], "expected digits alone"),
        ([("k.png", IMAGE), ("k.cls", b"3")], "image 0 has the class number 3, but .*has 3 names, so expected 0 to 2"),
        ([("k.png", IMAGE)], r"'k' has png, expected one image \(webp, png, jpg, jpeg\) and its class number"),
        ([("k.cls", b"1")], "'k' has cls, expected one image"),
        ([("k.png", IMAGE), ("k.jpg", IMAGE), ("k.cls", b"1")], "'k' has png, jpg, cls, expected one image"),
        ([("k.png", IMAGE), ("k.npy", b"x")], "'k' has several labels per image"),
        ([("k.png", IMAGE), ("k.txt", b"x")], "'k' has captions instead of a class"),
        ([("k.png", IMAGE), ("k.png", IMAGE), ("k.cls", b"1")], "duplicate file name"),
        (
            [(f"{k}.{end}", body) for k in "aba" for end, body in (("png", IMAGE), ("cls", b"1"))],
            "the key 'a' occurs twice",
        ),
        ([("/etc/k.png", IMAGE), ("k.cls", b"1")], "'/etc/k.png', a link, a device or a path out of its folder"),
        ([("../k.png", IMAGE), ("k.cls", b"1")], "a path out of its folder"),
        ([("k.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], "'k.png', a link"),
        ([("k.png", b"", {"type": tarfile.CHRTYPE})], "'k.png', a link, a device"),
        ([("README.md", b"x")], "'README' has md, expected one image"),
        ([], "it holds no images"),
    ],
)
def test_a_shard_with_odd_members_is_named(one, members, message):
    root = one(*members)
    with pytest.raises(ValueError, match=message) as caught:
        load(root)
    assert "0.tar" in str(caught.value)


def test_a_member_that_claims_more_than_the_file_has_is_refused(one):
    root = one(("k.cls", b"1"), ("k.png", IMAGE))
    shard = root / "test/0.tar"
    content = bytearray(shard.read_bytes())
    header = tarfile.TarInfo("k.png")
    for size, message in (
        (10**6, "claims 1,000,000 bytes, more than the file has"),
        (10**12, "more than the file has"),
    ):
        header.size = size
        content[1024:1536] = header.tobuf(tarfile.GNU_FORMAT)
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=f"0.tar cannot be read.*{message}"):
            load(root)


def test_members_that_webdataset_skips_are_skipped(one):
    root = one(
        ("__index__", b"x"), ("__meta__/a.json", b"x"), ("noextension", b"x"), ("k.png", IMAGE), ("k.cls", b" 1\n")
    )
    with pytest.warns(UserWarning, match="2 of these classes have no image"):
        assert load(root).splits["test"].labels.tolist() == [1]


def test_a_picture_made_to_fill_memory_is_refused(one):
    bomb = encoded(Image.new("1", (9000, 9000)))
    root = one(*((f"{k}.{end}", body) for k in range(3) for end, body in (("png", bomb), ("cls", b"%d" % k))))
    with pytest.raises(ValueError, match=r"0.tar, byte \d+ cannot be read as an image .*81,000,000 pixels"):
        load(root).splits["test"][0]


def test_without_the_package_the_message_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset.tariterators", None)
    with pytest.raises(ImportError, match=r"pip install 'calip-core\[hub\]'"):
        load(root)
