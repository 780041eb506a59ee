import errno
import multiprocessing
import os
import shutil
import signal
import time
import weakref
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from calip_core import CalipConfig, calip_logits, digests, encode_split
from calip_core.backbones import base
from calip_core.backbones.base import Backbone
from calip_core.datasets.task import Split
from calip_core.features import FeatureStore, fill, manifest
from calip_core.features import store as stores
from calip_core.features.shards import Shards
from tests.backbones.clips import WIDTH, random_clip

FORK = multiprocessing.get_context("fork")  # a fresh interpreter would import torch for seconds
IMAGES, SHARD = 10, 4


class Noise:
    """Reads random images; image i depends on i and the seed alone."""

    def __init__(self, seed=0, pause=0.0):
        self.seed, self.pause = seed, pause

    def __call__(self, index):
        time.sleep(self.pause)
        pixels = np.random.default_rng((self.seed, index)).integers(0, 256, (70, 64, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def split(seed=0, images=IMAGES, pause=0.0):
    return Split(Noise(seed, pause), np.arange(images) % 3)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from more, and a forked process may not use the threads of its parent."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("rn"), precision="fp32")


def encode(backbone, root, images=None, **options):
    options = {"batch_size": 3, "shard_size": SHARD, "progress": False, **options}
    return FeatureStore.encode(backbone, images or split(), root=root, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("0*")}


def text(classes=5):
    return normalize(torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(7)), dim=-1)


@pytest.mark.parametrize(("stored", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 1e-2)])
def test_what_comes_back_is_what_was_encoded(backbone, tmp_path, stored, tolerance):
    store = encode(backbone, tmp_path, stored=stored)
    tokens, labels = encode_split(backbone, split(), progress=False)
    assert len(store) == IMAGES and store.report.images == IMAGES and store.report.images_per_second > 0
    assert store.labels.tolist() == labels.tolist()
    assert store.tokens().grid == tokens.grid
    torch.testing.assert_close(store.tokens().spatial, tokens.spatial, atol=tolerance, rtol=0)
    torch.testing.assert_close(store.tokens().pooled, tokens.pooled, atol=tolerance, rtol=0)


@pytest.mark.parametrize("config", [CalipConfig.official(), CalipConfig.susx()])
def test_streamed_logits_are_those_of_all_tokens_at_once(backbone, tmp_path, config):
    store = encode(backbone, tmp_path)
    streamed, whole = store.logits(text(), config, 50.0), calip_logits(store.tokens(), text(), config, 50.0)
    for name in ("clip", "text_attended", "visual_attended"):
        torch.testing.assert_close(getattr(streamed, name), getattr(whole, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("config", [CalipConfig.official(), CalipConfig.susx()])
def test_logits_on_a_gpu_are_those_on_the_processor(backbone, tmp_path, config):
    store = encode(backbone, tmp_path)
    here, there = store.logits(text(), config, 50.0), store.logits(text().cuda(), config, 50.0)
    for name in ("clip", "text_attended", "visual_attended"):
        assert getattr(there, name).is_cuda
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name), atol=1e-3, rtol=1e-4)


def test_while_logits_are_computed_only_one_batch_is_in_memory(backbone, tmp_path, monkeypatch):
    features, alive = [], []

    def watched(tokens, *arguments):
        alive.append(sum(feature() is not None for feature in features))
        features.append(weakref.ref(tokens.spatial))
        return calip_logits(tokens, *arguments)

    monkeypatch.setattr(stores, "calip_logits", watched)
    encode(backbone, tmp_path, shard_size=2).logits(text())
    assert alive == [0] * 5 and all(feature() is None for feature in features)


def test_batches_respect_their_size_and_the_order(backbone, tmp_path):
    store = encode(backbone, tmp_path)
    sizes = [len(batch) for batch in store.batches(3)]
    assert sizes == [3, 1, 3, 1, 2]
    with pytest.raises(ValueError, match="size is 0"):
        next(store.batches(0))


def test_pooled_features_come_without_reading_the_spatial_ones(backbone, tmp_path, monkeypatch):
    store = encode(backbone, tmp_path)
    read = Shards.open

    def watched(self, shard):
        return Watched(read(self, shard))

    monkeypatch.setattr(Shards, "open", watched)
    batches = list(store.batches(3, spatial=False))
    monkeypatch.undo()
    assert [len(batch) for batch in batches] == [3, 1, 3, 1, 2]
    assert all(batch.grid == (0, 0) and batch.spatial.shape == (len(batch), 0, WIDTH) for batch in batches)
    assert torch.equal(torch.cat([batch.pooled for batch in batches]).float(), store.tokens().pooled)
    assert {batch.spatial.dtype for batch in batches} == {torch.float16}


