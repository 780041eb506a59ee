"""Depth maps a second, against the published routine's steps and against writing the bytes of the maps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from calip_core.pointclouds.projection import depth_maps
from calip_core.pointclouds.views import ViewSet, view_set
from calip_core.speed import paired_seconds
from calip_core.speed_records import Measurement

CLOUDS, POINTS = 256, 1024
BATCHES = (32, 256)  # the published routine is at its best in batches of about 32
VOXEL_CLOUDS = 8


def run() -> Iterator[Measurement]:
    """256 clouds of 1,024 points: PointCLIP's 6 views at 128 pixels, then PointCLIP V2's 10 views."""
    points = unit_clouds(CLOUDS, POINTS)
    for batch in BATCHES:
        batches = points.split(batch)
        seconds = paired_seconds({
            "ours": lambda: [depth_maps(part) for part in batches],  # noqa: B023
            "published steps": lambda: [published_steps(part) for part in batches],  # noqa: B023
            "zeros": lambda: [torch.zeros(len(part), 6, 128, 128) for part in batches],  # noqa: B023
        })  # fmt: skip
        ours, published, zeros = (CLOUDS / seconds[name] for name in ("ours", "published steps", "zeros"))
        size = f"6 views of 1,024 points at 128 pixels, batches of {batch}"
        yield Measurement(what=size, value=ours, unit="clouds/s", goal=2000)
        yield Measurement(
            what=f"{size}: speed against the published steps", value=ours / published, unit="times", goal=3
        )
        yield Measurement(what=f"{size}: the maps' bytes alone, zeroed", value=zeros, unit="clouds/s")
    gap = (depth_maps(points) - published_steps(points)).abs().max()
    yield Measurement(what="largest difference from the published steps", value=float(gap), unit="")
    voxels = paired_seconds({"ours": lambda: depth_maps(points[:VOXEL_CLOUDS], "pointclip_v2")}, repeats=3)
    v2 = VOXEL_CLOUDS / voxels["ours"]
    yield Measurement(what="PointCLIP V2, 10 views at 110 pixels", value=v2, unit="clouds/s")


def unit_clouds(clouds: int, points: int) -> Tensor:
    """Random points in the unit ball."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(clouds, points, 3, generator=generator), dim=-1)
    return direction * torch.rand(clouds, points, 1, generator=generator)


def published_steps(points: Tensor, views: ViewSet | None = None) -> Tensor:
    """The order of operations of PointCLIP's ``trainers/mv_utils_zs.py``, written anew.

    Every cloud repeated per view, a product a copy, the general window of pixels a point (here one, yet with its
    axes), a dense sum of weights, another of weighted depths, their quotient.
    """
    views = views or view_set("pointclip")
    side, n, v = views.resolution, len(points), len(views)
    turned = torch.repeat_interleave(points, v, dim=0) @ views.rotations().transpose(1, 2).repeat(n, 1, 1)
    turned = turned + torch.tensor([0.0, 0.0, views.distance or 0.0])
    depth = turned[..., 2]
    row, column = (_window((turned[..., axis] / (depth + 1e-12) + 1) * side / 2) for axis in (0, 1))
    row, column = row.unsqueeze(3).repeat(1, 1, 1, 1).ceil_(), column.unsqueeze(2).repeat(1, 1, 1, 1).ceil_()
    value = depth[..., None, None].repeat(1, 1, 1, 1)
    seen = (row >= 0) * (row <= side - 1) * (column >= 0) * (column <= side - 1) * (value >= 0)
    weight = seen.float() * (1 / (value + 1e-12))
    weighted = (value * weight).view(n * v, -1)
    pixel = ((row % side).view(n * v, -1) * side + (column % side).view(n * v, -1)).long()
    total = torch.zeros(n * v, side * side).scatter_add(1, pixel, weight.view(n * v, -1))
    total += (total == 0.0).float()
    sums = torch.zeros(n * v, side * side).scatter_add(1, pixel, weighted)
    return (sums / total).view(n, v, side, side)


def _window(coordinate: Tensor) -> Tensor:
    """The window's positions along one axis: one, half a pixel before the coordinate."""
    return coordinate.unsqueeze(2).repeat(1, 1, 1) + torch.tensor([-0.5])
