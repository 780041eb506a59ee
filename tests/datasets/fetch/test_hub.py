"""Datasets of the Hub through huggingface_hub's own code, against a small server with the Hub's routes."""

import hashlib
import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from calip_core.backbones import load_backbone
from calip_core.cli import main
from calip_core.datasets import load_task
from calip_core.datasets.cards import load_card
from calip_core.datasets.fetch.download import ChecksumError, DownloadError
from calip_core.datasets.fetch.fetching import fetch
from calip_core.datasets.fetch.hub import fetch_repository
from calip_core.datasets.hub.catalogue import CATALOGUE, repository_of
from calip_core.evaluation.evaluate import evaluate
from calip_core.evaluation.store import load
from calip_core.prompts import IMAGENET_NAMES
from tests.datasets.hub.server import Repository, running
from tests.datasets.hub.written import NAMES, encoded, features, picture, pixels, table, write_shards, write_tables


@pytest.fixture
def hub(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as server:
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def shards(hub, tmp_path):
    """The repository clip-benchmark/wds_things, with files that nobody needs."""
    source = write_shards(tmp_path / "source")
    (source / "README.md").write_text("words")
    (source / "other").mkdir()
    (source / "other/0.tar").write_bytes(b"not ours")
    hub.repositories["clip-benchmark/wds_things"] = repository = Repository()
    repository.commit(source, "v1")
    return source


def get(tmp_path, name="clip-benchmark/wds_things", **options):
    return fetch_repository(name, tmp_path / "root/hub" / name, **options)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_shards_are_fetched_read_and_recorded(hub, shards, tmp_path):
    brought = get(tmp_path)
    commit = hub.repositories["clip-benchmark/wds_things"].names["main"]
    assert brought.origin.revision == commit and brought.new and brought.kind == "wds"
    wanted = {path.relative_to(shards).as_posix() for path in shards.rglob("*.t*") if path.parent.name != "other"}
    assert brought.origin.files == {path: sha256(shards / path) for path in wanted}
    note = json.loads((brought.folder / "FETCHED.json").read_text())
    assert note == {
        "repository": "clip-benchmark/wds_things",
        "revision": commit,
        "asked": None,
        "files": note["files"],
    }
    task = load_task(brought.task)
    assert pixels(task.splits["test"]) == [picture(i, 1).tobytes() for i in range(45)]
    record = evaluate(task, load_backbone("mini-rn", device="cpu"), features=tmp_path / "f", progress=False)
    assert record.data.split_source == (
        f"own splits train and test; val is absent; clip-benchmark/wds_things at revision {commit}"
    )


def test_no_record_quotes_a_revision_for_files_that_changed_since(hub, tmp_path):
    hub.repositories["owner/things"] = Repository()
    hub.repositories["owner/things"].commit(write_tables(tmp_path / "source"))
    brought = get(tmp_path, "owner/things")
    shutil.copy(
        brought.folder / "data/test-00000-of-00002.parquet", brought.folder / "data/test-00001-of-00002.parquet"
    )
    backbone = load_backbone("mini-rn", device="cpu")
    with pytest.raises(
        ValueError, match=r"test-00001-of-00002.parquet is not the file that was fetched from owner/things"
    ):
        evaluate(load_task(brought.task), backbone, features=tmp_path / "f", progress=False)
    (brought.folder / "FETCHED.json").unlink()
    record = evaluate(load_task(brought.task), backbone, features=tmp_path / "f", progress=False)
    assert record.data.split_source == "own splits train and test; val is absent"


def test_tables_are_fetched_without_other_splits(hub, tmp_path):
    source = write_tables(tmp_path / "source")
    shutil.copy(source / "data/test-00000-of-00002.parquet", source / "data/blurred-00000-of-00001.parquet")
    hub.repositories["owner/things"] = Repository()
    hub.repositories["owner/things"].commit(source)
    brought = get(tmp_path, "owner/things")
    assert brought.kind == "parquet" and not any("blurred" in file for file in brought.origin.files)
    task = load_task(brought.task)
    assert pixels(task.splits["train"]) == [picture(i, 0).tobytes() for i in range(30)]
    assert f"owner/things at revision {brought.origin.revision}" in task.split_source
    only_test = fetch_repository("owner/things", tmp_path / "test", splits=("test",))
    assert all("/test-" in file for file in only_test.origin.files)


def test_a_revision_may_be_named(hub, shards, tmp_path):
    repository = hub.repositories["clip-benchmark/wds_things"]
    first = repository.names["v1"]
    (shards / "classnames.txt").write_text("a\nb\nc\n")
    second = repository.commit(shards)
    assert get(tmp_path, revision="v1").origin.revision == first != second
    with pytest.raises(ValueError, match=f"holds .* at revision {first}, not .* at main: remove this folder"):
        get(tmp_path, revision="main")
    assert not get(tmp_path, revision="v1").new and not get(tmp_path, revision=first).new
    shutil.rmtree(tmp_path / "root")
    assert get(tmp_path).origin.revision == second
    with pytest.raises(ValueError, match="clip-benchmark/wds_things has no revision 'v2'"):
        fetch_repository("clip-benchmark/wds_things", tmp_path / "new", "v2")


def test_the_revision_of_the_first_fetch_is_remembered(hub, shards, tmp_path):
    brought = get(tmp_path)
    (shards / "classnames.txt").write_text("a\nb\nc\n")
    hub.repositories["clip-benchmark/wds_things"].commit(shards)
    (brought.folder / "test/1.tar").unlink()
    again = get(tmp_path)
    assert again.new and again.origin == brought.origin
    assert (again.folder / "classnames.txt").read_text().split("\n")[0] == NAMES[0]


def test_what_was_fetched_is_verified_without_a_network(hub, shards, tmp_path):
    brought = get(tmp_path)
    hub.down = True
    count = len(hub.asked)
    assert get(tmp_path).origin == brought.origin and not get(tmp_path).new
    assert len(hub.asked) == count
    (brought.folder / "test/1.tar").write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match=r"test/1.tar has the sha256 \w+, expected \w+ as fetched: remove it"):
        get(tmp_path)


