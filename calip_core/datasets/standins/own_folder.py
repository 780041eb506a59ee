"""A folder of pictures such as a user's own, with one sub-folder per class, for readers who have none at hand."""

from pathlib import Path

import numpy as np
from PIL import Image

from calip_core import world

NAMES = tuple(f"{colour} {shape}" for colour in ("red", "orange", "pink") for shape in ("circle", "hexagon", "drop"))
"""The classes: pairs of colour and shape."""

_SCENES = 8000
_FIRST_SEED = 2_000_000_000  # away from the seeds of the other pictures of the procedural world


def write_own_folder(folder: Path, seed: int, most: int = 300) -> Path:
    """Draw up to ``most`` pictures of nine classes into ``folder``, and return it.

    Args:
        folder: the parent of the classes' folders.
        seed: seed of the pictures.
        most: pictures in all.

    Raises:
        OSError: the folder cannot be written.
    """
    scenes = world.sample_scenes(_SCENES, _FIRST_SEED + seed)
    shown = [
        f"{world.COLOURS[colour]} {world.SHAPES[shape]}"
        for colour, shape in zip(scenes.colour, scenes.shape, strict=True)
    ]
    chosen = [i for i, name in enumerate(shown) if name in NAMES][:most]
    for i, pixels in zip(chosen, world.render_scenes(scenes[np.array(chosen)]), strict=True):
        path = folder / shown[i].replace(" ", "_") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder
