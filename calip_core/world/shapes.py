"""Signed distances to the flat shapes: negative inside, positive outside, zero on the outline.

Every shape lies within the unit disc, upright, with y pointing down as in an image. Unions (minimum) and
intersections (maximum) keep the outline exact; away from it, the value is a lower bound on the distance.
Reference: J. C. Hart, "Sphere tracing", The Visual Computer 12 (1996).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from calip_core.world.vocabulary import SHAPES

Plane = Float[Tensor, "n h w"]


def disc(x: Plane, y: Plane, radius: float) -> Plane:
    """Distance to a disc around the origin."""
    return torch.hypot(x, y) - radius


def box(x: Plane, y: Plane, half_width: float, half_height: float) -> Plane:
    """Distance to an axis-aligned rectangle around the origin."""
    qx, qy = x.abs() - half_width, y.abs() - half_height
    outside = torch.hypot(qx.clamp_min(0), qy.clamp_min(0))
    return outside + torch.maximum(qx, qy).clamp_max(0)


def regular_polygon(x: Plane, y: Plane, corners: int, inradius: float) -> Plane:
    """Intersection of ``corners`` half-planes whose borders touch the circle of ``inradius``; one edge is below."""
    angles = [math.pi / 2 + 2 * math.pi * k / corners for k in range(corners)]
    distance = x * math.cos(angles[0]) + y * math.sin(angles[0])
    for angle in angles[1:]:
        distance = torch.maximum(distance, x * math.cos(angle) + y * math.sin(angle))
    return distance - inradius


def circle(x: Plane, y: Plane) -> Plane:
    """Disc of radius 0.9."""
    return disc(x, y, 0.9)


def square(x: Plane, y: Plane) -> Plane:
    """Square of side 1.5."""
    return box(x, y, 0.75, 0.75)


def triangle(x: Plane, y: Plane) -> Plane:
    """Equilateral triangle of inradius 0.5, a corner above."""
    return regular_polygon(x, y, 3, 0.5)


def hexagon(x: Plane, y: Plane) -> Plane:
    """Regular hexagon of inradius 0.82."""
    return regular_polygon(x, y, 6, 0.82)


def star(x: Plane, y: Plane) -> Plane:
    """Five points of radius 1 with inner corners at 0.42: one edge, folded into every tenth of the circle."""
    sector = 2 * math.pi / 5
    angle = torch.atan2(x, -y)
    folded = (angle - sector * torch.round(angle / sector)).abs()
    radius = torch.hypot(x, y)
    px, py = radius * torch.cos(folded), radius * torch.sin(folded)
    edge_x, edge_y = 0.42 * math.cos(sector / 2) - 1.0, 0.42 * math.sin(sector / 2)
    return ((px - 1.0) * edge_y - py * edge_x) / math.hypot(edge_x, edge_y)


def heart(x: Plane, y: Plane) -> Plane:
    """A square standing on its corner, with a half disc on each of its upper edges."""
    half, y = 0.48, y - 0.12
    turned_x, turned_y = (x + y) * math.sqrt(0.5), (y - x) * math.sqrt(0.5)
    lobe = disc(x.abs() - half * math.sqrt(0.5), y + half * math.sqrt(0.5), half)
    return torch.minimum(box(turned_x, turned_y, half, half), lobe)


def cross(x: Plane, y: Plane) -> Plane:
    """Two crossed bars."""
    return torch.minimum(box(x, y, 0.92, 0.28), box(x, y, 0.28, 0.92))


def ring(x: Plane, y: Plane) -> Plane:
    """Ring of mean radius 0.7 and width 0.4."""
    return disc(x, y, 0.7).abs() - 0.2


def crescent(x: Plane, y: Plane) -> Plane:
    """A disc minus a second disc beside it."""
    return torch.maximum(disc(x, y, 0.95), -disc(x - 0.5, y, 0.78))


def diamond(x: Plane, y: Plane) -> Plane:
    """Upright rhombus with half axes 0.5 and 1."""
    return (x.abs() * 1.0 + y.abs() * 0.5 - 0.5) / math.hypot(1.0, 0.5)


def arrow(x: Plane, y: Plane) -> Plane:
    """An arrow pointing up: a shaft and a broad head."""
    head = torch.maximum((x.abs() * 0.95 + (y + 0.95) * -0.75) / math.hypot(0.95, 0.75), y)
    return torch.minimum(box(x, y - 0.42, 0.22, 0.48), head)


def drop(x: Plane, y: Plane) -> Plane:
    """A disc and its two tangents, which meet above it."""
    radius, centre, tip = 0.58, 0.36, -0.98
    sine = radius / (centre - tip)
    cone = x.abs() * math.sqrt(1 - sine**2) - (y - tip) * sine
    tangent_y = centre - radius * sine
    return torch.minimum(disc(x, y - centre, radius), torch.maximum(cone, y - tangent_y))


_FUNCTIONS: tuple[Callable[[Plane, Plane], Plane], ...] = (
    circle, square, triangle, star, heart, cross, ring, crescent, hexagon, diamond, arrow, drop,
)  # fmt: skip
SHAPE_DISTANCES: dict[str, Callable[[Plane, Plane], Plane]] = dict(zip(SHAPES, _FUNCTIONS, strict=True))
"""Signed distance of each shape at coordinates ``x``, ``y`` of the same shape, in units of the object's radius."""
