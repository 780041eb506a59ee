"""Where a folder of shards or tables was fetched from: its repository, the revision, and the files' checksums."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from calip_core.digests import file_digests
from calip_core.paths import atomic_path
from calip_core.reading import reading

NOTE = "FETCHED.json"
"""The file in the folder that says so."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Origin(BaseModel):
    """Content of ``FETCHED.json``, which ``calip fetch`` writes and which records quote.

    Attributes:
        repository: owner and name of the dataset's repository on the Hub.
        revision: the commit that was fetched.
        asked: the revision that was asked for, such as a branch or tag; None for the main branch.
        files: path below the folder -> SHA-256 of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    asked: str | None = None
    files: dict[str, Digest]

    def __str__(self) -> str:
        return f"{self.repository} at revision {self.revision}"

    def write(self, folder: Path) -> None:
        """Write the note into the folder."""
        with atomic_path(folder / NOTE) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def origin_of(folder: Path) -> Origin | None:
    """The note in a folder; None if it was not fetched by this library.

    Raises:
        ValueError: the note is damaged; the message names it.
        OSError: it cannot be opened.
    """
    path = folder / NOTE
    if not path.is_file():
        return None
    with reading(path, "the note of a fetch"):
        return Origin.model_validate_json(path.read_bytes())


def content_digests(paths: Sequence[Path], folder: Path) -> str:
    """The SHA-256 of each file, after comparison with the note in the folder, which records quote.

    Raises:
        ValueError: a file is not the one that was fetched; the message names it.
        OSError: a file is missing or cannot be read.
    """
    digests, origin = file_digests(paths), origin_of(folder)
    for path, digest in zip(paths, digests, strict=True):
        if origin and origin.files.get(path.relative_to(folder).as_posix()) != digest:
            raise ValueError(
                f"{path} is not the file that was fetched from {origin}: fetch it again, or remove {folder / NOTE} if "
                "the change is yours"
            )
    return " ".join(digests)


def described(folder: Path, splits: str) -> str:
    """What records say of the split: the folder's own splits, which are absent, and where they were fetched from."""
    origin = origin_of(folder)
    return f"{splits}; {origin}" if origin else splits
