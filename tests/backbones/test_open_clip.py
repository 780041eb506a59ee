"""Every family of open_clip's encoders, with random weights: open_clip's own classes and wiring at small widths."""

import importlib.util
import socket
import sys
import threading

import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.nn.functional import normalize

from calip_core.backbones import load_backbone, network
from calip_core.backbones.clip_import import clip  # before open_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*names no weights")
open_clip = pytest.importorskip("open_clip", reason="the openclip extra is not installed")

from calip_core.backbones import open_clip as wrapper  # noqa: E402
from tests.backbones.open_clips import SMALL, Words, load_pair, make_small  # noqa: E402
from tests.golden import check  # noqa: E402

PROMPTS = ["a dog", "two cats on a red sofa"]
HUB = [name for name in SMALL if "hf_tokenizer_name" in open_clip.get_model_config(name)["text_cfg"]]
"""Models whose tokenizer lives on the Hub: here another one stands for it, so their texts are tested as numbers."""


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    """Small models, no packages for the Hub, and no network."""
    make_small(monkeypatch)
    real = open_clip.get_tokenizer

    def get_tokenizer(name, **options):
        text = open_clip.get_model_config(name)["text_cfg"]
        return Words(text["context_length"]) if name in HUB else real(name, **options)

    monkeypatch.setattr(open_clip, "get_tokenizer", get_tokenizer)
    monkeypatch.setattr(wrapper, "_check_packages", lambda *_: None)
    monkeypatch.setattr(network, "_hub_answers", lambda: False)


