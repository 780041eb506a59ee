"""Class descriptions: what a JSON file may hold, and what is said of a file that does not fit."""

import json

import pytest

from calip_core.templates import check_descriptions, read_descriptions

CATS_AND_DOGS = {"cat": ["A small animal.", "It purrs.", "It purrs."], "dog": ["It barks."]}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "pets.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_file_in_the_layout_of_cupl_is_read_as_it_stands(written):
    found = read_descriptions(written(CATS_AND_DOGS))
    assert found == {"cat": ("A small animal.", "It purrs.", "It purrs."), "dog": ("It barks.",)}
    assert list(found) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a {}."], r"pets.json holds \['a \{\}.'\], expected class descriptions: an object of lists of texts"),
        ("{", "pets.json cannot be read as JSON"),
        ("<html>", "it is a web page"),
        ('{"cat": ["a"], "cat": ["b"]}', "pets.json cannot be read as JSON .*the key 'cat' occurs more than once"),
        ({"cat": "a small animal"}, "pets.json: 'cat' has 'a small animal', expected a list of at least one text"),
        ({"cat": []}, r"'cat' has \[\], expected a list of at least one text about it"),
        ({"pets": CATS_AND_DOGS}, "'pets' has {'cat': .*, expected a list of at least one text about it"),
        ({"cat": ["a", 3]}, "'cat' has the text 3, expected one that can be read"),
        ({"cat": [" \n"]}, r"'cat' has the text ' \\n', expected one that can be read"),
        ('{"cat": ["a \\ud83d"]}', r"'cat' has the text 'a \\ud83d', expected one that can be read"),
        ({"cat": ["a {}."]}, r"'cat' has the text 'a \{\}.', in which nothing is replaced"),
        ({"cat": ["a {c}."]}, r"'cat' has the text 'a \{c\}.', in which nothing is replaced"),
        ("[" * 100_000, "pets.json cannot be read as JSON"),
    ],
)
def test_another_file_is_refused_by_name(written, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_descriptions(written(content))
    assert len(str(caught.value)) < 600


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json"):
        read_descriptions(tmp_path / "none.json")


def test_descriptions_are_of_the_classes_in_any_order_and_classes_may_share_a_name():
    check_descriptions(CATS_AND_DOGS, ["dog", "cat"], "pets")
    check_descriptions(CATS_AND_DOGS, ["dog", "cat", "dog"], "pets")


@pytest.mark.parametrize(
    ("classnames", "message"),
    [
        (["cat", "dog", "red panda"], r"pets: .* do not fit the class names \(missing: 'red panda'\)$"),
        (["cat"], r"\(unknown: 'dog'\)$"),
        (["cat", "dogs"], r"\(missing: 'dogs'; unknown: 'dog' \(did you mean 'dogs'\?\)\)$"),
        (["cat", "dog", "a", "b", "c", "d", "e"], r"\(missing: 'a', 'b', 'c' and 2 more\)$"),
    ],
)
def test_descriptions_of_other_classes_are_refused(classnames, message):
    with pytest.raises(ValueError, match=message):
        check_descriptions(CATS_AND_DOGS, classnames, "pets")


def test_a_thousand_wrong_names_are_refused_at_once():
    with pytest.raises(ValueError, match="missing: 'class 0', 'class 1', 'class 2' and 997 more; unknown: 'kind 0'"):
        check_descriptions({f"kind {i}": ["a"] for i in range(1000)}, [f"class {i}" for i in range(1000)], "many")
