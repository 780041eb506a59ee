"""Every dataset goes the whole way, from files on disk to a record, with a miniature in OpenAI's place."""

import pytest

from calip_core import benchmark, results
from calip_core.backbones import load_backbone
from calip_core.datasets import disk_datasets, load_task


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini-rn", device="cpu")


@pytest.mark.parametrize("name", disk_datasets(kind="images"))
def test_a_dataset_becomes_a_record(name, standins, backbone, tmp_path):
    task = load_task(name, standins)
    record = benchmark.run(task, backbone, "calip", "fixed", features=tmp_path, progress=False)
    results.append(record, tmp_path / "runs.jsonl")
    (kept,) = results.load(tmp_path / "runs.jsonl")
    assert kept == record
    assert (kept.dataset, kept.images, kept.classes) == (name, len(task.splits["test"]), len(task.classnames))
    assert "stand-in" in kept.split_source
    assert len(kept.correct()) == kept.images
