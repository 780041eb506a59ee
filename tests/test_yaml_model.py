"""YAML files as models: read when they fit, refused by file and field when they do not."""

import pytest
from pydantic import BaseModel, ConfigDict

from calip_core.yaml_model import read_model


class Pet(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    legs: dict[str, int] = {}


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "pet.yaml"
        path.write_text(text)
        return read_model(path, Pet, "a pet")

    return from_text


def test_a_file_that_fits_becomes_the_model(read):
    assert read("name: Tom\nlegs: {front: 2, back: 2}") == Pet(name="Tom", legs={"front": 2, "back": 2})


def test_merged_keys_are_no_doubles(read):
    with pytest.raises(ValueError, match="unknown key 'other'"):
        read("other: &a {front: 2}\nname: Tom\nlegs: {<<: *a, front: 3}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: Tom\nlegs: {front: 2}\nname: Tim", "(?s)'name' is given in line 1 and again.*line 3"),
        ("name: Tom\nlegs:\n  front: 2\n  front: 3", "(?s)'front' is given in line 3 and again.*line 4"),
        ("name: [", "pet.yaml cannot be read as YAML"),
        ("just words", "pet.yaml does not describe a pet: the file is 'just words', expected keys with values"),
        ("", "pet.yaml does not describe a pet: the file is empty: it needs at least name"),
        ("legs: {front: two}", "a pet: name is missing; legs.front is 'two', expected a whole number"),
        ("name: Tom\ncolour: red", "unknown key 'colour'. Keys: name, legs"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_field(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "pet.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ValueError, match="pet.yaml cannot be read as YAML"):
        read_model(tmp_path / "pet.yaml", Pet, "a pet")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "&a [*a]",
        "v0: &v0 [x, x]\n" + "".join(f"v{i + 1}: &v{i + 1} [{f'*v{i}, ' * 9}]\n" for i in range(8)),
        "v0: &v0 {x: 1}\n" + "".join(f"v{i + 1}: &v{i + 1} {{<<: [{f'*v{i}, ' * 9}]}}\n" for i in range(8)),
    ],
    ids=["deep", "in itself", "many laughs", "many merges"],
)  # fmt: skip
def test_a_text_that_means_more_than_fits_is_named(read, text):
    with pytest.raises(ValueError, match="pet.yaml cannot be read as YAML"):
        read(text)


def test_a_mark_at_the_start_is_no_text(tmp_path):
    (tmp_path / "pet.yaml").write_bytes(b"\xef\xbb\xbfname: Tom")
    assert read_model(tmp_path / "pet.yaml", Pet, "a pet").name == "Tom"


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none.yaml", Pet, "a pet")
