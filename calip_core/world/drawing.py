"""Rendering of scenes, vectorised over scenes: background, distractors, main object, sensor noise.

``render_scenes`` draws pictures and ``object_masks`` the main object's pixels. Shape comments use n scenes (or
objects) of h x w pixels.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from calip_core.world.scenes import (
    Objects,
    Scenes,
    object_is_distractor,
)
from calip_core.world.shapes import SHAPE_DISTANCES
from calip_core.world.vocabulary import BACKGROUNDS, SHAPES, TEXTURES

_CHUNK = 16  # scenes per chunk: their planes stay in the processor's cache
_DARK_TONE = 0.3  # the second tone of a texture, as a fraction of the object's colour
_NOISE_SIDE = 512


def render_scenes(scenes: Scenes, resolution: int = 128) -> UInt8[np.ndarray, "n h w 3"]:
    """Draw every scene as an RGB picture of ``resolution`` x ``resolution`` pixels."""
    images = np.empty((len(scenes), resolution, resolution, 3), np.uint8)
    for index in _chunks_by_shape(scenes):
        part = scenes[index]
        canvas = _background(part, resolution)  # (n, 3, h, w)
        _paste_distractors(canvas, part)
        coverage, rgb = _draw(part.main, *_pixel_centres(resolution), resolution)  # (n, h, w), (n, 3, h, w)
        canvas.lerp_(rgb, coverage.unsqueeze(1))
        _add_sensor_noise(canvas, part)
        pixels = canvas.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
        images[index] = pixels.permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    return images


def object_masks(scenes: Scenes, resolution: int = 128) -> Bool[np.ndarray, "n h w"]:
    """Masks of the pixels that the main object covers by more than half (nothing is drawn over it)."""
    masks = np.empty((len(scenes), resolution, resolution), np.bool_)
    for index in _chunks_by_shape(scenes):
        objects = scenes[index].main
        u, v = _local_coordinates(objects, *_pixel_centres(resolution))
        masks[index] = (_coverage(objects, u, v, resolution) > 0.5).numpy()
    return masks


def _chunks_by_shape(scenes: Scenes) -> Iterator[Int64[np.ndarray, " c"]]:
    """Indices of the scenes sorted by shape, so that a chunk evaluates few distance functions."""
    order = np.argsort(scenes.shape, kind="stable")
    for start in range(0, len(order), _CHUNK):
        yield order[start : start + _CHUNK]


def _pixel_centres(resolution: int) -> tuple[Float[Tensor, "1 1 w"], Float[Tensor, "1 h 1"]]:
    centres = (torch.arange(resolution, dtype=torch.float32) + 0.5) / resolution
    return centres.view(1, 1, -1), centres.view(1, -1, 1)


def _plane(values: np.ndarray) -> Float[Tensor, "n 1 1"]:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).view(-1, 1, 1)


def _local_coordinates(
    objects: Objects, px: Float[Tensor, "#n 1 w"], py: Float[Tensor, "#n h 1"]
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """Pixel positions in each object's own upright frame, in units of its radius."""
    cos, sin = _plane(np.cos(objects.angle) / objects.radius), _plane(np.sin(objects.angle) / objects.radius)
    dx, dy = px - _plane(objects.x), py - _plane(objects.y)  # (n, 1, w), (n, h, 1): broadcast to (n, h, w) below
    return dx * cos + dy * sin, dy * cos - dx * sin


def _coverage(
    objects: Objects, u: Float[Tensor, "n h w"], v: Float[Tensor, "n h w"], resolution: int
) -> Float[Tensor, "n h w"]:
    """Fraction of each pixel that the object covers, from its signed distance in pixels."""
    distance = torch.empty_like(u)
    for shape in np.unique(objects.shape):
        rows = _rows(objects.shape == shape)
        distance[rows] = SHAPE_DISTANCES[SHAPES[shape]](u[rows], v[rows])
    return (0.5 - distance * _plane(objects.radius * resolution)).clamp_(0, 1)


def _rows(chosen: Bool[np.ndarray, " n"]) -> slice | Int64[np.ndarray, " r"]:
    """Indices of the selected rows, as a slice (which copies nothing) if they are contiguous."""
    rows = np.flatnonzero(chosen)
    neighbours = rows[-1] - rows[0] + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if neighbours else rows


