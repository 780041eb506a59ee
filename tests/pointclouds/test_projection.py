import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from calip_core.pointclouds import projection
from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import ViewSet, view_set
from tests.reference import published_steps


def clouds(n, p, seed=0, radius=1.0):
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n, p, 3, generator=generator), dim=-1)
    return radius * directions * torch.rand(n, p, 1, generator=generator)


def reference(cloud, views, side):
    """The equations, a point at a time in float64; None where a pixel's border is too near to be told."""
    maps = np.zeros((len(views), side, side))
    for v, rotation in enumerate(views.rotations().double().numpy()):
        weights, weighted = np.zeros((side, side)), np.zeros((side, side))
        for point in cloud.double().numpy():
            x, y, z = rotation @ point
            z += views.distance
            if z < 0:
                continue
            place = [(value / z + 1) * side / 2 - 0.5 for value in (x, y)]
            if min(abs(value - round(value)) for value in place) < 1e-4:
                return None
            row, column = (math.ceil(value) for value in place)
            if 0 <= row < side and 0 <= column < side:
                weights[row, column] += 1 / z
                weighted[row, column] += z / z
        maps[v] = weighted / np.where(weights == 0, 1, weights)
    return maps


@pytest.mark.parametrize("name", ["pointclip", "pointclip_fewshot"])
@pytest.mark.parametrize("radius", [0.3, 1.0, 3.0])
def test_the_maps_are_the_equations(name, radius):
    checked = 0
    for seed in range(6):
        points = clouds(1, 40, seed, radius)
        expected = reference(points[0], view_set(name), 24)
        if expected is not None:
            assert np.abs(depth_maps(points, name, 24)[0].numpy() - expected).max() < 1e-5
            checked += 1
    assert checked >= 2


def test_points_of_one_pixel_are_weighted_by_inverse_depth():
    line = torch.tensor([[[0.001, 0.001, -0.6], [0.001, 0.001, 0.4], [0.001, 0.001, 0.4]]])
    depth = depth_maps(line)[0, 0]  # along z: at depths 1, 2 and 2
    assert float(depth.amax()) == pytest.approx(3 / (1 / 1 + 1 / 2 + 1 / 2), abs=1e-6)
    assert int((depth > 0).sum()) == 1


def test_rows_grow_along_minus_y_and_columns_along_x():
    depth = depth_maps(torch.tensor([[[0.5, 0.25, 0.0]]]), "pointclip", 128)[0, 0]
    row, column = torch.nonzero(depth)[0].tolist()
    assert row == math.ceil((1 - 0.25 / 1.6) * 64 - 0.5)
    assert column == math.ceil((1 + 0.5 / 1.6) * 64 - 0.5)


def test_a_plane_has_its_distance_everywhere():
    side = torch.linspace(-0.5, 0.5, 150)
    plane = torch.cartesian_prod(side, side, torch.tensor([0.25]))[None]
    depth = depth_maps(plane, "pointclip", 32)[0]
    for view, distance in ((0, 1.85), (2, 1.35)):  # from -z and from +z
        assert torch.allclose(depth[view][depth[view] > 0], torch.tensor(distance), atol=1e-6)
        assert int((depth[view] > 0).sum()) >= (1 / distance * 32 / 2 - 2) ** 2


def cloud_on_rays(view, side, depth_of):
    """Where the rays through the middles of all pixels of a view have the depths ``depth_of(a, b)``, or nothing.

    The middle of pixel (row, column) is u = row, v = column: x' = z a, y' = z b with a = 2 row / side - 1, and so on.
    """
    chosen = view_set("pointclip")
    a, b = torch.meshgrid(*[2 * torch.arange(side, dtype=torch.float64) / side - 1] * 2, indexing="ij")
    depth = depth_of(a, b)
    seen = torch.stack([a * depth, b * depth, depth - chosen.distance], dim=2)
    return (seen[depth.isfinite()] @ chosen.rotations()[view].double())[None], depth  # p = R^T p'


@pytest.mark.parametrize("view", range(6))
def test_a_slanted_plane_is_exact_in_every_pixel(view):
    normal, offset = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64), 1.4
    plane, depth = cloud_on_rays(view, 48, lambda a, b: offset / (normal[0] * a + normal[1] * b + normal[2]))
    assert depth.amax() - depth.amin() > 1  # slanted
    assert (depth_maps(plane, "pointclip", 48)[0, view] - depth).abs().max() < 1e-5


@pytest.mark.parametrize("view", range(6))
def test_a_sphere_is_exact_in_every_pixel_of_every_view(view):
    def near_side(a, b):  # where (a z)^2 + (b z)^2 + (z - 1.6)^2 = 1 first, NaN where never
        slant = 1 + a * a + b * b
        return (1.6 - (1.6**2 - slant * (1.6**2 - 1)).sqrt()) / slant

    sphere, depth = cloud_on_rays(view, 64, near_side)
    assert 1000 < sphere.shape[1] < 64 * 64
    assert torch.allclose(sphere.norm(dim=2), torch.ones(1, dtype=torch.float64))
    assert (depth_maps(sphere, "pointclip", 64)[0, view] - depth.nan_to_num(0.0)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["pointclip", "pointclip_fewshot"])