def images_for(backbone, n=2):
    side = backbone.resolution
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def same(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_pooled_and_text_are_the_packages_own(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    images = images_for(backbone)
    tokens = backbone.encode_image(images)
    same(tokens.pooled, normalize(plain.encode_image(images), dim=-1))
    assert tokens.spatial.shape == (2, backbone.grid[0] * backbone.grid[1], backbone.embed_dim)
    numbers = open_clip.get_tokenizer(name)(PROMPTS, backbone.context_length)
    assert torch.equal(backbone.tokenize(PROMPTS), numbers)
    same(backbone.encode_text(PROMPTS), normalize(plain.encode_text(numbers), dim=-1))
    assert backbone.preprocess(Image.new("RGB", (90, 70))).shape == images.shape[1:]
    assert backbone.logit_scale == pytest.approx(1 / 0.07)
    assert backbone.logit_bias == (-10 if "SigLIP" in name else 0)


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_stays_close(name, monkeypatch):
    (full, _), (half, _) = load_pair(monkeypatch, name), load_pair(monkeypatch, name, precision="bf16")
    assert half.dtype is torch.bfloat16
    whole, part = full.encode_image(images_for(full)), half.encode_image(images_for(full))
    for ours, theirs in ((part.pooled, whole.pooled), (part.spatial, whole.spatial)):
        assert (ours * theirs).sum(dim=-1).min() > 0.99
    assert (full.encode_text(PROMPTS) * half.encode_text(PROMPTS)).sum(dim=-1).min() > 0.99


def watched(module, run):
    """The input and the output of a module while something runs."""
    seen = []
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    run()
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-H-14-worldwide", "ViT-L-14-CLIPA"])
@torch.no_grad()
def test_tokens_of_open_clips_vit_take_the_pooled_ones_way(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    images = images_for(backbone)
    _, tokens = watched(plain.visual.transformer, lambda: plain.visual(images))
    expected = plain.visual.ln_post(tokens[:, 1:]) @ plain.visual.proj
    same(backbone.encode_image(images).spatial, normalize(expected, dim=-1))


@pytest.mark.parametrize("name", ["EVA01-g-14", "EVA02-B-16", "EVA02-E-14", "MobileCLIP-B", "MobileCLIP2-L-14"])
@torch.no_grad()
def test_tokens_of_timms_vits_take_the_class_tokens_way(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    trunk, images = plain.visual.trunk, images_for(backbone)
    features = trunk.forward_features(images)
    assert features.shape[1] == 1 + backbone.grid[0] * backbone.grid[1]
    same(backbone.encode_image(images).spatial, normalize(trunk.head(trunk.fc_norm(features[:, 1:])), dim=-1))


@pytest.mark.parametrize("name", ["MobileCLIP-S1", "MobileCLIP2-S0", "MobileCLIP2-S4"])
@torch.no_grad()
def test_the_mean_of_mobile_clips_places_is_its_pooled_feature(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    images = images_for(backbone)
    pooled, spatial = backbone._tower(images)  # before unit length
    same(spatial.mean(dim=1), plain.encode_image(images))
    same(spatial.mean(dim=1), pooled)
    places = plain.visual.trunk.forward_features(images)
    layer = plain.visual.trunk.head.fc
    same(spatial[:, 1], F.linear(places[:, :, 0, 1], layer.weight, layer.bias))


@pytest.mark.parametrize("name", ["ViTamin-S", "convnext_base", "convnext_large_d"])
@torch.no_grad()
def test_places_of_a_mean_before_a_norm_take_norm_and_head_one_by_one(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    trunk, images = plain.visual.trunk, images_for(backbone)
    places = trunk.forward_features(images)
    norm = trunk.fc_norm if name == "ViTamin-S" else trunk.head.norm
    places = places.flatten(2).mT if places.ndim == 4 else places
    mean = F.layer_norm(places.mean(dim=1), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    same(plain.visual.head(mean), plain.encode_image(images))  # the norm follows the mean
    alone = F.layer_norm(places, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    same(backbone.encode_image(images).spatial, normalize(plain.visual.head(alone), dim=-1))


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-SO400M-14-SigLIP2", "PE-Core-T-16-384"])
@torch.no_grad()
def test_a_place_of_an_attention_pool_is_the_pool_on_that_place_alone(name, monkeypatch):
    backbone, plain = load_pair(monkeypatch, name)
    trunk, images = plain.visual.trunk, images_for(backbone)
    prefix = 1 if name.startswith("PE") else 0  # SigLIP has no class token
    tokens = trunk.forward_features(images)
    assert tokens.shape[1] == prefix + backbone.grid[0] * backbone.grid[1]
    pool, spatial = trunk.attn_pool, backbone.encode_image(images).spatial
    for place in range(spatial.shape[1]):
        token = tokens[:, prefix + place : prefix + place + 1]
        same(spatial[:, place], normalize(trunk.head(trunk.fc_norm(pool(token))), dim=-1))
        value = pool.proj(pool.kv(token[:, 0]).chunk(2, dim=-1)[1])  # with one key, the softmax is 1
        by_hand = trunk.head(value + pool.mlp(pool.norm(value)))
        same(spatial[:, place], normalize(by_hand, dim=-1))
    assert (pool(tokens) - pool(tokens[:, prefix:])).abs().max() > 1e-4 or prefix == 0  # PE-Core pools its class token


@pytest.mark.parametrize("name", ["EVA01-g-14", "EVA02-B-16", "EVA02-E-14", "MobileCLIP-B", "MobileCLIP2-L-14"])
@torch.no_grad()
def test_value_tokens_of_timms_vits_are_the_last_attention_on_one_patch(name, monkeypatch):
    """The reference masks all keys but a query's own, in the whole sequence with its rotary positions."""
    backbone, plain = load_pair(monkeypatch, name, tokens="value")
    trunk, images = plain.visual.trunk, images_for(backbone)
    block = trunk.blocks[-1]
    entering, _ = watched(block.attn, lambda: trunk(images))
    own = torch.full((entering.shape[1],) * 2, float("-inf")).fill_diagonal_(0)
    values = block.attn(entering, attn_mask=own)
    if name == "EVA02-E-14":
        values = block.norm1(values)  # its blocks normalise what an attention gives
    expected = trunk.head(trunk.fc_norm(trunk.norm(values[:, 1:])))
    same(backbone.encode_image(images).spatial, normalize(expected, dim=-1))


@pytest.mark.parametrize(
    "name", ["ViT-L-14-CLIPA", "MobileCLIP2-S0", "ViTamin-S", "ViT-B-16-SigLIP", "PE-Core-T-16-384"]
)
def test_where_a_pool_on_one_place_is_the_value_path_both_are_the_same(name, monkeypatch):
    joint, value = (load_pair(monkeypatch, name, tokens=tokens)[0] for tokens in ("joint", "value"))
    images = images_for(joint)
    assert torch.equal(joint.encode_image(images).spatial, value.encode_image(images).spatial)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32", "EVA02-B-16"])
def test_elsewhere_they_differ(name, monkeypatch):
    joint, value = (load_pair(monkeypatch, name, tokens=tokens)[0] for tokens in ("joint", "value"))
    images = images_for(joint)
    assert (joint.encode_image(images).spatial - value.encode_image(images).spatial).abs().max() > 0.1


GOLD = {
    ("ViT-L-14-CLIPA", "joint"): [0.08831, 0.01109, -0.0038, 0.01667],
    ("EVA02-B-16", "joint"): [0.33063, 0.04647, 0.0084, -0.00295],
    ("EVA02-B-16", "value"): [0.26053, 0.02058, 0.0064, -0.00258],
    ("MobileCLIP2-S0", "joint"): [0.08626, -0.0073, -0.00878, -0.00348],
    ("PE-Core-T-16-384", "joint"): [0.20707, 0.00281, 0.00435, -0.02577],
}
"""Of spatial features, with weights that a formula gives."""


@pytest.mark.parametrize(("name", "tokens"), GOLD)
@torch.no_grad()
def test_the_towers_versions_are_stated(name, tokens):
    backbone = load_backbone(f"open_clip:{name}", device="cpu", precision="fp32", tokens=tokens)
    for number, parameter in enumerate(backbone.model.visual.parameters(), start=1):
        steps = torch.arange(parameter.numel(), dtype=torch.float64)
        parameter.data = 0.4 * (steps * number + 1).sin().reshape(parameter.shape).float()
    side = backbone.resolution
    images = torch.linspace(-1, 1, 2 * 3 * side * side).reshape(2, 3, side, side).mul(900).sin()
    tower = type(backbone._tower)
    assert backbone.encoder.endswith(f"{tower.__name__} {tower.VERSION}")
    check(backbone.encode_image(images).spatial, GOLD[name, tokens], f"{tower.__name__}.VERSION", within=5e-4)


@torch.no_grad()
def test_siglips_bias_moves_all_logits_alike(monkeypatch):
    """With its scale and bias the backbone gives the logits of open_clip's own ``get_logits``."""
    backbone, plain = load_pair(monkeypatch, "ViT-B-16-SigLIP")
    images = images_for(backbone)
    theirs, _ = plain.get_logits(images, backbone.tokenize(PROMPTS))
    cosines = backbone.encode_image(images).pooled @ backbone.encode_text(PROMPTS).T
    same(backbone.logit_scale * cosines + backbone.logit_bias, theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-32"])
def test_pre_pool_tokens_have_the_joint_width(name, monkeypatch):
    backbone, _ = load_pair(monkeypatch, name, tokens="pre_pool")
    assert backbone.encode_image(images_for(backbone)).spatial.shape[-1] == backbone.embed_dim


@pytest.fixture
def no_download(monkeypatch):
    for function in ("create_model_and_transforms", "get_tokenizer"):
        monkeypatch.setattr(open_clip, function, lambda *_, **__: pytest.fail("a download began"))


@pytest.mark.parametrize(
    ("name", "tokens", "said"),
    [
        ("RN51/openai", "joint", r"open_clip has no model 'RN51': did you mean RN50, (RN\w+(, )?)*\? .*list_models"),
        ("coca_ViT-B-31", "joint", r"no model 'coca_ViT-B-31': did you mean ((?!coca).)*\?"),
        ("qqqqqqq", "joint", "no model 'qqqqqqq': `open_clip.list_models"),
        ("ViT-B-32/no_such_tag", "joint", "no weights .no_such_tag. of .*: write open_clip:ViT-B-32/TAG with .*openai"),
        ("ViT-S-16/x", "joint", "no weights 'x' of ViT-S-16: none are published; name a file"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "joint", "'open_clip:coca_.* has no spatial .* CoCa pools its patches by"),
        ("nllb-clip-base/v1", "joint", "'open_clip:nllb.* has no spatial .* NLLB-CLIP reads texts of a stated"),
        ("nllb-clip-large-siglip/v1", "joint", "NLLB-CLIP reads texts of a stated language"),
        ("swin_base_patch4_window7_224", "joint", "swin_base_patch4_window7_224. is of no family whose pool is known"),
        ("ViT-B-16-SigLIP/webli", "pre_pool", "tokens is 'pre_pool', which is not defined .*choose joint or value"),
        ("convnext_base/laion400m_s13b_b51k", "pre_pool", "not defined .*ConvNeXt"),
    ],
)
def test_what_cannot_work_is_refused_before_a_download(name, tokens, said, no_download):
    with pytest.raises(ValueError, match=said):
        load_backbone(f"open_clip:{name}", device="cpu", tokens=tokens)


def test_tags_are_written_as_open_clip_takes_them(no_download):
    with pytest.raises(pytest.fail.Exception, match="a download began"):
        load_backbone("open_clip:ViT-B-32/LAION2B-s34b-b79k", device="cpu")


@pytest.mark.parametrize(
    ("name", "quick"),
    [("ViT-B-32/openai", True), ("ViT-B-32-quickgelu/openai", True), ("ViT-B-32/laion2b_s34b_b79k", False)],
)
@pytest.mark.filterwarnings("error")
def test_a_tag_gets_the_gelu_that_it_was_trained_with(name, quick, monkeypatch):
    """The wrong one lowers the accuracy by several points without an error."""
    real = open_clip.create_model_and_transforms

    def without_weights(model, pretrained, **options):
        made, *transforms = real(model, **options)
        return made, *transforms

    monkeypatch.setattr(open_clip, "create_model_and_transforms", without_weights)
    model = load_backbone(f"open_clip:{name}", device="cpu").model
    kinds = {type(module).__name__ for module in model.modules() if "GELU" in type(module).__name__}
    assert kinds == ({"QuickGELU"} if quick else {"GELU"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-32", "write open_clip:ViT-B-32/TAG with one of .*openai"),
        ("ViT-B-32/", "write open_clip:ViT-B-32/TAG with one of .*openai"),
        ("ViT-S-16", "none are published; name a file of weights as in open_clip:ViT-S-16/FILE$"),
    ],
)
def test_random_weights_are_said(name, said):
    with pytest.warns(UserWarning, match=f"'open_clip:{name}' names no weights, so they are random .*: {said}"):
        load_backbone(f"open_clip:{name}", device="cpu")


def test_random_weights_and_a_file_ask_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(network, "_hub_answers", lambda: pytest.fail("the Hub was asked"))
    drawn = load_backbone("open_clip:ViT-B-32", device="cpu", precision="fp32")
    torch.save(drawn.model.state_dict(), tmp_path / "weights.pt")
    kept = load_backbone(f"open_clip:ViT-B-32/{tmp_path / 'weights.pt'}", device="cpu", precision="fp32")
    assert kept.weights_sha256 == drawn.weights_sha256


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14-CLIPA", "ViT-B-16-SigLIP"])
def test_a_prompt_too_long_is_named(name, monkeypatch):
    backbone, _ = load_pair(monkeypatch, name)
    most = backbone.context_length - (2 if name == "ViT-B-32" else 1)  # a mark at both ends, or at one
    fits = " ".join(["dog"] * most)
    assert backbone.encode_text([fits]).shape == (1, backbone.embed_dim)
    with pytest.raises(ValueError, match=rf"prompt '{fits} dog' has more tokens than the {backbone.context_length}, "):
        backbone.encode_text(["short", f"{fits} dog"])


def test_a_mark_inside_a_prompt_is_refused(monkeypatch):
    backbone, _ = load_pair(monkeypatch, "ViT-B-32")
    with pytest.raises(ValueError, match="the prompt 'a cat<end_of_text> dog' holds a mark"):
        backbone.tokenize(["a cat<end_of_text> dog"])


def test_an_evaluation_and_its_cache(monkeypatch, tmp_path):
    """SigLIP's bias is the same for all classes, so zero-shot answers are those of open_clip's own logits."""
    from calip_core import evaluate, load_task

    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    backbone, plain = load_pair(monkeypatch, "ViT-B-16-SigLIP")
    task = load_task("digits")
    records = [evaluate(task, backbone, "calip", limit=24) for _ in range(2)]  # the second reads what the first kept
    assert records[0].key == records[1].key and records[0].score == records[1].score
    images = torch.stack([backbone.preprocess(task.splits["test"][i][0]) for i in range(12)])
    texts = [task.templates[0].format(name) for name in task.classnames]
    with torch.no_grad():
        theirs, _ = plain.get_logits(images, backbone.tokenize(texts))
    ours = backbone.encode_image(images).pooled @ backbone.encode_text(texts).T
    assert torch.equal(ours.argmax(dim=1), theirs.argmax(dim=1))


@pytest.mark.parametrize(("package", "name"), [("open_clip", "ViT-B-32"), ("transformers", "ViT-B-16-SigLIP")])
def test_a_missing_package_names_the_extra(package, name, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, package, None)
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == package else find(wanted))
    with pytest.raises(ImportError, match=rf"needs? the {package} package: `pip install 'calip-core\[openclip\]'`"):
        load_backbone(f"open_clip:{name}", device="cpu")


# ---- no network ----


@pytest.mark.parametrize("error", [RuntimeError("Failed to download"), OSError("no route to host")])
def test_no_network_is_a_connection_error(error, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(open_clip, "create_model_and_transforms", fails)
    with pytest.raises(ConnectionError, match=f"'open_clip:ViT-B-32/openai' cannot be fetched .*{error}"):
        load_backbone("open_clip:ViT-B-32/openai", device="cpu")


@pytest.fixture
def silent_server():
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []
        threading.Thread(target=lambda: kept.append(server.accept()), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def no_patience(monkeypatch):
    monkeypatch.setattr(network, "SECONDS", 0.4)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits to try again"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["silent proxy", "blocked sockets"])
def test_without_a_network_the_hub_is_given_up_at_once(kind, monkeypatch, silent_server, tmp_path, caplog):
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    monkeypatch.undo()  # the real check for a network, and open_clip's real models
    close_session()
    if kind == "silent proxy":
        monkeypatch.setenv("HTTPS_PROXY", silent_server)
        monkeypatch.setenv("NO_PROXY", "")
    else:

        def blocked(*_):
            raise OSError("Network is unreachable")

        monkeypatch.setattr(socket.socket, "connect", blocked)
        monkeypatch.setattr(socket, "getaddrinfo", blocked)
    no_patience(monkeypatch)
    with caplog.at_level("INFO"), pytest.raises(ConnectionError) as raised:
        load_backbone("open_clip:ViT-B-32/openai", device="cpu", download_root=tmp_path)
    assert str(raised.value) == (
        "the weights or the tokenizer of 'open_clip:ViT-B-32/openai' (timm/vit_base_patch32_clip_224.openai) are not "
        "in the cache, and the Hub does not answer: is there a network? A miniature such as 'mini-rn' needs no download"
    )
    assert "Failed" not in caplog.text  # it is said once
    assert not constants.HF_HUB_OFFLINE
    close_session()


@pytest.mark.timeout(60)
def test_a_silent_server_of_openais_weights_is_given_up_too(monkeypatch, silent_server, tmp_path):
    no_patience(monkeypatch)
    monkeypatch.setitem(clip.clip._MODELS, "RN50", f"{silent_server}/{'0' * 64}/RN50.pt")
    with pytest.raises(ConnectionError, match="cannot fetch RN50 .*timed out"):
        load_backbone("RN50", device="cpu", download_root=tmp_path)
    assert socket.getdefaulttimeout() is None


def test_weights_in_the_cache_need_no_network(monkeypatch, tmp_path):
    """In a cache as the Hub's package lays it out, without a server that answers."""
    from safetensors.torch import save_file

    plain = open_clip.create_model("ViT-B-32")
    repository, file = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")["hf_hub"].rsplit("/", 1)
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    name = file or "open_clip_model.safetensors"
    weights = {key: value.contiguous() for key, value in plain.state_dict().items()}
    save_file(weights, snapshot / name.replace(".bin", ".safetensors"))
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits to try again"))
    backbone = load_backbone(
        "open_clip:ViT-B-32/laion2b_s34b_b79k", device="cpu", precision="fp32", download_root=tmp_path
    )
    images = images_for(backbone)
    with torch.no_grad():
        same(backbone.encode_image(images).pooled, normalize(plain.eval().encode_image(images), dim=-1))
