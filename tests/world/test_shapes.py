import math

import pytest
import torch

from calip_core.world import shapes
from calip_core.world.shapes import SHAPE_DISTANCES


def at(function, *points, **parameters):
    x, y = (torch.tensor([[list(axis)]], dtype=torch.float64) for axis in zip(*points, strict=True))
    return function(x, y, **parameters).flatten().tolist()


def test_circle_by_hand():
    assert at(shapes.circle, (0, 0), (0.9, 0), (0, -1.9), (3, 4)) == pytest.approx([-0.9, 0, 1.0, 4.1])


def test_square_by_hand():
    corner = math.hypot(0.25, 0.25)  # beyond the corner the distance is to the corner itself
    found = at(shapes.square, (0, 0), (0.75, 0.2), (0.5, 0), (1.75, 0), (1, 1))
    assert found == pytest.approx([-0.75, 0, -0.25, 1.0, corner])


def test_ring_is_a_line_of_width_two_fifths():
    assert at(shapes.ring, (0.7, 0), (0.5, 0), (0, 0.9), (0, 0)) == pytest.approx([-0.2, 0, 0, 0.5])


def test_regular_polygon_touches_its_incircle_and_has_its_corners_where_they_belong():
    assert at(shapes.triangle, (0, 0.5), (0, -1.0), (0, 0)) == pytest.approx([0, 0, -0.5], abs=1e-12)
    radius = 0.82 / math.cos(math.pi / 6)
    assert at(shapes.hexagon, (radius, 0), (0, 0.82)) == pytest.approx([0, 0], abs=1e-12)


def test_star_has_five_points_and_five_inner_corners():
    turn = 2 * math.pi / 5
    tips = [(math.sin(k * turn), -math.cos(k * turn)) for k in range(5)]
    inner = [(0.42 * math.sin((k + 0.5) * turn), -0.42 * math.cos((k + 0.5) * turn)) for k in range(5)]
    assert at(shapes.star, *tips, *inner) == pytest.approx([0] * 10, abs=1e-9)


def test_diamond_by_hand():
    assert at(shapes.diamond, (0.5, 0), (0, 1), (0, 0)) == pytest.approx([0, 0, -0.5 / math.hypot(1, 0.5)])


@pytest.mark.parametrize("name", SHAPE_DISTANCES)
def test_every_shape_lies_in_the_unit_disc_and_is_not_a_speck(name):
    side = torch.linspace(-1.2, 1.2, 241, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    inside = SHAPE_DISTANCES[name](x[None], y[None])[0] <= 0
    assert torch.hypot(x, y)[inside].max() <= 1.09
    assert inside.double().mean() * 2.4**2 > 0.5  # area


@pytest.mark.parametrize("name", SHAPE_DISTANCES)
def test_no_distance_is_larger_than_the_true_one(name):
    """Outside, a ball of the returned radius never reaches the shape; checked on a grid by brute force."""
    side = torch.linspace(-1.3, 1.3, 66, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    distance = SHAPE_DISTANCES[name](x[None], y[None])[0]
    inside = torch.stack([x[distance <= 0], y[distance <= 0]], dim=1)
    outside = torch.stack([x[distance > 0], y[distance > 0]], dim=1)
    nearest = torch.cdist(outside, inside).min(dim=1).values
    assert (distance[distance > 0] <= nearest + 1e-9).all()
