"""Fetching: what is downloaded, what a person is asked for, and what happens when a dataset is incomplete."""

import dataclasses
import errno
import hashlib
import io
import re
import shutil
import tarfile
import zipfile

import pytest

from calip_core.datasets import load_task
from calip_core.datasets.cards import Source, load_card
from calip_core.datasets.fetch import fetching as fetch
from calip_core.datasets.fetch.archives import UnsafeArchiveError
from calip_core.datasets.fetch.download import ChecksumError, DownloadError


def pack(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return path


@pytest.fixture
def publish(standins, tmp_path, monkeypatch):
    """Makes a card of EuroSAT whose sources are those given; its archive of a stand-in has a file:// address."""
    archive = pack(standins / "eurosat", tmp_path / "EuroSAT.tar.gz")
    checksum = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    published = {"file": "EuroSAT.tar.gz", "url": archive.as_uri(), "checksum": checksum, "gives": "eurosat/2750"}

    def use(*sources, **changes):
        first = Source.model_validate(published | changes)
        card = load_card("eurosat").model_copy(update={"sources": (first, *map(Source.model_validate, sources))})
        for module in ("fetch.fetching", "inventory"):
            monkeypatch.setattr(f"calip_core.datasets.{module}.load_card", lambda name: card)
        return archive

    return use


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """What needs Google Drive or the Hub fails at once; the addresses of these tests are files."""

    def dead(name, *_, **__):
        raise DownloadError(f"cannot fetch {name}")

    monkeypatch.setattr(fetch, "download_from_drive", dead)
    monkeypatch.setattr(fetch, "fetch_repository", dead)


def run(tmp_path, name="eurosat"):
    return fetch.fetch(name, tmp_path / "root", progress=False)


def test_a_dataset_is_downloaded_and_unpacked(publish, tmp_path):
    publish()
    fetched = run(tmp_path)
    assert fetched.status.state == "complete"
    assert "EuroSAT.tar.gz: sha256" in fetched.done[0]
    assert "as published" in fetched.done[0]
    assert load_task("eurosat", tmp_path / "root").classnames[0] == "Annual Crop Land"
    left = {path.name for path in (tmp_path / "root/downloads/eurosat").iterdir()}
    assert left == {"EuroSAT.tar.gz", "EuroSAT.tar.gz.sha256", "EuroSAT.tar.gz.unpacked"}


def test_without_a_published_checksum_the_one_found_is_stated_and_kept(publish, tmp_path):
    archive = publish(checksum=None)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"sha256 {digest} (no checksum is published; recorded in EuroSAT.tar.gz.sha256)" in run(tmp_path).done[0]
    assert digest in (tmp_path / "root/downloads/eurosat/EuroSAT.tar.gz.sha256").read_text()


def test_what_is_complete_is_left_alone(publish, tmp_path, monkeypatch):
    publish()
    run(tmp_path)
    complete = dataclasses.replace(fetch.status("eurosat", tmp_path / "root"), standin=False)
    monkeypatch.setattr(fetch, "status", lambda name, root: complete)
    monkeypatch.setattr(fetch, "download", None)
    monkeypatch.setattr(fetch, "unpack", None)
    assert run(tmp_path) == fetch.Fetched((), (), complete)


def test_a_stand_in_is_not_fetched_over(publish, tmp_path):
    publish()
    run(tmp_path)
    with pytest.raises(ValueError, match="eurosat holds a procedural stand-in of EuroSAT: remove it"):
        run(tmp_path)


def test_an_archive_that_a_person_brought_is_checked_and_unpacked(publish, tmp_path):
    archive = publish(url=None, manual="ask its authors")
    fetched = run(tmp_path)
    place = tmp_path / "root/downloads/eurosat/EuroSAT.tar.gz"
    (instruction,) = fetched.by_hand
    assert fetched.status.state == "missing"
    assert f"needed: ask its authors. To do: put it at {place} and run this again" in instruction
    assert "(sha256:" in instruction
    place.parent.mkdir(parents=True)
    place.write_bytes(archive.read_bytes())
    assert run(tmp_path).status.state == "complete"


def test_a_wrong_archive_that_a_person_brought_is_refused(publish, tmp_path):
    publish(url=None, manual="ask its authors")
    place = tmp_path / "root/downloads/eurosat/EuroSAT.tar.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with pytest.raises(ChecksumError, match="EuroSAT.tar.gz has the sha256"):
        run(tmp_path)
    assert not (tmp_path / "root/eurosat").exists()


def test_a_wrong_download_is_refused(publish, tmp_path):
    publish(checksum=f"md5:{'0' * 32}")
    with pytest.raises(ChecksumError, match="expected 000"):
        run(tmp_path)
    assert not (tmp_path / "root/eurosat").exists()


def test_an_evil_archive_is_refused(publish, tmp_path):
    archive = publish(checksum=None)
    with tarfile.open(archive, "w:gz") as content:
        info = tarfile.TarInfo("../evil")
        info.size = 1
        content.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UnsafeArchiveError):
        run(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_lacks_what_the_card_says_is_named(publish, tmp_path):
    publish(gives="eurosat/images")
    with pytest.raises(ValueError, match="was unpacked, but .*eurosat/images is not there"):
        run(tmp_path)


def test_a_dead_address_says_what_is_known(publish, tmp_path):
    dead = (tmp_path / "gone.tar.gz").as_uri()
    publish(url=dead)
    (failed,) = run(tmp_path).failed
    assert re.match(r"EuroSAT.tar.gz \(sha256:\w+\), needed: cannot fetch .*gone.tar.gz", failed)
    assert f"fetch it elsewhere and put it at {tmp_path / 'root'}/downloads/eurosat/EuroSAT.tar.gz" in failed
    publish(url=dead, manual="a copy is elsewhere")
    assert "gone.tar.gz" in (text := run(tmp_path).by_hand[0])
    assert "a copy is elsewhere" in text


def test_another_address_stands_in_for_a_dead_one(publish, tmp_path):
    dead = (tmp_path / "gone.tar.gz").as_uri()
    alive = publish(url=dead).as_uri()
    publish(url=dead, fallback=alive)
    assert run(tmp_path).status.state == "complete"
    shutil.rmtree(tmp_path / "root")
    publish(url=dead, fallback=f"{alive}.too")
    (failed,) = run(tmp_path).failed
    assert f"cannot fetch {dead}" in failed and f"cannot fetch {alive}.too" in failed


def test_a_dead_address_keeps_no_other_file_from_being_brought(publish, tmp_path):
    dead = (tmp_path / "gone.tar.gz").as_uri()
    (tmp_path / "list.mat").write_bytes(b"m")
    other = {"file": "list.mat", "url": (tmp_path / "list.mat").as_uri(), "into": "lists", "gives": "lists/list.mat"}
    publish(other, {"file": "split.json", "manual": "ask its authors", "gives": "eurosat/split.json"}, url=dead)
    fetched = run(tmp_path)
    assert [text.split(" (")[0] for text in fetched.failed] == ["EuroSAT.tar.gz"]
    assert [text.split(":")[0] for text in fetched.done] == ["list.mat"]
    assert [text.split(",")[0] for text in fetched.by_hand] == ["split.json"]
    assert fetched.status.state == "missing"


def test_a_plain_file_is_put_where_the_loader_looks(publish, tmp_path):
    (tmp_path / "list.mat").write_bytes(b"m")
    url = (tmp_path / "list.mat").as_uri()
    publish({"file": "list.mat", "url": url, "into": "eurosat", "gives": "eurosat/list.mat"})
    run(tmp_path)
    assert (tmp_path / "root/eurosat/list.mat").read_bytes() == b"m"


def test_images_that_are_missing_from_an_unpacked_dataset_come_back(publish, tmp_path):
    publish()
    run(tmp_path)
    marker = tmp_path / "root/eurosat/STANDIN.json"
    (tmp_path / "root/eurosat/2750/Forest/Forest_1.jpg").unlink()
    marker.unlink()  # the archive has it; without it the dataset is not a stand-in, but incomplete
    assert run(tmp_path).status.state == "complete"


@pytest.mark.parametrize("name", ["imagenet", "stanford_cars", "sun397", "ucf101", "imagenet_sketch"])
def test_what_no_program_may_fetch_is_asked_for(name, tmp_path):
    fetched = run(tmp_path, name)
    assert (fetched.status.state, fetched.done) == ("missing", ())
    needed = [source.file for source in load_card(name).sources if not (source.optional or source.whole)]
    asked = [text for text in fetched.by_hand if ", needed" in text]
    assert [re.split(r" [(\[]|, needed", text)[0] for text in asked] == needed
    assert all(str(tmp_path) in text for text in fetched.by_hand)


def test_what_needs_no_files_needs_no_fetch(tmp_path):
    with pytest.raises(ValueError, match="digits needs no download"):
        run(tmp_path, "digits")


def test_a_bad_download_that_nobody_vouched_for_is_not_trusted_again(publish, tmp_path):
    archive = publish(checksum=None)
    good = archive.read_bytes()
    archive.write_bytes(good[: len(good) // 2])  # cut off, as by a server that states no length
    with pytest.raises(ValueError, match=r"cannot be read as a zip .* it was removed: run the same command"):
        run(tmp_path)
    archive.write_bytes(good)
    assert run(tmp_path).status.state == "complete"


def test_an_archive_of_other_content_is_not_trusted_again(publish, tmp_path):
    publish(checksum=None, gives="eurosat/images")
    with pytest.raises(ValueError, match="was unpacked, but .*it was removed"):
        run(tmp_path)
    assert not list((tmp_path / "root/downloads/eurosat").glob("EuroSAT.tar.gz*"))


def test_a_persons_own_archive_is_never_removed(publish, tmp_path):
    archive = publish(checksum=None, url=None, manual="ask its authors")
    place = tmp_path / "root/downloads/eurosat/EuroSAT.tar.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"<html>")
    with pytest.raises(ValueError, match="cannot be read as a zip .*no published checksum; replace it"):
        run(tmp_path)
    assert place.read_bytes() == b"<html>"
    place.write_bytes(archive.read_bytes())
    assert run(tmp_path).status.state == "complete"


def test_a_full_disk_is_no_reason_to_doubt_a_download(publish, tmp_path, monkeypatch):
    publish(checksum=None)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "unpack", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    assert (tmp_path / "root/downloads/eurosat/EuroSAT.tar.gz").is_file()


@pytest.mark.parametrize("name", ["sun397", "ucf101", "stanford_cars"])
def test_of_lists_and_split_file_one_is_needed(name, copied):
    folder, card = load_card(name).layout.places[0].folder, load_card(name)
    root = copied(folder)
    lists = [source for source in card.sources if source.either and source.either.startswith("the official")]
    for source in lists:
        there = root / source.gives
        shutil.rmtree(there) if there.is_dir() else there.unlink()
    (root / folder / "STANDIN.json").unlink()
    (root / folder / card.layout.split_file).unlink()
    asked = fetch.fetch(name, root, progress=False).by_hand
    assert len(asked) == len(lists) + 1  # the images are there
    assert all(f", needed, or instead {card.layout.split_file}: " in text for text in asked[:-1])
    assert "[untried" in asked[-1]
    assert f", needed, or instead {' and '.join(source.file for source in lists)}: " in asked[-1]
    (root / folder / card.layout.split_file).write_text("{}")
    assert all(", optional: " in text for text in fetch.fetch(name, root, progress=False).by_hand)


def test_what_lies_in_torchvisions_layout_is_not_asked_for(copied, tmp_path):
    root = copied("sun397")
    (root / "sun397/SUN397").rename(tmp_path / "root/SUN397")
    shutil.rmtree(root / "sun397")
    asked = fetch.fetch("sun397", root, progress=False).by_hand
    assert [re.split(r",| \[", text)[0] for text in asked] == ["Partitions.zip", "split_zhou_SUN397.json"]
    assert f"so that {root}/ClassName.txt exists" in asked[0]
    assert asked[1].endswith(f"To do: put it at {root}/split_zhou_SUN397.json.")


def test_lists_join_the_images_that_are_there(copied, tmp_path):
    root = copied("sun397")
    (root / "sun397/SUN397").rename(root / "SUN397")
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("ClassName.txt", "Training_01.txt", "Testing_01.txt"):
        (root / "sun397" / name).rename(lists / name)
    shutil.rmtree(root / "sun397")
    downloads = root / "downloads/sun397"
    downloads.mkdir(parents=True)
    with zipfile.ZipFile(downloads / "Partitions.zip", "w") as archive:
        for file in lists.iterdir():
            archive.write(file, file.name)
    fetched = fetch.fetch("sun397", root, progress=False)
    assert {text.split(":")[0] for text in fetched.done} == {"Partitions.zip"}
    assert (root / "ClassName.txt").is_file() and not (root / "sun397").exists()
    assert "has 3 classes by Training_01.txt, Testing_01.txt" in fetched.status.note
