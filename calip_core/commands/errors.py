"""What a command says when it fails."""


def in_words(error: Exception) -> str:
    """The message of an error; of one about a file, without its number: the file, then the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
