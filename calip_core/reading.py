"""One rule for damaged files: whatever a library raises while it reads one becomes a ValueError that names the file."""

import codecs
import json
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def reading(path: Path | str, kind: str) -> Iterator[None]:
    """A block in which a file is read by code that was not written for damaged files.

    Args:
        path: the file.
        kind: what it is read as, such as "an image" or "HDF5". Raises:
        ValueError: the block raised anything; the message names the file and keeps the reason. One that already names
            the file is passed on as it is.
        OSError: the file cannot be opened; this error names the file by itself.
    """
    try:
        yield
    except Exception as error:
        opening = isinstance(error, OSError) and error.filename is not None
        named = isinstance(error, ValueError) and str(path) in str(error)
        if opening or named:
            raise
        reason = " ".join(str(error).split()) or "no reason given"
        raise ValueError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {reason[:300]}): the file is damaged or of "
            "another kind; fetch or write it again"
        ) from error


def read_text(path: Path) -> str:
    """A text as saved by common editors: in UTF-8 or UTF-16 with its mark, else in UTF-8 or Windows-1252.

    Windows-1252 is Latin-1 with a few more characters. A warning is issued for it, since it fits almost any file.

    Raises:
        ValueError: the file is not text in any of these encodings.
        OSError: the file cannot be opened.
    """
    with reading(path, "text"):
        content = path.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = content.decode("utf-16" if marked else "utf-8-sig")
        except UnicodeDecodeError:
            if marked:
                raise
            text = content.decode("cp1252")
            warnings.warn(f"{path} is not in UTF-8: read as Latin-1 (Windows-1252)", UserWarning, stacklevel=4)
        if binary := next((letter for letter in text if letter < " " and letter not in "\t\n\r\f"), None):
            raise ValueError(f"it holds the character {binary!r}")
        return text


def read_json(path: Path) -> object:
    """The content of a JSON file.

    Raises:
        ValueError: it is not valid JSON, repeats a key, or is a web page in its place.
        OSError: the file cannot be opened.
    """
    text = read_text(path)
    with reading(path, "JSON"):
        if text.lstrip().startswith("<"):
            raise ValueError("it is a web page: open its address in a browser, which then saves the file")
        return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} occurs more than once")
    return dict(pairs)


def read_in_child(script: Path, path: Path, kind: str, *arguments: str, seconds: float = 60.0) -> Any:
    """Run a script that reads a file in its own process: some C libraries crash on damaged files.

    Args:
        script: a Python file that imports little, reads the file from its standard input, and prints JSON.
        path: the file.
        kind: what it is read as, such as "an image" or "HDF5".
        arguments: further arguments of the script.
        seconds: time limit, after which the process is ended.

    Raises:
        ValueError: the process failed, crashed or took too long; the message names the file.
        OSError: the file cannot be opened.
    """
    command = [sys.executable, "-P", str(script), *arguments]  # -P: modules beside the script hide no others
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with path.open("rb") as file, reading(path, kind):
        done = subprocess.run(
            command, stdin=file, capture_output=True, timeout=seconds, env=os.environ | quiet, check=False
        )
        if done.returncode < 0:
            raise ValueError(f"its reader was ended by {signal.Signals(-done.returncode).name}")
        if done.returncode:
            raise ValueError((done.stderr.decode(errors="replace").strip().splitlines() or ["its reader failed"])[-1])
        return json.loads(done.stdout)
