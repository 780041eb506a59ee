"""Golden accuracies of the shipped miniatures: how many of 200 test images zero-shot CLIP and CALIP get right."""

import pytest

from calip_core import evaluate, load_backbone, load_task

IMAGES = 200
TOLERANCE = 2
"""Images: 1 %. On another processor rounding may turn an image whose best two classes are almost level."""
HITS = {
    "mini-rn": {
        "mini-shapes": (192, 192), "mini-pairs": (187, 187), "mini-textures": (170, 171), "mini-solids": (37, 38),
        "digits": (195, 195),
    },
    "mini-vit": {
        "mini-shapes": (183, 182), "mini-pairs": (150, 148), "mini-textures": (193, 192), "mini-solids": (41, 45),
        "digits": (198, 198),
    },
}  # fmt: skip
"""Of zero-shot CLIP and of CALIP with fixed weights, seed 0."""


@pytest.mark.parametrize("name", HITS)
def test_the_miniatures_get_as_many_images_right_as_ever(name, tmp_path):
    backbone, found = load_backbone(name, device="cpu", precision="fp32"), {}
    for task in HITS[name]:
        record = evaluate(load_task(task), backbone, "calip", limit=IMAGES, features=tmp_path, progress=False)
        assert record.data.images == IMAGES
        found[task] = (int(record.correct_by_clip().sum()), int(record.correct().sum()))
    off = {
        task: found[task]
        for task, hits in HITS[name].items()
        if any(abs(a - b) > TOLERANCE for a, b in zip(hits, found[task], strict=True))
    }
    assert not off, f"{name}: expected {HITS[name]}"
