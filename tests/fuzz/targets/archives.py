"""Archives."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

from calip_core.datasets.fetch.archives import unpack
from tests.fuzz.harness import Target

FILES = {"set/lists/train.txt": b"a/1 0\nb/2 1\n", "set/a/1.jpg": bytes(range(40)), "set/" + "long" * 40: b"x"}


def _tar(mode: str, style: int = tarfile.PAX_FORMAT) -> bytes:
    """Folders, files, a long name and links of both kinds, as one archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=style) as archive:  # type: ignore[call-overload]
        for name, body in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        for name, kind, target in (("set/l", tarfile.SYMTYPE, "a/1.jpg"), ("h", tarfile.LNKTYPE, "set/a/1.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return stream.getvalue()


def _zip(kind: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, body in FILES.items():
            archive.writestr(name, body)
    return stream.getvalue()


def _unpack(path: Path) -> None:
    """Nothing may lie outside the folder afterwards, nor a link inside it."""
    room = path.parent / "room"
    shutil.rmtree(room, ignore_errors=True)
    before = {entry.name for entry in path.parent.iterdir()}
    try:
        unpack(path, room / "deep" / "into")
    finally:
        outside = {entry.name for entry in path.parent.iterdir()} - before - {"room"}
        inside = [entry for entry in room.rglob("*") if entry.is_symlink() or "into" not in entry.parts]
        assert not outside and [entry.name for entry in inside] == ["deep"], (outside, inside)


TARGETS = [
    Target("tar", "archive.tar", lambda: [_tar("w"), _tar("w", tarfile.GNU_FORMAT)], _unpack),
    Target("tar, compressed", "archive.tgz", lambda: [_tar("w:gz"), _tar("w:bz2"), _tar("w:xz")], _unpack),
    Target("zip", "archive.zip", lambda: [_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED)], _unpack),
]
