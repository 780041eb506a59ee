"""What chapter 7's panel shows: clouds, the view sets that draw them, and each view's logits in the clouds' poses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from book.tools.live_data.packing import floats
from calip_core import calip_logits, evaluate, load_backbone, load_task, zero_shot_classifier
from calip_core.backbones.base import Backbone
from calip_core.backbones.names import TokenSpace
from calip_core.blend.selection import FIXED
from calip_core.blend.view_weights import fuse
from calip_core.datasets.clouds.views import ViewSplit
from calip_core.datasets.task import Task
from calip_core.exhibits.point_clouds import first_of_class
from calip_core.features import encode_split
from calip_core.methods.calip import CONFIGS
from calip_core.metrics import correct_predictions
from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import ViewSet, view_set
from calip_core.preprocessing import MEAN, STD
from calip_core.tokens import ImageTokens

TASK, BACKBONE = "mini-solids", "mini-vit"
TOKENS: TokenSpace = "joint"
"""The miniature is the one that recognises more solids, as the first view set draws them."""
SETS = ("bright_voxels", "pointclip")
"""The view set whose pictures look most like the miniature's training, and the one that the chapter derives."""
START = "cone"
"""The cloud that the panel opens with: its answer depends on the views' weights."""
LIMIT = 400
"""Validation clouds that choose the views' weights, and test clouds that measure the accuracy, as in the chapter."""

Clouds = Float32[np.ndarray, "n p 3"]


def data() -> dict[str, Any]:
    """One cloud per class, with CALIP's fixed weights and each view set's answers."""
    backbone = load_backbone(BACKBONE, device="cpu", precision="fp32", tokens=TOKENS)
    task = load_task(TASK, views=SETS[0])
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    examples = first_of_class(task)
    test = task.splits["test"]
    assert isinstance(test, ViewSplit)  # the task is one of clouds
    clouds = np.stack([test.clouds[number] for number in examples.values()])
    return {
        "backbone": BACKBONE,
        "tokens": TOKENS,
        "classes": list(task.classnames),
        "text": floats(text),
        "blend": _blend(backbone),
        "resolution": backbone.resolution,
        "standard": {"mean": MEAN, "std": STD},
        "start": START,
        "clouds": [{"name": name, "points": floats(c.ravel())} for name, c in zip(examples, clouds, strict=True)],
        "sets": [_view_set(view_set(name), clouds, backbone, text) for name in SETS],
    }


def _blend(backbone: Backbone) -> dict[str, float]:
    """The fixed weights and the temperatures of CALIP, and the scale of its logits."""
    config, (beta2, beta3) = CONFIGS["official"], FIXED
    scales = {"alphaT": config.alpha_t, "alphaS": config.alpha_s, "scale": backbone.logit_scale}
    return {**scales, "beta2": beta2, "beta3": beta3}


def _view_set(chosen: ViewSet, clouds: Clouds, backbone: Backbone, text: Float[Tensor, "k c"]) -> dict[str, Any]:
    task = load_task(TASK, views=chosen.name)
    searched = evaluate(
        task, backbone, "calip", protocol="validation", view_weighting="searched", limit=LIMIT, progress=False
    )
    weights = np.array(searched.choice.view_weights)
    weights = (weights / weights.max()).round(2)
    accuracy = _accuracy(task, backbone, text)
    return {
        "name": chosen.name,
        "side": chosen.resolution,
        "distance": chosen.distance,
        "voxels": chosen.voxels and chosen.voxels.model_dump(),
        "standardise": chosen.standardise,
        "largest": chosen.largest_value,
        "views": [
            {"label": label.replace("-", "−"), "turn": floats(turn), "tilt": floats(tilt)}
            for label, turn, tilt in zip(chosen.labels, chosen.rotations(), chosen.tilts(), strict=True)
        ],
        "weights": weights.tolist(),
        "accuracy": {
            "alike": accuracy(np.ones(len(chosen))),
            "searched": accuracy(weights),
            "alone": [accuracy(alone) for alone in np.eye(len(chosen))],
        },
        "images": searched.data.images,
        "logits": floats(_view_logits(clouds, chosen, backbone, text)),
    }


def _accuracy(task: Task, backbone: Backbone, text: Float[Tensor, "k c"]) -> Callable[[Float[np.ndarray, "v"]], float]:
    """Gives the panel's accuracy on test clouds for weights of the views."""
    test = task.splits["test"]
    tokens, labels = encode_split(backbone, test, limit=LIMIT, progress=False)
    logits = _blended(tokens, backbone, text).unflatten(0, (-1, test.views))
    return lambda weights: float(correct_predictions(fuse(logits, weights), labels[:: test.views]).mean())


def _view_logits(
    clouds: Clouds, chosen: ViewSet, backbone: Backbone, text: Float[Tensor, "k c"]
) -> Float[Tensor, "n v k"]:
    maps = depth_maps(torch.from_numpy(clouds), chosen)
    with torch.no_grad():
        tokens = backbone.encode_image(encoder_input(maps, backbone.resolution, standardise=chosen.standardise))
    return _blended(tokens, backbone, text).view(len(clouds), len(chosen), -1)


def _blended(tokens: ImageTokens, backbone: Backbone, text: Float[Tensor, "k c"]) -> Float[Tensor, "n k"]:
    """CALIP's blend of fixed weights, one row per view."""
    logits = calip_logits(tokens, text, config=CONFIGS["official"], logit_scale=backbone.logit_scale)
    beta2, beta3 = FIXED
    return logits.combine(beta2=beta2, beta3=beta3)
