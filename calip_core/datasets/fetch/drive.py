"""Files on Google Drive, by their id: ``gdown`` answers the questions that a browser would be asked."""

from pathlib import Path

from filelock import FileLock

from calip_core.datasets.fetch.download import TIMEOUT, ChecksumError, DownloadError, verify


def download_from_drive(identifier: str, path: Path, checksum: str | None = None, *, progress: bool = True) -> str:
    """Download a file by its id unless it exists already; a broken download is continued.

    Args:
        identifier: the id in the file's address, ``https://drive.google.com/file/d/ID/view``.
        path: where to put it.
        checksum: as published, ``md5:`` or ``sha256:`` and hexadecimal digits; None if none is.
        progress: whether to show a progress bar.

    Returns:
        The file's SHA-256.

    Raises:
        ImportError: the package gdown is not installed.
        DownloadError: Google Drive does not answer, or refuses the file, as it does when too many have fetched it.
        ChecksumError: the file is not the published one; a bad download is removed.
        OSError: the file cannot be written.
    """
    try:
        import gdown
        from requests import RequestException
    except ImportError as error:
        raise ImportError("files on Google Drive need the package gdown: `pip install 'calip-core[hub]'`") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.is_file():
            return verify(path, checksum, progress=progress)
        try:
            gdown.download(
                id=identifier, output=str(path), quiet=not progress, resume=True, use_cookies=False, timeout=TIMEOUT
            )
        except (gdown.DownloadError, RequestException) as error:
            reason = " ".join(str(error).split())[:300]
            raise DownloadError(f"cannot fetch {path.name} from Google Drive ({reason}): try later") from error
        try:
            return verify(path, checksum, progress=progress)
        except ChecksumError:
            path.unlink()
            raise
