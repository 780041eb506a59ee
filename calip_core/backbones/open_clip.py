"""Models of the ``open_clip`` package (extra ``openclip``), of every family in ``families``."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from calip_core.backbones.base import Backbone
from calip_core.backbones.clip_import import ClipModule
from calip_core.backbones.dense import DenseResNet, DenseTower
from calip_core.backbones.families import check_family_tokens, family_of, is_supported
from calip_core.backbones.names import OPEN_CLIP, Precision, TokenSpace
from calip_core.backbones.network import hub_if_reachable, silent_for_seconds_only
from calip_core.backbones.open_clip_towers import ClipaViT, OpenClipViT, TimmTower
from calip_core.backbones.precision import choose_dtype, prepare
from calip_core.backbones.tokenizers import OpenClipTokenizer

_INSTALL = "`pip install 'calip-core[openclip]'`"
_CONTEXT = 77  # open_clip's own default


def load_open_clip(
    name: str,
    device: torch.device,
    precision: Precision = "auto",
    tokens: TokenSpace = "joint",
    cache_dir: str | Path | None = None,
) -> Backbone:
    """Load ``open_clip:MODEL/TAG``, or ``open_clip:MODEL/FILE``; without either the weights are random.

    Family, tag and token space are checked against open_clip's configuration before anything is fetched. Texts are
    tokenised by open_clip's own tokenizer. A tag whose weights were trained with OpenAI's quick GELU gets it, where
    open_clip would only warn (its own names for such models end in ``-quickgelu``). SigLIP's bias is the backbone's
    ``logit_bias``: its logits are s cos + b, while CALIP's blend uses s alone, since b is the same for all classes.

    Warns:
        UserWarning: the weights are random.

    Raises:
        ImportError: a package is not installed.
        ValueError: open_clip does not know the name, or the model's spatial tokens are not defined (``families``).
        ConnectionError: the weights or the tokenizer cannot be fetched; without a network, that is known in seconds.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(f"{name!r} needs the open_clip package: {_INSTALL}") from error
    model_name, _, tag = name.partition(":")[2].partition("/")
    if model_name not in open_clip.list_models():
        raise ValueError(f"open_clip has no model {model_name!r}: {_suggestion(model_name)}")
    config = open_clip.get_model_config(model_name)
    check_family_tokens(name, family_of(name, config), tokens)
    _check_weights(name, model_name, tag)
    _check_packages(name, config["text_cfg"])
    cache = cache_dir and str(cache_dir)
    published = open_clip.get_pretrained_cfg(model_name, tag)
    places = [published.get("hf_hub", "").strip("/"), *_hub_names(config["text_cfg"])]
    with _fetching(name, list(dict.fromkeys(filter(None, places))), from_hub=bool(published or places[1:])):
        tokenizer = open_clip.get_tokenizer(model_name, cache_dir=cache)
        model, _, preprocess = open_clip.create_model_and_transforms(
            model_name,
            pretrained=tag or None,
            force_quick_gelu=published.get("quick_gelu", False),
            pretrained_text=False,
            cache_dir=cache,
        )
    logit_scale: float = model.logit_scale.detach().exp().item()
    logit_bias = 0.0 if model.logit_bias is None else float(model.logit_bias.detach().item())
    prepare(model, device, choose_dtype(precision, device))
    return Backbone(
        name,
        model,
        _tower(model.visual, tokens, config["embed_dim"]),
        preprocess=preprocess,
        tokenizer=OpenClipTokenizer(name, tokenizer, config["text_cfg"].get("context_length", _CONTEXT)),
        resolution=_side(model.visual.image_size),
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


def _check_weights(name: str, model_name: str, tag: str) -> None:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if not tag:
        warnings.warn(
            f"{name!r} names no weights, so they are random and measure nothing: "
            f"{_choice(model_name, tags)}",
            stacklevel=4,
        )
    elif not open_clip.pretrained.is_pretrained_cfg(model_name, tag) and not Path(tag).is_file():
        raise ValueError(f"open_clip has no weights {tag!r} of {model_name}: {_choice(model_name, tags)}")


def _choice(model_name: str, tags: list[str]) -> str:
    if not tags:
        return f"none are published; name a file of weights as in {OPEN_CLIP}{model_name}/FILE"
    return f"write {OPEN_CLIP}{model_name}/TAG with one of {', '.join(tags)}"


def _suggestion(wanted: str) -> str:
    """Up to five models with a similar name and a known family."""
    import open_clip

    names = [name for name in open_clip.list_models() if is_supported(open_clip.get_model_config(name))]
    close = get_close_matches(wanted, names, 5)
    return f"did you mean {', '.join(close)}? " * bool(close) + "`open_clip.list_models()` lists all"


def _check_packages(name: str, text: Mapping[str, Any]) -> None:
    """Tokenizers and text encoders from the Hub need a package that open_clip does not bring."""
    if _hub_names(text) and importlib.util.find_spec("transformers") is None:
        raise ImportError(f"the texts of {name!r} need the transformers package: {_INSTALL}")


def _hub_names(text: Mapping[str, Any]) -> list[str]:
    """Where on the Hub a text encoder has its tokenizer, or its own configuration too."""
    return [str(text[key]) for key in ("hf_tokenizer_name", "hf_model_name") if key in text]


@contextmanager
def _fetching(name: str, places: list[str], from_hub: bool) -> Iterator[None]:
    root = logging.getLogger()  # where open_clip logs its errors
    root.addFilter(_is_not_an_error)
    try:
        with silent_for_seconds_only(), hub_if_reachable() if from_hub else nullcontext():
            yield
    except (RuntimeError, OSError) as error:  # open_clip turns what its download raises into a RuntimeError
        if isinstance(error, torch.OutOfMemoryError):
            raise
        what = f"the weights or the tokenizer of {name!r}"
        if _is_offline(error):
            raise ConnectionError(
                f"{what} ({', '.join(places)}) are not in the cache, and the Hub does not answer: is there a network? "
                "A miniature such as 'mini-rn' needs no download"
            ) from error
        reason = shorten(str(error), 300, placeholder=" ...")
        raise ConnectionError(
            f"{what} cannot be fetched or are damaged ({type(error).__name__}: {reason}): check the network and "
            "the file in the cache, or choose a miniature such as 'mini-rn', which needs no download"
        ) from error
    finally:
        root.removeFilter(_is_not_an_error)


def _is_not_an_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR  # an error is raised, too


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error began with a file that is not in the cache while the Hub gave no answer."""
    while error is not None and type(error).__name__ != "LocalEntryNotFoundError":
        error = error.__cause__ or error.__context__
    return error is not None


def _tower(visual: ClipModule, tokens: TokenSpace, embed_dim: int) -> DenseTower:
    """The tower for one of the image encoders that ``family_of`` accepts."""
    if hasattr(visual, "trunk"):
        return TimmTower(visual, tokens, embed_dim)
    if hasattr(visual, "attnpool"):
        return DenseResNet(visual, tokens)
    return OpenClipViT(visual, tokens) if visual.pool_type == "tok" else ClipaViT(visual, tokens)


def _side(image_size: int | tuple[int, int]) -> int:
    return image_size if isinstance(image_size, int) else image_size[0]
