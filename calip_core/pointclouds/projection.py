"""Point clouds to depth maps: several views of each, as PointCLIP and PointCLIP V2 draw them."""

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

# Points times views handled at once. On a processor: few enough for a cache, and fewer than PyTorch spreads over
# threads, which costs more than it gains here. A GPU wants more work at once.
_CHUNK_POINTS = 24_576
_CHUNK_POINTS_GPU = 1 << 22
_LARGEST = 1e15  # coordinates beyond it could overflow float32 once they are turned and scaled
_TINY = torch.finfo(torch.float32).tiny
_EPSILON = 1e-12  # the depth of a point in the pinhole itself, as published
_LARGEST_SIDE = 1 << 12  # pixels: float32 counts those of a map exactly up to 2^24
_FAR = 1e30  # pushes what lies behind the pinhole out of every picture


def depth_maps(
    points: Float[Tensor, "n p 3"] | Float[np.ndarray, "n p 3"],
    views: str | ViewSet = "pointclip",
    resolution: int | None = None,
) -> Float32[Tensor, "n v h w"]:
    """Draw every cloud from every view.

    In the style ``perspective`` (PointCLIP) a pixel holds the depth of its points, from the pinhole along the line of
    sight in units of the cloud; of several points it is the mean weighted by inverse depth. 0 is empty. Points beside
    the picture or behind the pinhole are left out, so a map can be empty. Row and column grow along x' and y' of the
    turned cloud. In the style ``voxels`` (PointCLIP V2) a pixel is 1 where there is nothing and 0 where the cloud is
    nearest. Both are the published codes' pictures (``ViewSet.source``) to the accuracy of float32: products may be
    summed in another order, so a point within some 1e-7 of the border of two pixels could fall on either.

    Besides input and result this needs the memory of a few clouds, however many are given: to bound the result too,
    call it with one batch after another. On a processor equal clouds give equal maps, in whatever batches they come; a
    GPU adds the points of a pixel in no fixed order, so its last digits vary.

    Args:
        points: coordinates, of clouds in the unit sphere as PointCLIP's data has them; on a GPU the work is done there.
        views: a name of ``available_view_sets()``, or a view set.
        resolution: rows and columns of a map; the view set's own when left out.

    Raises:
        ValueError: points of another shape, none at all, coordinates that are not finite or larger than 1e15, an
            unknown view set, or a resolution that is too small or too large.
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
    """What an image encoder gets: the maps of all clouds, view by view, bilinear (align_corners), in three channels.

    As in both published codes (``trainers/zeroshot.py``, ``mv_proj`` and ``real_proj``) nothing is subtracted and
    nothing divided: CLIP's own mean and standard deviation of photographs are not applied, unless asked for. Without
    them the three channels are one array, seen three times: copy it before writing into it.

    Args:
        depth: maps of ``depth_maps``.
        resolution: rows and columns that the backbone takes.
        standardise: whether values from 0 to 1 are treated like a photograph's (``ViewSet.standardise``).

    Raises:
        ValueError: a resolution below 1.
    """
    if resolution < 1:
        raise ValueError(f"resolution is {resolution}, expected the backbone's, such as 224")
    single = depth.flatten(0, 1).unsqueeze(1).float()
    sized = interpolate(single, size=(resolution, resolution), mode="bilinear", align_corners=True)
    channels = sized.expand(-1, 3, -1, -1)
    return normalize(channels, list(MEAN), list(STD)) if standardise else channels


def _checked(points: Tensor | np.ndarray) -> Shaped[Tensor, "n p 3"]:
    """The clouds as they are given: a copy in another precision is made of a few at a time, where they are drawn."""
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
            f"the largest coordinate is {max(-low, high):g}: expected finite ones up to {_LARGEST:g}, in clouds that "
            "are centred and scaled to the unit sphere"
        )
    return clouds


def _in_chunks(camera: "_Pinhole", clouds: Shaped[Tensor, "n p 3"], maps: Float32[Tensor, "n v h w"]) -> None:
    """Draw a few clouds at a time, on a processor in as many threads as PyTorch may use."""
    on_gpu = clouds.device.type != "cpu"
    work = clouds.shape[1] * maps.shape[1]
    step = max(1, (_CHUNK_POINTS_GPU if on_gpu else _CHUNK_POINTS) // work)
    starts = range(0, len(clouds), step)

    def draw_from(start: int) -> None:
        camera.draw(clouds[start : start + step].float(), maps[start : start + step])

    # Clouds of more points than a chunk are spread over threads by PyTorch itself. Threads of our own for the rest: an
    # idle machine gains little, but on a busy one PyTorch's threads, which wait for each other at every step, are
    # several times slower.
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
    """PointCLIP's camera: ``turn`` has all views' first rows, then the second, then the third."""

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

        With weights w = 1/z the mean depth sum(w z) / sum(w) of a pixel is its number of points over sum(w). So the map
        itself is the only dense array: it collects the sums, then the numbers, and last takes their ratio, each read
        back where points fall, which is a small part of the pixels.
        """
        pixel, inside, weight = self._pixels(clouds)
        flat = maps.view(-1)
        sums = flat.zero_().scatter_add_(0, pixel, weight).index_select(0, pixel)
        numbers = flat.index_fill_(0, pixel, 0.0).scatter_add_(0, pixel, inside).index_select(0, pixel)
        # Points left out stand at a pixel of the border that may have no other: there 0 / tiny keeps it empty.
        flat.scatter_(0, pixel, numbers.div_(sums.clamp_min_(_TINY)))

    def _pixels(self, clouds: Float32[Tensor, "b p 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Per view and point, flat: the pixel's place in all maps, 1 inside the picture (else 0), and that over z.

        All in float32, which a processor handles many at a time, unlike truth values.
        """
        b, p, v = len(clouds), clouds.shape[1], len(self.turn) // 3
        x, y, z = (self.turn @ clouds.reshape(-1, 3).T).view(3, v, b, p)
        z.add_(self.distance)
        behind = z.clamp(max=0).mul_(_FAR)
        z.clamp_(min=_EPSILON)
        for coordinate in (x, y):  # u = (x/z + 1) side/2, then ceil(u - 1/2), rounded in the published order
            coordinate.div_(z).add_(1).mul_(self.side / 2).sub_(0.5).ceil_()
        middle = (self.side - 1) / 2
        beside = torch.maximum((x - middle).abs_(), (y - middle).abs_()).sub_(behind)
        # Pixels are whole numbers: from the middle it is at most ``middle`` to those inside, one more to the next.
        inside = beside.neg_().add_(middle + 1).clamp_(0, 1)
        pixel = x.clamp_(0, self.side - 1).mul_(self.side).add_(y.clamp_(0, self.side - 1)).long()
        first = torch.arange(0, b * v * self.side**2, self.side**2, device=pixel.device)
        pixel += first.view(b, v, 1).transpose(0, 1)
        return pixel.view(-1), inside.view(-1), (inside / z).view(-1)
