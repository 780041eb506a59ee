import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from calip_core.paths import DATA_DIR
from calip_core.pointclouds import names, views
from calip_core.pointclouds.projection import depth_maps
from calip_core.pointclouds.views import ViewSet, available_view_sets, view_set


def viewer_directions(chosen):
    """Unit vectors from the cloud to the viewer, in the cloud's own axes.

    After its turn the cloud is looked at along z': upwards in perspective, downwards on voxels, where of all voxels
    above one pixel the largest z' is drawn.
    """
    sign = -1 if chosen.style == "perspective" else 1
    return sign * (chosen.tilts() @ chosen.rotations())[:, 2]


def test_the_published_view_sets_are_there():
    assert available_view_sets() == ["bright_voxels", "pointclip", "pointclip_fewshot", "pointclip_v2"]
    first, few, second = (view_set(name) for name in ("pointclip", "pointclip_fewshot", "pointclip_v2"))
    assert (len(first), first.style, first.distance, first.resolution) == (6, "perspective", 1.6, 128)
    assert (len(few), few.style, few.distance, few.resolution) == (10, "perspective", 1.4, 224)
    assert (len(second), second.style, second.resolution) == (10, "voxels", 110)
    assert second.voxels.grid_side(110) == 112


def test_the_angles_are_the_published_ones():
    def radians(name):
        return np.radians([view.angles for view in view_set(name).views])

    half, quarter = math.pi / 2, math.pi / 4
    sides = [(k * half, 0, half) for k in range(4)]
    poles = [(0, -half, half), (0, half, half)]
    corners = [(k * quarter, sign * quarter, half) for k in (5, 7) for sign in (-1, 1)]
    assert np.allclose(radians("pointclip"), sides + poles)
    assert np.allclose(radians("pointclip_fewshot"), sides + corners + poles)
    diagonals = [(k * quarter, 0, half) for k in (1, 3, 5, 7)]
    assert np.allclose(radians("pointclip_v2"), diagonals + sides + poles)
    tilts = np.radians([view.tilt for view in view_set("pointclip_v2").views])
    assert np.allclose(tilts, [(0, math.pi / 9, 0)] * 8 + [(0, math.pi / 15, 0)] * 2)


def test_rotations_are_products_of_turns_about_the_axes():
    for view, rotation in zip(view_set("pointclip_fewshot").views, view_set("pointclip_fewshot").rotations(),
                              strict=True):  # fmt: skip
        x, y, z = np.radians(view.angles)
        about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
        about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
        about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
        assert np.allclose(rotation, np.array(about_x) @ about_y @ about_z, atol=1e-6)


@pytest.mark.parametrize("name", ["pointclip", "pointclip_fewshot", "pointclip_v2"])
def test_labels_say_from_where_the_cloud_is_seen(name):
    chosen = view_set(name)
    raised = 0 if name != "pointclip_v2" else 1  # its views from the sides look down, at most 20 degrees
    for label, seen in zip(chosen.labels, viewer_directions(chosen).tolist(), strict=True):
        signs = {axis: sign for sign, axis in zip(label[::2], label[1::2], strict=True)}
        for axis, value in zip("xyz", seen, strict=True):
            if axis in signs:
                assert value * {"+": 1, "-": -1}[signs[axis]] > 0.45
            else:
                assert abs(value) < 1e-6 or (raised and abs(value) <= math.sin(math.pi / 9) + 1e-6)


def test_perspective_views_are_mirrored_and_voxel_views_are_not():
    for name, handed in (("pointclip", -1), ("pointclip_fewshot", -1), ("pointclip_v2", 1)):
        chosen = view_set(name)
        turns = chosen.tilts() @ chosen.rotations()
        right, down, forward = turns[:, 1], turns[:, 0], -viewer_directions(chosen)
        volumes = torch.linalg.det(torch.stack([right, down, forward], dim=1))
        assert torch.allclose(volumes, torch.full_like(volumes, handed), atol=1e-5)


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match="expected one of bright_voxels, pointclip, pointclip_fewshot, pointclip_v2"):
        view_set("pointclop")


def test_a_file_that_describes_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(views, "VIEW_DIR", tmp_path)
    monkeypatch.setattr(names, "VIEW_DIR", tmp_path)
    (tmp_path / "torn.yaml").write_text("name: [")
    (tmp_path / "short.yaml").write_text("name: short")
    text = (DATA_DIR / "views" / "pointclip.yaml").read_text()
    (tmp_path / "copy.yaml").write_text(text)
    faults = ("torn", "torn.yaml cannot be read as YAML"), ("short", "style"), ("copy", "is the view set 'poin")
    for name, message in faults:
        with pytest.raises(ValueError, match=message):
            view_set(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": None}, "style perspective with"),
        ({"style": "voxels"}, "style voxels with"),
        ({"resolution": 0}, "greater than 0"),
        ({"views": []}, "at least 1"),
        ({"views": [{"label": "a", "angles": (0, 0, 0)}] * 2}, "a different label"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_view_set_agrees_with_its_style(change, message):
    with pytest.raises(ValidationError, match=message):
        ViewSet.model_validate(view_set("pointclip").model_dump() | change)


def test_windows_fit():
    fields = view_set("pointclip_v2").model_dump()
    for change in ({"smooth": 4}, {"pool_padding": 4}):
        with pytest.raises(ValidationError, match="odd window"):
            ViewSet.model_validate(fields | {"voxels": fields["voxels"] | change})


def test_ours_differs_from_the_published_voxels_in_polarity_and_standardisation_alone():
    ours, theirs = view_set("bright_voxels"), view_set("pointclip_v2")
    assert ours.voxels.bright and ours.standardise and not theirs.voxels.bright and not theirs.standardise
    changed = {"voxels": theirs.voxels.model_copy(update={"bright": True}), "standardise": True}
    words = {field: getattr(ours, field) for field in ("name", "description", "source")}
    same = theirs.model_copy(update=changed | words)
    assert ours == same


def test_the_largest_value_is_never_exceeded():
    points = torch.nn.functional.normalize(torch.randn(3, 400, 3), dim=2)
    for name in available_view_sets():
        maps = depth_maps(points, name)
        assert maps.min() >= 0 and maps.max() <= view_set(name).largest_value + 1e-6
