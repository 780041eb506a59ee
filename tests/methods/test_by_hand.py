"""Every head's logits for one image in the plane, worked out by hand from the equation in its docstring."""

import math

import numpy as np
import pytest
import torch

from calip_core.methods import METHODS, make_method
from calip_core.tokens import ImageTokens

# F_v = (0.6, 0.8); two tokens along the axes, which are the classes' text features too; s = 10.
EYE = torch.eye(2, dtype=torch.float64)
IMAGE = ImageTokens(torch.tensor([[0.6, 0.8]]).double(), EYE.unsqueeze(0), (1, 2))
CLOUD = ImageTokens(torch.tensor([[0.6, 0.8], [1.0, 0.0]]).double(), EYE.expand(2, 2, 2), (1, 2))

# Softmax at scale 2: each token gives this weight to the class along its own axis, and each class to that token.
P = math.exp(2) / (math.exp(2) + 1)
# F_v F_t^aT; F_v^a is (0.5 + P, 0.5 + P): mean plus maximum of (P, 1 - P) and (1 - P, P).
TEXT_ATTENDED = np.array([0.6 * P + 0.8 * (1 - P), 0.6 * (1 - P) + 0.8 * P])
VISUAL_ATTENDED = np.array([0.5 + P, 0.5 + P])
PROJECTIONS = ("s_q", "s_k", "s_v", "t_q", "t_k", "t_v")
ZERO_SHOT = np.array([6.0, 8.0])
EPS = 1e-5  # what batch normalisation adds to a variance
LENGTH = math.sqrt(0.8**2 + 0.65**2 + 0.5**2)  # of both views of the cloud together
Q = P - 0.5
SIGMA = np.array([(1 - P) * 0.16 + P * 0.36, (1 - P) * 0.64 + P * 0.04])
# Softmax of the kernel (1, 1/e), and the mean of the views (0.6, 0.8) and (1, 0) with kernel and softmax as weights.
Y = 1 / (1 + math.exp(1 / math.e - 1))
MODE = Y * np.array([0.6, 0.8]) + (1 - Y) / math.e * np.array([1.0, 0.0])
# 10 F_v F_t^T and, about the axes, -1/2 sum (f - t)^2 / sigma / 50.
ANCHORED = ZERO_SHOT - np.array([0.16 / SIGMA[0] + 0.64 / SIGMA[1], 0.36 / SIGMA[0] + 0.04 / SIGMA[1]]) / 100

