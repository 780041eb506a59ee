"""Tasks and splits: what they give, what they refuse, what they warn of."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from calip_core.datasets.checks import SPLITS, check_templates
from calip_core.datasets.readers.folder import PhotoFiles
from calip_core.datasets.task import Split, Task


def grey(index):
    return Image.new("RGB", (2, 2), (index, index, index))


def never(index):
    raise AssertionError("decoded an image")


def make(classnames=("cat", "dog"), templates=("a photo of a {}.",), labels=(0, 1, 1), splits=SPLITS):
    return Task("pets", "Pets", classnames, templates, {s: Split(grey, labels) for s in splits}, "CC0", "here")


def test_a_split_gives_image_and_label():
    image, label = Split(grey, [4, 5, 6])[1]
    assert image.getpixel((0, 0)) == (1, 1, 1)
    assert label == 5
    assert type(label) is int


def test_a_split_knows_its_files_where_it_has_any(tmp_path):
    assert Split(grey, [0]).paths is None
    paths = (tmp_path / "a.png", tmp_path / "b.png")
    assert Split(PhotoFiles(paths), [0, 1], paths=paths).paths == paths


def test_labels_are_known_without_decoding():
    split = Split(never, [3, 1, 2])
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == [3, 1, 2]
    assert len(split) == 3


@given(st.integers(0, 12), st.integers(-15, 15))
def test_indices_are_those_of_a_list(n, index):
    split, numbers = Split(grey, range(n)), list(range(n))
    try:
        expected = numbers[index]
    except IndexError:
        with pytest.raises(IndexError):
            split[index]
    else:
        image, label = split[index]
        assert label == expected == image.getpixel((0, 0))[0]


def test_a_split_ends_and_can_be_empty():
    assert [label for _, label in Split(grey, [7, 8])] == [7, 8]
    assert list(Split(grey, ())) == []


def test_a_split_travels_to_workers():
    split = pickle.loads(pickle.dumps(Split(grey, [1, 0])))
    assert split[0][1] == 1
    batches = DataLoader(Split(grey, range(6)), batch_size=3, collate_fn=lambda rows: [label for _, label in rows])
    assert list(batches) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classnames": (), "labels": ()}, "class names is empty"),
        ({"classnames": ("cat", " ")}, "class 1 has the blank name ' '"),
        ({"templates": ()}, "templates is empty"),
        ({"templates": ("a {}.", "a photo.")}, "'a photo.' needs exactly one {}"),
        ({"labels": (0, 2)}, "number 1 has label 2, expected 0 to 1"),
        ({"labels": (-1,)}, "label -1"),
        ({"splits": ("train", "test")}, r"splits are \['test', 'train'\]"),
    ],
)
def test_what_is_no_task_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)


def test_equal_class_names_are_legal_and_warned_of():
    with pytest.warns(UserWarning, match="share the name 'crane'; .* cannot tell them apart"):
        task = make(("crane", "dog", "crane"))
    assert task.classnames == ("crane", "dog", "crane")


def test_names_that_imagenets_own_list_gives_twice_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(("missile", "dog", "missile"))


def test_distinct_class_names_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()


def test_class_descriptions_take_the_place_of_templates():
    described = {"dog": ["It barks."], "cat": ["It purrs.", "It is small."]}
    assert make(templates=described).templates == described
    with pytest.raises(ValueError, match="pets: the class descriptions do not fit the class names .missing: 'cow'"):
        make(("cat", "dog", "cow"), described)
    with pytest.raises(ValueError, match="pets: 'dog' has"):
        make(templates=described | {"dog": []})


def test_one_rule_for_templates_here_and_in_the_classifier():
    check_templates(["a {}."], "owner")
    with pytest.raises(ValueError, match="owner: the template 'a {} is a {}.' needs exactly one {}"):
        check_templates(["a {} is a {}."], "owner")
