import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calip_core.reading import read_in_child, read_json, read_text, reading


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), struct.error("short"), zlib.error("bad"), RecursionError(), MemoryError(), OSError("no errno"),
     ValueError("about something else"), OSError(22, "Invalid argument")],
)  # fmt: skip
def test_what_a_reader_raises_names_the_file_and_keeps_the_reason(error: Exception) -> None:
    named = pytest.raises(ValueError, match=r"picture\.png cannot be read as an image")
    with named as caught, reading("picture.png", "an image"):
        raise error
    assert type(error).__name__ in str(caught.value)
    assert caught.value.__cause__ is error


def test_errors_that_name_the_file_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), reading(tmp_path / "no", "a list"):
        (tmp_path / "no").read_bytes()
    with pytest.raises(ValueError, match=r"^a\.txt has 3 lines$"), reading("a.txt", "a list"):
        raise ValueError("a.txt has 3 lines")


def test_an_interruption_is_no_damage() -> None:
    with pytest.raises(KeyboardInterrupt), reading("a", "b"):
        raise KeyboardInterrupt


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], Any]:
    """Reads a file by a script with the given lines."""
    (tmp_path / "file.bin").write_bytes(b"content")

    def read(lines: str, **options: Any) -> Any:
        (tmp_path / "script.py").write_text(f"import os, sys, time\n{lines}\n")
        return read_in_child(tmp_path / "script.py", tmp_path / "file.bin", "a test", "word", **options)

    return read


def test_a_child_reads_the_file_and_prints_json(child: Callable[[str], Any]) -> None:
    assert child("print(f'[\"{sys.stdin.read()}\", \"{sys.argv[1]}\"]')") == ["content", "word"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("sys.exit(3)", "its reader failed"),
        ("print('{')", "JSONDecodeError"),
        ("time.sleep(30)", "timed out after 0.5 seconds"),
    ],
)
def test_what_ends_a_child_names_the_file(child: Callable[..., Any], lines: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"file\.bin cannot be read as a test .*{reason}"):
        child(lines, seconds=0.5 if "sleep" in lines else 60)


def test_a_child_is_not_asked_for_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_in_child(tmp_path / "script.py", tmp_path / "none", "a test")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark"])
def test_text_is_read_as_editors_save_it(encoding: str, tmp_path: Path) -> None:
    content = "\ufeffcafé/1\n".encode("utf-16-be") if "mark" in encoding else "café/1\n".encode(encoding)
    (tmp_path / "list.txt").write_bytes(content)
    assert read_text(tmp_path / "list.txt") == "café/1\n"


def test_latin_1_is_read_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9/1 \x93x\x94\n")
    with pytest.warns(UserWarning, match=r"list\.txt is not in UTF-8: read as Latin-1"):
        assert read_text(tmp_path / "list.txt") == "café/1 “x”\n"


@pytest.mark.filterwarnings("ignore:.*not in UTF-8")
@pytest.mark.parametrize("content", [b"\x89PNG\0\0", b"\x81", b"\xff\xfe\0\xd8", b"a\0b"])
def test_what_is_no_text_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.txt cannot be read as text"):
        read_text(tmp_path / "list.txt")


def test_json_is_read_and_a_key_that_would_be_lost_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, {"b": null}]}')
    assert read_json(path) == {"a": [1, {"b": None}]}
    path.write_text('[{"a": 1, "b": 2, "a": 1}]')
    with pytest.raises(ValueError, match=r"x\.json cannot be read as JSON .*the key 'a' occurs more than once"):
        read_json(path)
