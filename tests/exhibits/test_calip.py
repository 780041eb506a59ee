import matplotlib.pyplot as plt
import numpy as np

from calip_core.exhibits import calip

GRID = (2, 3)
IMAGE = np.linspace(0, 1, 12 * 12 * 3).reshape(12, 12, 3)
HEAT = np.arange(6.0).reshape(GRID)


def test_the_idea_shares_one_scale_over_the_classes():
    figure = calip.idea(IMAGE, np.stack([HEAT, HEAT + 10]), ["a", "b"], GRID)
    heats = [ax.images[1] for ax in figure.axes[1:3]]
    assert {image.get_clim() for image in heats} == {(0.0, 15.0)}
    plt.close("all")
