"""What the panel of heat-maps shows: a few scenes with their tokens, and the words of the miniature's world."""

from typing import Any

import torch
from PIL import Image

from book.tools.live_data.packing import features, floats, picture
from book.tools.live_data.scenes import HELD_OUT, names_of, pictures_of, unseen_scenes
from calip_core import world
from calip_core.analysis.localization import points_on_object
from calip_core.backbones.loading import load_backbone
from calip_core.backbones.names import MINIATURES, TokenSpace
from calip_core.datasets.cards import load_card
from calip_core.prompts import zero_shot_classifier
from calip_core.world.vocabulary import COLOUR_RGB

_KINDS: tuple[TokenSpace, ...] = ("joint", "value")
_TOLERANCE = 1 / 16  # of the picture's side: the chapter's
_SHOWN = (11, 10, 22, 31)  # of the scenes drawn: the object is away from the middle, with others around it


@torch.no_grad()
def data() -> dict[str, Any]:
    """Scenes with their features from both miniatures, and the words of their world with their vectors."""
    scenes = unseen_scenes(_SHOWN)
    images = pictures_of(scenes)
    encoded = {name: _encoded(name, images) for name in MINIATURES}
    on_object = {name: _on_object(scenes, of["value"][0]["grid"]) for name, of in encoded.items()}
    templates = list(load_card("mini-shapes").templates)
    words = [*world.SHAPES, *world.COLOURS]
    texts = load_backbone("mini-rn", precision="fp32")  # both miniatures have the same text encoder
    return {
        "scenes": [
            {
                "name": name,
                "word": world.SHAPES[shape],
                "picture": picture(images[i]),
                "onObject": {name: hits[i] for name, hits in on_object.items()},
                "features": {name: {kind: of[kind][i] for kind in _KINDS} for name, of in encoded.items()},
            }
            for i, (name, shape) in enumerate(zip(names_of(scenes), scenes.shape, strict=True))
        ],
        "templates": templates,
        "words": words,
        "vectors": floats(zero_shot_classifier(texts, words, templates)),
        "colours": {name: [round(255 * level) for level in rgb] for name, rgb in COLOUR_RGB.items()},
        "heldOut": HELD_OUT,
    }


def _on_object(scenes: world.Scenes, grid: list[int]) -> list[list[bool]]:
    """Which places of every scene point at its main object, as in the chapter's pointing game."""
    masks = world.object_masks(scenes)
    found: list[list[bool]] = points_on_object(masks, (grid[0], grid[1]), round(_TOLERANCE * masks.shape[1])).tolist()
    return found


def _encoded(name: str, images: list[Image.Image]) -> dict[str, list[dict[str, Any]]]:
    """Kind of tokens -> the features of every image."""
    encoded: dict[str, list[dict[str, Any]]] = {}
    for kind in _KINDS:
        backbone = load_backbone(name, precision="fp32", tokens=kind)
        tokens = backbone.encode_image(torch.stack([backbone.preprocess(image) for image in images]))
        encoded[kind] = [features(tokens, i) for i in range(len(images))]
    return encoded
