"""Projection of point clouds to depth maps, several views per cloud, as in PointCLIP and PointCLIP V2.

``depth_maps`` draws the maps; ``encoder_input`` turns them into what an image encoder takes. Shape comments use b
clouds per chunk, p points per cloud and v views; the voxel style is in ``voxels.py``.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import normalize

from calip_core.pointclouds.views import ViewSet, view_set
from calip_core.pointclouds.voxels import VoxelGrid
from calip_core.preprocessing import MEAN, STD

# Points times views per chunk. On a processor: few enough for the cache, and below the size at which PyTorch spreads
# work over threads, which costs more than it gains here. A GPU needs more work at once.
_CHUNK_POINTS = 24_576
_CHUNK_POINTS_GPU = 1 << 22
_LARGEST = 1e15  # larger coordinates could overflow float32 once rotated and scaled
_TINY = torch.finfo(torch.float32).tiny
_EPSILON = 1e-12  # the smallest depth, as published
_LARGEST_SIDE = 1 << 12  # pixels: float32 represents the pixel indices of one map exactly up to 2^24
_FAR = 1e30  # pushes points behind the pinhole out of every picture


def depth_maps(
    points: Float[Tensor, "n p 3"] | Float[np.ndarray, "n p 3"],
    views: str | ViewSet = "pointclip",
    resolution: int | None = None,
) -> Float32[Tensor, "n v h w"]:
    """Draw every cloud from every view.

    In the style ``perspective`` (PointCLIP), a pixel holds the depth of its points, measured from the pinhole along the
    line of sight in units of the cloud. Several points per pixel are averaged with inverse depth as their weight. 0 is
    empty. Points outside the picture or behind the pinhole are dropped, so a map can be empty. Rows and columns
    increase along x' and y' of the rotated cloud. In the style ``voxels`` (PointCLIP V2), a pixel is 1 where it is
    empty and 0 where the cloud is nearest. Both reproduce the published code (``ViewSet.source``) to float32 accuracy:
    the order of summation may differ, so a point within about 1e-7 of a pixel border can fall on either side.

    Beyond input and result, this needs memory for only a few clouds. Call it batch by batch to bound the result too. On
    a processor, equal clouds give equal maps regardless of batching. A GPU adds the points of a pixel in no fixed
    order, so the last digits vary.

    Args:
        points: coordinates of clouds in the unit sphere, as in PointCLIP's data; the work is done on their device.
        views: a view set, or a name from ``available_view_sets()``.
        resolution: rows and columns of a map; by default, the view set's own.

    Raises:
        ValueError: the points have another shape or there are none, a coordinate is not finite or exceeds 1e15, the
            view set is unknown, or the resolution is too small or too large.
    """
    chosen = view_set(views) if isinstance(views, str) else views
    side = chosen.resolution if resolution is None else resolution
    if not 1 <= side <= _LARGEST_SIDE:
        raise ValueError(f"resolution is {side}, expected 1 to {_LARGEST_SIDE} rows and columns")
    clouds = _checked(points)
    maps = torch.empty(len(clouds), len(chosen), side, side, device=clouds.device)
    if chosen.voxels is None:
        _in_chunks(_Pinhole.of(chosen, side, clouds.device), clouds, maps)
    else:
        VoxelGrid.of(chosen, side, clouds.device).draw(clouds, maps)
    return maps


def encoder_input(
    depth: Float[Tensor, "n v h w"], resolution: int, *, standardise: bool = False
) -> Float32[Tensor, "n*v 3 r r"]:
    """The input of an image encoder: all maps, view by view, resized bilinearly (align_corners), in three channels.

    As in both published codes (``trainers/zeroshot.py``, ``mv_proj`` and ``real_proj``), CLIP's mean and standard
    deviation of photographs are not applied by default. The three channels then share memory: copy the result before
    writing into it.

    Args:
        depth: maps from ``depth_maps``.
        resolution: rows and columns of the backbone's input.
        standardise: whether values from 0 to 1 are standardised like a photograph's (``ViewSet.standardise``).

    Raises:
        ValueError: the resolution is below 1.
    """
    if resolution < 1:
        raise ValueError(f"resolution is {resolution}, expected the backbone's, such as 224")
    single = depth.flatten(0, 1).unsqueeze(1).float()  # (n v, 1, h, w)
    sized = interpolate(single, size=(resolution, resolution), mode="bilinear", align_corners=True)  # (n v, 1, r, r)
    channels = sized.expand(-1, 3, -1, -1)  # (n v, 3, r, r)
    return normalize(channels, list(MEAN), list(STD)) if standardise else channels


def _checked(points: Tensor | np.ndarray) -> Shaped[Tensor, "n p 3"]:
    """Check the clouds without converting them: each chunk is converted to float32 when it is drawn."""
    clouds = torch.as_tensor(points)
    if clouds.ndim != 3 or clouds.shape[2] != 3 or 0 in clouds.shape:
        raise ValueError(
            f"points have shape {tuple(clouds.shape)}: expected (clouds, points, 3), at least one cloud of at least "
            "one point; a single cloud of shape (points, 3) goes in as points[None]"
        )
    clouds = clouds.detach()
    low, high = (float(end) for end in clouds.aminmax())
    if not (low >= -_LARGEST and high <= _LARGEST):
        raise ValueError(
            f"the largest coordinate is {max(-low, high):g}: expected finite values up to {_LARGEST:g}, in clouds that "
            "are centred and scaled to the unit sphere"
        )
    return clouds


def _in_chunks(camera: "_Pinhole", clouds: Shaped[Tensor, "n p 3"], maps: Float32[Tensor, "n v h w"]) -> None:
    """Draw a few clouds at a time; on a processor, in as many threads as PyTorch may use."""
    on_gpu = clouds.device.type != "cpu"
    work = clouds.shape[1] * maps.shape[1]
    step = max(1, (_CHUNK_POINTS_GPU if on_gpu else _CHUNK_POINTS) // work)
    starts = range(0, len(clouds), step)

    def draw_from(start: int) -> None:
        camera.draw(clouds[start : start + step].float(), maps[start : start + step])

    # PyTorch itself spreads clouds larger than a chunk over threads. Smaller ones get our own threads: that gains
    # little on an idle machine, but on a busy one PyTorch's threads, which synchronise at every step, are several
    # times slower.
    workers = 1 if on_gpu or work > _CHUNK_POINTS else min(torch.get_num_threads(), len(starts))
    if workers == 1:
        for start in starts:
            draw_from(start)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(draw_from, starts):
            pass


@dataclass(frozen=True)
class _Pinhole:
    """PointCLIP's camera: ``turn`` stacks the first rows of all rotations, then the second rows, then the third."""

    turn: Float32[Tensor, "r 3"]
    distance: float
    side: int

    @classmethod
    def of(cls, views: ViewSet, side: int, device: torch.device) -> "_Pinhole":
        assert views.distance is not None  # the view set's own check
        turns = views.tilts() @ views.rotations()
        return cls(turns.transpose(0, 1).flatten(0, 1).to(device), views.distance, side)

    def draw(self, clouds: Float32[Tensor, "b p 3"], maps: Float32[Tensor, "b v h w"]) -> None:
        """Fill ``maps``.

        With weights w = 1/z, the mean depth sum(w z) / sum(w) of a pixel is its number of points over sum(w). The map
        is therefore the only dense array: it accumulates sum(w), then the counts, and finally receives their ratio.
        Each is read back only where points fall, a small fraction of the pixels.
        """
        pixel, inside, weight = self._pixels(clouds)  # (v b p) each
        flat = maps.view(-1)  # (b v h w)
        sums = flat.zero_().scatter_add_(0, pixel, weight).index_select(0, pixel)  # (v b p)
        numbers = flat.index_fill_(0, pixel, 0.0).scatter_add_(0, pixel, inside).index_select(0, pixel)  # (v b p)
        # Dropped points are moved to a border pixel that may have no others: there 0 / tiny keeps it empty.
        flat.scatter_(0, pixel, numbers.div_(sums.clamp_min_(_TINY)))

    def _pixels(self, clouds: Float32[Tensor, "b p 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Per view and point, flattened: the pixel's index in ``maps``, 1 inside the picture (else 0), and that over z.

        All in float32, which a processor vectorises better than booleans.
        """
        b, p, v = len(clouds), clouds.shape[1], len(self.turn) // 3
        x, y, z = (self.turn @ clouds.reshape(-1, 3).T).view(3, v, b, p)  # (3 v, 3) @ (3, b p) -> three of (v, b, p)
        z.add_(self.distance)
        behind = z.clamp(max=0).mul_(_FAR)
        z.clamp_(min=_EPSILON)
        for coordinate in (x, y):  # u = (x/z + 1) side/2, then ceil(u - 1/2), in the published order of operations
            coordinate.div_(z).add_(1).mul_(self.side / 2).sub_(0.5).ceil_()
        middle = (self.side - 1) / 2
        beside = torch.maximum((x - middle).abs_(), (y - middle).abs_()).sub_(behind)
        # Pixel indices are integers: their distance from the middle is at most ``middle`` inside the picture.
        inside = beside.neg_().add_(middle + 1).clamp_(0, 1)
        pixel = x.clamp_(0, self.side - 1).mul_(self.side).add_(y.clamp_(0, self.side - 1)).long()
        first = torch.arange(0, b * v * self.side**2, self.side**2, device=pixel.device)  # (b v)
        pixel += first.view(b, v, 1).transpose(0, 1)  # (v, b, p) + (v, b, 1)
        return pixel.view(-1), inside.view(-1), (inside / z).view(-1)
