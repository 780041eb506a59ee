"""The vocabulary of the procedural world, and the pairs of colour and shape that training never shows."""

SHAPES: tuple[str, ...] = (
    "circle", "square", "triangle", "star", "heart", "cross",
    "ring", "crescent", "hexagon", "diamond", "arrow", "drop",
)  # fmt: skip

COLOUR_RGB: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.08, 0.10),
    "green": (0.10, 0.62, 0.16),
    "blue": (0.12, 0.22, 0.88),
    "yellow": (0.96, 0.88, 0.10),
    "orange": (0.98, 0.50, 0.04),
    "purple": (0.50, 0.12, 0.66),
    "pink": (0.98, 0.55, 0.76),
    "cyan": (0.10, 0.84, 0.88),
    "brown": (0.45, 0.26, 0.10),
    "white": (0.97, 0.97, 0.97),
}
"""Mean colour of each name as red, green and blue in [0, 1]; every object deviates from it slightly."""

COLOURS: tuple[str, ...] = tuple(COLOUR_RGB)
TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS: tuple[str, ...] = ("flat", "gradient", "cloudy", "wavy")
SIDES: tuple[str, ...] = ("left", "middle", "right")
SOLIDS: tuple[str, ...] = (
    "sphere", "cube", "cone", "cylinder", "torus",
    "pyramid", "capsule", "octahedron", "bowl", "table",
)  # fmt: skip
DIGITS: tuple[str, ...] = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip


def is_held_out(colour: int, shape: int) -> bool:
    """Whether training never shows this (colour, shape): every third pair, so that each word still occurs often."""
    return (colour + shape) % 3 == 0


HELD_OUT_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (colour_name, shape_name)
    for colour, colour_name in enumerate(COLOURS)
    for shape, shape_name in enumerate(SHAPES)
    if is_held_out(colour, shape)
)
"""The (colour, shape) pairs held out of training, a third of all: the classes of ``mini-pairs``."""