class Watched:
    """An open shard whose spatial tokens must not be asked for."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __enter__(self):
        opened = self.tensors.__enter__()
        self.get_slice = lambda name: Unread() if name == "spatial" else opened.get_slice(name)
        return self

    def __exit__(self, *error):
        return self.tensors.__exit__(*error)


class Unread:
    def __getitem__(self, rows):
        pytest.fail("read spatial tokens")


def test_a_second_call_encodes_nothing(backbone, tmp_path, monkeypatch):
    first = encode(backbone, tmp_path)
    monkeypatch.setattr(backbone, "encode_image", lambda images: pytest.fail("encoded again"), raising=False)
    second = encode(backbone, tmp_path)
    assert second.report.images == 0 and "nothing" in str(second.report)
    assert torch.equal(first.tokens().spatial, second.tokens().spatial)
    assert torch.equal(FeatureStore.open(str(first.folder)).tokens().pooled, first.tokens().pooled)


def test_a_limit_keeps_the_drawn_images(backbone, tmp_path):
    store = encode(backbone, tmp_path, limit=4, seed=3)
    tokens, labels = encode_split(backbone, split(), limit=4, seed=3, progress=False)
    assert store.labels.tolist() == labels.tolist()
    torch.testing.assert_close(store.tokens().pooled, tokens.pooled, atol=1e-3, rtol=0)


def test_whatever_changes_the_features_changes_the_store(backbone, tmp_path):
    other_weights = Backbone.from_clip("random", random_clip("rn", seed=1), precision="fp32")
    low_precision = Backbone.from_clip("random", random_clip("rn"), precision="bf16")
    other_tokens = Backbone.from_clip("random", random_clip("rn"), precision="fp32", tokens="pre_pool")
    relabelled = Split(Noise(), np.zeros(IMAGES, dtype=int))
    folders = [
        encode(*arguments, **options).folder
        for *arguments, options in [
            (backbone, tmp_path, {}),
            (other_weights, tmp_path, {}),
            (low_precision, tmp_path, {}),
            (other_tokens, tmp_path, {}),
            (backbone, tmp_path, split(seed=1), {}),
            (backbone, tmp_path, relabelled, {}),
            (backbone, tmp_path, {"limit": 5}),
            (backbone, tmp_path, {"stored": "float32"}),
        ]
    ]
    assert len(set(folders)) == len(folders)
    assert encode(backbone, tmp_path).folder == folders[0]


def test_a_stated_version_of_the_encoder_makes_another_store(backbone, tmp_path, monkeypatch):
    before = encode(backbone, tmp_path)
    monkeypatch.setattr(type(backbone._tower), "VERSION", 2)
    tower = encode(backbone, tmp_path)
    monkeypatch.setattr(Backbone, "VERSION", 2)
    assert len({before.folder, tower.folder, encode(backbone, tmp_path).folder}) == 3


def test_another_name_for_the_same_weights_finds_the_same_features(backbone, tmp_path):
    renamed = Backbone.from_clip("renamed", random_clip("rn"), precision="fp32")
    first, second = encode(backbone, tmp_path).manifest, encode(renamed, tmp_path).manifest
    assert first.key == second.key and first.backbone != second.backbone


def test_weights_are_hashed_once(tmp_path, monkeypatch):
    digests, hashed = [], base._digest

    def counted(*arguments, **options):
        digests.append(hashed(*arguments, **options))
        return digests[-1]

    monkeypatch.setattr(base, "_digest", counted)
    fresh = Backbone.from_clip("random", random_clip("rn"), precision="fp32")
    assert encode(fresh, tmp_path).manifest.weights == encode(fresh, tmp_path, limit=3).manifest.weights
    assert len(digests) == 1


def test_another_version_of_the_encoders_package_makes_another_store(backbone, tmp_path, monkeypatch):
    before = encode(backbone, tmp_path)
    versions = manifest.package_versions
    assert before.manifest.versions["clip-anytorch"] == versions(["clip-anytorch"])["clip-anytorch"]

    def newer(names):
        return dict.fromkeys(names, "9") if "clip" in names[0] else versions(names)

    monkeypatch.setattr(manifest, "package_versions", newer)
    assert encode(backbone, tmp_path).folder != before.folder

    def absent(names):
        if "clip" in names[0]:
            raise PackageNotFoundError(names[0])
        return versions(names)

    monkeypatch.setattr(manifest, "package_versions", absent)
    assert encode(backbone, tmp_path).manifest.versions["clip-anytorch"] == "another"


class Files:
    def __init__(self, paths):
        self.paths = tuple(paths)

    def __call__(self, index):
        return Image.open(self.paths[index]).convert("RGB")


def split_of(folder):
    files = Files(sorted(folder.iterdir()))
    return Split(files, [0, 1, 2], paths=files.paths)


def image_folder(folder):
    folder.mkdir()
    for i in range(3):
        Noise()(i).save(folder / f"{i}.png")
    return split_of(folder)


def test_a_changed_file_is_noticed_and_a_moved_folder_is_not(backbone, tmp_path):
    images = image_folder(tmp_path / "images")
    before = encode(backbone, tmp_path / "stores", images)
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = split_of(tmp_path / "moved")
    assert encode(backbone, tmp_path / "stores", moved).folder == before.folder
    Noise(seed=9)(0).save(tmp_path / "moved" / "1.png")
    after = encode(backbone, tmp_path / "stores", moved)
    assert after.folder != before.folder
    assert not torch.equal(after.tokens().pooled[1], before.tokens().pooled[1])
    assert torch.equal(after.tokens().pooled[0], before.tokens().pooled[0])


def test_features_stand_for_contents_and_not_for_names_or_times(backbone, tmp_path):
    images = image_folder(tmp_path / "images")
    before = encode(backbone, tmp_path / "stores", images)
    os.utime(tmp_path / "images" / "1.png", ns=(0, 0))  # as `touch` does
    assert encode(backbone, tmp_path / "stores", images).folder == before.folder
    shutil.copytree(tmp_path / "images", tmp_path / "extracted" / "anew", copy_function=shutil.copyfile)
    for i in range(3):
        (tmp_path / "extracted" / "anew" / f"{i}.png").rename(tmp_path / "extracted" / "anew" / f"photo{i}.png")
    again = encode(backbone, tmp_path / "stores", split_of(tmp_path / "extracted" / "anew"))
    assert again.folder == before.folder and again.report.images == 0


@pytest.mark.parametrize("change", ["labels", "identity", "order", "pixels"])
def test_the_source_tells_one_set_of_images_from_another(tmp_path, change):
    images = image_folder(tmp_path / "images")
    if change == "labels":
        other = Split(images._read, [0, 1, 1], paths=images.paths)
    elif change == "identity":
        other = Split(images._read, [0, 1, 2], paths=images.paths, identity="turned")
    elif change == "order":
        other = Split(images._read, [0, 1, 2], paths=images.paths[::-1])
    else:
        other = Split(images._read, [0, 1, 2])
    assert manifest.source_digest(images, range(3)) != manifest.source_digest(other, range(3))


@pytest.mark.parametrize("fault", ["flip", "truncate", "empty", "checksum"])
def test_a_damaged_shard_is_encoded_again_alone_with_a_warning(backbone, tmp_path, fault):
    store = encode(backbone, tmp_path)
    intact = contents(store.folder)
    shard, checksum = store.folder / "00001.safetensors", store.folder / "00001.sha256"
    data = shard.read_bytes()
    if fault == "checksum":
        checksum.write_text("")
    else:
        flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        shard.write_bytes({"flip": flipped, "truncate": data[:50], "empty": b""}[fault])
    with pytest.raises(ValueError, match=r"lacks 1 of 3 shards: 00001.safetensors \(damaged\)"):
        FeatureStore.open(store.folder)
    with pytest.warns(UserWarning, match=r"00001.safetensors does not match its checksum"):
        again = encode(backbone, tmp_path)
    assert again.report.images == SHARD
    assert contents(store.folder) == intact


def test_a_store_that_did_not_change_is_not_read_again_to_check_it(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_YOUNG_NS", 0)
    store = encode(backbone, tmp_path)
    FeatureStore.open(store.folder)
    monkeypatch.setattr(digests, "sha256_of", lambda path: pytest.fail(f"{path} is read"))
    FeatureStore.open(store.folder)


def test_a_damaged_manifest_is_written_again(backbone, tmp_path):
    store = encode(backbone, tmp_path)
    (store.folder / "manifest.json").write_text('{"images": 3')
    with pytest.raises(ValueError, match="no manifest of a feature store"):
        FeatureStore.open(store.folder)
    assert encode(backbone, tmp_path).report.images == 0


def test_a_resumed_store_keeps_its_batches(backbone, tmp_path):
    store = encode(backbone, tmp_path)
    intact = contents(store.folder)
    (store.folder / "00002.safetensors").unlink()
    encode(backbone, tmp_path, batch_size=1, shard_size=2)
    assert contents(store.folder) == intact


def test_no_store_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"FeatureStore.encode"):
        FeatureStore.open(tmp_path)


def test_a_full_disk_loses_nothing_and_says_so(backbone, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(self, data):
        if "00001.safetensors" in self.name:
            write(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"shard 1 \(No space left.*; 1 of 3 shards are safe: make room") as caught:
        encode(backbone, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    store = encode(backbone, tmp_path)
    assert store.report.images == IMAGES - SHARD
    fresh = encode(backbone, tmp_path / "fresh")
    assert contents(store.folder) == contents(fresh.folder)
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")]


def test_a_shard_that_does_not_read_back_ends_the_encoding(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(Shards, "state", lambda self, shard: "damaged")
    fails = pytest.raises(OSError, match="shard 0 .* does not read back")
    with pytest.warns(UserWarning, match="does not match"), fails:
        encode(backbone, tmp_path)


def test_an_image_that_does_not_decode_is_named_and_the_rest_is_kept(backbone, tmp_path):
    images = image_folder(tmp_path / "images")
    (tmp_path / "images" / "2.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"2\.png"):
        encode(backbone, tmp_path / "stores", images, shard_size=1)
    Noise()(2).save(tmp_path / "images" / "2.png")
    encode(backbone, tmp_path / "stores", images, shard_size=1)


def child(backbone, root, pause, queue=None, images=IMAGES):
    """Encodes the same split into ``root`` in a process of its own."""

    def work():
        store = encode(backbone, root, split(pause=pause, images=images), workers=1)
        if queue is not None:
            queue.put(store.report.images)

    process = FORK.Process(target=work)
    process.start()
    return process


def wait_for(root, name):
    deadline = time.monotonic() + 60
    while not list(root.glob(f"*/{name}")):
        assert time.monotonic() < deadline, f"no {name} in {root}"
        time.sleep(0.01)


def test_killed_and_resumed_it_has_the_same_bytes(backbone, tmp_path):
    whole = encode(backbone, tmp_path / "whole")
    process = child(backbone, tmp_path / "killed", pause=0.15)
    wait_for(tmp_path / "killed", "00000.sha256")
    process.kill()
    process.join()
    store = encode(backbone, tmp_path / "killed")
    assert 0 < store.report.images < IMAGES
    assert contents(store.folder) == contents(whole.folder)


def kill_while_writing(backbone, root, part):
    """Encode in a process of its own that dies by kill -9 in the middle of writing a file with that in its name."""
    write = Path.write_bytes

    def half(self, data):
        if part in self.name:
            write(self, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, data)

    def work():
        Path.write_bytes = half
        Path.write_text = lambda self, text, **_: half(self, text.encode())
        encode(backbone, root, workers=1)

    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("part", ["00001.safetensors", "00001.sha256", "manifest.json"])
def test_killed_in_the_middle_of_a_file_nothing_is_left_of_it(backbone, tmp_path, part):
    whole = encode(backbone, tmp_path / "whole")
    kill_while_writing(backbone, tmp_path / "killed", part)
    assert list((tmp_path / "killed").glob(f"*/.{part}.*"))
    store = encode(backbone, tmp_path / "killed")
    assert store.report.images == (IMAGES if part == "manifest.json" else IMAGES - SHARD)
    assert contents(store.folder) == contents(whole.folder)
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")]


def test_two_processes_share_one_store(backbone, tmp_path):
    images = 10 * SHARD  # more than the process that comes first claims before the other one looks
    whole = encode(backbone, tmp_path / "whole", split(images=images))
    queue = FORK.Queue()
    processes = [child(backbone, tmp_path / "shared", 0.05, queue, images) for _ in range(2)]
    encoded = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    folder = tmp_path / "shared" / whole.folder.name
    assert contents(folder) == contents(whole.folder)
    assert sum(encoded) == images and min(encoded) > 0


def test_a_claimed_shard_is_left_to_its_claimant_until_the_claim_ends(backbone, tmp_path, monkeypatch):
    whole = encode(backbone, tmp_path / "whole")
    shards = Shards(tmp_path / "store" / whole.folder.name, whole.manifest)
    claim = shards.lock(0)
    monkeypatch.setattr(fill.time, "sleep", lambda seconds: claim.release())
    (shards.folder / "locks").mkdir(parents=True)
    claim.acquire()
    store = encode(backbone, tmp_path / "store")
    assert not claim.is_locked and store.report.images == IMAGES
    assert contents(store.folder) == contents(whole.folder)


def test_the_report_names_the_bottleneck(backbone, tmp_path):
    slow_images = encode(backbone, tmp_path, split(pause=0.05), workers=1)
    assert slow_images.report.bound == "decoding"
    assert "bound by decoding" in str(slow_images.report)
    report = fill.EncodingReport(images=10, seconds=2.0, waiting=0.1, model=1.5, writing=0.4)
    assert report.bound == "model" and report.images_per_second == 5
