"""Archives: good ones are unpacked, evil and damaged ones leave nothing behind."""

import errno
import io
import stat
import tarfile
import zipfile

import pytest

from calip_core.datasets.fetch import archives
from calip_core.datasets.fetch.archives import UnsafeArchiveError, is_archive, unpack


def make_tar(path, members, mode="w:gz"):
    """Members: name -> bytes, or a dictionary of TarInfo's attributes."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            info.size = len(data)
            for key, value in content.items() if isinstance(content, dict) else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


GOOD = {"a/one.txt": b"1", "a/b/two.txt": b"2"}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tar.gz"])
def test_an_archive_is_unpacked_into_what_is_there(name, tmp_path):
    into = tmp_path / "into"
    (into / "a").mkdir(parents=True)
    (into / "a/kept.txt").write_bytes(b"k")
    (into / "a/one.txt").write_bytes(b"old")
    archive = tmp_path / name
    make_zip(archive, GOOD) if name.endswith("zip") else make_tar(archive, GOOD, "w" if name == "x.tar" else "w:gz")
    unpack(archive, into)
    assert tree(into) == {**GOOD, "a/kept.txt": b"k"}
    assert [entry.name for entry in into.iterdir()] == ["a"]


def test_an_archive_in_an_archive_is_the_only_part_that_is_wanted(tmp_path):
    inner = make_tar(tmp_path / "inner.tar.gz", GOOD)
    outer = make_zip(tmp_path / "outer.zip", {"deep/inner.tar.gz": inner.read_bytes(), "other.txt": b"no"})
    unpack(outer, tmp_path / "into", "deep/inner.tar.gz")
    assert tree(tmp_path / "into") == GOOD
    with pytest.raises(ValueError, match=r"has no deep/other.tar in it"):
        unpack(outer, tmp_path / "again", "deep/other.tar")


def test_links_inside_an_archive_are_kept(tmp_path):
    link = {"type": tarfile.SYMTYPE, "linkname": "../a/one.txt"}
    unpack(make_tar(tmp_path / "x.tar", {"a/one.txt": b"1", "b/link": link}, "w"), tmp_path / "into")
    assert (tmp_path / "into/b/link").read_bytes() == b"1"


EVIL_TAR = {
    "absolute": {"/tmp/calip-evil": b"x"},
    "dots": {"a/../../evil": b"x"},
    "backslashes": {"a\\..\\..\\evil": b"x"},
    "symlink out": {"a": {"type": tarfile.SYMTYPE, "linkname": "../.."}},
    "deep symlink out": {"a/b": {"type": tarfile.SYMTYPE, "linkname": "../../evil"}},
    "absolute symlink": {"a": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}},
    "hard link out": {"a": {"type": tarfile.LNKTYPE, "linkname": "../evil"}},
    "device": {"a": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}},
    "pipe": {"a": {"type": tarfile.FIFOTYPE}},
}


@pytest.mark.parametrize("kind", EVIL_TAR)
def test_an_evil_tar_is_refused_whole(kind, tmp_path):
    archive = make_tar(tmp_path / "x.tar.gz", {"first.txt": b"1", **EVIL_TAR[kind]})
    with pytest.raises(UnsafeArchiveError, match="nothing was unpacked"):
        unpack(archive, tmp_path / "deep/into")
    assert tree(tmp_path) == {"x.tar.gz": archive.read_bytes()}
    assert not list((tmp_path / "deep/into").iterdir())


@pytest.mark.parametrize("name", ["/tmp/calip-evil", "../evil", "a/../../evil", "C:/evil", "a\\..\\..\\evil"])
def test_an_evil_zip_is_refused_whole(name, tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"first.txt": b"1", name: b"x"})
    with pytest.raises(UnsafeArchiveError, match="leads out of its folder: nothing was unpacked"):
        unpack(archive, tmp_path / "deep/into")
    assert tree(tmp_path) == {"x.zip": archive.read_bytes()}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(kind, tmp_path):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    archive = make_zip(tmp_path / "x.zip", {info: "/etc/passwd"})
    with pytest.raises(UnsafeArchiveError, match="'link', a link or device"):
        unpack(archive, tmp_path / "into")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar"])
def test_a_cut_off_archive_leaves_nothing(name, tmp_path):
    archive = tmp_path / name
    content = {"a.bin": bytes(range(256)) * 500, "b.bin": bytes(range(255)) * 500}
    make_zip(archive, content) if name == "x.zip" else make_tar(archive, content, "w" if name == "x.tar" else "w:gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match="is not a whole zip or tar archive"):
        unpack(archive, tmp_path / "into")
    assert not tree(tmp_path / "into")


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"x.zip is not a whole zip or tar archive .*fetch it again"):
        unpack(tmp_path / "x.zip", tmp_path / "into")


def test_a_zip_larger_than_the_disk_is_refused_before(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "x.zip", {"a": b"12345678"})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 7}))
    with pytest.raises(OSError, match="needs 8 bytes unpacked.*has 7 free"):
        unpack(archive, tmp_path / "into")


def test_archives_are_known_by_their_names():
    assert is_archive("a.TGZ")
    assert is_archive("a.tar.gz")
    assert not is_archive("split.json")
    assert not is_archive("a.mat")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_full_disk_while_a_tar_is_unpacked_says_how_much_it_needs(name, tmp_path, monkeypatch):
    mode = "w" if name == "x.tar" else "w:gz"
    archive = make_tar(tmp_path / name, {"a/small.txt": b"1", "b.bin": bytes(200_000)}, mode)

    def full(source, target, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", full)
    with pytest.raises(OSError, match=f"disk is full: .*{name} needs 200,001 bytes unpacked; nothing was") as caught:
        unpack(archive, tmp_path / "into")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "into"))
    assert not tree(tmp_path / "into")


def test_a_tar_larger_than_the_disk_is_refused_before(tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "x.tar.gz", GOOD)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 7}))
    with pytest.raises(OSError, match="needs at least .* bytes unpacked.*has 7 free"):
        unpack(archive, tmp_path / "into")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_unpacking_is_shown(name, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(archives, "BAR_AFTER", 0)
    archive = make_zip(tmp_path / name, GOOD) if name == "x.zip" else make_tar(tmp_path / name, GOOD)
    unpack(archive, tmp_path / "silent")
    assert capfd.readouterr().err == ""
    unpack(archive, tmp_path / "shown", progress=True)
    assert f"unpacking {name}: " in capfd.readouterr().err
