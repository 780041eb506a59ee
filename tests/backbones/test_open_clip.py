import pytest
import torch
from torch.nn.functional import normalize

from calip_core.backbones import load_backbone
from calip_core.backbones.dense import dense_tower  # noqa: F401  (OpenAI's package is imported before open_clip)

pytestmark = pytest.mark.filterwarnings("ignore:.*names no weights")
open_clip = pytest.importorskip("open_clip", reason="the openclip extra is not installed")

VISION = {
    "test-rn": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
    "test-vit": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16},
    "test-vit-mean": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16, "pool_type": "avg"},
}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    """open_clip's list holds small models; one model a name, so that two loadings give the same random weights."""
    from open_clip import factory

    for name, vision in VISION.items():
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, {"embed_dim": 32, "vision_cfg": vision, "text_cfg": TEXT})


def load_pair(name, **options):
    """The backbone and open_clip's own model, with the same random weights."""
    torch.manual_seed(0)
    plain = open_clip.create_model(name).eval()
    torch.manual_seed(0)
    return load_backbone(f"open_clip:{name}", device="cpu", **{"precision": "fp32", **options}), plain


@pytest.mark.parametrize("name", ["test-rn", "test-vit"])
def test_pooled_and_text_are_the_packages_own(name):
    backbone, plain = load_pair(name)
    images = torch.randn(3, 3, backbone.resolution, backbone.resolution)
    prompts = ["a dog", "two cats on a red sofa"]
    with torch.no_grad():
        pooled, text = plain.encode_image(images), plain.encode_text(open_clip.tokenize(prompts))
    tokens = backbone.encode_image(images)
    torch.testing.assert_close(tokens.pooled, normalize(pooled, dim=-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(backbone.encode_text(prompts), normalize(text, dim=-1), rtol=0, atol=1e-5)
    assert tokens.spatial.shape == (3, backbone.grid[0] * backbone.grid[1], 32)


def test_vit_tokens_take_the_class_tokens_way():
    backbone, plain = load_pair("test-vit")
    images = torch.randn(2, 3, 48, 48)
    plain.visual.output_tokens = True
    with torch.no_grad():
        _, normed = plain.visual(images)
    expected = normalize(normed @ plain.visual.proj.detach(), dim=-1)
    torch.testing.assert_close(backbone.encode_image(images).spatial, expected, rtol=0, atol=1e-5)
    for tokens in ("value", "pre_pool"):
        other, _ = load_pair("test-vit", tokens=tokens)
        assert other.encode_image(images).spatial.shape == expected.shape


@pytest.mark.parametrize("name", ["test-rn", "test-vit"])
def test_half_precision_stays_close(name):
    (full, _), (half, _) = load_pair(name), load_pair(name, precision="bf16")
    images = torch.randn(2, 3, full.resolution, full.resolution)
    cosines = (full.encode_image(images).pooled * half.encode_image(images).pooled).sum(dim=-1)
    assert cosines.min() > 0.99
    assert (full.encode_text(["a dog"]) * half.encode_text(["a dog"])).sum() > 0.99


def test_other_shapes_and_names_are_refused():
    with pytest.raises(ValueError, match="another image encoder"):
        load_pair("test-vit-mean")
    with pytest.raises(ValueError, match="open_clip has no model 'RN51': choose one of"):
        load_backbone("open_clip:RN51/openai", device="cpu")


@pytest.fixture
def no_download(monkeypatch):
    monkeypatch.setattr(open_clip, "create_model_and_transforms", lambda *_, **__: pytest.fail("a download began"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-32/no_such_tag", "open_clip has no weights 'no_such_tag' of ViT-B-32: choose one of .*openai"),
        ("ViT-B-16-SigLIP/webli", "another image encoder .*timm_model_name"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "another text encoder .*multimodal_cfg"),
        ("EVA02-B-16/merged2b_s8b_b131k", "another image encoder"),
        ("convnext_base/laion400m_s13b_b51k", "another image encoder"),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", "another text encoder .*hf_model_name"),
    ],
)
def test_what_cannot_work_is_refused_before_a_download(name, said, no_download):
    with pytest.raises(ValueError, match=said):
        load_backbone(f"open_clip:{name}", device="cpu")


@pytest.mark.parametrize("error", [RuntimeError("Failed to download"), OSError("no route to host")])
def test_no_network_is_a_connection_error(error, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(open_clip, "create_model_and_transforms", fails)
    with pytest.raises(ConnectionError, match=f"weights of 'open_clip:ViT-B-32/openai' cannot be fetched .*{error}"):
        load_backbone("open_clip:ViT-B-32/openai", device="cpu")


def test_tags_are_written_as_open_clip_takes_them(no_download):
    with pytest.raises(pytest.fail.Exception, match="a download began"):
        load_backbone("open_clip:ViT-B-32/LAION2B-s34b-b79k", device="cpu")


def test_random_weights_are_said():
    with pytest.warns(UserWarning, match="'open_clip:test-rn' names no weights, so they are random"):
        load_backbone("open_clip:test-rn", device="cpu")
