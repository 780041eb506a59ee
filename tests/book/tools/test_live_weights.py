"""The weights' scripts: read as the pages read them, they hold exactly the tensors and the merges."""

import base64
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from book.tools.live_weights import (
    LARGEST,
    LiveWeightsError,
    common_text_tower,
    seen_tokens,
    tensor_entry,
    weight_scripts,
)
from calip_core.backbones.checkpoint import clip_weights
from calip_core.backbones.clip_import import clip
from calip_core.backbones.loading import load_backbone
from calip_core.backbones.model_card import checkpoint_path
from calip_core.backbones.names import MINIATURES
from calip_core.world.captions import captions_for
from calip_core.world.digits import sample_digits
from calip_core.world.scenes import sample_scenes
from calip_core.world.solids import sample_solids


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return weight_scripts()


@pytest.fixture(scope="module")
def manifest(scripts: dict[str, str]) -> dict[str, Any]:
    (found,) = called(scripts["manifest"], "calipManifest")
    return found


def called(script: str, function: str) -> list[Any]:
    """The arguments of the one call that a script is."""
    match = re.fullmatch(rf"{function}\((.*)\);\n", script)
    assert match and script.isascii()
    return json.loads(f"[{match[1]}]")


def content(scripts: dict[str, str], manifest: dict[str, Any], part: str) -> list[str]:
    calls = [called(scripts[f"{part}-{i}"], "calipChunk") for i in range(manifest["parts"][part]["chunks"])]
    assert [call[:2] for call in calls] == [[part, i] for i in range(len(calls))]
    return [call[2] for call in calls]


def test_they_fit_and_each_is_described(scripts: dict[str, str], manifest: dict[str, Any]) -> None:
    assert sum(map(len, scripts.values())) <= LARGEST
    chunks = {f"{part}-{i}" for part, entry in manifest["parts"].items() for i in range(entry["chunks"])}
    assert set(scripts) == {"manifest", *chunks}
    for part, entry in manifest["parts"].items():
        assert entry["characters"] == sum(map(len, content(scripts, manifest, part)))


@pytest.mark.parametrize("backbone", MINIATURES)
def test_every_tensor_that_a_backbone_computes_with_is_there_bit_by_bit(
    scripts: dict[str, str], manifest: dict[str, Any], backbone: str
) -> None:
    found = dict[str, torch.Tensor]()
    for tower in ("image", "text"):
        part = manifest["backbones"][backbone][tower]["part"]
        data = b"".join(base64.b64decode(chunk, validate=True) for chunk in content(scripts, manifest, part))
        assert len(data) == manifest["parts"][part]["bytes"]
        for name, place in manifest["parts"][part]["tensors"].items():
            numbers = np.frombuffer(data, "<f2", math.prod(place["shape"]), 2 * place["offset"])
            found[name] = torch.from_numpy(numbers.copy()).reshape(place["shape"])
    wanted = clip_weights(checkpoint_path(backbone))
    left_out = {name.rsplit(".", 1)[-1] for name in wanted.keys() - found.keys()}
    assert left_out <= {"logit_scale", "num_batches_tracked"} and found.keys() <= wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


@pytest.mark.parametrize("name", MINIATURES)
def test_a_backbone_is_described_as_the_library_has_it(manifest: dict[str, Any], name: str) -> None:
    backbone, entry = load_backbone(name, device="cpu", precision="fp32"), manifest["backbones"][name]
    assert entry["logitScale"] == backbone.logit_scale
    assert (entry["resolution"], tuple(entry["grid"])) == (backbone.resolution, backbone.grid)
    assert (entry["embedDim"], entry["contextLength"]) == (backbone.embed_dim, backbone.context_length)


def test_the_merges_are_those_of_the_tokenizer_in_their_order(
    scripts: dict[str, str], manifest: dict[str, Any]
) -> None:
    lines = "".join(content(scripts, manifest, "vocabulary")).split("\n")
    ranks: dict[tuple[str, ...], int] = clip.simple_tokenizer.SimpleTokenizer().bpe_ranks
    assert {tuple(line.split(" ")): rank for rank, line in enumerate(lines)} == ranks


def test_words_of_captions_count_as_seen_and_others_do_not() -> None:
    seen, encode = set(seen_tokens()), clip.simple_tokenizer.SimpleTokenizer().encode
    pictured = (sample_scenes(2000, 0), sample_solids(50, 0), sample_digits(50, 0))
    captions = [caption for pictures in pictured for caption in captions_for(pictures, 1)]
    assert seen.issuperset(token for caption in captions for token in encode(caption))
    assert seen.isdisjoint(encode("elephant")) and seen.isdisjoint(encode("photograph"))


def test_text_towers_that_differ_are_refused() -> None:
    tower = {"ln_final.weight": torch.ones(2).half(), "logit_scale": torch.ones(()).half()}
    other = tower | {"logit_scale": torch.zeros(()).half(), "visual.proj": torch.ones(1).half()}
    assert list(common_text_tower({"a": tower, "b": other})) == ["ln_final.weight"]
    with pytest.raises(LiveWeightsError, match=r"a and b have different text towers \(ln_final.weight\)"):
        common_text_tower({"a": tower, "b": {"ln_final.weight": torch.tensor([1.0, 1.001]).half()}})


def test_a_tensor_of_another_precision_is_refused() -> None:
    with pytest.raises(LiveWeightsError, match=r"x is torch\.float32, expected half precision"):
        tensor_entry({"x": torch.ones(1)})
