"""What the panel of own words and templates shows: a few scenes, and the task's classes in several templates."""

from typing import Any

import torch

from book.tools.live_data.packing import floats, picture
from book.tools.live_data.scenes import HELD_OUT, names_of, pictures_of, unseen_scenes
from calip_core import world
from calip_core.backbones.loading import load_backbone
from calip_core.datasets.cards import load_card

BACKBONE = "mini-rn"
_SHOWN = (30, 22, 13, 8, 38, 20)  # of the scenes drawn: some answers are certain, some are not, and one is wrong
_OTHER_TEMPLATES = ("a photo of a {}.", "{}")


@torch.no_grad()
def data() -> dict[str, Any]:
    """Scenes with their pooled features, and prompts with their features."""
    backbone = load_backbone(BACKBONE, precision="fp32")
    scenes = shown_scenes()
    images = pictures_of(scenes)
    pooled = backbone.encode_image(torch.stack([backbone.preprocess(image) for image in images])).pooled
    templates = [*load_card("mini-shapes").templates, *_OTHER_TEMPLATES]
    prompts = [template.replace("{}", name) for template in templates for name in world.SHAPES]
    return {
        "backbone": BACKBONE,
        "scale": backbone.logit_scale,
        "scenes": [
            {"name": name, "picture": picture(image), "pooled": floats(features)}
            for name, image, features in zip(names_of(scenes), images, pooled, strict=True)
        ],
        "names": list(world.SHAPES),
        "templates": templates,
        "prompts": prompts,
        "vectors": floats(backbone.encode_text(prompts)),
        "heldOut": HELD_OUT,
    }


def shown_scenes() -> world.Scenes:
    """The scenes that a reader can choose."""
    return unseen_scenes(_SHOWN)
