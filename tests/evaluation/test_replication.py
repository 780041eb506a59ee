"""The replication kit: it measures where everything is there, and says what is missing elsewhere."""

from pathlib import Path

import pytest

from calip_core.blend.selection import FIXED
from calip_core.datasets import inventory
from calip_core.datasets.cards import disk_datasets
from calip_core.datasets.inventory import Status
from calip_core.evaluation import replication as kit_module
from calip_core.evaluation.replication import KIT, replication
from calip_core.evaluation.store import load
from calip_core.evaluation.sweep import make_sweep, read_sweep
from calip_core.exhibits import benchmarks


@pytest.fixture
def found(monkeypatch):
    """Which datasets are complete, which are parts, and which are stand-ins, as tests set it."""
    states = {}

    def inventoried(root, names):
        kinds = {name: states.get(name, "missing") for name in names}
        return [
            Status(name, "complete" if kind == "stand-in" else kind, None, {}, None, kind == "stand-in", "")
            for name, kind in kinds.items()
        ]

    monkeypatch.setattr(inventory, "inventory", inventoried)
    return states


def test_available_stands_for_complete_image_datasets(found):
    found |= {"dtd": "complete", "eurosat": "stand-in", "imagenet": "part", "modelnet40": "complete"}
    assert make_sweep(datasets="available", backbones=["mini-rn"]).datasets == ["dtd"]
    assert make_sweep(datasets=["available", "digits"], backbones=["mini-rn"]).datasets == ["dtd", "digits"]


def test_without_datasets_the_sweep_says_how_to_get_one(found, tmp_path):
    with pytest.raises(ValueError, match=f"no image dataset is complete below {tmp_path}.*calip fetch NAME"):
        make_sweep(datasets="available", backbones=["mini-rn"], root=tmp_path)
    with pytest.raises(ValueError, match="replication.yaml: datasets is 'available'"):
        read_sweep(KIT)


def test_the_kit_fixes_everything_in_advance(found):
    found |= dict.fromkeys(disk_datasets("images"), "complete")
    cells = read_sweep(KIT).cells()
    assert {cell.backbone for cell in cells} == {"RN50", "ViT-B/16"} and {cell.tokens for cell in cells} == {
        "joint", "value"
    }  # fmt: skip
    assert {(cell.method, cell.protocol, cell.config, cell.prior, cell.shots) for cell in cells} == {
        ("calip", "fixed", "official", "keep", 0)
    }
    assert len(cells) == len(disk_datasets("images")) * 2 * 2


def test_elsewhere_it_says_what_it_lacks(found, tmp_path):
    found["dtd"] = "complete"
    (tmp_path / "RN50.pt").touch()
    kit = replication(weights=tmp_path)
    assert (kit.ready, kit.datasets, kit.missing_weights, len(kit.cells)) == (False, ("dtd",), ("ViT-B/16",), 4)
    assert len(kit.missing_datasets) == 10 and "dtd" not in kit.missing_datasets
    assert kit.run(tmp_path / "runs.jsonl").measured == {} and not (tmp_path / "runs.jsonl").exists()
    shown = benchmarks.replication(kit)
    assert shown.frame["replication kit"]["weights not here"] == "ViT-B/16"
    assert f"{FIXED[0]:g}, {FIXED[1]:g}" in shown.frame["replication kit"]["protocol"]
    assert "It cannot run here" in shown.caption
    (tmp_path / "ViT-B-16.pt").touch()
    assert replication(weights=tmp_path).ready
    found.clear()
    none = replication(weights=tmp_path)
    assert not none.ready and none.cells == [] and benchmarks.replication(none).frame["replication kit"]["cells"] == "0"


def test_where_everything_is_there_it_measures(tmp_path, monkeypatch):
    monkeypatch.setattr(kit_module, "available_datasets", lambda root: ["digits"])
    path = Path(tmp_path, "kit.yaml")
    path.write_text(KIT.read_text().replace("[RN50, ViT-B/16]", "[mini-rn]").replace("samples: all", "samples: 20"))
    kit = replication(path)
    assert kit.ready and "It can run here" in benchmarks.replication(kit).caption
    summary = kit.run(tmp_path / "runs.jsonl")
    assert len(summary.measured) == 2 and not summary.failed
    assert [record.encoder.tokens for record in load(tmp_path / "runs.jsonl")] == ["joint", "value"]
