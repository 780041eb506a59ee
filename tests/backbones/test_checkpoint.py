"""CLIPs as training scripts save them."""

import argparse

import numpy as np
import pytest
import torch

from calip_core.backbones.checkpoint import clip_weights
from calip_core.backbones.openai import load_clip
from tests.backbones.clips import FAMILIES, random_clip

WEIGHTS = {family: dict(random_clip(family).state_dict()) for family in FAMILIES}


def under(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def saved(content, path):
    torch.save(content, path)
    return path


WRAPPERS = {
    "DistributedDataParallel": lambda weights: under("module.", weights),
    "torch.compile": lambda weights: under("_orig_mod.", weights),
    "both": lambda weights: under("module._orig_mod.", weights),
    "open_clip": lambda weights: {"epoch": 3, "name": "x", "state_dict": under("module.", weights), "optimizer": {}},
    "model": lambda weights: {"model": weights, "args": argparse.Namespace(lr=1e-5)},
    "lightning": lambda weights: {"state_dict": under("model.", weights), "hyper_parameters": {"lr": 1}},
    "extras": lambda weights: {**weights, "epoch": 3, "best": np.float64(71.3), "args": argparse.Namespace(lr=1e-5)},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_clip_is_taken_out(wrapper, family, tmp_path):
    found = clip_weights(saved(WRAPPERS[wrapper](WEIGHTS[family]), tmp_path / "x.pt"))
    assert found.keys() == WEIGHTS[family].keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS[family].items())


VIT = WEIGHTS["vit"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": VIT, "ema": under("module.", VIT)},
         "more than one CLIP .'state_dict' visual.conv1.weight, 'ema' module.visual.conv1.weight"),
        ({**under("image_encoder.", VIT), "classifier.weight": torch.zeros(2, 2)},
         "under the prefix 'image_encoder.' and 1 other tensors .classifier.weight"),
        ({**VIT, "visual.transformer.resblocks.0.attn.lora_A.weight": torch.zeros(4, 64)},
         "holds 1 matrices of LoRA .visual.transformer.resblocks.0.attn.lora_A.weight.*merge"),
        ({**VIT, "positional_embedding_res": torch.zeros(16, 64)}, "second table of positions .*Long-CLIP"),
        ({**VIT, "classifier.weight": torch.zeros(2, 2)}, r'Unexpected key\(s\) in state_dict: "classifier.weight"'),
        ({**VIT, "token_embedding.weight": torch.tensor(1.0)}, "vocabulary of 0 entries"),
        ({"model": random_clip("vit")}, r"missing among its 1 entries \(model: clip.model.CLIP"),
        (random_clip("vit"), r"holds a clip.model.CLIP, expected the state dict of a CLIP: save .*state_dict\(\)"),
        ({"model": argparse.Namespace()}, "model: argparse.Namespace"),
    ],
    ids=["two", "others", "LoRA", "Long-CLIP", "a head", "scalar", "whole model inside", "whole model", "arguments"],
)  # fmt: skip
def test_what_is_not_one_clip_is_refused_for_its_true_reason(content, said, tmp_path):
    with pytest.raises(ValueError, match=rf"x\.pt .*{said}"):
        load_clip(saved(content, tmp_path / "x.pt"))


def test_shapes_are_compared_before_memory_is_taken(tmp_path):
    """The width that this file claims would make matrices of 12 TiB."""
    with pytest.raises(ValueError, match=r"x\.pt cannot be read .*size mismatch"):
        load_clip(saved({**VIT, "ln_final.weight": torch.zeros(2**20)}, tmp_path / "x.pt"))


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.pt cannot be read .*a tensor of shape .1099511627776.* has 1 numbers"):
        load_clip(saved({**VIT, "logit_scale": torch.zeros(1).expand(2**40)}, tmp_path / "x.pt"))