def test_the_maps_are_those_of_the_published_routine(name):
    points = clouds(24, 1024, seed=1)
    gap = (depth_maps(points, name) - published_steps(points, view_set(name))).abs()
    assert gap.max() <= 1e-5


def test_a_sphere_shows_its_near_side_and_its_rim():
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(1, 200_000, 3, generator=generator), dim=2)
    near = points[:, points[0, :, 2] < -1 / 1.6]  # the cap that the first view's pinhole sees
    depth = depth_maps(near, "pointclip", 64)[0, 0].double()
    rows, columns = torch.nonzero(depth, as_tuple=True)
    # A ray (a, b, 1) z meets the unit sphere around (0, 0, 1.6) where (a^2 + b^2) z^2 + (z - 1.6)^2 = 1.
    slant = 1 + sum((pixel / 32 - 1) ** 2 for pixel in (rows, columns))
    inner = (1.6**2 - slant * (1.6**2 - 1)) > 0.15
    expected = (1.6 - (1.6**2 - slant * (1.6**2 - 1)).clamp(min=0).sqrt()) / slant
    assert inner.sum() > 1000
    assert (depth[rows, columns] - expected)[inner].abs().max() < 0.05
    rim = math.tan(math.asin(1 / 1.6)) * 32
    reach = ((rows - 32.0) ** 2 + (columns - 32.0) ** 2).sqrt().max()
    assert abs(float(reach) - rim) < 1.5


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 50), st.sampled_from(["pointclip", "pointclip_v2"]))
def test_the_order_of_points_and_the_batch_change_nothing(seed, n, p, name):
    points = clouds(n, p, seed)
    maps = depth_maps(points, name, 20)
    order = torch.randperm(p, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(depth_maps(points[:, order], name, 20), maps, atol=1e-6)
    singles = torch.cat([depth_maps(points[[i]], name, 20) for i in range(n)])
    assert torch.equal(singles, maps)
    assert maps.isfinite().all() and (maps >= 0).all()


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.1, 5))
def test_every_pixel_lies_between_its_points_and_no_point_is_lost(seed, radius):
    points = clouds(1, 30, seed, radius)
    depth = depth_maps(points, "pointclip", 16)
    reach = float(points.norm(dim=-1).max())
    filled = depth[depth > 0]
    assert (filled <= 1.6 + reach + 1e-4).all() and (filled >= 1.6 - reach - 1e-4).all()
    if radius <= 0.8:
        assert (depth.flatten(2) > 0).any(dim=2).all()


@pytest.mark.parametrize("chunk", [1, 500, 10**9])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_and_threads_change_nothing(monkeypatch, chunk, threads):
    points = clouds(7, 100)
    whole = depth_maps(points)
    monkeypatch.setattr(projection, "_CHUNK_POINTS", chunk)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(depth_maps(points), whole)


def border_distances(points, views, side):
    """How far each point is, in any view, from the next border between two pixels, in pixels: "n p"."""
    nearest = torch.full(points.shape[:2], math.inf, dtype=torch.float64)
    for rotation in views.rotations().double():
        x, y, z = (points.double() @ rotation.T).unbind(dim=2)
        for value in (x, y):
            place = (value / (z + views.distance) + 1) * side / 2 - 0.5
            nearest = torch.minimum(nearest, (place - place.round()).abs())
    return nearest


def off_borders(p, side, seed=0):
    """One cloud of at least ``p`` points, each of which has one pixel in every view whatever the rounding."""
    points = clouds(1, 2 * p, seed)
    kept = points[:, (border_distances(points, view_set("pointclip"), side) > 1e-3)[0]]
    assert kept.shape[1] >= p
    return kept


def mirrored(depth, axis):
    """A map turned over: coordinate u goes to side - u, and so does its pixel; the first comes from beyond the last."""
    return depth.flip(axis).roll(1, axis)


