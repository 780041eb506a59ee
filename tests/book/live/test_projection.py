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
CLOUDS = 20


@pytest.fixture(scope="module")
def clouds() -> Float32[np.ndarray, "n p 3"]:
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


def _maps(projection: Run, cloud: Float32[np.ndarray, "p 3"], name: str) -> Float32[np.ndarray, "v h w"]:
    chosen = view_set(name)
    points = f"new Float32Array({json.dumps(cloud.ravel().tolist())})"
    maps = []
    for turn, tilt in zip(chosen.rotations().tolist(), chosen.tilts().tolist(), strict=True):
        view = json.dumps({"turn": turn, "tilt": tilt})
        maps.append(projection("depthMap", js=f"[{points}, {view}, {json.dumps(_settings(name))}]"))
    return np.array(maps, dtype=np.float32).reshape(len(chosen), chosen.resolution, chosen.resolution)


@pytest.mark.parametrize("name", ["pointclip", "pointclip_v2", "bright_voxels"])
def test_depth_maps_are_those_of_the_library(
    name: str, projection: Run, clouds: Float32[np.ndarray, "n p 3"]
) -> None:
    expected = depth_maps(torch.from_numpy(clouds), name).numpy()
    maps = np.stack([_maps(projection, cloud, name) for cloud in clouds])
    print(name, np.abs(maps - expected).max(), (np.abs(maps - expected) > 1e-5).sum((2,3)).tolist())
    np.testing.assert_allclose(maps, expected, atol=1e-5)
