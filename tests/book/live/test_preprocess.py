"""The preprocessing in the browser against Pillow's and torchvision's, bit by bit."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
import pytest
from jaxtyping import UInt8
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.functional import InterpolationMode, center_crop, resize

from calip_core.backbones.clip_import import clip

Module = Callable[[str], Callable[..., Any]]
Picture = UInt8[np.ndarray, "h w 3"]

_RESOLUTION = 64
_SIZES = [  # height and width
    (64, 64), (64, 65), (66, 64), (67, 64), (63, 63), (65, 65), (128, 128), (127, 129), (64, 203), (150, 110),
    (1, 1), (2, 3), (3, 2), (1, 20), (20, 1), (7, 140), (140, 7), (33, 61), (97, 1940), (300, 451), (500, 333),
]  # fmt: skip
_TALL = [(200, 64), (195, 97), (190, 97), (201, 100), (640, 32), (650, 301)]


@pytest.mark.parametrize("resolution", [_RESOLUTION, 7])
def test_every_shape(module: Module, resolution: int) -> None:
    _check_shapes(module, _SIZES, resolution)


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13 changed the order of the passes")
@pytest.mark.parametrize("resolution", [_RESOLUTION, 7])
def test_tall_pictures(module: Module, resolution: int) -> None:
    _check_shapes(module, _TALL, resolution)


@pytest.mark.parametrize("resolution", [112, 128])
def test_photographs(module: Module, resolution: int) -> None:
    run = module("engine/preprocess.js")
    for photograph in load_sample_images().images:
        for part in (photograph, photograph[:150, :97], photograph[::2, 100:300]):
            assert _is_same(run, part, resolution)


def test_the_encoder_gets_the_same_numbers(module: Module) -> None:
    picture = load_sample_images().images[0]
    planes = module("engine/preprocess.js")("preprocess", js=f"[{_image_data(picture)}, {_RESOLUTION}]")
    expected = clip.clip._transform(_RESOLUTION)(Image.fromarray(picture)).numpy()
    np.testing.assert_array_equal(np.array(planes, np.float32).reshape(expected.shape), expected)


def test_alpha_is_dropped(module: Module) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (90, 80, 4), dtype=np.uint8)
    run = module("engine/preprocess.js")
    seen = run("resizeAndCrop", js=f"[{_image_data(picture)}, {_RESOLUTION}]")
    assert set(seen["data"][3::4]) == {255}
    np.testing.assert_array_equal(_rgb(seen), _expected(picture[:, :, :3], _RESOLUTION))


def _check_shapes(module: Module, sizes: list[tuple[int, int]], resolution: int) -> None:
    """Compare noise of 256 values, and of black and white, whose edges take the filter out of the range."""
    rng = np.random.default_rng(0)
    run = module("engine/preprocess.js")
    for height, width in sizes:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert _is_same(run, noise, resolution), (height, width)
        assert _is_same(run, np.where(noise > 127, 255, 0).astype(np.uint8), resolution), (height, width)


def _is_same(run: Callable[..., Any], picture: Picture, resolution: int) -> bool:
    seen = run("resizeAndCrop", js=f"[{_image_data(picture)}, {resolution}]")
    return np.array_equal(_rgb(seen), _expected(picture, resolution))


def _rgb(seen: dict[str, Any]) -> Picture:
    return np.array(seen["data"], np.uint8).reshape(seen["height"], seen["width"], 4)[:, :, :3]


def _expected(picture: Picture, resolution: int) -> Picture:
    resized = resize(Image.fromarray(np.ascontiguousarray(picture)), [resolution], InterpolationMode.BICUBIC)
    return np.asarray(center_crop(resized, [resolution, resolution]))


def _image_data(picture: UInt8[np.ndarray, "h w c"]) -> str:
    """JavaScript for a picture's RGBA; opaque if it has no alpha."""
    height, width, channels = picture.shape
    opaque = np.full((height, width, 4), 255, np.uint8)
    opaque[:, :, :channels] = picture
    encoded = base64.b64encode(opaque.tobytes()).decode()
    data = f'Uint8ClampedArray.from(atob("{encoded}"), (character) => character.charCodeAt(0))'
    return f"{{ data: {data}, width: {width}, height: {height} }}"
