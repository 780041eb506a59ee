"""The families of encoders in the ``open_clip`` package: how each pools its places, and what its F_s is.

One rule gives F_s for all of them: **F_s of a place is what the encoder's own head makes of that place alone.** A mean
over one place is that place, and an attention pool with one key gives it the weight 1, so that place takes the value
path. Only CLIP's ResNets differ: there, as in CALIP's code, every place is also a query of the pool. F_s is always of
unit length in the end.

A family is recognised by open_clip's configuration, before anything is downloaded. "Random weights" below means: the
tests run the family's own classes, with small widths, against open_clip's ``encode_image`` and ``encode_text``. Nobody
has loaded published weights with this code yet, and tokenizers from the Hub were tested with others of their kind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calip_core.backbones.names import TokenSpace

_UNTRIED = "random weights at small widths; at full size the shapes alone; no published weights"
_SAME = "the same as joint"
_MEAN_THEN_NORM = "the norm follows the mean, so the mean of F_s only approximates F_v: to be measured"


@dataclass(frozen=True)
class Family:
    """Encoders that pool their places in one way.

    Attributes:
        name: the models.
        pooled: F_v, before unit length; x are the tokens that enter the pool, token 0 is the class token.
        spatial: F_s, before unit length, with ``tokens="joint"``.
        value: F_s with ``tokens="value"``.
        spaces: the token spaces that are defined.
        run: what has been run, and what has not.
        note: what else to know.
    """

    name: str
    pooled: str
    spatial: str
    value: str = _SAME
    spaces: tuple[TokenSpace, ...] = ("joint", "value")
    run: str = _UNTRIED
    note: str = ""


_LAST_VALUE = "the last attention's value path of each patch, then the same"
FAMILIES: dict[str, Family] = {
    "resnet": Family(
        "OpenAI's and LAION's ResNets",
        "attention pool, query of the mean",
        "attention pool, query of each place",
        "attention pool that attends to one place alone",
        ("joint", "value", "pre_pool"),
    ),
    "class token": Family(
        "ViTs of OpenAI, LAION, DataComp, DFN, MetaCLIP; MetaCLIP 2 worldwide; Hugging Face text towers",
        "proj(ln_post(x[0]))",
        "proj(ln_post(x[i]))",
        _LAST_VALUE,
        ("joint", "value", "pre_pool"),
        note="MetaCLIP 2 and Hugging Face text towers fetch their tokenizer from the Hub",
    ),
    "timm class token": Family(
        "EVA-01, EVA-02, MobileCLIP-B, MobileCLIP2-B and -L",
        "head(fc_norm(x[0]))",
        "head(fc_norm(x[i]))",
        _LAST_VALUE,
    ),
    "CLIPA": Family("CLIPA", "proj(ln_post(mean x[i]))", "proj(ln_post(x[i]))", note=_MEAN_THEN_NORM),
    "MobileCLIP-S": Family(
        "MobileCLIP-S, MobileCLIP2-S",
        "head(mean x[i])",
        "head(x[i])",
        note="nothing nonlinear follows the mean: before unit length, the mean of F_s is F_v",
    ),
    "ViTamin": Family("ViTamin", "head(fc_norm(mean x[i]))", "head(fc_norm(x[i]))", note=_MEAN_THEN_NORM),
    "ConvNeXt": Family(
        "ConvNeXt",
        "head(norm(mean x[i]))",
        "head(norm(x[i]))",
        note=f"{_MEAN_THEN_NORM}; the head of convnext_large_d is an MLP",
    ),
    "SigLIP": Family(
        "SigLIP, SigLIP 2",
        "attention pool with a learnt query (MAP)",
        "the same pool on one place alone",
        note="no class token; trained with the logits s cos + b: a backbone has both, CALIP's blend uses s alone",
    ),
    "PE-Core": Family(
        "PE-Core",
        "head(attention pool with a learnt query, which attends to the class token too)",
        "head(the same pool on one place alone)",
    ),
}
"""What is known of each family, by a short name."""

_TIMM: tuple[tuple[str, str, tuple[tuple[str | None, str | None], ...]], ...] = (
    ("timm class token", r"eva02_|eva_giant_|vit_base_mci_224$|vit_large_patch14_clip_224$", (("token", None),)),
    ("MobileCLIP-S", r"fastvit_mci\d$", (("avg", None),)),
    ("ViTamin", r"vitamin_", (("", "linear"),)),
    ("ConvNeXt", r"convnext_", (("", "linear"), ("", "mlp"))),
    ("SigLIP", r"vit_.*_siglip_\d+$", (("map", "none"),)),
    ("PE-Core", r"vit_pe_core_", (("map", None),)),
)
"""Family, how the names of its timm models begin, and its pairs of timm_pool and timm_proj."""


def family_of(name: str, config: Mapping[str, Any]) -> Family:
    """The family of a model, from open_clip's configuration alone.

    Args:
        name: the backbone's name, for the message.
        config: what ``open_clip.get_model_config`` returns.

    Raises:
        ValueError: F_s is not defined for the model; the message says why.
    """
    if reason := _refused(config):
        raise ValueError(
            f"{name!r} has no spatial tokens that this library defines: {reason}. Choose a model of one of the "
            f"families {', '.join(FAMILIES)} (calip_core.backbones.families)"
        )
    return FAMILIES[_key(config["vision_cfg"])]


def is_supported(config: Mapping[str, Any]) -> bool:
    """Whether ``family_of`` accepts a model."""
    return not _refused(config)


def check_family_tokens(name: str, family: Family, tokens: TokenSpace) -> None:
    """Refuse a token space that a family does not define.

    Raises:
        ValueError: it does not; the message lists those that it does.
    """
    if tokens not in family.spaces:
        raise ValueError(
            f"tokens is {tokens!r}, which is not defined for {name!r} ({family.name}): "
            f"choose {' or '.join(family.spaces)}"
        )


def _refused(config: Mapping[str, Any]) -> str:
    """Why F_s is not defined; empty if it is."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if config.get("multimodal_cfg"):
        return "CoCa pools its patches by learnt queries, so that no token belongs to a place"
    if "nllb" in text.get("hf_model_name", ""):
        return "NLLB-CLIP reads texts of a stated language, and prompts here have none"
    if not _key(vision):
        kind = vision.get("timm_model_name") or ", ".join(f"{key} {value}" for key, value in vision.items())
        return f"its image encoder ({kind}) is of no family whose pool is known here"
    return ""


