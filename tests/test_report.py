"""Which chapter a report executes, and with which parameters."""

import pytest

from calip_core.commands.report import chapter_of
from calip_core.evaluation.sweep import make_sweep


@pytest.mark.parametrize(
    ("grid", "chapter", "parameters"),
    [
        (
            {"datasets": ["digits"], "tokens": ["value"], "configs": ["paper"], "seeds": [3], "samples": 50},
            "06_benchmarks_2d.ipynb",
            {"dataset": "digits", "tokens": "value", "protocol": "fixed", "seed": 3, "samples": 50, "config": "paper"},
        ),
        (
            {"datasets": ["mini-solids"], "views": ["pointclip_v2"], "protocols": ["oracle"]},
            "07_point_clouds.ipynb",
            {"dataset": "mini-solids", "tokens": "joint", "protocol": "oracle", "seed": 0, "samples": 0,
             "views": "pointclip_v2"},
        ),
        (
            {"datasets": ["digits"], "methods": ["zero_shot"]},
            "06_benchmarks_2d.ipynb",
            {"dataset": "digits", "tokens": "joint", "protocol": "fixed", "seed": 0, "samples": 0},
        ),
    ],
)  # fmt: skip
def test_a_report_shows_the_first_cell_of_a_sweep(grid, chapter, parameters):
    path, found = chapter_of(make_sweep(backbones=["mini-rn"], **grid))
    assert path.name == chapter and found == parameters | {"backbone": "mini-rn"}
