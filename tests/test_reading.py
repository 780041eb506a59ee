import struct
import zlib
from pathlib import Path

import pytest

from calip_core.reading import reading


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
