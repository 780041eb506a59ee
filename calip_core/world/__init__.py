"""The procedural world: coloured shapes, depth views of solids, handwritten digits, and captions for all of them."""

from calip_core.world.captions import captions_for as captions_for
from calip_core.world.digits import digit_images as digit_images
from calip_core.world.digits import render_digits as render_digits
from calip_core.world.digits import sample_digits as sample_digits
from calip_core.world.digits import unseen_digits as unseen_digits
from calip_core.world.drawing import object_masks as object_masks
from calip_core.world.drawing import render_scenes as render_scenes
from calip_core.world.scenes import Scenes as Scenes
from calip_core.world.scenes import sample_scenes as sample_scenes
from calip_core.world.solids import Solids as Solids
from calip_core.world.solids import render_solids as render_solids
from calip_core.world.solids import sample_solids as sample_solids
from calip_core.world.vocabulary import COLOURS as COLOURS
from calip_core.world.vocabulary import DIGITS as DIGITS
from calip_core.world.vocabulary import HELD_OUT_PAIRS as HELD_OUT_PAIRS
from calip_core.world.vocabulary import SHAPES as SHAPES
from calip_core.world.vocabulary import SOLIDS as SOLIDS
from calip_core.world.vocabulary import TEXTURES as TEXTURES

VERSION = 1
"""Version of the world's rules: increment it when a change alters pixels or points, so that caches are made again."""
