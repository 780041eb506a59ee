"""The look that all chapters share."""

import colorsys

import matplotlib.pyplot as plt
import pytest

from calip_core import exhibits


def test_style_sets_readable_sizes() -> None:
    exhibits.style()
    assert plt.rcParams["font.size"] >= 10
    assert plt.rcParams["xtick.labelsize"] >= 9


def test_right_and_wrong_differ_in_hue_beyond_red_and_green() -> None:
    def hue(colour: str) -> float:
        return colorsys.rgb_to_hsv(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] * 360

    assert 180 < hue(exhibits.GOOD) < 260, "blue"
    assert hue(exhibits.BAD) < 40, "vermilion"


@pytest.mark.parametrize(("count", "columns", "shape"), [(5, 3, (2, 3)), (2, 4, (1, 2)), (1, 1, (1, 1))])
def test_panels_gives_exactly_the_axes_asked_for(count: int, columns: int, shape: tuple[int, int]) -> None:
    figure, axes = exhibits.panels(count, columns)
    assert len(axes) == count == len(figure.axes)
    assert axes[0].get_gridspec().get_geometry() == shape
    plt.close(figure)


def test_panels_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="0 panels in 3 columns"):
        exhibits.panels(0, 3)
