"""The networks in the browser against PyTorch: the same features, logits and answers, from ``file://``."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import BrowserContext, Page
from torch import Tensor
from torch.nn.functional import normalize

from book.tools.bundle import LIVE, bundle
from book.tools.live_weights import weight_scripts
from calip_core.attention import CalipConfig, calip_logits
from calip_core.backbones.base import Backbone
from calip_core.backbones.loading import load_backbone
from calip_core.backbones.names import MINIATURES, TokenSpace
from calip_core.tokens import CalipLogits, ImageTokens
from calip_core.world.captions import DIGIT_TEMPLATES, SCENE_TEMPLATES, SOLID_TEMPLATES, captions_for
from calip_core.world.digits import render_digits, sample_digits
from calip_core.world.drawing import render_scenes
from calip_core.world.scenes import sample_scenes
from calip_core.world.solids import render_solids, sample_solids
from calip_core.world.vocabulary import DIGITS, SHAPES, SOLIDS

_PAGE = """<!doctype html><meta charset="utf-8"><script src="live.js"></script><script>
  function pixels([base64, width, height]) {
    const rgb = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
    rgb.forEach((value, i) => (rgba[4 * Math.floor(i / 3) + (i % 3)] = value));
    return new ImageData(rgba, width, height);
  }
  function listed({ pooled, spatial, grid }) {
    return { pooled: [...pooled], spatial: spatial.map((row) => [...row]), grid };
  }
  const terms = (logits) => Object.fromEntries(Object.entries(logits).map(([name, term]) => [name, [...term]]));
  const rowsOf = (matrix) => matrix.map((row) => Float32Array.from(row));
  function floats([{ pooled, spatial }, text, options]) {
    return [{ pooled: Float32Array.from(pooled), spatial: rowsOf(spatial) }, rowsOf(text), options];
  }
</script>
"""
TERMS = {"clip": "clip", "text_attended": "textAttended", "visual_attended": "visualAttended"}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle and the weights beside it."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "weights").mkdir()
    (folder / "live.js").write_text(bundle(LIVE), encoding="utf-8")
    (folder / "page.html").write_text(_PAGE)
    for name, script in weight_scripts().items():
        (folder / "weights" / f"{name}.js").write_text(script)
    return folder


@pytest.fixture(scope="module")
def page(scripts: Path, offline: BrowserContext) -> Iterator[Page]:
    yield from opened(scripts, offline)


@pytest.fixture
def fresh_page(scripts: Path, offline: BrowserContext) -> Iterator[Page]:
    yield from opened(scripts, offline)


def opened(folder: Path, context: BrowserContext) -> Iterator[Page]:
    """A page with ``window.calip``; an error on its console fails the test."""
    page, faults = context.new_page(), list[str]()
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((folder / "page.html").as_uri())
    yield page
    page.close()
    assert [fault for fault in faults if "ERR_FILE_NOT_FOUND" not in fault] == []


def pictures() -> list[Image.Image]:
    """Fifty of the procedural world: twenty as they are drawn, thirty stretched or shrunk to other sizes."""
    drawn = np.concatenate([
        render_scenes(sample_scenes(30, 11)), render_solids(sample_solids(10, 11)), render_digits(sample_digits(10, 11))
    ])  # fmt: skip
    images = [Image.fromarray(pixels) for pixels in drawn]
    sizes = np.random.default_rng(11).integers(40, 320, (len(images), 2)).tolist()
    return [image if i % 5 < 2 else image.resize(sizes[i]) for i, image in enumerate(images)]


def texts() -> list[str]:
    """Two hundred: the class prompts of the procedural world, and captions."""
    classes = ((SCENE_TEMPLATES, SHAPES), (SOLID_TEMPLATES, SOLIDS), (DIGIT_TEMPLATES, DIGITS))
    prompts = [template.format(name) for templates, names in classes for template in templates[:2] for name in names]
    captions = captions_for(sample_scenes(200 - len(prompts), 12), 13)
    return prompts + captions


def sent(image: Image.Image) -> list[Any]:
    return [base64.b64encode(image.tobytes()).decode(), image.width, image.height]


def encoded_text(page: Page, words: list[str], backbone: str) -> Tensor:
    rows = page.evaluate(
        "async (given) => (window.rows = await calip.encodeText(...given)).map((row) => [...row])", [words, backbone]
    )
    return torch.tensor(rows)


def answered(page: Page, image: Image.Image, backbone: str, tokens: str, scale: float) -> tuple[Any, Any]:
    """An image's features, and their logits with the texts that ``encoded_text`` encoded last."""
    features, logits = page.evaluate(
        """async ([given, backbone, tokens, scale]) => {
          const image = await calip.encodeImage(pixels(given), backbone, tokens);
          return [listed(image), terms(calip.logits(image, rows, { alphaT: 0.5, alphaS: 0.5, scale }))];
        }""",
        [sent(image), backbone, tokens, scale],
    )
    tokens_found = torch.tensor([features["pooled"]]), torch.tensor([features["spatial"]])
    return ImageTokens(*tokens_found, tuple(features["grid"])), logits_of(logits)


