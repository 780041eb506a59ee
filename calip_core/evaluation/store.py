"""Records on disk: one file of JSON lines, which several processes may extend at once."""

import errno
import json
import os
import warnings
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from calip_core.evaluation.record import SCHEMA, Record
from calip_core.paths import results_file


class TornRecordWarning(UserWarning):
    """A line of a file of records is incomplete: a process was stopped while writing it."""


class OldRecordWarning(UserWarning):
    """A record was written by another version of this library, in another format."""


def append(record: Record, path: Path | None = None) -> None:
    """Add a record as one line of JSON. Several processes may append at once: a line is complete or absent.

    Args:
        record: what was measured.
        path: the file; ``results_file()`` by default.

    Raises:
        OSError: the file cannot be written; its records are kept.
    """
    path = path or results_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    line = record.model_dump_json().encode() + b"\n"
    with FileLock(f"{path}.lock"), path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = line if _ends_a_line(file, end) else b"\n" + line  # a torn line stays on its own line
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError as error:
            os.truncate(path, end)
            raise OSError(
                error.errno, f"cannot append a record ({error.strerror}); the earlier ones are safe", str(path)
            ) from error


def _ends_a_line(file: FileIO, end: int) -> bool:
    if end == 0:
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"


def load(path: Path | None = None) -> list[Record]:
    """All records, in the order in which they were written; none if there is no file.

    Args:
        path: the file; ``results_file()`` by default.

    Warns:
        TornRecordWarning: a line is incomplete and was skipped.
        OldRecordWarning: a line has the format of another version and was skipped.

    Raises:
        ValueError: a complete line is not a record; the message names the file, the line and the field.
    """
    path = path or results_file()
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    parsed = (_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    return [record for record in parsed if record is not None]


def _parse(path: Path, number: int, line: bytes) -> Record | None:
    where = f"{path}, line {number},"
    try:
        return Record.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "json_invalid":
            text = f"{where} is cut short and left out: measure it again"
            warnings.warn(text, TornRecordWarning, stacklevel=4)
            return None
        schema = _schema(line)
        if schema not in (None, SCHEMA):
            text = f"{where} has record format {schema}, expected {SCHEMA}; it is left out: measure it again"
            warnings.warn(text, OldRecordWarning, stacklevel=4)
            return None
        field = ".".join(map(str, fault["loc"])) or "the line"
        raise ValueError(
            f"{where} is not a record of this version: {field}: {fault['msg']}. Move the file away, or remove the line"
        ) from error


def _schema(line: bytes) -> object:
    """The version of a line's format; None if it is not a record."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("schema_version") if isinstance(value, dict) else None


def latest(records: Iterable[Record]) -> list[Record]:
    """The latest record of each setting, in the order of the file.

    The order decides, not the time in the records: clocks differ between machines, and step back.
    """
    newest: dict[str, Record] = {}
    for record in records:
        newest.pop(record.key, None)
        newest[record.key] = record
    return list(newest.values())


class RecordedKeys:
    """The keys of a file of records; updates read only what was added to the file."""

    def __init__(self, path: Path) -> None:
        """Read ``path``, which need not exist yet."""
        self._path, self._keys, self._read, self._lines = path, set[str](), 0, 0

    def __contains__(self, key: str) -> bool:
        """Whether a record of this setting has been written by now."""
        self._update()
        return key in self._keys

    def _update(self) -> None:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]  # the last line may still be being written
        lines = whole.split(b"\n")
        records = (_parse(self._path, self._lines + i, line) for i, line in enumerate(lines, 1) if line.strip())
        self._keys |= {record.key for record in records if record is not None}
        self._read, self._lines = self._read + len(whole), self._lines + len(lines) - 1
