"""Heat-maps show the numbers they were given, where they belong; pictures keep their colours and their words."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from calip_core.exhibits.pictures import draw_heat, first_of_each, picture_grid, picture_seen, upsample

GREY = np.full((8, 8, 3), 0.5)
HEAT = np.array([[0.0, 1.0], [0.2, 0.4]])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_a_tokens_value_stands_at_the_centre_of_its_cell() -> None:
    np.testing.assert_allclose(upsample(HEAT, (6, 6))[1::3, 1::3], HEAT)


def test_interpolation_stays_between_the_tokens() -> None:
    fine = upsample(HEAT, (32, 48))
    assert fine.shape == (32, 48)
    assert 0 <= fine.min() < fine.max() <= 1


def test_the_cross_marks_the_hottest_cell() -> None:
    _, ax = plt.subplots()
    draw_heat(ax, GREY, HEAT, (0.0, 1.0))
    assert ax.lines[0].get_xydata().tolist() == [[5.5, 1.5]]


def test_the_picture_is_cropped_as_for_the_backbone_but_keeps_its_colours() -> None:
    wide = Image.fromarray(np.full((10, 20, 3), (255, 0, 51), dtype=np.uint8))
    chain = transforms.Compose(
        [transforms.CenterCrop(10), transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))]
    )
    seen = picture_seen(wide, chain)
    assert seen.shape == (10, 10, 3)
    np.testing.assert_allclose(seen[0, 0], [1, 0, 0.2])


def test_picture_grid_without_verdicts_has_no_frames() -> None:
    pictures = [Image.new("RGB", (8 + 40 * i, 8), (10 * i, 0, 0)) for i in range(3)]
    figure = picture_grid(pictures, ["a", "b", "c\nd"], None, 4)
    assert [ax.get_xlabel() for ax in figure.axes] == ["a", "b", "c\nd"]
    assert not any(ax.spines["left"].get_visible() for ax in figure.axes)


def test_a_class_without_images_has_no_first_one() -> None:
    labels = np.array([2, 0, 2, 0])
    assert first_of_each(labels, ["a", "b", "c"], most=3) == {"a": 1, "c": 0}
    assert first_of_each(labels, ["a", "b", "c"], most=1) == {"a": 1}
