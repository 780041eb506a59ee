"""Benchmarks of speed run, here on sizes so small that their numbers mean nothing."""

from importlib import import_module

import pytest

from calip_core.analysis.speed import attention_speed
from calip_core.methods import METHODS

SMALL = {
    "attention": {
        "attention_speed": lambda device, repeats: attention_speed(
            images=2, grid=(1, 3), width=8, classes=4, device=device, repeats=1
        )
    },
    "backbones": {
        "ARCHITECTURES": {
            "RN50": {
                "embed_dim": 64, "image_resolution": 224, "vision_layers": (1, 1, 1, 1), "vision_width": 8,
                "vision_patch_size": None, "context_length": 77, "vocab_size": 49408, "transformer_width": 16,
                "transformer_heads": 2, "transformer_layers": 1,
            }
        },
        "IMAGES": {"cpu": 1},
    },
    "few_shots": {"SHOTS": (1,), "SEEDS": (1,), "HEADS": {name: METHODS[name] for name in ("zero_shot", "gda")}},
    "landscape": {"CLASSES": 3, "SAMPLED_POINTS": 1},
    "projection": {"CLOUDS": 2, "BATCHES": (2,), "VOXEL_CLOUDS": 1},
    "rendering": {"COUNT": 4},
    "streaming": {"SIZES": (300, 600)},
    "training_free": {"IMAGES": 20, "CLASSES": 3, "WIDTH": 8, "VIEWS_OF": 1},
    "tip_adapter": {"IMAGES": 40, "CLASSES": 4, "SHOTS": 2, "WIDTH": 32, "SAMPLED_POINTS": 2},
}  # fmt: skip
"""What replaces the sizes of each benchmark that runs here."""


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs(name, monkeypatch):
    module = import_module(f"tests.benchmarks.{name}")
    for constant, value in SMALL[name].items():
        monkeypatch.setattr(module, constant, value)
    measured = [measurement.what for measurement in module.run()]
    assert measured and len(set(measured)) == len(measured)
