"""Depth maps a second, against the published routine's steps and against writing the bytes of the maps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from calip_core.analysis.speed import paired_seconds
from calip_core.analysis.speed_records import Measurement
from calip_core.pointclouds.projection import depth_maps
from tests.reference import published_steps

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
