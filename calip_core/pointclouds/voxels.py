"""PointCLIP V2's projection: voxelise, densify, smooth, squeeze (arXiv 2211.11682, section 3.2).

Shape comments use b clouds per chunk, p points per cloud, v views, d depth slices and a padded grid of s x s.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor
from torch.nn.functional import pad

from calip_core.pointclouds.views import ViewSet, Voxels

_CHUNK_VOXELS_GPU = 1 << 25  # voxels per chunk on a GPU; a processor draws one cloud at a time, which fits its cache


@dataclass(frozen=True)
class VoxelGrid:
    """A view set's rotations, for row vectors (p R), and its voxel grid.

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
            ValueError: the grid would have fewer than 3 rows, and the first and the last must stay empty.
        """
        assert views.voxels is not None  # the view set's own check
        side = views.voxels.grid_side(resolution)
        if side < 3:
            raise ValueError(f"resolution {resolution} makes a grid of {side} rows: expected at least 3, ask for more")
        turns, tilts = (matrices.transpose(1, 2).to(device) for matrices in (views.rotations(), views.tilts()))
        return cls(turns, tilts, views.voxels, side)

    def draw(self, clouds: Shaped[Tensor, "n p 3"], maps: Float32[Tensor, "n v h w"]) -> None:
        """Fill ``maps``: 1 is empty and 0 the nearest point of each picture, or the reverse if ``settings.bright``."""
        voxels = maps.shape[1] * self.settings.slices * self.side**2
        step = 1 if clouds.device.type == "cpu" else max(1, _CHUNK_VOXELS_GPU // voxels)
        for some, pictures in zip(clouds.split(step), maps.split(step), strict=True):
            grid = self.voxelise(some.float())  # (b v, d, s, s)
            for axis in (2, 3):
                grid = running_max(grid, self.settings.pool, axis)
            image = gaussian(grid, self.settings.smooth, self.settings.sigma).amax(dim=1)  # (b v, h, w)
            image /= image.amax(dim=(1, 2), keepdim=True)
            pictures.copy_((image if self.settings.bright else 1 - image).view_as(pictures))

    def voxelise(self, clouds: Float32[Tensor, "b p 3"]) -> Float32[Tensor, "_ d s s"]:
        """The depth of the nearest point in each voxel, or 0; cloud by cloud, view by view, padded for pooling.

        Depth increases towards the viewer, from about 1 to the number of slices minus two.
        """
        place = self._centred(clouds)  # (b v, p, 3)
        slices, bias, padding = self.settings.slices, self.settings.depth_bias, self.settings.pool_padding
        rows, columns = (
            ((place[..., axis] + 1) / 2 * self.side).ceil().clamp(1, self.side - 2) + padding for axis in (0, 1)
        )
        depth = ((place[..., 2] + 1) / 2 + bias) / (1 + bias) * (slices - 2)  # (b v, p)
        side = self.side + 2 * padding
        # The slice is computed before the depth is clamped, because rounding can reach one slice beyond the range.
        voxel = (depth.ceil().clamp(0, slices - 1).long() * side + rows.long()) * side + columns.long()
        grid = depth.new_zeros(len(place), slices * side * side)  # (b v, d s s)
        grid.scatter_reduce_(1, voxel, depth.clamp(1, slices - 2), "amax")
        return grid.view(len(place), slices, side, side)

    def _centred(self, clouds: Float32[Tensor, "b p 3"]) -> Float32[Tensor, "_ p 3"]:
        """Rotate, centre the bounding box, and scale its longest side to [-1, 1] (``fill`` within the picture)."""
        place = (clouds.unsqueeze(1) @ self.turns @ self.tilts).flatten(0, 1)  # (b, 1, p, 3) @ (v, 3, 3) -> (b v, p, 3)
        place += place.new_tensor(self.settings.shift)
        low, high = place.amin(dim=1, keepdim=True), place.amax(dim=1, keepdim=True)  # (b v, 1, 3)
        span = (high - low).amax(dim=2, keepdim=True)
        # A cloud whose points coincide has no span: it stays in the middle.
        place = (place - (high + low) / 2) / torch.where(span == 0, 1.0, span) * 2
        place[..., :2] *= self.settings.fill
        return place


def running_max(grid: Float[Tensor, "v d h w"], window: int, axis: int) -> Float[Tensor, "v d i j"]:
    """The maximum over each window of ``window`` neighbours along an axis; the axis shrinks by window - 1.

    It doubles the covered window in each pass (2, 4, ...): 3 passes for a window of 7.
    """
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        length = grid.shape[axis] - step
        grid = torch.maximum(grid.narrow(axis, 0, length), grid.narrow(axis, step, length))
        covered += step
    return grid


def gaussian(grid: Float[Tensor, "v d h w"], window: int, sigma: float) -> Float[Tensor, "v d h w"]:
    """Smooth along rows, then columns, with a Gaussian truncated to ``window`` (odd) and normalised; zero padding."""
    reach = window // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = (-(offsets**2) / (2 * sigma**2)).exp()
    for axis, border in ((2, (0, 0, reach, reach)), (3, (reach, reach))):
        padded, length = pad(grid, border), grid.shape[axis]
        grid = torch.zeros_like(grid)
        for i, weight in enumerate((weights / weights.sum()).tolist()):
            grid.add_(padded.narrow(axis, i, length), alpha=weight)
    return grid
