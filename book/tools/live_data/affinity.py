"""What chapter 3's panel shows: scenes with both kinds of tokens, and the names of the shapes as text."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from book.tools.live_data.packing import features, floats, picture
from calip_core import load_backbone, load_task, metrics
from calip_core.analysis.window import encode_sample
from calip_core.features import choose_images

BACKBONE, DATASET, IMAGES = "mini-rn", "mini-shapes", 1000
"""Those of chapter 3, which draws so many images."""
_RIGHT, _WRONG = 3, 1


def data() -> dict[str, Any]:
    """The chapter's example first; after it images of other classes, the last one misread by CLIP."""
    task = load_task(DATASET)
    test = task.splits["test"]
    models = {kind: load_backbone(BACKBONE, tokens=kind) for kind in ("joint", "value")}
    samples = {kind: encode_sample(task, model, progress=False) for kind, model in models.items()}
    text, labels = samples["joint"].text, samples["joint"].test_labels
    right = metrics.correct_predictions(samples["joint"].test.pooled @ text.T, labels)
    return {
        "classes": list(task.classnames),
        "scale": models["joint"].logit_scale,
        "text": floats(text.cpu()),
        "scenes": [
            {
                "picture": picture(test[image][0]),
                "label": int(labels[image]),
                "image": {kind: features(sample.test, image) for kind, sample in samples.items()},
            }
            for image in choice(choose_images(test, IMAGES, seed=0), right, labels)
        ],
    }


def choice(images: Sequence[int], right: Bool[np.ndarray, "n"], labels: Int[np.ndarray, "n"]) -> Iterable[int]:
    """The first images of as many classes: some that CLIP reads right, then some that it does not."""
    chosen: dict[int, int] = {}  # class -> image
    for wanted, most in ((True, _RIGHT), (False, _RIGHT + _WRONG)):
        for image in images:
            if right[image] == wanted and len(chosen) < most:
                chosen.setdefault(int(labels[image]), image)
    return chosen.values()
