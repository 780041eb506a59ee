"""Shifted pictures: same size, same labels, the same bytes for the same seed, and the change that was asked for."""

import numpy as np
import pytest
from PIL import Image

from calip_core.datasets import load_task
from calip_core.datasets.corruptions import CELLS, SHIFTS, shifted
from calip_core.datasets.task import Split


def read(index: int) -> Image.Image:
    """A picture of one grey, lighter for every number, with a white square in the middle."""
    values = np.full((32, 32, 3), 20 * index, dtype=np.uint8)
    values[8:24, 8:24] = 255
    return Image.fromarray(values)


@pytest.fixture
def split() -> Split:
    return Split(read, [0, 1, 0, 1])


@pytest.mark.parametrize("name", SHIFTS)
def test_strength_zero_changes_nothing(split: Split, name: str) -> None:
    unchanged = shifted(split, name, 0.0)
    assert np.array_equal(unchanged.labels, split.labels)
    for before, after in zip(split, unchanged, strict=True):
        assert np.array_equal(np.asarray(before[0]), np.asarray(after[0]))


@pytest.mark.parametrize("name", SHIFTS)
def test_the_seed_alone_decides(split: Split, name: str) -> None:
    first, again, other = (shifted(split, name, 0.5, seed) for seed in (1, 1, 2))
    pictures = [np.asarray(part[2][0]) for part in (first, again, other)]
    assert pictures[0].shape == (32, 32, 3)
    assert np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2]) == (name == "coarse"), "only coarse uses no randomness"


def test_smaller_shrinks_the_square_to_its_share(split: Split) -> None:
    picture = np.asarray(shifted(split, "smaller", 0.5)[0][0])
    assert (picture > 200).all(axis=2).sum() == pytest.approx(16 * 16 / 4, rel=0.35)


def test_mixed_replaces_the_share_of_cells_asked_for() -> None:
    plain = Split(lambda index: Image.new("RGB", (32, 32), (index * 100,) * 3), [0, 1, 2])
    for index in range(3):
        own = np.asarray(shifted(plain, "mixed", 0.25, seed=index)[index][0])[..., 0] == index * 100
        cells = own.reshape(CELLS, 8, CELLS, 8).all(axis=(1, 3)).sum()
        assert cells == 12, "a quarter replaced"


def test_noise_has_the_standard_deviation_asked_for() -> None:
    grey = Split(lambda index: Image.new("RGB", (64, 64), (128,) * 3), [0])
    values = np.asarray(shifted(grey, "noisy", 0.1)[0][0], dtype=float) / 255
    assert values.std() == pytest.approx(0.1, rel=0.05)


def test_coarse_loses_detail(split: Split) -> None:
    values = np.asarray(shifted(split, "coarse", 0.6)[0][0], dtype=float)
    assert np.abs(np.diff(values, axis=1)).max() < 200, "no sharp edge is left"


def test_clouds_are_refused_rather_than_taken_for_pictures() -> None:
    for views in ("pointclip", "bright_voxels"):
        clouds = load_task("mini-solids", views=views).splits["test"]
        with pytest.raises(ValueError, match=f"maps of point clouds, {clouds.views} to a cloud, expected pictures"):
            shifted(clouds, "noisy", 0.1)


def test_bad_input_is_named(split: Split) -> None:
    with pytest.raises(ValueError, match="'fog', expected one of smaller, mixed"):
        shifted(split, "fog", 0.1)
    with pytest.raises(ValueError, match=r"strength is 1\.0, expected at least 0"):
        shifted(split, "noisy", 1.0)
