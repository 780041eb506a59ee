"""What is listed of feature stores, and which of them are removed."""

import os
import time

import numpy as np
import pytest
from PIL import Image

from calip_core.backbones.base import Backbone
from calip_core.cli import main
from calip_core.datasets.task import Split
from calip_core.features import FeatureStore
from calip_core.features.inventory import remove, stored_features
from calip_core.features.shards import Shards
from tests.backbones.clips import random_clip


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("rn"), precision="fp32")


@pytest.fixture
def stores(backbone, tmp_path, monkeypatch):
    """Two stores in a cache of their own: of greys, used now, and of blacks, used ten days ago."""
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    made = []
    for name, grey in (("greys", 99), ("blacks", 0)):
        images = Split(lambda _, grey=grey: Image.new("RGB", (64, 64), (grey,) * 3), np.arange(5) % 3)
        made.append(FeatureStore.encode(backbone, images, name=name, shard_size=2, progress=False))
    long_ago = time.time() - 10 * 86_400
    os.utime(made[1].folder / "manifest.json", (long_ago, long_ago))
    return made


def names():
    return [store.folder.name.partition("-")[0] for store in stored_features()]


def test_a_store_is_listed_with_what_it_holds(stores, capsys):
    (stores[0].folder / "00001.sha256").unlink()
    assert main(["cache"]) == 0
    printed = capsys.readouterr().out
    assert "blacks-random" in printed and "5 images, joint tokens, used 10 days ago" in printed
    assert "5 images, joint tokens, 2 of 3 files, used 0 days ago" in printed
    assert "digests.sqlite3" in printed
    sizes = {path.name: path.stat().st_size for path in stores[1].folder.rglob("*") if path.is_file()}
    assert stored_features()[0].size == sum(sizes.values())


def test_using_a_store_says_that_it_was_used(stores, backbone):
    assert stored_features()[0].days_unused > 9
    images = Split(lambda _: Image.new("RGB", (64, 64)), np.arange(5) % 3)
    FeatureStore.encode(backbone, images, name="blacks", progress=False)
    assert stored_features()[0].days_unused < 1


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (["greys*"], ["blacks"]),
        (["--unused", "3"], ["greys"]),
        (["greys*", "--unused", "3"], ["blacks", "greys"]),
        (["*"], []),
    ],
)
def test_what_is_named_or_unused_is_removed(stores, chosen, left):
    assert main(["cache", "--prune", *chosen]) == 0
    assert names() == left


def test_without_prune_nothing_is_removed_and_prune_asks_what(stores, capsys):
    assert main(["cache", "--unused", "0"]) == 0
    assert main(["cache", "--prune"]) == 1
    assert "would remove every feature store" in capsys.readouterr().err
    assert names() == ["blacks", "greys"]


def test_a_name_that_matches_no_store_is_said(stores, capsys):
    assert main(["cache", "nothing-*", "none"]) == 1
    assert "no feature store matches 'nothing-*' or 'none': `calip cache` lists them" in capsys.readouterr().err
    assert main(["cache", "greys*", "--unused", "3"]) == 0  # there is one, and it was used


def test_a_store_that_is_being_filled_stays(stores):
    with Shards(stores[0].folder, stores[0].manifest).lock(1):
        assert not remove(stored_features()[1])
    assert names() == ["blacks", "greys"]
    assert remove(stored_features()[1])
    assert names() == ["blacks"]