def test_a_broken_download_is_continued(hub, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # what is kept is a whole number of chunks
    (shards / "test/1.tar").write_bytes(bytes(3 << 20))
    hub.repositories["clip-benchmark/wds_things"].commit(shards)
    hub.cut = hub_cut = 1 << 20
    brought = get(tmp_path)
    assert sha256(brought.folder / "test/1.tar") == sha256(shards / "test/1.tar")
    ranges = [asked for _, path, asked in hub.asked if path.startswith("/large") and asked]
    assert len(ranges) == 1 and 0 < int(ranges[0].removeprefix("bytes=").rstrip("-")) <= hub_cut


def test_a_gated_dataset_wants_its_terms_accepted_and_a_token(hub, shards, tmp_path, monkeypatch):
    hub.repositories["clip-benchmark/wds_things"].token = "hf_secret"
    with pytest.raises(
        DownloadError, match=r"is gated: accept its terms at .*/datasets/clip-benchmark/wds_things, then"
    ):
        get(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert get(tmp_path).new
    assert "hf_secret" not in (tmp_path / "root/hub/clip-benchmark/wds_things/FETCHED.json").read_text()


@pytest.mark.parametrize(
    ("lie", "file"),
    [
        ({"lfs": {"oid": "0" * 64, "size": 1, "pointerSize": 1}}, "test/0.tar"),
        ({"oid": "0" * 40}, "classnames.txt"),
    ],
)
def test_a_file_that_is_not_the_listed_one_is_refused(hub, shards, tmp_path, lie, file):
    hub.lies[file] = lie
    with pytest.raises(ChecksumError, match=rf"{file} has the checksum \w+, but the Hub states 0000"):
        get(tmp_path)
    assert not (tmp_path / "root/hub/clip-benchmark/wds_things" / file).exists()
    assert not (tmp_path / "root/hub/clip-benchmark/wds_things/FETCHED.json").exists()
    hub.lies.clear()
    assert get(tmp_path).new


@pytest.mark.parametrize("evil", ["../../evil/test-0.parquet", "/evil/test.parquet"])
def test_a_path_that_leads_out_of_the_folder_is_refused(hub, tmp_path, evil):
    hub.repositories["owner/evil"] = Repository({"a" * 40: {evil: b"x"}}, {"main": "a" * 40})
    with pytest.raises((ValueError, DownloadError)):
        get(tmp_path, "owner/evil", splits=("test-0", "test"))
    assert not list(tmp_path.rglob("test*.parquet"))


def test_what_cannot_be_read_is_not_downloaded(hub, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "images.zip").write_bytes(b"x")
    hub.repositories["owner/zip"] = Repository()
    hub.repositories["owner/zip"].commit(source)
    with pytest.raises(ValueError, match="owner/zip has neither webdataset shards .* --revision refs/convert/parquet"):
        get(tmp_path, "owner/zip")
    for config in ("a", "b"):
        write_tables(source / config, {"test": 3}, files=1)
    hub.repositories["owner/two"] = Repository()
    hub.repositories["owner/two"].commit(source)
    with pytest.raises(
        ValueError, match=r"owner/two has several datasets \(a/data, b/data\): download the folder of one"
    ):
        get(tmp_path, "owner/two")
    assert not any(path.startswith("/datasets") for _, path, _ in hub.asked)


def test_a_dataset_that_does_not_exist_is_named(hub, tmp_path):
    with pytest.raises(DownloadError, match="the Hub has no dataset owner/nothing, or it is private"):
        get(tmp_path, "owner/nothing")


def test_without_a_network_the_message_says_so(hub, tmp_path):
    hub.down = True
    with pytest.raises(DownloadError, match=r"cannot fetch owner/things \(\w+.*\): is there a network\?"):
        get(tmp_path, "owner/things")


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'calip-core\[hub\]'"):
        get(tmp_path)


def test_names_lead_to_repositories():
    assert repository_of("wds/vtab/caltech101") == "clip-benchmark/wds_vtab-caltech101"
    assert repository_of("wds/imagenet-a") == "clip-benchmark/wds_imagenet-a"
    assert repository_of("hub:ethz/food101") == "ethz/food101"
    assert len(CATALOGUE) == 41 and sum(what is None for what in CATALOGUE.values()) == 37
    for wrong, message in (
        ("wds/flickr30k", "captions instead of classes"),
        ("wds/voc2007_multilabel", "several labels per image"),
        ("wds/nothing", "unknown dataset 'wds/nothing', expected one of wds/imagenet1k"),
        ("hub:nothing", "'hub:nothing' is no repository"),
        ("hub:../x", "is no repository"),
        ("hub:a/b/c", "is no repository"),
    ):
        with pytest.raises(ValueError, match=message):
            repository_of(wrong)


def test_the_commands_go_the_whole_way(hub, shards, tmp_path, monkeypatch):
    hub.repositories["clip-benchmark/wds_cars"] = hub.repositories["clip-benchmark/wds_things"]
    root, results = tmp_path / "root", tmp_path / "runs.jsonl"
    program = "import sys; from calip_core.cli import main; sys.exit(main(sys.argv[1:]))"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)  # which huggingface_hub reads when it is imported
    monkeypatch.setenv("CALIP_RESULTS", str(results))
    command = [sys.executable, "-c", program, "fetch", "wds/cars", "--revision", "v1", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    task = f"wds:{root}/hub/clip-benchmark/wds_cars"
    assert "fetched clip-benchmark/wds_cars at revision" in done.stdout and "[untried" in done.stdout
    assert f"load_task({task!r})" in done.stdout
    assert main(["evaluate", task, "mini-rn", "--limit", "20"]) == 0
    (record,) = load(results)
    assert record.data.task == task and "wds_cars at revision" in record.data.split_source


def test_the_commands_list_and_refuse(hub, tmp_path, capsys):
    assert main(["datasets", "--hub", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 42 and "[untried" in lines[0]
    assert "wds/vtab/pets                           missing" in lines
    assert any(line.startswith("wds/flickr8k") and "refused: it has captions" in line for line in lines)
    for name in ("wds/flickr8k", "hub:nothing"):
        with pytest.raises(SystemExit, match="2"):
            main(["fetch", name])
    assert main(["fetch", "dtd", "--revision", "x", "--root", str(tmp_path)]) == 1
    assert "--revision is for wds/NAME and hub:OWNER/NAME" in capsys.readouterr().err


def write_mirror(folder, names, train, test):
    """Tables of a mirror: as many rows as the original, of one small picture."""
    (folder / "data").mkdir(parents=True)
    image = encoded(Image.new("L", (1, 1)))
    for split, size in (("train", train), ("test", test), ("pixelate", 3)):
        rows = table([(image, "x.png", number % len(names)) for number in range(size)])
        declared = features(label={"names": names, "_type": "ClassLabel"})
        pq.write_table(rows.replace_schema_metadata(declared), folder / f"data/{split}-00000-of-00001.parquet")


@pytest.mark.parametrize(("name", "train", "test"), [("stanford_cars", 8144, 8041), ("sun397", 19850, 19850)])
def test_a_dataset_whose_address_is_dead_comes_from_its_mirror(hub, tmp_path, name, train, test, monkeypatch):
    card = load_card(name)
    names = [f"Maker_{number} 2012" for number in range(card.classes)]
    write_mirror(tmp_path / "source", names, train, test)
    hub.repositories[f"tanganke/{name}"] = repository = Repository()
    commit = repository.commit(tmp_path / "source")

    def coops_split(identifier, path, *_, **__):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        return "0" * 64

    monkeypatch.setattr("calip_core.datasets.fetch.fetching.download_from_drive", coops_split)
    fetched = fetch(name, tmp_path / "root", progress=False)
    assert fetched.status.state == "complete" and not fetched.failed, fetched.status.note
    split, tables = fetched.done
    assert f"tables of a mirror: tanganke/{name} at revision {commit}, 2 files" in tables and "[untried" in tables
    assert (
        tmp_path / "root" / card.layout.places[0].folder / card.layout.split_file
    ).is_file() and "split_zhou" in split
    assert all(", optional: " in text for text in fetched.by_hand)
    task = load_task(name, tmp_path / "root")
    sizes = {split: len(images) for split, images in task.splits.items()}
    assert sizes["train"] + sizes["val"] == train and abs(5 * sizes["val"] - train) < 0.05 * train
    assert sizes["test"] == test == card.sizes["test"]
    assert task.templates == card.templates and len(task.classnames) == card.classes
    assert task.classnames[5] == {"stanford_cars": "2012 Maker_5", "sun397": "Maker 5 2012"}[name]
    assert task.split_source == (
        f"own train and test of tanganke/{name} at revision {commit}, a mirror that renames files: not CoOp's "
        "split; 20 % of every class in train is val, by a hash of the file names"
    )
    for split in task.splits.values():
        assert split[3][0].size == (1, 1) and split.identity


def imagenets(names):
    """A hub's repository of ImageNet's validation tables, gated."""

    def publish(hub, tmp_path):
        folder = tmp_path / "source"
        (folder / "data").mkdir(parents=True)
        image = encoded(Image.new("L", (1, 1)))
        content = table([(image, "x", number % 1000) for number in range(50000)])
        declared = features(label={"names": names, "_type": "ClassLabel"})
        pq.write_table(content.replace_schema_metadata(declared), folder / "data/validation-00000-of-00001.parquet")
        pq.write_table(content.slice(0, 3), folder / "data/train-00000-of-00001.parquet")
        hub.repositories["ILSVRC/imagenet-1k"] = Repository(token="hf_mine")
        return hub.repositories["ILSVRC/imagenet-1k"].commit(folder)

    return publish


CURATED = [line.partition(" ")[2] for line in IMAGENET_NAMES.read_text().splitlines()]


def test_imagenet_is_gated_and_comes_as_tables_once_its_terms_are_accepted(hub, tmp_path, monkeypatch):
    commit = imagenets([f"{name}, Something else" for name in CURATED])(hub, tmp_path)
    root = tmp_path / "root"
    (failed,) = fetch("imagenet", root, progress=False).failed
    assert "ILSVRC/imagenet-1k is gated: accept its terms at" in failed and "[untried" in failed
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    fetched = fetch("imagenet", root, progress=False)
    assert fetched.status.state == "complete" and not fetched.failed, fetched.status.note
    task = load_task("imagenet@80", root)
    assert {split: len(images) for split, images in task.splits.items()} == {"train": 0, "val": 0, "test": 50000}
    assert task.classnames == tuple(CURATED) and len(task.templates) == 80 and task.part is None
    assert task.split_source == f"own val as test of ILSVRC/imagenet-1k at revision {commit}"


def test_imagenet_in_another_order_is_refused(hub, tmp_path, monkeypatch):
    imagenets(sorted(CURATED))(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    fetched = fetch("imagenet", tmp_path / "root", progress=False)
    assert fetched.status.state == "incomplete"
    assert "have ImageNet's name at their place, expected 1000 in the order of the WordNet ids" in fetched.status.note
