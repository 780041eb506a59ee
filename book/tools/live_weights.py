"""The miniatures' weights as classic scripts, which is how a page opened from ``file://`` can load them.

``weights/manifest.js`` calls ``calipManifest`` with a description of everything else; ``weights/PART-3.js`` calls
``calipChunk("PART", 3, "...")``. The parts are the two image towers, the text tower that both miniatures share, and the
merges of CLIP's byte pairs. Tensors stay in half precision, as they are shipped, in base64.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calip_core.backbones.base import Backbone
from calip_core.backbones.checkpoint import clip_weights
from calip_core.backbones.clip_import import ClipModule, clip
from calip_core.backbones.loading import load_backbone
from calip_core.backbones.model_card import checkpoint_path
from calip_core.backbones.names import MINIATURES
from calip_core.backbones.tokenizers import VOCABULARY
from calip_core.world.captions import _ENDINGS, DIGIT_TEMPLATES, SCENE_TEMPLATES, SOLID_TEMPLATES, WORDS

LARGEST = 16_000_000
"""Bytes that all scripts may have together."""
_CHUNK = 3 << 18  # bytes before base64, which makes 1 MiB of them: whole numbers in half precision, no padding
_OTHERS = ("num_batches_tracked", "logit_scale")  # tensors that no tower computes with


class LiveWeightsError(ValueError):
    """The weights are not as the pages need them; the message says what differs."""


def weight_scripts() -> dict[str, str]:
    """Each script by its name: ``manifest``, ``mini-rn-0``, ``mini-rn-1``, ...

    Raises:
        LiveWeightsError: the miniatures do not share their text tower, or the scripts are larger than ``LARGEST``.
        ValueError: a checkpoint does not match its card.
    """
    weights = {name: clip_weights(checkpoint_path(name)) for name in MINIATURES}
    parts: dict[str, dict[str, Tensor]] = {name: image_tower(tensors) for name, tensors in weights.items()}
    parts["text"] = common_text_tower(weights)
    entries = {name: tensor_entry(tensors) for name, tensors in parts.items()}
    chunks = {name: list(_base64_chunks(_bytes(tensors))) for name, tensors in parts.items()}
    merges = used_merges()
    entries["vocabulary"] = {"bytes": len(merges.encode())}
    chunks["vocabulary"] = [merges]
    for name, entry in entries.items():
        entry |= {"chunks": len(chunks[name]), "characters": sum(map(len, chunks[name]))}
    scripts = {"manifest": _script("calipManifest", _manifest(entries))}
    for name, texts in chunks.items():
        scripts |= {f"{name}-{i}": _script("calipChunk", name, i, text) for i, text in enumerate(texts)}
    if (size := sum(map(len, scripts.values()))) > LARGEST:
        raise LiveWeightsError(f"the scripts with the weights have {size} bytes, expected at most {LARGEST}")
    return scripts


def image_tower(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's tensors."""
    return {name: value for name, value in weights.items() if name.startswith("visual.") and _is_computed_with(name)}


def common_text_tower(weights: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The text tower's tensors, once for all backbones: they differ in their logit scale alone.

    Raises:
        LiveWeightsError: another tensor differs.
    """
    towers = {
        backbone: {key: v for key, v in tensors.items() if not key.startswith("visual.") and _is_computed_with(key)}
        for backbone, tensors in weights.items()
    }
    first, tower = next(iter(towers.items()))
    for other, compared in towers.items():
        if different := [
            name for name in tower | compared
            if name not in tower or name not in compared or not torch.equal(tower[name], compared[name])
        ]:  # fmt: skip
            raise LiveWeightsError(
                f"{first} and {other} have different text towers ({', '.join(different[:3])}), expected one: the live "
                "pages load it once for both"
            )
    return tower


def tensor_entry(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the manifest says of a part: its bytes, and each tensor's shape and place, counted in numbers.

    Raises:
        LiveWeightsError: a tensor is not in half precision.
    """
    places, offset = {}, 0
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float16:
            raise LiveWeightsError(f"{name} is {tensor.dtype}, expected half precision")
        places[name] = {"shape": list(tensor.shape), "offset": offset}
        offset += tensor.numel()
    return {"bytes": 2 * offset, "tensors": places}


def used_merges() -> str:
    """The merges of CLIP's byte pairs that its tokenizer uses, one per line, in order of rank."""
    path = clip.simple_tokenizer.default_bpe()
    lines = gzip.decompress(Path(path).read_bytes()).decode().split("\n")
    return "\n".join(lines[1 : VOCABULARY - 2 * 256 - 2 + 1])  # after the heading; bytes, at the end or not; two marks


def seen_tokens() -> list[int]:
    """Numbers of the byte pairs that the captions of training can hold, in order."""
    phrases = [template.format(word) for word, template in product(WORDS["solid"], SOLID_TEMPLATES)]
    phrases += [template.format(word) for word, template in product(WORDS["digit"], DIGIT_TEMPLATES)]
    phrases += [template.format(word) for word, template in product(WORDS["shape"], SCENE_TEMPLATES)]
    phrases += [*WORDS["colour"], *WORDS["texture"]]
    for ending, _ in _ENDINGS:
        phrases += [ending.format(background=b, side=s) for b, s in product(WORDS["background"], WORDS["side"])]
    encode = clip.simple_tokenizer.SimpleTokenizer().encode
    return sorted({token for phrase in phrases for token in encode(phrase)})


def _is_computed_with(name: str) -> bool:
    return not name.endswith(_OTHERS)


def _bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """All tensors one after another, each number as two bytes, the lower first."""
    return b"".join(tensor.contiguous().numpy().astype("<f2").tobytes() for tensor in tensors.values())


def _base64_chunks(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _CHUNK):
        yield base64.b64encode(data[start : start + _CHUNK]).decode()


def _manifest(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    backbones = {name: load_backbone(name, device="cpu", precision="fp32") for name in MINIATURES}
    return {
        "parts": parts,
        "backbones": {name: _backbone_entry(name, backbone) for name, backbone in backbones.items()},
        "marks": {"start": VOCABULARY - 2, "end": VOCABULARY - 1},
        "seen": seen_tokens(),
    }


def _backbone_entry(name: str, backbone: Backbone) -> dict[str, Any]:
    """Everything about a backbone that its tensors' shapes do not say."""
    model = backbone.model
    return {
        "image": {"part": name, **_image_settings(model.visual)},
        "text": {"part": "text", **_transformer_settings(model.transformer)},
        "resolution": backbone.resolution,
        "grid": list(backbone.grid),
        "embedDim": backbone.embed_dim,
        "logitScale": backbone.logit_scale,
        "contextLength": backbone.context_length,
    }


def _image_settings(visual: ClipModule) -> dict[str, Any]:
    if isinstance(visual, clip.model.VisionTransformer):
        return {"tower": "vit", "patch": visual.conv1.kernel_size[0], **_transformer_settings(visual.transformer)}
    stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
    return {"tower": "resnet", "heads": visual.attnpool.num_heads, "layers": [len(stage) for stage in stages]}


def _transformer_settings(transformer: ClipModule) -> dict[str, Any]:
    return {"heads": transformer.resblocks[0].attn.num_heads, "layers": len(transformer.resblocks)}


def _script(function: str, *arguments: object) -> str:
    """A call of a function. Every character is ASCII, so that the page's encoding does not matter."""
    return f"{function}({', '.join(json.dumps(argument) for argument in arguments)});\n"
