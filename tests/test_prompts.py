import math
import warnings

import numpy as np
import pytest
import torch

from calip_core.prompts import IMAGENET_NAMES, shared_names, zero_shot_classifier

DEGREES = {"a cat": 0, "one cat": 60, "a dog": 90, "one dog": 180, "a missile": 270}


class Compass:
    """A backbone whose texts point somewhere in the plane."""

    def __init__(self):
        self.batches = []

    def encode_text(self, prompts):
        self.batches.append(list(prompts))
        angles = [math.radians(DEGREES[prompt]) for prompt in prompts]
        return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles])


def classify(classnames=("cat", "dog"), templates=("a {}", "one {}"), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return zero_shot_classifier(Compass(), classnames, templates, **options)


def test_the_mean_of_two_unit_vectors_halves_the_angle_and_keeps_the_length():
    angles = [math.radians(30), math.radians(135)]
    expected = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles])
    torch.testing.assert_close(classify(), expected, rtol=0, atol=1e-6)


def test_one_template_is_the_prompt_itself():
    torch.testing.assert_close(classify(templates=["a {}"]), torch.eye(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_batches_change_nothing(batch_size):
    torch.testing.assert_close(classify(batch_size=batch_size), classify(), rtol=0, atol=0)


def test_no_batch_is_larger_than_asked():
    compass = Compass()
    zero_shot_classifier(compass, ["cat", "dog"], ["a {}", "one {}"], batch_size=3)
    assert compass.batches == [["a cat", "one cat", "a dog"], ["one dog"]]


DESCRIPTIONS = {"dog": ["one dog"], "cat": ["a cat", "one cat", "one cat", "a missile"]}


def test_class_descriptions_give_the_mean_of_each_classs_own_unit_vectors():
    """Against a loop over the classes, in double precision; the order of the mapping does not matter, repeats count."""
    expected = []
    for name in ("cat", "dog"):
        angles = [math.radians(DEGREES[text]) for text in DESCRIPTIONS[name]]
        x, y = sum(map(math.cos, angles)), sum(map(math.sin, angles))
        expected.append([x / math.hypot(x, y), y / math.hypot(x, y)])
    for batch_size in (1, 2, 100):
        found = classify(templates=DESCRIPTIONS, batch_size=batch_size)
        torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=0, atol=1e-6)


def test_descriptions_that_say_what_templates_say_are_the_ensemble():
    written_out = {name: (f"a {name}", f"one {name}") for name in ("cat", "dog")}
    torch.testing.assert_close(classify(templates=written_out), classify(), rtol=0, atol=0)


def test_classes_of_one_name_share_its_descriptions():
    with pytest.warns(UserWarning, match="cannot be told apart by text: cat$"):
        text = zero_shot_classifier(Compass(), ["cat", "dog", "cat"], DESCRIPTIONS)
    assert torch.equal(text[0], text[2])


def test_names_are_put_in_as_they_are():
    DEGREES["a {hot}_dog"] = 45
    assert classify(["{hot}_dog"], ["a {}"]).shape == (1, 2)


def test_duplicate_names_are_legal_and_named():
    with pytest.warns(UserWarning, match="cannot be told apart by text: cat$"):
        text = zero_shot_classifier(Compass(), ["cat", "dog", "cat"], ["a {}"])
    assert torch.equal(text[0], text[2])


def test_the_doubles_of_imagenets_own_list_are_legitimate():
    names = [line.partition(" ")[2] for line in IMAGENET_NAMES.read_text(encoding="utf-8").splitlines()]
    assert len(names) - len(set(names)) == 2  # "missile" and "sunglasses", by CLIP's authors
    assert shared_names(names) == []
    assert shared_names(["missile", "crane", "missile", "crane"]) == ["crane"]
    assert shared_names(["sunglasses"] * 3) == ["sunglasses"]  # one more than that list has
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero_shot_classifier(Compass(), ["cat", "missile", "missile"], ["a {}"])


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{0}"])
def test_a_template_without_exactly_one_place_is_named(template):
    with pytest.raises(ValueError, match="needs exactly one {}") as caught:
        classify(templates=["a {}", template])
    assert repr(template) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classnames": []}, "classnames is \\[\\], expected a list of at least one text"),
        ({"templates": []}, "templates is \\[\\]"),
        ({"classnames": "cat"}, "classnames is 'cat', expected a list"),
        ({"classnames": None}, "classnames is None, expected a list"),
        ({"classnames": ["cat", 1]}, "classnames.1. is 1, expected a text"),
        ({"classnames": [math.nan, "cat"]}, "classnames.0. is nan, expected a text"),
        ({"classnames": ["cat", " "]}, "classnames.1. is ' ', expected a name"),
        ({"templates": [lambda name: f"a {name}"]}, "templates.0. is <function .*, expected a text"),
        ({"templates": {}}, "templates: .*missing: 'cat', 'dog'"),
        ({"templates": {"cat": ["a cat"], "dgo": ["a dog"], "dog": ["a dog"]}}, "unknown: 'dgo'"),
        ({"templates": {"cat": "a cat", "dog": ["a dog"]}}, "templates: 'cat' has 'a cat', expected a list"),
        ({"templates": {"cat": ["a cat"], "dog": [None]}}, "'dog' has the text None, expected one that can be read"),
        ({"templates": {"cat": ["a cat"], "dog": ["a {}"]}}, "'dog' has the text 'a {}', in which nothing is replaced"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_empty_or_senseless_arguments(arguments, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        classify(**arguments)


def test_names_may_be_an_array_or_a_generator(shapes_unchecked):
    for names in (np.array(["cat", "dog"]), (name for name in ("cat", "dog"))):
        assert torch.equal(classify(names), classify())
