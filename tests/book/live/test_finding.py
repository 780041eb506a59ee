"""Chapter 2's panel in a browser: a word's map over a scene, a drawing or a picture."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect

from book.tools.live_data import finding
from book.tools.live_data.scenes import unseen_scenes
from calip_core import world
from calip_core.analysis.localization import points_on_object
from calip_core.backbones.loading import load_backbone
from calip_core.tokens import ImageTokens
from tests.book.live.checks import barriers_on, overflow, type_into
from tests.book.live.conftest import PHONE, OpenPanel, Run

ANSWER = ".live-answer[role=status]"

_RECORD = """() => {
  const encode = calip.encodeImage;
  calip.encodeImage = async (...given) => {
    const { pooled, spatial } = await encode(...given);
    window.encoded = { pooled: Array.from(pooled), spatial: spatial.map((row) => Array.from(row)) };
    return encode(...given);
  };
}"""
_DROP = """([content, name, type]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const field = document.querySelector(".live-answer");
  for (const kind of ["dragover", "drop"]) {
    field.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


def drop(page: Page, path: Path, kind: str) -> None:
    page.evaluate(_DROP, [base64.b64encode(path.read_bytes()).decode(), path.name, kind])


def photograph(path: Path, width: int = 301, height: int = 200) -> Image.Image:
    """A picture that is neither square nor of the miniatures' size."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
    image.save(path)
    return image


@torch.no_grad()
def expected(image: Image.Image, name: str) -> ImageTokens:
    backbone = load_backbone(name, precision="fp32", tokens="value")
    return backbone.encode_image(backbone.preprocess(image)[None])


def choose(page: Page, name: str) -> None:
    """One of a group of radio buttons."""
    page.get_by_role("radio", name=name, exact=True).check(force=True)


def says(page: Page, text: str) -> None:
    expect(page.locator(ANSWER)).to_contain_text(text, timeout=30_000)


def encoded(page: Page) -> dict[str, Any]:
    features: dict[str, Any] = page.evaluate("encoded")
    return features


@pytest.mark.parametrize(
    ("place", "grid", "words"),
    [
        ([0, 0], [4, 4], "row 1, column 1 of 4 × 4"),
        ([6, 3], [7, 5], "row 7, column 4 of 7 × 5"),
    ],
)
def test_a_place_in_words(module: Callable[[str], Run], place: list[int], grid: list[int], words: str) -> None:
    assert module("panels/heatmap.js")("placeInWords", place, grid).replace("\u00a0", " ") == words


def test_it_opens_with_a_scene_and_the_word_for_it(live_page: OpenPanel) -> None:
    page = live_page("finding")
    says(page, "“ring” fits best in row 2, column 3 of 4 × 4, at the blue ring. There the value token of mini-rn has a")
    assert page.get_by_role("img", name="Map of “ring” over a blue ring: highest in row 2, column 3").is_visible()


def test_a_scene_brings_its_word_until_the_reader_has_an_own(live_page: OpenPanel) -> None:
    page = live_page("finding")
    scenes: list[dict[str, Any]] = page.evaluate("calip.data('finding').then(({ scenes }) => scenes)")
    for scene in scenes[::-1]:
        choose(page, f"a {scene['name']}")
        says(page, f"“{scene['word']}” fits best")
        says(page, f"the {scene['name']}.")
        expect(page.get_by_label("Word", exact=True)).to_have_value(scene["word"])
    type_into(page, "Word", "blue")
    says(page, "“blue” fits best")
    choose(page, f"a {scenes[1]['name']}")
    says(page, f"the {scenes[1]['name']}.")
    says(page, "“blue” fits best")


def test_hit_or_miss_is_that_of_the_pointing_game(live_page: OpenPanel) -> None:
    page = live_page("finding")
    shown = unseen_scenes(finding._SHOWN)
    masks, found = world.object_masks(shown), set[bool]()
    for backbone, side in (("mini-rn", 4), ("mini-vit", 7)):
        choose(page, backbone)
        says(page, f"of {backbone}")
        wanted = points_on_object(masks, (side, side), masks.shape[1] // 16)
        for i, (colour, shape) in enumerate(zip(shown.colour, shown.shape, strict=True)):
            name = f"{world.COLOURS[colour]} {world.SHAPES[shape]}"
            choose(page, f"a {name}")
            says(page, f" the {name}. There the value token of {backbone}")
            row, column = map(int, re.findall(r"row (\d+), column (\d+)", page.locator(ANSWER).inner_text())[0])
            hit = bool(wanted[i, (row - 1) * side + column - 1])
            says(page, f"{'at' if hit else 'away from'} the {name}.")
            found.add(hit)
    assert True in found


def test_every_control_changes_the_answer_by_keyboard(live_page: OpenPanel) -> None:
    page = live_page("finding")
    for chosen, key, said in [
        ("value", "ArrowLeft", "The places hardly differ."),
        ("mini-rn", "ArrowRight", "the joint token of mini-vit"),
        ("a blue ring", "ArrowRight", "“cross” fits best"),
        ("Scene", "ArrowRight", "the mean of all 49"),
    ]:
        before = page.locator(ANSWER).inner_text()
        page.get_by_role("radio", name=chosen, exact=True).press(key)
        expect(page.locator(ANSWER)).not_to_have_text(before, timeout=30_000)
        says(page, said)
    type_into(page, "Word", "blue square")
    says(page, "“blue square” fits best")


def test_own_words_and_what_training_never_showed(live_page: OpenPanel) -> None:
    page = live_page("finding")
    type_into(page, "Word", "Blue Zebra")
    says(page, "Training never showed “zebra”")
    type_into(page, "Word", "red circle")
    says(page, "never together: “red circle”")


def test_a_drawn_circle_is_found_where_it_was_drawn(live_page: OpenPanel) -> None:
    page = live_page("finding")
    choose(page, "mini-vit")
    choose(page, "Draw")
    says(page, "“circle” fits best")
    page.get_by_role("button", name="Clear").click()
    says(page, "Draw something first.")
    choose(page, "red")
    choose(page, "thick")
    box = page.get_by_role("img", name="Your drawing: empty").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.76 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.up()
    assert page.get_by_role("img", name="Your drawing: red line", exact=True).is_visible()
    says(page, "“circle” fits best in row 3, column 6 of 7 × 7, at what you drew.")


@pytest.mark.parametrize(("button", "where"), [("top left", "row 2, column 2"), ("bottom right", "row 4, column 4")])
def test_whole_shapes_by_keyboard(live_page: OpenPanel, button: str, where: str) -> None:
    page = live_page("finding")
    page.get_by_role("radio", name="Scene", exact=True).press("ArrowRight")
    page.get_by_role("button", name="Clear").press("Enter")
    page.get_by_role("button", name=button, exact=True).press("Enter")
    says(page, f"“circle” fits best in {where} of 4 × 4, at what you drew. There the value token of mini-rn")
    assert page.get_by_role("img", name=f"Your drawing: red circle, {button}").is_visible()


@pytest.mark.parametrize("name", ["mini-rn", "mini-vit"])
def test_a_dropped_png_has_the_features_that_calip_core_gives_it(
    live_page: OpenPanel, tmp_path: Path, name: str
) -> None:
    reference = expected(photograph(tmp_path / "noise.png"), name)
    page = live_page("finding")
    page.evaluate(_RECORD)
    choose(page, name)
    drop(page, tmp_path / "noise.png", "image/png")
    says(page, "other pictures lie outside of that")
    expect(page.get_by_role("radio", name="Your picture")).to_be_checked()
    found = encoded(page)
    np.testing.assert_allclose(found["pooled"], reference.pooled[0], atol=1e-3)
    np.testing.assert_allclose(found["spatial"], reference.spatial[0], atol=1e-3)


def test_a_large_picture_and_one_with_holes(live_page: OpenPanel, tmp_path: Path) -> None:
    page = live_page("finding")
    page.evaluate(_RECORD)
    choose(page, "Your picture")
    says(page, "Choose a picture, or drop one.")
    photograph(tmp_path / "large.png", 4000, 3000)
    page.locator("input[type=file]").set_input_files(tmp_path / "large.png")
    says(page, "other pictures lie outside of that")
    large = encoded(page)
    Image.new("RGBA", (90, 60), (255, 0, 0, 0)).save(tmp_path / "holes.png")
    page.locator("input[type=file]").set_input_files(tmp_path / "holes.png")
    page.wait_for_function("(before) => encoded.pooled[0] !== before", arg=large["pooled"][0])
    white = expected(Image.new("RGB", (90, 60), "white"), "mini-rn")
    np.testing.assert_allclose(encoded(page)["pooled"], white.pooled[0], atol=1e-3)


def test_what_is_no_picture_is_refused_in_words(live_page: OpenPanel, tmp_path: Path) -> None:
    page = live_page("finding")
    choose(page, "Your picture")
    for name, content in [("notes.txt", b"no picture"), ("broken.png", b"\x89PNG\r\n\x1a\n"), ("empty.jpg", b"")]:
        (tmp_path / name).write_bytes(content)
        page.locator("input[type=file]").set_input_files(tmp_path / name)
        says(page, f"“{name}” is no picture that this browser can read")
    Image.new("1", (10_000, 5_001)).save(tmp_path / "huge.png")
    drop(page, tmp_path / "huge.png", "image/png")
    says(page, "at most 50 million are read here")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("source", ["Scene", "Draw", "Your picture"])
def test_it_keeps_no_reader_out(live_page: OpenPanel, scheme: str, source: str) -> None:
    page = live_page("finding", scheme=scheme, size=PHONE)
    choose(page, source)
    assert overflow(page) <= 0
    assert barriers_on(page) == []
