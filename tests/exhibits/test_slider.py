"""A slider is a range input: it has a label, takes the keyboard, and shows one frame."""

import re

import matplotlib.pyplot as plt
import pytest

from calip_core.exhibits import Plot
from calip_core.exhibits.slider import Slider


def frame(name):
    figure, _ = plt.subplots(figsize=(1, 1))
    return Plot(figure, alt=f"weights at {name}", caption=f"caption of {name}")


def test_one_frame_is_visible_and_the_input_names_it():
    slider = Slider("temperature", ["2", "0.5 <"], [frame("2"), frame("0.5")], start=1)
    bundle = slider._repr_mimebundle_()
    html = bundle["text/html"]
    figures = re.findall(r"<figure[^>]*>", html)
    assert ["display:none" in figure for figure in figures] == [True, False]
    assert '<label>temperature = <output>0.5 &lt;</output> <input type="range" min="0" max="1" step="1"' in html
    assert 'value="1" aria-valuetext="0.5 &lt;"' in html
    assert 'data-labels="2|0.5 &lt;"' in html and 'alt="weights at 2"' in html and "caption of 0.5" in html
    assert bundle["text/plain"] == "[slider: temperature] weights at 0.5"


@pytest.mark.parametrize("labels", [[], ["1"], ["1", "2", "3"]])
def test_every_frame_has_its_label(labels):
    with pytest.raises(ValueError, match="expected as many, and at least one"):
        Slider("temperature", labels, [frame("1"), frame("2")] if labels else [])