def logits_of(terms: dict[str, list[float]]) -> CalipLogits:
    return CalipLogits(**{ours: torch.tensor([terms[theirs]]) for ours, theirs in TERMS.items()})


def reference(backbone: Backbone, images: list[Image.Image]) -> ImageTokens:
    return backbone.encode_image(torch.stack([backbone.preprocess(image) for image in images]))


def farthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


@pytest.mark.parametrize("tokens", ["joint", "value"])
@pytest.mark.parametrize("name", MINIATURES)
def test_features_logits_and_answers_are_those_of_pytorch(page: Page, name: str, tokens: TokenSpace) -> None:
    backbone, images = load_backbone(name, device="cpu", precision="fp32", tokens=tokens), pictures()
    assert (len(images), len(texts())) == (50, 200)
    text = encoded_text(page, texts(), name)
    answers = [answered(page, image, name, tokens, backbone.logit_scale) for image in images]
    image, found = ImageTokens.cat([image for image, _ in answers]), CalipLogits.cat([logits for _, logits in answers])
    expected_image, expected_text = reference(backbone, images), backbone.encode_text(texts())
    assert image.grid == expected_image.grid
    assert farthest(image.pooled, expected_image.pooled) < 1e-3
    assert farthest(image.spatial, expected_image.spatial) < 1e-3
    assert farthest(text, expected_text) < 1e-3
    wanted = calip_logits(expected_image, expected_text, CalipConfig.official(), backbone.logit_scale)
    assert max(farthest(getattr(found, term), getattr(wanted, term)) for term in TERMS) < 1e-2
    blends = [(one, other) for one in (0.0, 1.0, 2.0) for other in (0.0, 1.0, 2.0)]
    same = [
        found.combine(beta2=b, beta3=c).argmax(dim=1) == wanted.combine(beta2=b, beta3=c).argmax(dim=1)
        for b, c in blends
    ]
    assert torch.cat(same).float().mean() >= 0.99


@pytest.mark.parametrize(
    "options",
    [{"alphaT": 0.5, "alphaS": 2.0}, {"alphaT": 0.01, "alphaS": 0.02}, {"pooling": "mean"}, {"pooling": "max"}, {}],
)
def test_logits_follow_every_option(page: Page, options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    pooled, spatial, text = (
        normalize(torch.randn(*rows, 16, generator=generator), dim=-1) for rows in ((1,), (1, 6), (5,))
    )
    image = ImageTokens(pooled, spatial, (2, 3))
    config = CalipConfig(options.get("alphaT", 0.5), options.get("alphaS", 0.5), options.get("pooling", "mean+max"))
    wanted = calip_logits(image, text, config, 30.0)
    given = [{"pooled": pooled[0].tolist(), "spatial": spatial[0].tolist()}, text.tolist(), {"scale": 30, **options}]
    found = logits_of(page.evaluate("(given) => terms(calip.logits(...floats(given)))", given))
    assert max(farthest(getattr(found, term), getattr(wanted, term)) for term in TERMS) < 1e-4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('encodeText("ring", "mini-rn")', 'words is "ring", expected a list of at least one text'),
        ('encodeText([], "mini-rn")', "words is [], expected a list of at least one text"),
        ('encodeText(["ring"], "RN50")', "backbone is RN50, expected one of mini-rn, mini-vit"),
        ('encodeText([Array(31).fill("ring").join(" ")], "mini-rn")', "has 33 tokens, both end marks counted"),
        ('encodeText(["a <|endoftext|> ring"], "mini-rn")', "holds a mark of CLIP's vocabulary"),
        ('encodeImage(new ImageData(2, 2), "mini-rn", "pre_pool")', "tokens is pre_pool, expected joint or value"),
        ('encodeImage("ring.png", "mini-rn", "joint")', "image is ring.png, expected ImageData, a canvas"),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_words(page: Page, call: str, said: str) -> None:
    assert said in page.evaluate(f"calip.{call}.then(() => 'nothing', (error) => error.message)")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("calip.logits(image, [], {})", "text has no rows"),
        ("calip.logits(image, [new Float32Array(3)], {})", "features have widths 2 and 3"),
        ("calip.logits(image, [row], { alphaT: 0 })", "alphaT is 0, expected a positive finite number"),
        ("calip.logits(image, [row], { scale: Infinity })", "scale is Infinity, expected a positive finite number"),
        ("calip.logits(image, [row], { pooling: 'sum' })", "pooling is sum, expected one of mean+max, mean, max"),
    ],
)
def test_what_has_no_logits_is_refused_in_words(page: Page, call: str, said: str) -> None:
    given = "const row = new Float32Array(2), image = { pooled: row, spatial: [row] };"
    assert said in page.evaluate(f"() => {{ {given} try {{ {call}; }} catch (error) {{ return error.message; }} }}")


