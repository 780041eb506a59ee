"""The inventory tells missing, incomplete and complete datasets apart, with counts."""

import pytest

from calip_core.datasets import disk_datasets, load_card
from calip_core.datasets.inventory import inventory, status


def test_an_empty_root_has_nothing(tmp_path):
    for entry in inventory(tmp_path):
        assert (entry.state, entry.found, entry.folder) == ("missing", None, None)
        assert entry.expected == load_card(entry.name).sizes
        assert "calip fetch" in entry.note


def test_everything_is_seen(standins):
    assert {entry.name for entry in inventory(standins)} == set(disk_datasets())
    for entry in inventory(standins):
        assert (entry.state, entry.standin) == ("complete", True)
        assert sum(entry.found.values()) == 30


def test_absent_images_are_counted(copied):
    root = copied("dtd")
    for file in (root / "dtd/images/blotchy").iterdir():
        file.unlink()
    entry = status("dtd", root)
    assert (entry.state, sum(entry.found.values())) == ("incomplete", 20)
    assert "10 of 30 images" in entry.note


def test_a_part_that_the_loader_accepts_is_called_so(copied):
    root = copied("imagenet")
    (root / "imagenet/STANDIN.json").unlink()
    entry = status("imagenet", root)
    assert (entry.state, sum(entry.found.values())) == ("part", 30)
    assert entry.note.startswith("only a part: 3 of 1000 classes; ")
    assert "official val as test" in entry.note


@pytest.mark.parametrize("damage", ["images", "split_zhou_DescribableTextures.json"])
def test_an_incomplete_dataset_says_why(damage, copied):
    root = copied("dtd")
    (root / "dtd" / damage).rename(root / "away")
    if damage != "images":
        (root / "dtd" / damage).write_text("{")
    entry = status("dtd", root)
    assert (entry.state, entry.found) == ("incomplete", None)
    assert "is incomplete" in entry.note or "cannot be read as JSON" in entry.note
