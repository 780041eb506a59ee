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


@pytest.mark.parametrize(("kind", "target"), [(tarfile.SYMTYPE, "../a/one.txt"), (tarfile.LNKTYPE, "a/one.txt")])
def test_a_link_to_a_file_of_the_archive_becomes_that_file(kind, target, tmp_path):
    link = {"type": kind, "linkname": target}
    unpack(make_tar(tmp_path / "x.tar", {"b/link": link, "a/one.txt": b"1"}, "w"), tmp_path / "into")
    assert tree(tmp_path / "into") == {"a/one.txt": b"1", "b/link": b"1"}
    assert not (tmp_path / "into/b/link").is_symlink()


def test_of_two_files_with_one_name_the_later_stays_and_its_link_is_none_to_the_earlier(tmp_path):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.LNKTYPE, "a"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, body in (("a", b"old"), ("link", b"file"), ("a", b"new")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    unpack(tmp_path / "x.tar", tmp_path / "into")
    assert tree(tmp_path / "into") == {"a": b"new", "link": b"file"}


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
    "link to a link": {
        "a": {"type": tarfile.SYMTYPE, "linkname": "b"}, "b": {"type": tarfile.SYMTYPE, "linkname": "a"},
    },
    "link to a folder": {"a/one.txt": b"1", "b": {"type": tarfile.SYMTYPE, "linkname": "a"}},
    "file through a link": {"a": {"type": tarfile.SYMTYPE, "linkname": "first.txt"}, "a/evil": b"x"},
    "nothing behind a link": {"a": {"type": tarfile.SYMTYPE, "linkname": "b"}},
}


@pytest.mark.parametrize("kind", EVIL_TAR)
def test_an_evil_tar_is_refused_whole(kind, tmp_path):
    archive = make_tar(tmp_path / "x.tar.gz", {"first.txt": b"1", **EVIL_TAR[kind]})
    with pytest.raises(ValueError, match=rf"{archive}.*(nothing was unpacked|both a file and a folder)"):
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


def test_nested_links_do_not_lead_out(tmp_path):
    """CVE-2025-4517: short links to long folders, so that the real path is too long for the system to resolve."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim").write_bytes(b"precious")
    members, path, long, steps = {}, "", "d" * 247, "abcdefghijklmnop"
    for step in steps:
        members[f"{path}{long}"] = {"type": tarfile.DIRTYPE}
        members[f"{path}{step}"] = {"type": tarfile.SYMTYPE, "linkname": long}
        path += f"{long}/"
    deep = "/".join(steps) + "/" + "l" * 254
    members[deep] = {"type": tarfile.SYMTYPE, "linkname": "../" * len(steps)}
    members["escape"] = {"type": tarfile.SYMTYPE, "linkname": f"{deep}/../../../../outside"}
    members["hard"] = {"type": tarfile.LNKTYPE, "linkname": "escape/victim"}
    archive = make_tar(tmp_path / "x.tar", members, "w")
    with tarfile.open(archive, "a") as more:
        info = tarfile.TarInfo("hard")
        info.size = 11
        more.addfile(info, io.BytesIO(b"overwritten"))
    with pytest.raises(UnsafeArchiveError):
        unpack(archive, tmp_path / "data/set")
    assert (tmp_path / "outside/victim").read_bytes() == b"precious"
    assert not list((tmp_path / "data/set").iterdir())


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "links.tar", "many.tar.gz"])
def test_an_archive_made_to_fill_a_disk_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 10_000)
    archive = tmp_path / name
    if name == "x.zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            content.writestr("a", bytes(1_000_000))
    elif name == "links.tar":
        links = {f"{i}": {"type": tarfile.LNKTYPE, "linkname": "a"} for i in range(300)}
        make_tar(archive, {"a": bytes(200_000)} | links, "w")
    else:
        make_tar(archive, {"a": bytes(1_000_000)} if name == "x.tar.gz" else {f"{i}": b"" for i in range(5000)})
    if name == "many.tar.gz":  # headers shrink less than their own bytes would
        monkeypatch.setattr(archives, "RATIO", 10)
    with pytest.raises(UnsafeArchiveError, match=r"would take more than .* bytes, .* times its own size"):
        unpack(archive, tmp_path / "into")
    assert not tree(tmp_path / "into")


def test_pictures_of_one_colour_are_no_attack(tmp_path):
    """Small archives may grow as they like."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("a.bmp", bytes(1_000_000))
    unpack(tmp_path / "x.zip", tmp_path / "into")
    assert tree(tmp_path / "into") == {"a.bmp": bytes(1_000_000)}


def test_an_encrypted_zip_is_named(tmp_path):
    archive = make_zip(tmp_path / "x.zip", GOOD)
    content = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.zip cannot be read .*encrypted"):
        unpack(archive, tmp_path / "into")
    assert not tree(tmp_path / "into")


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["n" * 300]])
def test_names_that_cannot_all_be_files_are_refused(names, tmp_path):
    files = dict.fromkeys(names, b"1")
    for archive in (make_zip(tmp_path / "x.zip", files), make_tar(tmp_path / "x.tar", files)):
        with pytest.raises(ValueError, match=rf"{archive} .*(is both a file and a folder|cannot be a file's name)"):
            unpack(archive, tmp_path / "into")


@pytest.mark.parametrize("at", [0, 512 * 2])
def test_a_tar_with_a_damaged_header_is_not_cut_short_in_silence(at, tmp_path):
    archive = make_tar(tmp_path / "x.tar", GOOD, "w")
    content = bytearray(archive.read_bytes())
    content[at] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tar cannot be read"):
        unpack(archive, tmp_path / "into")
    assert not tree(tmp_path / "into")


def test_sizes_below_zero_do_not_lead_in_circles(tmp_path):
    """CVE-2025-8194."""
    for number, header in enumerate((b"\xff" * 12, None)):
        info = tarfile.TarInfo("a")
        if header is None:
            info.pax_headers = {"size": "-512"}
        block = bytearray(info.tobuf(tarfile.PAX_FORMAT))
        if header:
            block[124:136] = header
            block[148:156] = b"%06o\0 " % tarfile.calc_chksums(block)[0]
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(bytes(block) + bytes(2048))
        with pytest.raises(ValueError, match=r"\.tar cannot be read .*size -"):
            unpack(archive, tmp_path / "into")


def test_a_header_longer_than_any_name_is_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ValueError, match=r"x\.tar cannot be read"):
        unpack(tmp_path / "x.tar", tmp_path / "into")


def test_headers_within_headers_are_named(tmp_path):
    """As many long names in a row as Python nests calls."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    header = info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(tarfile.BLOCKSIZE, b"\0")
    (tmp_path / "x.tar").write_bytes(header * 2000 + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar cannot be read .*RecursionError"):
        unpack(tmp_path / "x.tar", tmp_path / "into")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar"])
def test_a_cut_off_archive_leaves_nothing(name, tmp_path):
    archive = tmp_path / name
    content = {"a.bin": bytes(range(256)) * 500, "b.bin": bytes(range(255)) * 500}
    make_zip(archive, content) if name == "x.zip" else make_tar(archive, content, "w" if name == "x.tar" else "w:gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match="cannot be read as a zip or tar archive"):
        unpack(archive, tmp_path / "into")
    assert not tree(tmp_path / "into")


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"x.zip cannot be read as a zip or tar archive .*fetch or write it again"):
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

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
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
