"""Chapter 0's exhibits show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import normalize

from calip_core.exhibits import start
from calip_core.tokens import CalipLogits, ImageTokens

NAMES = ["red ring", "blue star", "a class with a name that is far too long to be drawn"]


def tokens(spatial: torch.Tensor) -> ImageTokens:
    return ImageTokens(normalize(torch.ones(2, 3), dim=1), spatial, (2, 2))


def logits(text_attended: list[float]) -> CalipLogits:
    clip = torch.tensor([[6.0, 3.0, 0.0], [0.0, 3.0, 0.0]])
    return CalipLogits(clip, torch.tensor([text_attended, [0.0, 0.0, 9.0]]), torch.zeros(2, 3))


def test_one_image_shows_maps_on_one_scale_and_logits_above_their_mean() -> None:
    flat = torch.eye(3)[torch.zeros(2, 4, dtype=torch.long)]
    spread = torch.eye(3)[torch.tensor([[0, 1, 1, 1]] * 2)]
    pair = {"joint": tokens(flat), "value": tokens(spread)}
    parts = {"joint": logits([1.0, 1.0, 1.0]), "value": logits([4.0, 1.0, 1.0])}
    plot = start.one_image(np.zeros((8, 8, 3)), pair, parts, torch.eye(3), NAMES, 0, 0)
    assert "“red ring”" in plot.alt and "joint tokens 1.00 to 1.00; value tokens 0.00 to 1.00" in plot.alt
    assert "CLIP +3.0; text attended, joint 0.0; text attended, value +2.0" in plot.alt
    heats = [ax.images[-1].get_clim() for ax in plot.figure.axes[1:3]]
    assert heats == [(0.0, 1.0), (0.0, 1.0)], "one colour scale"
    labels = [tick.get_text() for tick in plot.figure.axes[3].get_yticklabels()]
    assert labels[:2] == ["red ring (true)", "blue star"] and labels[2].endswith("…")
    assert "<picture>" in plot._repr_mimebundle_()["text/html"]
    plt.close("all")


def test_terms_compares_only_the_blend_with_clip() -> None:
    table = start.terms({"joint": logits([0.0, 9.0, 0.0])}, [0, 2], (1.0, 0.0), "two images")
    frame = table.frame
    assert frame["accuracy"].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert frame.loc["joint: CALIP, all three", "only it : only CLIP (p)"] == "1 : 1 (1)"
    assert frame["gain, points"].isna().tolist() == [True, True, True, False]
    assert table.caption.startswith("two images. CALIP: β₂ = 1, β₃ = 0")


def test_window_draws_accuracies_and_gains() -> None:
    right = np.arange(100) < 50
    clip = {0.0: right, 0.5: np.arange(100) < 20}
    plot = start.window(clip, {"value": {0.0: right, 0.5: np.arange(100) < 30}}, "digits")
    assert "CLIP falls from 50.0 % to 20.0 %" in plot.alt
    assert "value tokens: 0.0 points at λ = 0, at most +10.0 at λ = 0.5" in plot.alt
    left, gains = plot.figure.axes
    assert np.allclose(left.lines[1].get_ydata(), [50, 30]) and np.allclose(gains.lines[0].get_ydata(), [0, 10])
    assert plot.caption.startswith("digits")
