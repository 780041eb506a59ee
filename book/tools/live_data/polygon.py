"""What chapter 5's panel shows: images that the two weights decide, and some that they do not, with their tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from book.tools.live_data.packing import features, floats, picture
from calip_core import CalipConfig, calip_logits, load_backbone, load_task, metrics
from calip_core.analysis.window import encode_sample
from calip_core.blend.polygon import winning_polygon

BACKBONE, DATASET, ALPHA = "mini-rn", "mini-pairs", 0.5
"""Those of chapter 5, with value tokens."""
BETA2, BETA3 = (0.0, 10.0), (0.0, 2.0)
"""The rectangle of weights."""
_LOOKED_AT = 1000
_DECIDED = 0.02  # of the rectangle: the chapter counts an image as decided if it is right on more and wrong on more
_EACH = 3


def data() -> dict[str, Any]:
    """Images that some weights rescue, that some spoil, and one that is right at all of them."""
    task, model = load_task(DATASET), load_backbone(BACKBONE, tokens="value")
    sample = encode_sample(task, model, progress=False)
    tokens, text, labels = sample.test, sample.text, sample.test_labels
    logits = calip_logits(tokens, text, CalipConfig(ALPHA, ALPHA), model.logit_scale)
    polygons = [winning_polygon(logits, i, int(labels[i]), beta2=BETA2, beta3=BETA3) for i in range(_LOOKED_AT)]
    shares = np.array([area(corners) for corners in polygons]) / (BETA2[1] * BETA3[1])
    return {
        "classes": list(task.classnames),
        "scale": model.logit_scale,
        "text": floats(text.cpu()),
        "beta2": BETA2,
        "beta3": BETA3,
        "scenes": [
            {
                "fate": fate,
                "picture": picture(task.splits["test"][image][0]),
                "label": int(labels[image]),
                "image": features(tokens, image),
            }
            for fate, image in choice(shares, metrics.correct_predictions(logits.clip, labels)[:_LOOKED_AT])
        ],
    }


def choice(shares: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"]) -> Sequence[tuple[str, int]]:
    """What the weights do to an image, and its number: from small polygons to large ones, then one that is whole."""
    decided = (shares > _DECIDED) & (shares < 1 - _DECIDED)
    found = []
    for fate, images in (("rescued", np.flatnonzero(decided & ~right)), ("spoiled", np.flatnonzero(decided & right))):
        ranked = images[shares[images].argsort(kind="stable")]
        places = np.linspace(0, len(ranked) - 1, _EACH + 2).astype(int)[1:-1]
        found += [(fate, int(image)) for image in ranked[places]]
    return [*found, ("always right", int(shares.argmax()))]


def area(corners: Float[np.ndarray, "v 2"]) -> float:
    """Of a polygon (the shoelace formula)."""
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
