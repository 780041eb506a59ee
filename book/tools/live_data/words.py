"""What the panel of own words and templates shows: a few scenes, and the task's classes in several templates."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from book.tools.live_data.packing import floats, picture
from calip_core import world
from calip_core.backbones.loading import load_backbone
from calip_core.datasets.cards import load_card

BACKBONE = "mini-rn"
_SEED = 1_000_000_000  # of scenes that no training run sees
_DRAWN = 48
_SHOWN = (30, 22, 13, 8, 38, 20)  # of the scenes drawn: some answers are certain, some are not, and one is wrong
_OTHER_TEMPLATES = ("a photo of a {}.", "{}")


@torch.no_grad()
def data() -> dict[str, Any]:
    """Scenes with their pooled features, and prompts with their features."""
    backbone = load_backbone(BACKBONE, precision="fp32")
    scenes = shown_scenes()
    images = [Image.fromarray(image) for image in world.render_scenes(scenes)]
    pooled = backbone.encode_image(torch.stack([backbone.preprocess(image) for image in images])).pooled
    templates = [*load_card("mini-shapes").templates, *_OTHER_TEMPLATES]
    prompts = [template.replace("{}", name) for template in templates for name in world.SHAPES]
    return {
        "backbone": BACKBONE,
        "scale": backbone.logit_scale,
        "scenes": [
            {
                "name": f"{world.COLOURS[colour]} {world.SHAPES[shape]}",
                "picture": picture(image),
                "pooled": floats(features),
            }
            for colour, shape, image, features in zip(scenes.colour, scenes.shape, images, pooled, strict=True)
        ],
        "names": list(world.SHAPES),
        "templates": templates,
        "prompts": prompts,
        "vectors": floats(backbone.encode_text(prompts)),
        "heldOut": [" ".join(pair) for pair in world.HELD_OUT_PAIRS],
    }


def shown_scenes() -> world.Scenes:
    """The scenes that a reader can choose."""
    return world.sample_scenes(_DRAWN, _SEED, pairs="seen")[np.array(_SHOWN)]
