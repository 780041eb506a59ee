"""The exhibits of appendix B: the classes of a folder, accuracies beside chance, and the least certain answers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from textwrap import shorten

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from torch import Tensor

from calip_core.datasets.task import Split, Task
from calip_core.exhibits.exhibit import Plot, Table, Text, interval, percent, restacked
from calip_core.exhibits.pictures import first_of_each, picture_grid
from calip_core.metrics import LEVEL, accuracy_interval, mcnemar

Labels = Int[np.ndarray, " n"]
Hits = Bool[np.ndarray, " n"]



def one_per_class(task: Task, most: int = 8) -> Plot:
    """The first test image of each class, with the class's name; ``most`` classes at most."""
    test = task.splits["test"]
    shown = first_of_each(test.labels, task.classnames, most)
    counts = ", ".join(f"{len(task.splits[split])} for {split}" for split in ("train", "val", "test"))
    return restacked(
        partial(picture_grid, [test[i][0] for i in shown.values()], _short(shown), None),
        columns=4,
        narrow=2,
        alt=f"One test image per class: {', '.join(shown)}.",
        caption=f"{len(shown)} of {len(task.classnames)} classes, one test image each. Images: {counts}.",
    )


def chance(answers: Labels, labels: Labels) -> float:
    """The accuracy that the same answers would reach on average if they were dealt to the images at random.

    A classifier that gives one answer to everything is right on every image of that class, without looking at any.
    """
    classes = int(max(answers.max(), labels.max())) + 1
    given, true = (np.bincount(x, minlength=classes) / len(labels) for x in (answers, labels))
    return float(given @ true)


def beside_chance(answers: Mapping[str, Labels], labels: Labels, about: str) -> Table:
    """Accuracy of each method with its interval, the level of chance, and how the two compare.

    Args:
        answers: method -> its answers.
        labels: the true classes.
        about: which images and backbone, for the caption.
    """
    rows = {}
    for name, given in answers.items():
        hits = given == labels
        ends = accuracy_interval(hits)
        rows[name] = {
            "accuracy": percent(float(hits.mean())),
            "95 % interval": interval(ends.low, ends.high),
            "chance": percent(chance(given, labels)),
            "verdict": _against_chance(given, labels),
        }
    return Table(
        pd.DataFrame.from_dict(rows, orient="index"),
        f"{len(labels)} test images, {about}. Chance: what the same answers reach on average if dealt to the images at "
        "random.",
    )


def _against_chance(answers: Labels, labels: Labels) -> str:
    hits = answers == labels
    ends, level = accuracy_interval(hits), chance(answers, labels)
    if ends.low > level:
        return "better than chance"
    return "worse than chance" if ends.high < level else "no better than chance"


def verdict(clip: Labels, calip: Labels, labels: Labels, backbone: str) -> Text:
    """Whether the number of a backbone means anything on these images, and whether CALIP changes it.

    Args:
        clip: CLIP's answers.
        calip: CALIP's answers.
        labels: the true classes.
        backbone: its name.
    """
    judged = _against_chance(clip, labels)
    if judged != "better than chance":
        return Text(
            f"**On these images, {backbone} is {judged}.** So the numbers above say nothing about CLIP or CALIP. Use a "
            "backbone that was trained on such images (for photographs, RN50 or larger), or class names that a caption "
            "would use."
        )
    test = mcnemar(calip == labels, clip == labels)
    if test.only_a + test.only_b == 0:
        return Text("CLIP and CALIP are right on the same images, so there is nothing to compare.")
    p = f"McNemar's p = {test.p_value:.2g}"
    counts = f"CALIP alone is right on {test.only_a} images, CLIP alone on {test.only_b} ({p})"
    if test.p_value >= LEVEL:
        return Text(f"{counts}: these images do not show which of the two is better.")
    better = "CALIP" if test.only_a > test.only_b else "CLIP"
    return Text(f"{counts}: {better} is better by more than chance explains.")


def least_certain(
    split: Split, classnames: Sequence[str], labels: Labels, probabilities: Float[Tensor, "n k"], most: int = 8
) -> Plot:
    """The images whose likeliest class has the smallest probability, with answer and truth.

    Args:
        split: the images.
        classnames: one per class.
        labels: the true classes.
        probabilities: of every class for every image.
        most: images to show, at most.
    """
    top = probabilities.max(dim=1)
    chosen = top.values.cpu().argsort()[:most].tolist()
    answers = top.indices.cpu().tolist()
    sure = {i: percent(float(top.values[i]), 0) for i in chosen}
    said = _short(f"“{classnames[answers[i]]}” {sure[i]}" for i in chosen)
    truths = _short(f"({classnames[labels[i]]})" for i in chosen)
    titles = [f"{answer}\n{truth}" for answer, truth in zip(said, truths, strict=True)]
    right = [bool(answers[i] == labels[i]) for i in chosen]
    called = "; ".join(f"{classnames[labels[i]]} called {classnames[answers[i]]}" for i in chosen)
    return restacked(
        partial(picture_grid, [split[i][0] for i in chosen], titles, right),
        columns=4,
        narrow=2,
        alt=f"The {len(chosen)} test images with the least certain answers: {called}.",
        caption=f"The least certain answers with their probability, and the true class in brackets. {sum(right)} of "
        f"{len(right)} are right (blue frame); wrong ones have a vermilion frame.",
    )


def _short(lines: Iterable[str]) -> list[str]:
    return [shorten(line, 26, placeholder=" …") for line in lines]
