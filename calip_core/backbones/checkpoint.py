"""The state dict of a CLIP in OpenAI's layout, from the usual kinds of files."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from calip_core.backbones.archive import Foreign, read_torch, scripted_tensors
from calip_core.backbones.tokenizers import VOCABULARY

_FIRST = "visual.conv1.weight"
_ALWAYS = (_FIRST, "text_projection", "positional_embedding", "token_embedding.weight",
           "ln_final.weight", "logit_scale", "transformer.resblocks.0.attn.in_proj_weight")  # fmt: skip
_VIT = ("visual.positional_embedding", "visual.proj")
_RESNET = ("visual.layer4.0.conv1.weight", "visual.attnpool.positional_embedding")
_ALONE = "save its state dict alone, torch.save(model.state_dict(), path)"


def clip_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a CLIP under OpenAI's names.

    They may be nested in a dictionary with other entries (``state_dict``, ``model``), and their names may have a prefix
    (``module.``, ``_orig_mod.``), as training scripts leave them. Anything that is not a tensor is ignored and never
    run.

    Raises:
        ValueError: the file is damaged; it holds no CLIP or more than one; or OpenAI's code cannot run it.
    """
    content = read_torch(path)
    content = scripted_tensors(content) or content
    if not isinstance(content, Mapping):
        name = content.name if isinstance(content, Foreign) else type(content).__name__
        raise ValueError(f"{path} holds a {name}, expected the state dict of a CLIP: {_ALONE}")
    entries = _unwrapped(path, content)
    _check_is_clip(path, entries)
    weights = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    _check_runs(path, weights)
    return weights


def _unwrapped(path: Path, content: Mapping[object, object]) -> dict[str, object]:
    """The one mapping that holds a CLIP's first weight, with the prefix of that name removed."""
    places = [("", content), *((f"{key!r} ", value) for key, value in content.items() if isinstance(value, Mapping))]
    found = [
        (place, name.removesuffix(_FIRST), mapping)
        for place, mapping in places
        for name in mapping
        if isinstance(name, str) and f".{name}".endswith(f".{_FIRST}")
    ]
    if len(found) > 1:
        names = ", ".join(f"{place}{prefix}{_FIRST}" for place, prefix, _ in found)
        raise ValueError(f"{path} holds more than one CLIP ({names}): save the one that is meant alone")
    _, prefix, mapping = found[0] if found else ("", "", content)
    named = {str(name): value for name, value in mapping.items()}
    others = [name for name, value in named.items() if isinstance(value, Tensor) and not name.startswith(prefix)]
    if others:
        raise ValueError(
            f"{path} holds a CLIP under the prefix {prefix!r} and {len(others)} other tensors "
            f"({', '.join(others[:3])}, ...), which would be left out: save the CLIP alone"
        )
    return {name.removeprefix(prefix): value for name, value in named.items()}


def _check_is_clip(path: Path, entries: Mapping[str, object]) -> None:
    needed = (*_ALWAYS, *(_VIT if "visual.proj" in entries else _RESNET))
    held = {key: entries[key] for key in needed if key in entries}
    others = [f"{key} is a {_kind(value)}" for key, value in held.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"{path} holds other things than tensors where weights belong: {', '.join(others)}; {_ALONE}")
    missing = [key for key in needed if key not in held]
    if missing:
        raise ValueError(
            f"{path} is not a CLIP in OpenAI's layout: {', '.join(missing)} missing among its {len(entries)} entries "
            f"({', '.join(f'{name}: {_kind(value)}' for name, value in list(entries.items())[:3])}, ...)"
        )


def _check_runs(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse networks with additional or different weights that OpenAI's code does not support."""
    lora = [name for name in weights if "lora_" in name.lower()]
    if lora:
        raise ValueError(
            f"{path} holds {len(lora)} matrices of LoRA ({lora[0]}, ...) beside the weights that they change: merge "
            "them into the weights (`merge_and_unload` in peft) and save the state dict again"
        )
    if "positional_embedding_res" in weights:
        raise ValueError(
            f"{path} holds a second table of positions (positional_embedding_res), as Long-CLIP has: its text encoder "
            "takes positions from both, OpenAI's has one; merge the two into positional_embedding and save it again"
        )
    entries = len(weights["token_embedding.weight"]) if weights["token_embedding.weight"].ndim else 0
    if entries != VOCABULARY:
        raise ValueError(f"{path} has a vocabulary of {entries} entries, expected the {VOCABULARY} of CLIP's tokenizer")


def _kind(value: object) -> str:
    return value.name if isinstance(value, Foreign) else type(value).__name__