def _draw(
    objects: Objects, px: Float[Tensor, "#n 1 w"], py: Float[Tensor, "#n h 1"], resolution: int
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n 3 h w"]]:
    """Coverage and colour of each object at the given pixels."""
    u, v = _local_coordinates(objects, px, py)
    tone = _DARK_TONE + (1 - _DARK_TONE) * _texture(objects, u, v)  # (n, h, w)
    rgb = torch.from_numpy(objects.rgb).view(-1, 3, 1, 1) * tone.unsqueeze(1)  # (n, 3, h, w)
    return _coverage(objects, u, v, resolution), rgb


def _texture(
    objects: Objects, u: Float[Tensor, "n h w"], v: Float[Tensor, "n h w"]
) -> Float[Tensor, "n h w"]:
    """1 where the texture shows the object's colour, 0 where it shows the dark tone."""
    pattern = torch.ones_like(u)
    period = _plane(objects.texture_period)
    for texture in np.unique(objects.texture):
        name, rows = TEXTURES[texture], np.flatnonzero(objects.texture == texture)
        if name == "plain":
            continue
        a, b = u[rows] / period[rows], v[rows] / period[rows]
        if name == "striped":
            wave = torch.sin(a * (2 * math.pi))
        elif name == "checkered":
            wave = torch.sin(a * math.pi) * torch.sin(b * math.pi) * 2
        else:
            wave = 12 * (torch.hypot(a - a.round(), b - b.round()) - 0.27)
        pattern[rows] = (wave * 2.5 + 0.5).clamp_(0, 1)
    return pattern


def _paste_distractors(canvas: Float[Tensor, "n 3 h w"], scenes: Scenes) -> None:
    """Draw each small object in a window around it and blend the window into the canvas, in place."""
    resolution = canvas.shape[-1]
    scene_of, slot_of = np.nonzero(object_is_distractor(scenes))
    if not len(scene_of):
        return
    objects = scenes.distractors[scene_of, slot_of]
    side = min(resolution, math.ceil(2 * 0.09 * resolution) + 3)
    left, top = (
        np.clip(np.floor(c * resolution - side / 2), 0, resolution - side).astype(np.int64)
        for c in (objects.x, objects.y)
    )
    px, py = _pixel_centres(resolution)
    window = np.arange(side)
    coverage, rgb = _draw(  # (o, side, side) and (o, 3, side, side) for o objects
        objects,
        px.view(-1)[left[:, None] + window].unsqueeze(1),
        py.view(-1)[top[:, None] + window].unsqueeze(2),
        resolution,
    )
    pixels, alphas, colours = canvas.numpy(), coverage.unsqueeze(1).numpy(), rgb.numpy()
    for scene, x, y, alpha, colour in zip(scene_of, left, top, alphas, colours, strict=True):
        patch = pixels[scene, :, y : y + side, x : x + side]
        patch += alpha * (colour - patch)


def _background(scenes: Scenes, resolution: int) -> Float[Tensor, "n 3 h w"]:
    """Two colours mixed by a field: zero, a ramp, clouds or waves."""
    px, py = _pixel_centres(resolution)
    angle, frequency, phase = (_plane(column) for column in scenes.background_wave.T)
    along = (px - 0.5) * torch.cos(angle) + (py - 0.5) * torch.sin(angle)  # (n, h, w)
    mix = torch.zeros(len(scenes), resolution, resolution)
    for kind, name in enumerate(BACKGROUNDS):
        rows = np.flatnonzero(scenes.background == kind)
        if name == "gradient":
            mix[rows] = (along[rows] + 0.5).clamp_(0, 1)
        elif name == "wavy":
            mix[rows] = 0.5 + 0.5 * torch.sin(along[rows] * frequency[rows] + phase[rows])
        elif name == "cloudy":
            for row in rows:
                mix[row] = _window(_clouds(resolution), scenes.noise_offset[row], resolution)
    first, second = torch.from_numpy(scenes.background_rgb).view(-1, 2, 3, 1, 1).unbind(1)  # two of (n, 3, 1, 1)
    return torch.lerp(first, second, mix.unsqueeze(1))  # (n, 3, h, w)


def _add_sensor_noise(canvas: Float[Tensor, "n 3 h w"], scenes: Scenes) -> None:
    for picture, level, offset in zip(canvas, scenes.noise_level, scenes.noise_offset, strict=True):
        picture.add_(_window(_white_noise(), offset, canvas.shape[-1]), alpha=float(level))


def _window(
    tile: Float[Tensor, "*c s s"], offset: Int64[np.ndarray, " 2"], resolution: int
) -> Float[Tensor, "*c h w"]:
    """A square crop of a larger tile: noise for the price of a copy."""
    top, left = (int(o) % (tile.shape[-1] - resolution + 1) for o in offset)
    return tile[..., top : top + resolution, left : left + resolution]


@lru_cache(maxsize=1)
def _white_noise() -> Float[Tensor, "3 s s"]:
    """Normal noise of unit variance, the same on every run."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((3, _NOISE_SIDE, _NOISE_SIDE), dtype=np.float32))


@lru_cache(maxsize=4)
def _clouds(resolution: int) -> Float[Tensor, "s s"]:
    """Smooth noise in [0, 1] with features about a ninth of the picture wide."""
    side = 4 * resolution
    coarse = torch.from_numpy(np.random.default_rng(1).random((1, 1, 36, 36), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    return smooth[0, 0].clamp(0, 1)
