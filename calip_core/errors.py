"""What is said of an error to people who did not write the program."""

from collections.abc import Iterable
from difflib import get_close_matches

_EXPECTED = (OSError, ValueError, ImportError, TypeError, RuntimeError)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`` (did you mean 'dtd'?)`` if one of the choices is spelt much like the name, else nothing."""
    close = get_close_matches(name, list(choices), n=1, cutoff=0.7)
    return f" (did you mean {close[0]!r}?)" if close else ""


def in_words(error: Exception) -> str:
    """The message of an error; of one about a file, without its number: the file, then the reason.

    Errors that the library does not raise by itself, such as a KeyError, keep the name of their class.
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {error}"
