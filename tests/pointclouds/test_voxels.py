import math

import numpy as np
import pytest
import torch

from calip_core.pointclouds.projection import depth_maps
from calip_core.pointclouds.views import ViewSet, view_set
from calip_core.pointclouds.voxels import VoxelGrid, gaussian, running_max


def ball(p, seed=0):
    return torch.randn(p, 3, generator=torch.Generator().manual_seed(seed)) / 3


def reference(cloud, views, resolution):
    """V2's steps with loops in float64; None where a voxel's border is too near to be told."""
    side, slices, pixels = resolution + 2, 8, range(resolution)
    maps = []
    for first, tilt in zip(views.rotations().double().numpy(), views.tilts().double().numpy(), strict=True):
        place = np.array([tilt @ first @ point for point in cloud.double().numpy()])
        low, high = place.min(axis=0), place.max(axis=0)
        place = (place - (low + high) / 2) / (high - low).max() * 2
        grid = np.zeros((slices, side, side))
        for x, y, z in place:
            row, column = ((0.8 * value + 1) / 2 * side for value in (x, y))
            depth = ((z + 1) / 2 + 0.2) / 1.2 * 6
            if min(abs(value - round(value)) for value in (row, column, depth)) < 1e-5 and abs(abs(z) - 1) > 1e-9:
                return None
            if abs(abs(z) - 1) <= 1e-9:
                return None  # the end of the depth lies on a border, where rounding decides
            voxel = math.ceil(depth), math.ceil(row), math.ceil(column)
            grid[voxel] = max(grid[voxel], depth)
        image = np.zeros((resolution, resolution))
        kernel = np.exp(-np.array([[i * i + j * j for j in (-1, 0, 1)] for i in (-1, 0, 1)]) / 18)
        kernel /= kernel.sum()
        for part in grid:
            padded = np.pad(part, 2)
            dense = np.pad([[padded[i : i + 7, j : j + 7].max() for j in pixels] for i in pixels], 1)
            smooth = [[(kernel * dense[i : i + 3, j : j + 3]).sum() for j in pixels] for i in pixels]
            image = np.maximum(image, smooth)
        maps.append(1 - image / image.max())
    return np.array(maps)


def test_the_maps_are_v2s_steps():
    checked = 0
    for seed in range(8):
        cloud = ball(30, seed) * torch.tensor([2.0, 1.0, 1.0])
        own = ViewSet.model_validate(
            view_set("pointclip_v2").model_dump() | {"views": view_set("pointclip_v2").model_dump()["views"][4:7:2]}
        )
        expected = reference(cloud, own, 20)
        if expected is not None:
            assert np.abs(depth_maps(cloud[None], own, 20)[0].numpy() - expected).max() < 1e-5
            checked += 1
    assert checked >= 3


def test_maps_run_from_the_nearest_to_the_background():
    maps = depth_maps(ball(500)[None], "pointclip_v2")
    assert maps.shape == (1, 10, 110, 110)
    assert (maps.amin(dim=(2, 3)) == 0).all() and (maps.amax(dim=(2, 3)) == 1).all()


def near_a_border(cloud, views, resolution):
    """Whether rounding could move a point of a cloud to another voxel in one of the views."""
    side = resolution + 2
    for first, tilt in zip(views.rotations().double(), views.tilts().double(), strict=True):
        place = cloud.double() @ first.T @ tilt.T
        low, high = place.amin(dim=0), place.amax(dim=0)
        place = (place - (low + high) / 2) / (high - low).max() * 2
        voxel = torch.cat([(0.8 * place[:, :2] + 1) / 2 * side, ((place[:, 2:] + 1) / 2 + 0.2) / 1.2 * 6], dim=1)
        if (voxel - voxel.round()).abs().min() < 1e-4:
            return True
    return False


