"""The live pages' depth maps are those of calip_core.pointclouds."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

from calip_core import load_task
from calip_core.pointclouds import depth_maps, encoder_input, view_set
from calip_core.preprocessing import MEAN, STD

Run = Callable[..., Any]
Clouds = Float32[np.ndarray, "n p 3"]
CLOUDS = 20


@pytest.fixture(scope="module")
def clouds() -> Clouds:
    """Clouds of all ten solids, in random poses."""
    drawn = load_task("mini-solids", views="pointclip").splits["test"].clouds  # type: ignore[attr-defined]
    turns = Rotation.random(CLOUDS, random_state=0)
    return np.stack([turn.apply(drawn[i]) for i, turn in enumerate(turns)]).astype(np.float32)


@pytest.fixture
def projection(module: Callable[[str], Run]) -> Run:
    return module("engine/projection.js")


def _settings(name: str) -> dict[str, Any]:
    """A view set as the panel's data hold it."""
    chosen = view_set(name)
    voxels = chosen.voxels and chosen.voxels.model_dump()
    return {"side": chosen.resolution, "distance": chosen.distance, "voxels": voxels}


def _map(projection: Run, cloud: Float32[np.ndarray, "p 3"], name: str, view: int) -> Float32[np.ndarray, "h w"]:
    chosen = view_set(name)
    points = f"new Float32Array({json.dumps(cloud.ravel().tolist())})"
    rotations = {"turn": chosen.rotations()[view].tolist(), "tilt": chosen.tilts()[view].tolist()}
    drawn = projection("depthMap", js=f"[{points}, {json.dumps(rotations)}, {json.dumps(_settings(name))}]")
    return np.array(drawn, dtype=np.float32).reshape(chosen.resolution, chosen.resolution)


@pytest.mark.parametrize("name", ["pointclip", "pointclip_v2", "bright_voxels"])
def test_depth_maps_are_those_of_the_library(name: str, projection: Run, clouds: Clouds) -> None:
    expected = depth_maps(torch.from_numpy(clouds), name).numpy()
    views = expected.shape[1]
    pairs = [(i, (i + more) % views) for i in range(CLOUDS) for more in (0, 3)]  # of a cloud and a view
    maps = np.stack([_map(projection, clouds[i], name, view) for i, view in pairs])
    same = np.isclose(maps, np.stack([expected[pair] for pair in pairs]), rtol=0, atol=1e-5)
    assert same.mean() > 0.9999  # another processor may round a point on the border of two pixels to the other side


@pytest.mark.parametrize(("side", "standardise"), [(110, True), (128, False)])
def test_the_encoder_reads_what_the_library_gives_it(side: int, standardise: bool, projection: Run) -> None:
    depth = np.random.default_rng(0).random((side, side), dtype=np.float32)
    standard = json.dumps({"mean": MEAN, "std": STD} if standardise else None)
    pixels = projection("encoderInput", js=f"[new Float32Array({json.dumps(depth.ravel().tolist())}), 112, {standard}]")
    expected = encoder_input(torch.from_numpy(depth)[None, None], 112, standardise=standardise)
    np.testing.assert_allclose(pixels, expected.flatten().numpy(), atol=1e-5)


def test_a_cloud_turns_about_the_vertical_then_about_the_horizontal(projection: Run, clouds: Clouds) -> None:
    points = f"new Float32Array({json.dumps(clouds[0].ravel().tolist())})"
    expected = Rotation.from_euler("yx", [30, -50], degrees=True).apply(clouds[0])
    np.testing.assert_allclose(projection("turned", js=f"[{points}, 30, -50]"), expected.ravel(), atol=1e-6)
