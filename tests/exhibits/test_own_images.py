"""Exhibits of a reader's own images say beside the number when it is no better than chance."""

import numpy as np
import pytest
import torch
from PIL import Image

from calip_core.datasets.checks import SPLITS
from calip_core.datasets.task import Split, Task
from calip_core.exhibits import own_images

LABELS = np.arange(60) % 3
NAMES = ("cat", "dog", "fox")


def grey(index):
    return Image.new("RGB", (4, 4), (index, index, index))


def changed(count, start=0):
    """The true classes, but for ``count`` wrong answers from ``start`` on."""
    answers = LABELS.copy()
    answers[start : start + count] = (answers[start : start + count] + 1) % 3
    return answers


def test_one_image_per_class_is_shown():
    task = Task("own", "Own", NAMES, ("a {}.",), {split: Split(grey, LABELS) for split in SPLITS}, "CC0", "here")
    shown = own_images.one_per_class(task, most=2)
    assert [ax.get_xlabel() for ax in shown.figure.axes] == ["cat", "dog"]
    assert shown.alt == "One test image per class: cat, dog."
    assert "2 of 3 classes" in shown.caption and "60 for test" in shown.caption


def test_chance_counts_a_favourite_answer():
    favourite = np.zeros(60, dtype=int)
    unequal = np.array([0] * 40 + [1] * 10 + [2] * 10)
    assert own_images.chance(favourite, unequal) == pytest.approx(40 / 60) == (favourite == unequal).mean()
    assert own_images.chance(LABELS, LABELS) == pytest.approx(1 / 3)


def test_the_table_says_beside_the_number_how_it_compares_with_chance():
    answers = {"good": changed(6), "favourite": np.zeros(60, dtype=int), "wrong": changed(60)}
    shown = own_images.beside_chance(answers, LABELS, "3 classes, mini-rn")
    assert list(shown.frame["accuracy"]) == ["90.0 %", "33.3 %", "0.0 %"]
    assert list(shown.frame["chance"]) == ["33.3 %"] * 3
    assert list(shown.frame["verdict"]) == ["better than chance", "no better than chance", "worse than chance"]
    assert shown.caption.startswith("60 test images, 3 classes, mini-rn.")


@pytest.mark.parametrize(
    ("clip", "calip", "said"),
    [
        (np.zeros(60, dtype=int), changed(0), "**On these images, RN50 is no better than chance.** So the numbers"),
        (changed(60), changed(0), "**On these images, RN50 is worse than chance.**"),
        (changed(5), changed(5), "CLIP and CALIP are right on the same images"),
        (changed(5), changed(5, 2), "CLIP alone on 2 (McNemar's p = 1): these images do not show which of the two is"),
        (changed(20), changed(0), "CALIP alone is right on 20 images, CLIP alone on 0 (McNemar's p = 1.9e-06): CALIP"),
        (changed(0), changed(20), "CLIP alone on 20 (McNemar's p = 1.9e-06): CLIP is better by more than chance"),
    ],
)
def test_every_verdict(clip, calip, said):
    assert said in own_images.verdict(clip, calip, LABELS, "RN50").markdown


def test_the_least_certain_answers_come_first():
    probabilities = torch.full((60, 3), 0.05)
    probabilities[torch.arange(60), torch.from_numpy(changed(1))] = torch.linspace(0.5, 0.9, 60)
    shown = own_images.least_certain(Split(grey, LABELS), NAMES, LABELS, probabilities, most=2)
    first, second = shown.figure.axes
    assert first.get_xlabel() == "“dog” 50 %\n(cat)" and second.get_xlabel() == "“dog” 51 %\n(dog)"
    assert "cat called dog; dog called dog" in shown.alt and "1 of 2 are right" in shown.caption
    assert first.spines["top"].get_edgecolor() != second.spines["top"].get_edgecolor()
