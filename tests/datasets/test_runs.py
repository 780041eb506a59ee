"""Every dataset goes the whole way, from files on disk to a record, with a miniature in OpenAI's place."""

import pytest

from calip_core.backbones import load_backbone
from calip_core.datasets import disk_datasets, load_task
from calip_core.datasets.standins import write_standin
from calip_core.evaluation.evaluate import evaluate
from calip_core.evaluation.store import append, load


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini-rn", device="cpu")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("name", disk_datasets())
def test_a_dataset_becomes_a_record(name, standins, backbone, tmp_path):
    task = load_task(name, standins)
    test = task.splits["test"]
    record = evaluate(task, backbone, "calip", features=tmp_path, progress=False)
    append(record, tmp_path / "runs.jsonl")
    (kept,) = load(tmp_path / "runs.jsonl")
    assert kept == record
    data = kept.data
    assert (data.task, data.images, data.classes) == (name, len(test) // test.views, len(task.classnames))
    assert "stand-in" in data.split_source
    assert len(kept.correct()) == data.images


@pytest.mark.parametrize("layout", ["hdf5", "text", "off"])
def test_every_format_of_modelnet40_becomes_views(layout, tmp_path):
    write_standin("modelnet40", tmp_path, classes=3, images=5, layout=layout)
    task = load_task("modelnet40", tmp_path, views="pointclip_v2", points=512)
    test = task.splits["test"]
    assert task.standin and test.views == 10 and len(test.clouds[0]) == 512
    assert 0 < test.depth_map(0).mean() < 1
