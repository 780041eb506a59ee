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
    # All views add up to (1.6, 0.8), which the first view is told and the second is not; half of it, half of the view.
    "inter_view_adapter": (
        {"cloud_views": 2, "ratio": 0.5},
        {"text": EYE, "gather": [[1, 0, 1, 0], [0, 1, 0, 1]], "spread": [[1, 0], [0, 1], [0, 0], [0, 0]]},
        np.array([11, 8]) / math.sqrt(1.1**2 + 0.8**2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_logits_are_those_worked_out_by_hand(name):
    options, state, expected = CASES[name]
    head = make_method(name, **options) if name == "linear_probe" else make_method(name, logit_scale=10.0, **options)
    kinds = {"classes": torch.int64}
    head.load_state_dict({key: torch.as_tensor(x, dtype=kinds.get(key, torch.float64)) for key, x in state.items()})
    logits = head.logits(CLOUD if name == "inter_view_adapter" else IMAGE)
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-6)
    if name == "inter_view_adapter":
        np.testing.assert_allclose(logits[1].numpy(), [10, 0], atol=1e-12)
