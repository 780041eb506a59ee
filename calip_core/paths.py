"""Locations of the library's data and caches, and atomic writing of files."""

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None

DATA_DIR = (_PACKAGE / "_data").resolve()
"""Cards, class names, published numbers, the miniatures' weights: in a checkout, the link leads to its ``data/``."""


def repository() -> Path:
    """The checkout that this library runs from.

    Raises:
        FileNotFoundError: the library is installed without one.
    """
    if _CHECKOUT is None:
        raise FileNotFoundError(
            f"{_PACKAGE} is an installation without the repository, which this needs: run it in a checkout"
        )
    return _CHECKOUT


def cache_dir() -> Path:
    """Folder for everything that can be recreated: ``$CALIP_CACHE``, else the system's own cache folder."""
    return _from_variable("CALIP_CACHE") or Path(platformdirs.user_cache_dir("calip"))


def data_root() -> Path:
    """Folder of the downloaded datasets, one sub-folder each: ``$CALIP_DATA``, else ``data/datasets`` in a checkout.

    An installation without the repository keeps them in the system's folder for a user's data.
    """
    return _from_variable("CALIP_DATA") or (DATA_DIR if _CHECKOUT else _user_data()) / "datasets"


def results_file() -> Path:
    """Where evaluations are recorded: ``$CALIP_RESULTS``, else ``results/runs.jsonl`` in a checkout.

    An installation without the repository keeps them in the system's folder for a user's data.

    Raises:
        IsADirectoryError: ``$CALIP_RESULTS`` is a folder.
    """
    return check_results(_from_variable("CALIP_RESULTS") or (_CHECKOUT or _user_data()) / "results" / "runs.jsonl")


def check_results(path: Path) -> Path:
    """The path of a file of records, after checking that it is not a folder.

    Raises:
        IsADirectoryError: it is a folder.
    """
    if path.is_dir():
        reason = f"is a folder, expected the file of records, such as {path / 'runs.jsonl'}"
        raise IsADirectoryError(errno.EISDIR, reason, str(path))
    return path


def _from_variable(name: str) -> Path | None:
    """The path that an environment variable names, ``~`` resolved; None if it is not set."""
    text = os.environ.get(name)
    return expanded(text) if text else None


def _user_data() -> Path:
    return Path(platformdirs.user_data_dir("calip"))


def expanded(path: Path | str) -> Path:
    """The path with the home folder that ``~`` or ``~user`` stands for.

    Raises:
        ValueError: the user is unknown or has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} begins with a home folder that is not known here: give the path in full") from error


def printable(text: str) -> str:
    """The text with escapes for bytes that are not valid UTF-8, which JSON and terminals cannot represent."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place when the block succeeds, remove it when it fails.

    A reader thus sees the old file or the whole new one, never a half-written one, and two writers cannot mix their
    output.

    Raises:
        OSError: the folder cannot be written; the message names it and says what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{path.suffix}")
        # The system applies the user's mask; mkstemp's 0600 would prevent others from reading a shared cache.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Create the folder and try to write into it, to fail before long work instead of after it.

    Raises:
        OSError: the folder cannot be written; the message names it and says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> OSError:
    reason = f"cannot write into this folder ({error.strerror}): choose another, or change its permissions"
    return type(error)(error.errno, reason, str(folder))