CASES = {
    "zero_shot": ({}, {"text": EYE}, [6, 8]),
    "calip": (
        {}, {"text": EYE, "beta2": 0.5, "beta3": 0.25}, ZERO_SHOT + 10 * (0.5 * TEXT_ATTENDED + 0.25 * VISUAL_ATTENDED),
    ),
    "linear_probe": ({}, {"weight": [[1, 2, 3], [-1, 0, 0.5]], "C": 1.0}, [0.6 + 1.6 + 3, -0.6 + 0.5]),
    "coop": ({}, {"text": [[0, 1], [1, 0]], "context": [[0.0]]}, [8, 6]),
    # Middle: relu(0.6 + 0.8) = 1.4; A(F_v) = (1.4, 0); half of it and half of F_v: (1, 0.4).
    "clip_adapter": (
        {}, {"text": EYE, "down": [[1, 1]], "up": [[1], [0]], "ratio": 0.5}, np.array([10, 4]) / math.sqrt(1.16),
    ),
    # Cosines of the image with the keys: 1 and 0.6; the first key is of class 1.
    "tip_adapter": (
        {}, {"text": EYE, "keys": [[0.6, 0.8], [1, 0]], "classes": [1, 0], "alpha": 3, "beta": 2},
        [6 + 3 * math.exp(-2 * 0.4), 8 + 3],
    ),
    "tip_adapter_f": (
        {}, {"text": EYE, "keys": [[0.6, 0.8], [2, 0]], "classes": [1, 0], "alpha": 3, "beta": 2},
        [6 + 3 * math.exp(-2 * (1 - 1.2)), 8 + 3],
    ),
    "gda": (
        {}, {"text": EYE, "weight": [[1, 0], [0, 2]], "bias": [0.1, -0.1], "alpha": 2.0},
        [6 + 2 * (0.6 + 0.1), 8 + 2 * (1.6 - 0.1)],
    ),
    "clap": ({}, {"weight": [[0.6, 0.8], [1, 0]], "prices": [1, 1]}, [10, 6]),
    # Identities, and a post-projection that halves.
    "calip_fs": (
        {}, {"text": EYE, "post": 0.5 * EYE, "beta1": 1, "beta2": 1, "beta3": 2} | dict.fromkeys(PROJECTIONS, EYE),
        ZERO_SHOT + 10 * (0.5 * TEXT_ATTENDED + 2 * 0.5 * VISUAL_ATTENDED),
    ),
    # Weighted: (0.6, 0.8) and (0.5, 0); normalised: (1, 3) and (0, -5); their sum plus (0, 1): (1, -1); normalised:
    # (1, -0.5), of which relu leaves (1, 0); deeper: (1, 0.5), which the first view is told and the second is not.
    # Half of it, half of the view: (0.8, 0.65) and (0.5, 0).
    "inter_view_adapter": (
        {"cloud_views": 2, "ratio": 0.5},
        {
            "text": EYE, "weights": [1, 0.5], "view_mean": [0.5, 0.5], "view_variance": [0.04 - EPS] * 2,
            "view_scale": [2, 2], "view_shift": [0, 0],
            "gather": [[1, 0, 1, 0], [0, 1, 0, 1]], "gather_bias": [0, 1],
            "cloud_mean": [0, 0], "cloud_variance": [4 - EPS] * 2, "cloud_scale": [1, 1], "cloud_shift": [0.5, 0],
            "deepen": [[1, 0], [1, 0]], "deepen_bias": [0, -0.5],
            "spread": [[1, 0], [0, 1], [0, 0], [0, 0]], "spread_bias": [0, 0, -1, 0],
        },
        10 * math.sqrt(2) * np.array([0.8, 0.65]) / LENGTH,
    ),
    # A quarter of the mean image is (0.2, 0), of the mean class (0.125, 0.125).
    "distribution_normalization": (
        {}, {"text": EYE, "mean": [0.8, 0.0]},
        10 * np.array([0.4 * 0.875 - 0.8 * 0.125, 0.8 * 0.875 - 0.4 * 0.125]) / math.sqrt(0.8 * 0.78125),
    ),
    # The heads below see a batch of this one image, or a stream of it.
    # Balanced, both classes are as likely; one step moves W_0 towards the image by Q, W_1 away from it.
    "inmap": (
        {"steps": 1, "rate": 0.1, "image_temperature": 0.1}, {"text": EYE},
        [10 * (0.6 + Q) / math.sqrt(1 + 1.2 * Q + Q**2), 10 * (0.8 - Q) / math.sqrt(1 - 1.6 * Q + Q**2)],
    ),
    # Without neighbours, and with the same mean for both classes, the prior is the answer.
    "transclip": ({"prior": 0.5}, {"text": EYE}, np.array([3, 4]) - math.log(math.exp(3) + math.exp(4))),
    # Anchored to the text without end; the variances are those about the axes, at CLIP's probabilities (1 - P, P).
    "stata": (
        {"alpha": 1e12, "rounds": 1, "inner": 1}, {"text": EYE},
        ANCHORED - math.log(sum(math.exp(x) for x in ANCHORED)),
    ),
    # The image is cached for its own class, and as an unsure one against both.
    "tda": ({"unsure_high": 1.0}, {"text": EYE}, [6 - 0.0117, 8 + 0.2 - 0.0117]),
    # Class 0 remembers its text; class 1 its text and the image, in equal parts: (0.6, 1.8).
    "dmn": ({"alpha": 2, "beta": 0}, {"text": EYE}, [6 + 2 * 6, 8 + 2 * 10 * 1.8 / math.sqrt(3.6)]),
    # Two views at a squared distance of 0.8, so the kernel from the first is (1, 1/e).
    "mta": (
        {"crops": 1, "rounds": 1, "smoothness": 1.0, "agreement": 0.0}, {"text": EYE},
        10 * MODE / math.sqrt(MODE @ MODE),
    ),
    # A star: the image between its classes. x = a w + a^2 x, since the weights' squares sum to 1.
    "zlap": (
        {"spread": 0.5, "power": 1, "neighbours": 2}, {"text": EYE},
        10 * 0.5 * np.sqrt(np.array([0.6, 0.8]) / 1.4) / (1 - 0.25),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_logits_are_those_worked_out_by_hand(name):
    options, state, expected = CASES[name]
    head = make_method(name, **options) if name == "linear_probe" else make_method(name, logit_scale=10.0, **options)
    kinds = {"classes": torch.int64}
    head.load_state_dict({key: torch.as_tensor(x, dtype=kinds.get(key, torch.float64)) for key, x in state.items()})
    logits = head.logits(CLOUD if name in ("inter_view_adapter", "mta") else IMAGE)
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-6)
    if name == "inter_view_adapter":
        np.testing.assert_allclose(logits[1].numpy(), [10 * math.sqrt(2) * 0.5 / LENGTH, 0], atol=1e-12)
