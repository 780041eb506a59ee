"""Chapter 7 on clouds of one's own and on a stand-in of a published dataset."""

import numpy as np
import papermill
import pytest

from book.tools.chapters import NOTEBOOKS
from calip_core.datasets import load_task
from calip_core.datasets.standins import write_standin
from calip_core.evaluation.store import load
from calip_core.world.solid_clouds import SolidClouds

CLASSES = ("sphere", "cube", "cone")


def run(out, **values):
    options = {"cwd": NOTEBOOKS, "progress_bar": False, "kernel_name": "python3"}
    notebook = papermill.execute_notebook(NOTEBOOKS / "07_point_clouds.ipynb", out / "out.ipynb", values, **options)
    return "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALIP_DATA", str(tmp_path / "data"))


def test_chapter_7_runs_on_clouds_of_ones_own(tmp_path):
    clouds = SolidClouds(np.arange(len(CLASSES)).repeat(10), seed=0)
    for number in range(30):
        path = tmp_path / "mine" / CLASSES[number // 10] / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, clouds(number)[:1500])
    run(tmp_path, dataset=f"points:{tmp_path / 'mine'}", views="pointclip, 700 points", protocol="fixed, paper",
                samples=6)  # fmt: skip
    (record,) = load(tmp_path / "runs.jsonl")
    assert (record.data.projection, record.choice.protocol) == ("pointclip, 700 points", "fixed")
    assert record.head.options["config"] == "paper"


def test_chapter_7_takes_every_cloud_when_asked_for_0(tmp_path):
    """`samples: all` of a sweep."""
    write_standin("modelnet40", tmp_path / "data", classes=3, images=10, layout="hdf5")
    run(tmp_path, dataset="modelnet40", views="pointclip", protocol="fixed", samples=0)
    (record,) = load(tmp_path / "runs.jsonl")
    test = load_task("modelnet40", views="pointclip").splits["test"]
    assert record.data.limit is None and record.data.images == len(test) // test.views


def test_chapter_7_runs_on_a_stand_in(tmp_path):
    write_standin("modelnet40", tmp_path / "data", classes=3, images=10, layout="hdf5")
    shown = run(tmp_path, dataset="modelnet40", views="pointclip", samples=6)
    (record,) = load(tmp_path / "runs.jsonl")
    assert (record.data.task, record.data.standin, record.data.classes) == ("modelnet40", True, 3)
    assert "measured here</td>" not in shown  # beside published values of the dataset itself
