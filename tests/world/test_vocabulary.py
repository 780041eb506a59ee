from calip_core.world.vocabulary import COLOURS, HELD_OUT_PAIRS, SHAPES, SOLIDS, TEXTURES


def test_the_world_is_large_enough():
    assert len(SHAPES) >= 10 and len(COLOURS) >= 8 and len(TEXTURES) >= 4 and len(SOLIDS) >= 6


def test_a_third_of_the_pairs_is_held_out_and_every_word_is_still_seen():
    every = {(colour, shape) for colour in COLOURS for shape in SHAPES}
    held_out = set(HELD_OUT_PAIRS)
    assert held_out < every
    assert len(held_out) == len(HELD_OUT_PAIRS) == len(every) // 3
    seen = every - held_out
    assert {colour for colour, _ in seen} == set(COLOURS)
    assert {shape for _, shape in seen} == set(SHAPES)
