import hashlib
import importlib.util

import pytest
import torch

from calip_core.backbones import available_backbones, load_backbone
from calip_core.backbones.clip_import import clip
from calip_core.backbones.model_card import checkpoint_path
from calip_core.backbones.openai import load_clip
from tests.backbones.clips import FAMILIES, GRIDS, RESOLUTIONS, WIDTH, random_clip, random_images, save_as_shipped


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family, tmp_path_factory):
    path = tmp_path_factory.mktemp(family) / f"{family}.pt"
    torch.save(random_clip(family).state_dict(), path)
    return path


def test_names_are_the_miniatures_and_openais():
    assert available_backbones() == ("mini-rn", "mini-vit", *clip.available_models())


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path_gives_a_backbone(checkpoint, family, as_text):
    backbone = load_backbone(str(checkpoint) if as_text else checkpoint, device="cpu")
    assert (backbone.name, backbone.embed_dim) == (str(checkpoint), WIDTH)
    assert backbone.published_name == backbone.name
    assert (backbone.grid, backbone.resolution) == (GRIDS[family], RESOLUTIONS[family])
    assert backbone.encode_image(random_images(family)).grid == GRIDS[family]


def test_one_of_openais_names_is_fetched_and_loaded(checkpoint, family, tmp_path, monkeypatch):
    folder = tmp_path / hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    folder.mkdir()
    (folder / "RN50.pt").write_bytes(checkpoint.read_bytes())
    monkeypatch.setitem(clip.clip._MODELS, "RN50", (folder / "RN50.pt").as_uri())
    backbone = load_backbone("RN50", device="cpu", precision="fp32", download_root=tmp_path / "cache")
    assert backbone.name == "RN50"
    images = random_images(family)
    expected = load_backbone(checkpoint, device="cpu", precision="fp32").encode_image(images)
    assert torch.equal(backbone.encode_image(images).spatial, expected.spatial)


@pytest.fixture(scope="module", params=["archive", "weights"])
def shipped(request, family, tmp_path_factory):
    path = tmp_path_factory.mktemp(f"{family}-{request.param}") / "shipped.pt"
    save_as_shipped(family, request.param, path)
    held = torch.jit.load(path).state_dict() if request.param == "archive" else torch.load(path, weights_only=True)
    assert held["text_projection"].dtype == held["visual.conv1.weight"].dtype == torch.float16
    return path


@pytest.mark.filterwarnings("ignore")  # the package says that one of the two is no archive
def test_files_as_openai_ships_them_load_by_path_and_by_name(shipped, family, tmp_path, monkeypatch):
    digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
    monkeypatch.setitem(clip.clip._MODELS, "RN50", f"https://nowhere.invalid/{digest}/RN50.pt")
    (tmp_path / "RN50.pt").write_bytes(shipped.read_bytes())  # as after a download: nothing is fetched
    by_path = load_backbone(shipped, device="cpu", precision="fp32")
    by_name = load_backbone("RN50", device="cpu", precision="fp32", download_root=tmp_path)
    images = random_images(family)
    with torch.no_grad():
        expected = clip.load(str(shipped), device="cpu")[0].encode_image(images)
    tokens = by_path.encode_image(images)
    assert tokens.spatial.dtype == torch.float32 and by_name.grid == GRIDS[family]
    assert (by_path.name, by_path.published_name, by_name.published_name) == (str(shipped), "RN50", "RN50")
    assert torch.equal(by_name.encode_image(images).spatial, tokens.spatial)
    assert torch.equal(by_name.encode_image(images).pooled, tokens.pooled)
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(torch.nn.functional.normalize(tokens.pooled, dim=-1), expected, rtol=0, atol=1e-5)


def test_pre_pool_changes_the_spatial_tokens_alone(checkpoint, family):
    images = random_images(family)
    joint = load_backbone(checkpoint, device="cpu", precision="fp32").encode_image(images)
    pre_pool = load_backbone(checkpoint, device="cpu", precision="fp32", tokens="pre_pool").encode_image(images)
    assert torch.equal(joint.pooled, pre_pool.pooled) and joint.spatial.shape == pre_pool.spatial.shape
    assert not torch.allclose(joint.spatial, pre_pool.spatial, atol=0.1)


