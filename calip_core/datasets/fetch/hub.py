"""Datasets of the Hub: which files of a repository are wanted, and their download by ``huggingface_hub``.

A revision is resolved to its commit once and remembered with the checksums of all files in ``FETCHED.json``; later
fetches bring the same commit. ``huggingface_hub`` continues broken downloads and takes the token for gated datasets
from the usual places (``HF_TOKEN``, or ``hf auth login``).
"""

import errno
import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from calip_core.datasets.fetch.download import ChecksumError, DownloadError
from calip_core.datasets.hub.origin import NOTE, Origin, origin_of
from calip_core.datasets.hub.parts import SPELLINGS
from calip_core.datasets.hub.shards import COUNT, KIND, NAMES, PROMPTS
from calip_core.datasets.hub.tables import split_name
from calip_core.digests import file_digests, sha256_of

_SHARD = re.compile(rf"({'|'.join(SPELLINGS)})/([0-9]+\.tar|{re.escape(COUNT)})")
_LISTS = (NAMES, PROMPTS, KIND)


@dataclass(frozen=True)
class Repository:
    """What of a repository was fetched.

    Attributes:
        origin: the repository, its commit, and the files with their checksums.
        folder: where the files are.
        kind: "wds" for shards, "parquet" for tables.
        new: whether anything was downloaded.
    """

    origin: Origin
    folder: Path
    kind: str
    new: bool

    def __str__(self) -> str:
        count = len(self.origin.files)
        files = f"{count} file{'s' * (count > 1)} with the checksums that the Hub states"
        return f"{self.origin}, {files}, noted in {self.folder / NOTE}"

    @property
    def task(self) -> str:
        """The name by which ``load_task`` reads it."""
        return f"{self.kind}:{self.folder}"


@dataclass(frozen=True)
class _File:
    path: str
    sha256: str | None  # of a large file, as the Hub states it
    blob: str  # of any other: git's SHA-1

    def verify(self, path: Path) -> str:
        """The file's SHA-256, after comparison with what the Hub states."""
        digest = sha256_of(path)
        if self.sha256 is not None:
            found, expected = digest, self.sha256
        else:
            content = path.read_bytes()
            found, expected = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), self.blob
        if found != expected:
            path.unlink()
            raise ChecksumError(f"{path} has the checksum {found}, but the Hub states {expected}: fetch it again")
        return digest


def fetch_repository(name: str, folder: Path, revision: str | None = None, splits: Collection[str] = ()) -> Repository:
    """Bring the shards or tables of a dataset's repository.

    Without a network, what was fetched before is only verified.

    Args:
        name: owner and name, as in ``clip-benchmark/wds_cars``.
        folder: where the files belong.
        revision: a branch, a tag or a commit; by default, the commit fetched before, or else the main branch's.
        splits: the Hub's names of the splits that are wanted; by default, all that can be read.

    Raises:
        ImportError: the package huggingface_hub is not installed.
        DownloadError: the Hub does not answer, has no such dataset, or wants its terms accepted first.
        ChecksumError: a file differs from what the Hub states or from what was fetched before.
        ValueError: the folder holds another repository or revision, there is no such revision, or the repository has
            neither shards nor tables.
        OSError: the disk is full or the folder not writable.
    """
    known = origin_of(folder)
    if known and (known.repository != name or revision not in (None, known.revision, known.asked)):
        raise ValueError(f"{folder} holds {known}, not {name} at {revision}: remove this folder to fetch the other")
    if known and all((folder / file).is_file() for file in known.files):
        _verify(known, folder)
        return Repository(known, folder, _kind(known.files), new=False)
    with _asking(name, revision):
        commit, files = _listing(name, known.revision if known else revision)
    wanted = _wanted([file.path for file in files], name, splits)
    digests = {file.path: _bring(file, name, commit, folder) for file in files if file.path in wanted}
    if known and known.files != digests:
        raise ChecksumError(
            f"{folder} holds other files than before, as {folder / NOTE} says: remove it, fetch it again"
        )
    origin = known or Origin(repository=name, revision=commit, asked=revision, files=digests)
    origin.write(folder)
    return Repository(origin, folder, _kind(digests), new=True)


def _verify(known: Origin, folder: Path) -> None:
    found = file_digests([folder / file for file in known.files])
    for (file, digest), now in zip(known.files.items(), found, strict=True):
        if digest != now:
            raise ChecksumError(
                f"{folder / file} has the sha256 {now}, expected {digest} as fetched: remove it, then fetch it again"
            )


def _kind(files: Collection[str]) -> str:
    return "wds" if any(file.endswith(".tar") for file in files) else "parquet"


def _listing(name: str, revision: str | None) -> tuple[str, list[_File]]:
    """The commit of a revision, and its files as the Hub lists them."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(library_name="calip-core")
    commit = str(api.dataset_info(name, revision=revision).sha)
    entries = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
    found = [entry for entry in entries if isinstance(entry, RepoFile)]
    return commit, [_File(file.path, file.lfs.sha256 if file.lfs else None, file.blob_id) for file in found]


def _wanted(paths: list[str], name: str, splits: Collection[str]) -> set[str]:
    shards = {path for path in paths if (match := _SHARD.fullmatch(path)) and (not splits or match[1] in splits)}
    if any(path.endswith(".tar") for path in shards):
        return shards | {path for path in paths if path in _LISTS}
    tables = [PurePosixPath(path) for path in paths if path.endswith(".parquet")]
    chosen = {path for path in tables if split_name(path) in (splits or SPELLINGS)}
    folders = {(split_name(path), path.parent) for path in chosen}
    if len(folders) > len({split for split, _ in folders}):
        shown = ", ".join(sorted({str(folder) for _, folder in folders})[:5])
        raise ValueError(
            f"{name} has several datasets ({shown}): download the folder of one, and read it by parquet:PATH"
        )
    if not chosen:
        raise ValueError(
            f"{name} has neither webdataset shards (such as test/0.tar) nor tables (such as data/test-00000-of-00001."
            "parquet): where the Hub shows its images, --revision refs/convert/parquet has them as tables"
        )
    return {str(path) for path in chosen}


def _bring(file: _File, name: str, commit: str, folder: Path) -> str:
    """Download one file, or find it downloaded; its SHA-256."""
    from huggingface_hub import hf_hub_download

    with _asking(name, commit):
        hf_hub_download(
            name, file.path, repo_type="dataset", revision=commit, local_dir=folder, library_name="calip-core"
        )
    return file.verify(folder / file.path)


@contextmanager
def _asking(name: str, revision: str | None) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into words about what to do."""
    errors = _errors()
    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{name} is gated: accept its terms at https://huggingface.co/datasets/{name}, then give your token "
            "(HF_TOKEN, or `hf auth login`) and run the same command again"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{name} has no revision {revision!r}: give a branch, a tag or a commit of it") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"the Hub has no dataset {name}, or it is private and your token does not open it"
        ) from error
    except (errors.HfHubHTTPError, errors.HTTPError, getattr(errors, "XetDownloadError", OSError), OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DownloadError(
            f"cannot fetch {name} ({type(error).__name__}: {reason}): is there a network? What has arrived is kept; "
            "run the same command again"
        ) from error


def _errors() -> Any:
    """The module of huggingface_hub's errors; its ``HTTPError`` is that of the HTTP client that it uses."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(
            "datasets of the Hub need the package huggingface_hub: `pip install 'calip-core[hub]'`"
        ) from error
    return errors
