"""What the landing page's panel shows: eight scenes, and what CALIP was worth on 2,000 of their kind."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from book.tools.live_data.packing import features, floats, picture
from book.tools.live_data.scenes import HELD_OUT
from calip_core.analysis import window
from calip_core.backbones.base import Backbone
from calip_core.backbones.loading import load_backbone
from calip_core.backbones.names import TokenSpace
from calip_core.datasets.registry import load_task
from calip_core.datasets.task import Task
from calip_core.exhibits.exhibit import interval, percent, points
from calip_core.features import choose_images
from calip_core.methods.calip import Calip

BACKBONE = "mini-rn"
TASK = "mini-shapes"
AMOUNTS = tuple(tenth / 10 for tenth in range(11))
"""Values of lambda, the stops of the panel's control."""
SHOWN = 0.6
"""The first of them that a reader sees, inside the window in which CALIP pays."""
KINDS: tuple[TokenSpace, ...] = ("value", "joint")
GROUPS = {"rescued": 5, "both right": 1, "spoiled": 1, "both wrong": 1}
"""What CALIP makes of the scenes at ``SHOWN``, and how many of each there are; ``choice_said`` says so."""
IMAGES = 2000
_LEAK = ", but by a leak: these tokens are near copies of the good pooled vector, and carry it back in."
_LEVEL = 0.05
_SMALL = 0.0001  # p below it is not written out

_ENCODING: dict[str, Any] = {"limit": IMAGES, "seed": 0, "progress": False}


def data() -> dict[str, Any]:
    """Scenes with their tokens of both kinds, class vectors, and a table with a row per kind of tokens and lambda."""
    task = load_task(TASK)
    backbones = {str(kind): load_backbone(BACKBONE, tokens=kind) for kind in KINDS}
    sweep = window.pool_sweep([task], backbones, AMOUNTS, **_ENCODING)
    sweep = sweep[sweep["protocol"] == "validation"]
    samples = {kind: window.encode_sample(task, model, **_ENCODING) for kind, model in backbones.items()}
    grid = window.wide_grid()
    weights = next(row for row in rows_of(sweep, "value") if row["amount"] == SHOWN)
    return {
        "backbone": BACKBONE,
        "classes": list(task.classnames),
        "templates": list(task.templates),
        "heldOut": HELD_OUT,
        "text": floats(samples["value"].text.cpu()),
        "scale": backbones["value"].logit_scale,
        "chosen": choice_said(weights),
        "scenes": scenes(task, backbones["value"], samples, weights),
        "amounts": list(AMOUNTS),
        "shown": SHOWN,
        "alphas": list(window.TEMPERATURES),
        "beta2": grid.beta2.tolist(),
        "beta3": grid.beta3.tolist(),
        "measured": {kind: [measured(row) for row in rows_of(sweep, kind)] for kind in KINDS},
    }


def rows_of(sweep: pd.DataFrame, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind of tokens, in order of lambda."""
    rows: list[dict[str, Any]] = sweep[sweep["tokens"] == kind].sort_values("amount").to_dict("records")
    return rows


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table: the weights that validation images chose, and what they are worth, in a sentence."""
    return {name: row[name] for name in ("amount", "beta2", "beta3")} | {"said": said(row)}


def said(row: dict[str, Any]) -> str:
    """Accuracy of CLIP and of CALIP, the gain with its interval, and McNemar's p, in words."""
    found = f"CLIP is right on {percent(row['clip'])} of {row['images']:,} test images"
    if row["beta2"] == row["beta3"] == 0:
        return f"{found}. The validation images chose β₂ = β₃ = 0, which is CLIP itself: CALIP has nothing to add here."
    clear = row["p"] < _LEVEL
    verdict = "CALIP helps" if clear and row["gain"] > 0 else "CALIP hurts" if clear else "no clear difference"
    p = f"p = {row['p']:.2g}" if row["p"] >= _SMALL else f"p < {_SMALL}"
    leak = _LEAK if row["tokens"] == "joint" and verdict == "CALIP helps" else "."
    return (
        f"{found}, CALIP on {percent(row['calip'])}: {points(row['gain'])} points, 95 % interval "
        f"{interval(row['gain_low'], row['gain_high'])}. It rescues {row['only_calip']} images and spoils "
        f"{row['only_clip']} (McNemar’s {p}): {verdict}{leak}"
    )


def choice_said(weights: dict[str, Any]) -> str:
    """How the scenes were chosen, in words."""
    return (
        f"Scenes with clear answers, chosen at λ = {SHOWN} with value tokens, β₂ = {weights['beta2']:g}, "
        f"β₃ = {weights['beta3']:g}: CALIP rescues five and spoils one; both get one right and one wrong."
    )


def scenes(
    task: Task, backbone: Backbone, samples: dict[str, window.Sample], weights: dict[str, Any]
) -> list[dict[str, Any]]:
    """The chosen test images: picture, class, and tokens of both kinds."""
    test, found = task.splits["test"], []
    numbers = choose_images(test, IMAGES, 0)
    for image in chosen(samples["value"], weights):
        file, label = test[numbers[image]]
        parts = {kind: features(sample.test, image) for kind, sample in samples.items()}
        found.append({"picture": picture(file), "answer": label, **parts})
    return found


def chosen(sample: window.Sample, weights: dict[str, Any]) -> list[int]:
    """Which test images are shown: of each group those with the clearest answers, no two of one class."""
    groups, clearness = outcomes(sample, weights)
    picked = list[int]()
    for group, wanted in GROUPS.items():
        most = len(picked) + wanted
        for image in np.argsort(-clearness, kind="stable").tolist():
            new = sample.test_labels[image] not in sample.test_labels[picked]
            if groups[group][image] and new and len(picked) < most:
                picked.append(image)
    return picked


def outcomes(
    sample: window.Sample, weights: dict[str, Any]
) -> tuple[dict[str, Bool[np.ndarray, " n"]], Float[np.ndarray, " n"]]:
    """What CLIP and CALIP make of each test image when the pool is spoiled by ``SHOWN``.

    Returns:
        Group -> which images are in it, only some of which CLIP gets right with its own pool; and how clear both
        answers are: the smaller of the two distances, in logits, between the right class and the best other.
    """
    spoiled = sample.spoiled(sample.with_mean_tokens(), SHOWN)
    head = Calip(beta2=weights["beta2"], beta3=weights["beta3"])
    head.fit(None, None, sample.text)
    parts = head.terms(spoiled.test)
    clip, calip = (leads(logits, sample.test_labels) for logits in (parts.clip, parts.combine(**head.chosen)))
    before = leads(sample.test.pooled @ sample.text.T, sample.test_labels) > 0
    groups = {
        "rescued": (clip < 0) & (calip > 0) & before,
        "both right": (clip > 0) & (calip > 0),
        "spoiled": (clip > 0) & (calip < 0),
        "both wrong": (clip < 0) & (calip < 0) & before,
    }
    return groups, np.minimum(abs(clip), abs(calip))


def leads(logits: Float[Tensor, "n k"], labels: Int64[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """By how much the right class leads the best other one; negative if it loses."""
    values = logits.double().cpu().numpy()
    images = np.arange(len(labels))
    right = values[images, labels]
    values[images, labels] = -np.inf
    lead: Float[np.ndarray, " n"] = right - values.max(axis=1)
    return lead
