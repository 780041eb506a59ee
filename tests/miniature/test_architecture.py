import pytest
import torch

from calip_core.backbones.clip_import import clip
from calip_core.miniature.architecture import build_miniature, half_state_dict

CLIP, ModifiedResNet = clip.model.CLIP, clip.model.ModifiedResNet
VisionTransformer = clip.model.VisionTransformer


@pytest.mark.parametrize(("arch", "vision", "tokens"), [("rn", ModifiedResNet, 16), ("vit", VisionTransformer, 49)])
def test_the_miniatures_are_openais_classes(arch, vision, tokens):
    model = build_miniature(arch)
    assert isinstance(model, CLIP) and isinstance(model.visual, vision)
    positions = model.visual.attnpool.positional_embedding if arch == "rn" else model.visual.positional_embedding
    assert len(positions) == tokens + 1
    assert sum(p.numel() for p in model.parameters()) * 2 < 10_000_000


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = build_miniature("vit", 5), build_miniature("vit", 5), build_miniature("vit", 6)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.visual.proj, again.visual.proj) and not torch.equal(first.visual.proj, other.visual.proj)


@pytest.mark.parametrize("arch", ["rn", "vit"])
def test_saved_weights_open_in_openais_loader(arch, tmp_path):
    model = build_miniature(arch).eval()
    path = tmp_path / "mini.pt"
    torch.save(half_state_dict(model), path)
    assert path.stat().st_size <= 10_000_000
    loaded, _ = clip.load(str(path), device="cpu")
    side = model.visual.input_resolution
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        assert torch.allclose(loaded.encode_image(images), model.encode_image(images), atol=2e-3)


def test_an_unknown_architecture_is_named(shapes_unchecked):
    with pytest.raises(ValueError, match="'resnet'.*rn, vit"):
        build_miniature("resnet")
