import pytest
import torch
from docutils.core import publish_doctree
from docutils.nodes import row

from calip_core.backbones import families
from calip_core.backbones.clip_import import clip  # noqa: F401  (before open_clip)
from calip_core.backbones.families import FAMILIES, family_of

open_clip = pytest.importorskip("open_clip", reason="the openclip extra is not installed")

REFUSED = (
    "coca_base", "coca_roberta-ViT-B-32", "coca_ViT-B-32", "coca_ViT-L-14", "nllb-clip-base", "nllb-clip-base-siglip",
    "nllb-clip-large", "nllb-clip-large-siglip", "swin_base_patch4_window7_224", "vit_medium_patch16_gap_256",
    "vit_relpos_medium_patch16_cls_224",
)  # fmt: skip
BEGINNINGS = {
    "resnet": ("RN",),
    "class token": ("ViT-", "roberta-", "xlm-roberta-", "mt5-"),
    "timm class token": ("EVA0", "MobileCLIP-B", "MobileCLIP2-B", "MobileCLIP2-L-14"),
    "CLIPA": ("ViT-L-14-CLIPA", "ViT-H-14-CLIPA", "ViT-bigG-14-CLIPA"),
    "MobileCLIP-S": ("MobileCLIP-S", "MobileCLIP2-S"),
    "ViTamin": ("ViTamin-",),
    "ConvNeXt": ("convnext_",),
    "PE-Core": ("PE-Core-",),
}


def expected(name):
    """By the name alone, the longest beginning; open_clip's names say what a model is."""
    if "-SigLIP" in name:
        return "SigLIP"
    fits = [(len(start), key) for key, starts in BEGINNINGS.items() for start in starts if name.startswith(start)]
    return max(fits)[1]


@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_model_of_open_clip_has_a_family_or_a_reason(name):
    config = open_clip.get_model_config(name)
    if name in REFUSED:
        with pytest.raises(ValueError, match=f"'{name}' has no spatial tokens that this library defines: "):
            family_of(name, config)
    else:
        assert family_of(name, config) is FAMILIES[expected(name)]


@pytest.mark.parametrize(
    "vision",
    [
        {"timm_model_name": "convnext_base", "timm_pool": "rot_attn", "timm_proj": ""},  # a pool of open_clip's own
        {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "avg", "timm_proj": "none"},
        {"timm_model_name": "a_model_of_next_year", "timm_pool": "map", "timm_proj": "none"},
        {"layers": 12, "pool_type": "none"},
        {"layers": 12, "pool_type": "avg"},  # the norm before the mean
        {"layers": 12, "attentional_pool": True},
        {"layers": 12, "scale_heads": True},
    ],
)
def test_an_unknown_pool_is_refused(vision):
    with pytest.raises(ValueError, match="is of no family whose pool is known here"):
        family_of("x", {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {}})


def test_the_api_page_shows_the_table():
    """The module's docstring is what the book's API page shows."""
    tree = publish_doctree(families.__doc__, settings_overrides={"halt_level": 2, "report_level": 2})
    cells = [[cell.astext() for cell in line.children] for line in tree.findall(row)]
    assert [line[0] for line in cells[1:]] == [family.name for family in FAMILIES.values()]
    assert all("no published weights" in line[4] for line in cells[1:])


FULL_SIZE = (
    "ViT-B-16", "EVA02-B-16", "MobileCLIP-B", "MobileCLIP2-S4", "ViTamin-S", "ViTamin-XL-384", "convnext_base",
    "convnext_large_d", "ViT-L-14-CLIPA", "ViT-B-16-SigLIP", "PE-Core-T-16-384",
)  # fmt: skip


@pytest.mark.parametrize("name", FULL_SIZE)
def test_shapes_at_full_size(name):
    """On torch's meta device, which computes shapes alone."""
    from open_clip.model import _build_vision_tower

    from calip_core.backbones.open_clip import _tower

    config = open_clip.get_model_config(name)
    width, side = config["embed_dim"], config["vision_cfg"]["image_size"]
    with torch.device("meta"):
        visual = _build_vision_tower(width, config["vision_cfg"]).eval()
        for tokens in family_of(name, config).spaces:
            tower = _tower(visual, tokens, width)
            pooled, spatial = tower(torch.empty(2, 3, side, side))
            assert pooled.shape == (2, width)
            assert spatial.shape == (2, tower.grid[0] * tower.grid[1], width)