def test_a_checkpoint_with_the_exact_gelu(checkpoint, family):
    """QuickGELU in the two towers' blocks is replaced, and caches and records know it."""
    quick = load_backbone(checkpoint, device="cpu", precision="fp32")
    exact = load_backbone(checkpoint, device="cpu", precision="fp32", gelu="exact")
    expected = load_clip(checkpoint)
    for block in expected.modules():
        if isinstance(block, clip.model.ResidualAttentionBlock):
            block.mlp.gelu = torch.nn.GELU()
    images, prompt = random_images(family), clip.tokenize("a dog", context_length=16)
    with torch.no_grad():
        pooled, text = (
            torch.nn.functional.normalize(features, dim=-1)
            for features in (expected.encode_image(images), expected.encode_text(prompt))
        )
    torch.testing.assert_close(exact.encode_image(images).pooled, pooled, rtol=0, atol=1e-5)
    torch.testing.assert_close(exact.encode_text(["a dog"]), text, rtol=0, atol=1e-5)
    assert not torch.allclose(exact.encode_text(["a dog"]), quick.encode_text(["a dog"]), atol=1e-4)
    assert exact.text_weights_sha256 != quick.text_weights_sha256
    assert (exact.weights_sha256 == quick.weights_sha256) == (family == "rn")  # a ResNet has no GELU
    assert exact.published_name == f"{checkpoint} (exact GELU)"


@pytest.mark.parametrize("name", ["mini-rn", "RN50", "open_clip:RN50/openai"])
def test_published_models_have_their_own_gelu(name):
    with pytest.raises(ValueError, match=rf"gelu is 'exact', but {name} has its own"):
        load_backbone(name, gelu="exact")
    with pytest.raises(ValueError, match=r"mini-rn.pt is the published mini-rn, which has 'quick'"):
        load_backbone(checkpoint_path("mini-rn"), gelu="exact")


def test_the_home_folder_may_be_a_tilde(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert load_backbone(f"~/{checkpoint.name}", device="cpu").embed_dim == WIDTH


@pytest.mark.parametrize("name", ["RN51", "ViT-B/17", "mini-resnet", "", None, 50])
def test_an_unknown_name_lists_the_choices(name, shapes_unchecked):
    with pytest.raises(ValueError, match=r"unknown backbone .*mini-rn, mini-vit, RN50, .*ViT-L/14@336px"):
        load_backbone(name)


def test_a_missing_path_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_backbone(str(tmp_path / "weights.pt"))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_backbone(tmp_path / "weights")
    with pytest.raises(ValueError, match="~no_such_user/weights.pt begins with a home folder that is not known here"):
        load_backbone("~no_such_user/weights.pt")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("precision", "fp8", "precision is 'fp8', expected one of"),
        ("tokens", "pooled", "tokens is 'pooled', expected one of joint, value, pre_pool"),
        ("gelu", "new", "gelu is 'new', expected one of quick, exact"),
        ("device", "abacus", "device is 'abacus', but torch cannot compute there"),
    ],
)
def test_options_are_checked_before_anything_is_fetched(option, value, message, monkeypatch, shapes_unchecked):
    monkeypatch.setattr(clip.clip, "_download", lambda *arguments: pytest.fail("download began"))
    with pytest.raises(ValueError, match=message):
        load_backbone("RN50", **{option: value})


@pytest.mark.parametrize("device", ["cuda:99", "mps:7", "xpu:9", "hpu", "meta", None, 3.0])
def test_a_device_that_is_not_there_is_named(device, shapes_unchecked):
    with pytest.raises(ValueError, match=rf"device is {device!r}, (but torch cannot compute there|expected 'auto')"):
        load_backbone("mini-rn", device=device)


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is not None, reason="open_clip is installed")
def test_open_clip_is_an_extra():
    with pytest.raises(ImportError, match=r"needs the open_clip package: `pip install .*openclip"):
        load_backbone("open_clip:ViT-B-32/laion2b_s34b_b79k")
