"""One rule for damaged files: whatever a library raises while it reads one becomes a ValueError that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: Path | str, kind: str) -> Iterator[None]:
    """A block in which a file is read by code that was not written for damaged files.

    Args:
        path: the file.
        kind: what it is read as, such as "an image" or "HDF5".

    Raises:
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