# Of the view after a quarter turn of the cloud about y: which view showed that before, and how it lies in the plane.
QUARTER_TURN = {
    "-z": ("-x", lambda m: m), "-x": ("+z", lambda m: m), "+z": ("+x", lambda m: m), "+x": ("-z", lambda m: m),
    "+y": ("+y", lambda m: mirrored(m.T, 0)), "-y": ("-y", lambda m: mirrored(m.T, 1)),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_turning_the_cloud_permutes_the_views(seed):
    points = off_borders(300, 32, seed)
    turned = torch.stack([-points[..., 2], points[..., 1], points[..., 0]], dim=2)
    before, after = (
        dict(zip(view_set("pointclip").labels, depth_maps(p, "pointclip", 32)[0], strict=True))
        for p in (points, turned)
    )
    for label, (source, moved) in QUARTER_TURN.items():
        assert (after[label] > 0).sum() > 100
        assert torch.allclose(after[label], moved(before[source]), atol=1e-5), label


class Sizes(TorchDispatchMode):
    """Notes the bytes of the largest tensor with memory of its own that is made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {tensor.untyped_storage().data_ptr() for tensor in args if isinstance(tensor, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["pointclip", "pointclip_v2"])
def test_beside_input_and_result_the_memory_is_that_of_a_few_clouds(monkeypatch, name, dtype):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # what other threads make would not be noted
    points = clouds(2000, 200).to(dtype)
    with Sizes() as sizes:
        depth_maps(points, name, 1)
    assert 0 < sizes.largest <= points.nbytes / 4


def test_the_largest_picture_counts_its_pixels_exactly():
    inner = 1.6 * (1 - 1.6 / 4096)  # 0.8 pixels from the edge
    corners = torch.tensor([[[inner, -inner, 0.0], [-inner, -inner, 0.0]]])
    first = view_set("pointclip").model_dump()
    one = ViewSet.model_validate(first | {"name": "one", "views": first["views"][:1]})
    assert torch.nonzero(depth_maps(corners, one, 4096)[0, 0]).tolist() == [[4095, 1], [4095, 4095]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["pointclip", "pointclip_fewshot", "pointclip_v2", "bright_voxels"])
def test_a_gpu_draws_the_same(name):
    points = clouds(40, 1024)
    gap = (depth_maps(points.cuda(), name).cpu() - depth_maps(points, name)).abs()
    # Products are rounded otherwise there: a few points of 40,960 cross the border of two pixels or voxels.
    assert (gap > 1e-5).float().mean() < 1e-3


def test_points_that_cannot_be_seen_leave_an_empty_map():
    behind = torch.tensor([[[0.0, 0.0, -5.0]]])
    maps = depth_maps(behind)
    assert (maps[0, 0] == 0).all() and (maps[0, 2] > 0).any()  # behind the pinhole at -z, far away from +z
    assert (depth_maps(torch.tensor([[[9.0, 9.0, 9.0]]]))[0] == 0).all(dim=(1, 2)).sum() >= 3
    mixed = depth_maps(torch.tensor([[[0.0, 0.0, -5.0], [0.1, 0.1, 0.0]]]))[0, 0]
    assert mixed.amax() == pytest.approx(1.6) and int((mixed > 0).sum()) == 1


def test_arrays_and_float64_are_read_and_gradients_are_not():
    points = clouds(2, 30)
    expected = depth_maps(points)
    assert torch.equal(depth_maps(points.double().numpy()), expected)
    maps = depth_maps(points.clone().requires_grad_())
    assert torch.equal(maps, expected) and not maps.requires_grad
    assert torch.equal(depth_maps(points, view_set("pointclip")), expected)


def test_a_view_set_of_ones_own_works():
    fields = view_set("pointclip").model_dump()
    own = ViewSet.model_validate(fields | {"name": "own", "views": fields["views"][:1], "distance": 3.0})
    assert depth_maps(torch.zeros(1, 1, 3), own, 4).amax() == 3.0


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("points", "arguments", "message"),
    [
        (torch.zeros(5, 3), {}, r"\(5, 3\).*points\[None\]"),
        (torch.zeros(0, 5, 3), {}, r"\(0, 5, 3\)"),
        (torch.zeros(2, 0, 3), {}, r"\(2, 0, 3\)"),
        (torch.zeros(2, 5, 6), {}, r"\(2, 5, 6\)"),
        (torch.full((1, 2, 3), torch.nan), {}, "largest coordinate is nan"),
        (torch.full((1, 2, 3), torch.inf), {}, "largest coordinate is inf"),
        (torch.full((1, 2, 3), 1e30), {}, "largest coordinate is 1e"),
        (torch.zeros(1, 1, 3), {"views": "front"}, "'front', expected one of"),
        (torch.full((1, 2, 3), -1e30), {}, "largest coordinate is 1e"),
        (torch.zeros(1, 1, 3), {"resolution": 0}, "resolution is 0"),
        (torch.zeros(1, 1, 3), {"resolution": 4097}, "resolution is 4097, expected 1 to 4096"),
        (torch.zeros(1, 1, 3), {"resolution": 4097, "views": "pointclip_v2"}, "resolution is 4097"),
    ],
)
def test_bad_input_is_named(points, arguments, message):
    with pytest.raises(ValueError, match=message):
        depth_maps(points, **arguments)


def test_the_encoder_gets_three_equal_channels_of_its_size():
    depth = depth_maps(clouds(2, 100), "pointclip", 16)
    images = encoder_input(depth, 31)
    assert images.shape == (12, 3, 31, 31)
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    # align_corners: every second pixel of 31 is one of 16; view by view, cloud by cloud.
    assert torch.allclose(images[:, 0, ::2, ::2], depth.flatten(0, 1), atol=1e-5)
    assert torch.allclose(images[7, 1, 1, 0], depth[1, 1, :2, 0].mean(), atol=1e-5)
    with pytest.raises(ValueError, match="resolution is 0"):
        encoder_input(depth, 0)


def test_an_encoder_may_get_the_picture_standardised_like_a_photograph():
    depth = torch.rand(2, 3, 20, 20)
    channels = encoder_input(depth, 16, standardise=True)
    plain = encoder_input(depth, 16)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (projection.MEAN, projection.STD))
    assert torch.allclose(channels, (plain - mean) / std, atol=1e-6)