def _key(vision: Mapping[str, Any]) -> str:
    """Key in ``FAMILIES``; empty for an unknown image encoder."""
    if model := vision.get("timm_model_name"):
        head = vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
        return next((key for key, names, heads in _TIMM if re.match(names, model) and head in heads), "")
    if isinstance(vision.get("layers"), list | tuple):
        return "resnet"
    if vision.get("attentional_pool") or _UNKNOWN_BLOCKS & set(vision):
        return ""
    pool = vision.get("pool_type", "tok"), bool(vision.get("final_ln_after_pool"))
    return {("tok", False): "class token", ("avg", True): "CLIPA"}.get(pool, "")


_UNKNOWN_BLOCKS = {"block_type", "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn"}
"""Options of open_clip's ViT that no published model has, and that would change the value path."""


def family_table() -> str:
    """All families as a table in reStructuredText."""
    rows = [("models", "F_v", "F_s (joint)", "F_s (value)", "run so far", "note")]
    rows += [(f.name, f.pooled, f.spatial, f.value, f.run, f.note) for f in FAMILIES.values()]
    cells = ["\n     - ".join(row).rstrip() for row in rows]
    return "\n".join([".. list-table::", "   :header-rows: 1", "", *(f"   * - {cell}" for cell in cells), ""])


__doc__ = f"{__doc__}\n{family_table()}"
