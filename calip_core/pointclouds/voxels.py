"""PointCLIP V2's pictures: voxelise, densify, smooth, squeeze (arXiv 2211.11682, section 3.2)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor
from torch.nn.functional import pad

from calip_core.pointclouds.views import ViewSet, Voxels

_CHUNK_VOXELS_GPU = 1 << 25  # drawn at once on a GPU; a processor takes one cloud at a time, which fits its cache


@dataclass(frozen=True)
class VoxelGrid:
    """A view set's turns, for rows (p R), and the grid that it fills.

    Attributes:
        side: the grid's rows and columns before pooling.
    """

    turns: Float32[Tensor, "v 3 3"]
    tilts: Float32[Tensor, "v 3 3"]
    settings: Voxels
    side: int

    @classmethod
    def of(cls, views: ViewSet, resolution: int, device: torch.device) -> "VoxelGrid":
        """The grid whose pictures have ``resolution`` rows and columns.

        Raises:
            ValueError: the grid would have fewer than 3 rows, of which the first and the last stay empty.
        """
        assert views.voxels is not None  # the view set's own check
        side = views.voxels.grid_side(resolution)
        if side < 3:
            raise ValueError(f"resolution {resolution} makes a grid of {side} rows: expected at least 3, ask for more")
        turns, tilts = (matrices.transpose(1, 2).to(device) for matrices in (views.rotations(), views.tilts()))
        return cls(turns, tilts, views.voxels, side)

    def draw(self, clouds: Shaped[Tensor, "n p 3"], maps: Float32[Tensor, "n v h w"]) -> None:
        """Fill ``maps``: 1 is empty, 0 the nearest of each picture; where they are bright, the other way round."""
        voxels = maps.shape[1] * self.settings.slices * self.side**2
        step = 1 if clouds.device.type == "cpu" else max(1, _CHUNK_VOXELS_GPU // voxels)
        for some, pictures in zip(clouds.split(step), maps.split(step), strict=True):
            grid = self.voxelise(some.float())
            for axis in (2, 3):
                grid = running_max(grid, self.settings.pool, axis)
            image = gaussian(grid, self.settings.smooth, self.settings.sigma).amax(dim=1)
            image /= image.amax(dim=(1, 2), keepdim=True)
            pictures.copy_((image if self.settings.bright else 1 - image).view_as(pictures))

    def voxelise(self, clouds: Float32[Tensor, "b p 3"]) -> Float32[Tensor, "_ d s s"]:
        """The depth of the nearest point in each voxel, else 0; cloud by cloud, view by view, padded for the pool.

        Depth grows towards the viewer, from about 1 to the number of slices less two.
        """
        place = self._centred(clouds)
        slices, bias, padding = self.settings.slices, self.settings.depth_bias, self.settings.pool_padding
        rows, columns = (
            ((place[..., axis] + 1) / 2 * self.side).ceil().clamp(1, self.side - 2) + padding for axis in (0, 1)
        )
        depth = ((place[..., 2] + 1) / 2 + bias) / (1 + bias) * (slices - 2)
        side = self.side + 2 * padding
        # The slice follows from the depth before it is cut to its range: rounding can reach one slice beyond.
        voxel = (depth.ceil().clamp(0, slices - 1).long() * side + rows.long()) * side + columns.long()
        grid = depth.new_zeros(len(place), slices * side * side)
        grid.scatter_reduce_(1, voxel, depth.clamp(1, slices - 2), "amax")
        return grid.view(len(place), slices, side, side)

    def _centred(self, clouds: Float32[Tensor, "b p 3"]) -> Float32[Tensor, "_ p 3"]:
        """Turned, its bounding box around the origin and from -1 to 1 along its longest side; rows and columns less."""
        place = (clouds.unsqueeze(1) @ self.turns @ self.tilts).flatten(0, 1)
        place += place.new_tensor(self.settings.shift)
        low, high = place.amin(dim=1, keepdim=True), place.amax(dim=1, keepdim=True)
        span = (high - low).amax(dim=2, keepdim=True)
        # A cloud of one place has no span: it stays in the middle.
        place = (place - (high + low) / 2) / torch.where(span == 0, 1.0, span) * 2
        place[..., :2] *= self.settings.fill
        return place


def running_max(grid: Float[Tensor, "v d h w"], window: int, axis: int) -> Float[Tensor, "v d i j"]:
    """The maximum of each ``window`` neighbours along an axis, window - 1 fewer of them.

    A maximum of 2, then of 4, and so on: 3 passes for a window of 7.
    """
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        length = grid.shape[axis] - step
        grid = torch.maximum(grid.narrow(axis, 0, length), grid.narrow(axis, step, length))
        covered += step
    return grid


def gaussian(grid: Float[Tensor, "v d h w"], window: int, sigma: float) -> Float[Tensor, "v d h w"]:
    """Smooth rows, then columns, by a Gaussian cut to ``window`` (odd) and scaled to sum 1; 0 beyond the border."""
    reach = window // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = (-(offsets**2) / (2 * sigma**2)).exp()
    for axis, border in ((2, (0, 0, reach, reach)), (3, (reach, reach))):
        padded, length = pad(grid, border), grid.shape[axis]
        grid = torch.zeros_like(grid)
        for i, weight in enumerate((weights / weights.sum()).tolist()):
            grid.add_(padded.narrow(axis, i, length), alpha=weight)
    return grid