def test_a_text_of_as_many_tokens_as_the_context_is_read(page: Page) -> None:
    longest = [" ".join(["ring"] * 30)]
    expected = load_backbone("mini-rn", device="cpu", precision="fp32").encode_text(longest)
    assert farthest(encoded_text(page, longest, "mini-rn"), expected) < 1e-3


def test_a_canvas_a_bitmap_and_a_picture_of_the_page_are_encoded_as_their_pixels(page: Page) -> None:
    found = page.evaluate(
        """async (given) => {
          const data = pixels(given);
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [data.width, data.height];
          canvas.getContext("2d").putImageData(data, 0, 0);
          const img = new Image();
          img.src = canvas.toDataURL();
          await img.decode();
          const images = [data, canvas, await createImageBitmap(data), img];
          return Promise.all(images.map(async (image) => listed(await calip.encodeImage(image, "mini-vit", "value"))));
        }""",
        sent(pictures()[2]),
    )
    assert all(other == found[0] for other in found[1:])


def test_words_that_training_never_showed_are_named(page: Page) -> None:
    assert page.evaluate("calip.unseenWords('A striped elephant, on the left of a zebra; elephant!')") == [
        "elephant", "zebra",
    ]  # fmt: skip


def test_a_backbone_tells_its_scale_and_its_grid(page: Page) -> None:
    backbone = load_backbone("mini-vit", device="cpu", precision="fp32")
    found = page.evaluate("calip.backbone('mini-vit')")
    assert (found["logitScale"], found["grid"]) == (backbone.logit_scale, list(backbone.grid))


def test_weights_load_on_first_use_once_and_with_progress(fresh_page: Page) -> None:
    asked = list[str]()
    fresh_page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    shares = fresh_page.evaluate(
        """async () => {
          const shares = [];
          const stop = calip.onProgress((share) => shares.push(share));
          await Promise.all([calip.encodeText(["a ring"], "mini-vit"), calip.encodeText(["a star"], "mini-rn")]);
          stop();
          await calip.encodeImage(new ImageData(9, 9), "mini-vit", "joint");
          return shares;
        }"""
    )
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 5
    weights = [name for name in asked if name.endswith(".js")]
    assert len(weights) == len(set(weights)) and not any(name.startswith("mini-rn") for name in weights)
    assert len(fresh_page.workers) == 1


def test_without_workers_the_page_itself_computes(page: Page, scripts: Path, offline: BrowserContext) -> None:
    other = offline.new_page()
    other.add_init_script("delete window.Worker")
    other.goto((scripts / "page.html").as_uri())
    encode = "async () => (await calip.encodeText(['a ring'], 'mini-rn')).map((row) => [...row])"
    assert other.evaluate(encode) == page.evaluate(encode)
    assert other.workers == []
    other.close()


def test_weights_that_are_missing_are_named_and_asked_for_again(
    scripts: Path, tmp_path: Path, offline: BrowserContext
) -> None:
    (tmp_path / "weights").mkdir()
    for name in ("page.html", "live.js", "weights/manifest.js"):
        (tmp_path / name).write_bytes((scripts / name).read_bytes())
    page = offline.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    unseen = "calip.unseenWords('a wug').catch((error) => error.message)"
    assert "weights/vocabulary-0.js cannot be loaded: run make book" in page.evaluate(unseen)
    (tmp_path / "weights" / "vocabulary-0.js").write_text("// cut short")
    assert "vocabulary-0.js holds no weights" in page.evaluate(unseen)
    (tmp_path / "weights" / "vocabulary-0.js").write_bytes((scripts / "weights" / "vocabulary-0.js").read_bytes())
    assert page.evaluate(unseen) == ["wug"]
    page.close()