@pytest.mark.parametrize("name", ["pointclip_v2", "bright_voxels"])
def test_turning_the_cloud_permutes_the_views(name):
    chosen = view_set(name)
    around = ["+x+z", "+x-z", "-x-z", "-x+z"], ["+z", "+x", "-z", "-x"]  # a quarter turn about y apart
    sides = [view for view in chosen.views if any(view.label in circle for circle in around)]
    own = ViewSet.model_validate(chosen.model_dump() | {"views": [view.model_dump() for view in sides]})
    checked = 0
    for seed in range(30):
        cloud = ball(25, seed) * torch.tensor([1.0, 3.0, 1.0])  # its length is no view's depth, which ends at a border
        turned = torch.stack([cloud[:, 2], cloud[:, 1], -cloud[:, 0]], dim=1)
        if near_a_border(cloud, own, 30):
            continue
        before, after = (dict(zip(own.labels, depth_maps(c[None], own, 30)[0], strict=True)) for c in (cloud, turned))
        for circle in around:
            for label, source in zip(circle, circle[-1:] + circle[:-1], strict=True):
                assert (before[source] - before[label]).abs().max() > 0.1
                assert torch.allclose(after[label], before[source], atol=1e-5), (label, source)
        checked += 1
    assert checked >= 3


def test_the_nearest_is_the_darkest():
    near, far = torch.tensor([0.5, 0.0, 1.0]), torch.tensor([-0.5, 0.0, -1.0])
    label = view_set("pointclip_v2").labels.index("+z")
    picture = depth_maps(torch.stack([near, far])[None], "pointclip_v2")[0, label]
    # Columns grow along x from +z: the near point is on the right.
    assert picture[:, 55:].amin() == 0 and 0.5 < picture[:, :55].amin() < 1


@pytest.mark.parametrize("points", [1, 5])
def test_a_cloud_of_one_place_is_a_spot_in_the_middle(points):
    maps = depth_maps(torch.full((1, points, 3), 0.3), "pointclip_v2")
    assert maps.isfinite().all()
    rows, columns = torch.nonzero(maps[0, 0] < 1, as_tuple=True)
    assert abs(float(rows.float().mean()) - 55) < 2 and abs(float(columns.float().mean()) - 55) < 2


def test_scale_and_place_of_the_cloud_hardly_matter():
    cloud = ball(300)
    gap = (depth_maps(cloud[None], "pointclip_v2") - depth_maps(2 * cloud[None], "pointclip_v2")).abs()
    assert float((gap > 1e-3).float().mean()) < 0.05


@pytest.mark.parametrize("window", [1, 2, 3, 5, 7, 8])
def test_the_running_maximum_is_that_of_each_window(window):
    grid = torch.randn(2, 3, 11, 12)
    assert torch.equal(running_max(grid, window, 2), grid.unfold(2, window, 1).amax(dim=-1))
    assert torch.equal(running_max(grid, window, 3), grid.unfold(3, window, 1).amax(dim=-1))


def test_the_gaussian_keeps_a_level_inside_and_fades_at_the_border():
    level = gaussian(torch.ones(1, 1, 5, 5), 3, 3.0)[0, 0]
    assert torch.allclose(level[1:-1, 1:-1], torch.ones(3, 3))
    assert float(level[0, 0]) < float(level[0, 2]) < 1
    spot = torch.zeros(1, 1, 5, 5)
    spot[0, 0, 2, 2] = 1
    assert gaussian(spot, 3, 3.0).sum() == pytest.approx(1)
    assert torch.equal(gaussian(spot, 1, 3.0), spot)


def test_the_first_slice_stays_empty():
    grid = VoxelGrid.of(view_set("pointclip_v2"), 110, torch.device("cpu")).voxelise(ball(2000)[None])
    assert grid.shape == (10, 8, 116, 116)
    assert (grid[:, 0] == 0).all()
    assert grid.amax() <= 6 and grid[grid > 0].amin() >= 1


def test_several_clouds_fill_grids_of_their_own():
    clouds = torch.stack([ball(50, seed) for seed in range(3)])
    grid = VoxelGrid.of(view_set("pointclip_v2"), 20, torch.device("cpu"))
    assert torch.allclose(grid.voxelise(clouds), torch.cat([grid.voxelise(cloud[None]) for cloud in clouds]))


def test_too_small_a_grid_is_named():
    fields = view_set("pointclip_v2").model_dump()
    own = ViewSet.model_validate(fields | {"voxels": fields["voxels"] | {"pool": 1, "pool_padding": 0}})
    with pytest.raises(ValueError, match="grid of 2 rows"):
        depth_maps(torch.zeros(1, 1, 3), own, 2)


def test_bright_voxels_are_the_published_picture_turned_round():
    cloud = torch.nn.functional.normalize(torch.randn(2, 300, 3), dim=2)
    assert torch.allclose(depth_maps(cloud, "bright_voxels"), 1 - depth_maps(cloud, "pointclip_v2"), atol=1e-6)
