"""Chapter 1's panel in a browser: own names and templates become probabilities."""

import re

import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect

from book.tools.live_data import words
from calip_core import world
from calip_core.backbones.loading import load_backbone
from tests.book.live.checks import barriers_on, overflow, type_into
from tests.book.live.conftest import PHONE, OpenPanel

ANSWER = ".live-answer[role=status]"
_NAMES = ["dog", "blue circle", "ring", "red circle"]
_TEMPLATE = "a sketch of one {} in a frame"
_NEAR = 0.2  # per cent; logits differ by at most 0.01


def answer(page: Page) -> str:
    return page.locator(ANSWER).inner_text()


def probabilities(page: Page) -> dict[str, float]:
    """Per cent by name, as the text alternative says."""
    label = page.get_by_role("img", name="Probabilities").get_attribute("aria-label") or ""
    return {name.strip(): float(share) for name, share in re.findall(r"([^:,]+?) ([\d.]+) %", label.partition(":")[2])}


@torch.no_grad()
def expected(scene: int, names: list[str], template: str, scale: float | None = None) -> dict[str, float]:
    """The same from calip_core."""
    backbone = load_backbone(words.BACKBONE, precision="fp32")
    image = backbone.preprocess(Image.fromarray(world.render_scenes(words.shown_scenes())[scene]))
    pooled = backbone.encode_image(image[None]).pooled[0]
    text = backbone.encode_text([template.replace("{}", name) for name in names])
    shares = ((scale or backbone.logit_scale) * text @ pooled).softmax(dim=0)
    return {name: 100 * float(share) for name, share in zip(names, shares, strict=True)}


def test_it_opens_with_the_tasks_names_and_template(live_page: OpenPanel) -> None:
    page = live_page("words")
    assert probabilities(page) == pytest.approx(expected(0, list(world.SHAPES), "a picture of a {}."), abs=_NEAR)
    assert answer(page).startswith("The answer is circle (6")


def test_own_names_in_an_own_template(live_page: OpenPanel) -> None:
    page = live_page("words")
    page.get_by_role("combobox").press("End")
    type_into(page, "Your template", _TEMPLATE)
    type_into(page, "Names", " dog, blue circle,,ring, dog, red circle ")
    expect(page.locator(ANSWER)).to_contain_text("red circle")
    assert probabilities(page) == pytest.approx(expected(0, _NAMES, _TEMPLATE), abs=_NEAR)
    assert "never showed “sketch”, “dog”, “frame”" in answer(page)


def test_the_scale_changes_the_shares_and_never_the_order(live_page: OpenPanel) -> None:
    page = live_page("words")
    scale = page.get_by_role("slider")
    scale.focus()
    page.keyboard.press("Home")
    flat = probabilities(page)
    assert scale.get_attribute("aria-valuetext") == "1"
    assert flat == pytest.approx(expected(0, list(world.SHAPES), "a picture of a {}.", 1.0), abs=_NEAR)
    page.keyboard.press("End")
    sharp = probabilities(page)
    assert max(flat.values()) < 20 < 99 < max(sharp.values())
    assert max(flat, key=flat.__getitem__) == max(sharp, key=sharp.__getitem__) == "circle"


def test_the_arrow_keys_choose_another_scene(live_page: OpenPanel) -> None:
    page = live_page("words")
    page.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(ANSWER)).to_contain_text("the picture shows a brown star.")
    assert probabilities(page) == pytest.approx(expected(1, list(world.SHAPES), "a picture of a {}."), abs=_NEAR)


@pytest.mark.parametrize(
    ("label", "text", "said"),
    [
        ("Your template", "a sketch of nothing", "needs one {}"),
        ("Your template", "{} or {}", "needs one {}"),
        ("Names", "star", "two or more names"),
        ("Names", " , ", "two or more names"),
        ("Names", ", ".join(f"a{i}" for i in range(31)), "31 names"),
        ("Names", f"circle, {'very ' * 90} long", "shorten it"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(live_page: OpenPanel, label: str, text: str, said: str) -> None:
    page = live_page("words")
    before = probabilities(page)
    page.get_by_role("combobox").press("End")
    type_into(page, label, text)
    expect(page.locator(ANSWER)).to_contain_text(said)
    assert "The bars still show the answer before." in answer(page)
    assert probabilities(page) == before


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("circle, star", "Right: the picture shows a blue circle."),
        ("a Blue circle, red star", "Right: the picture shows a blue circle."),
        ("blue heart, blue circle", "Right: the picture shows a blue circle."),
        ("red circle, dog", "None of your names says so: a softmax must still choose one."),
    ],
)
def test_right_and_wrong_are_said(live_page: OpenPanel, names: str, said: str) -> None:
    page = live_page("words")
    type_into(page, "Names", names)
    expect(page.locator(ANSWER)).to_contain_text(said)


def test_one_of_the_scenes_is_answered_wrongly(live_page: OpenPanel) -> None:
    page = live_page("words")
    scenes, found = page.get_by_role("group", name="Scene").get_by_role("radio"), []
    for i in range(scenes.count()):
        scenes.nth(i).check(force=True)
        shown = scenes.nth(i).locator("..").locator("img").get_attribute("alt")
        expect(page.locator(ANSWER)).to_contain_text(f"the picture shows a {shown}.")
        found.append(re.findall(r"Right|Wrong", answer(page)))
    assert found.count(["Wrong"]) == 1 and found.count(["Right"]) == len(found) - 1


def test_a_pair_that_training_never_showed(live_page: OpenPanel) -> None:
    page = live_page("words")
    type_into(page, "Names", "red circle, blue circle")
    expect(page.locator(ANSWER)).to_contain_text("never together: “red circle”")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_keeps_no_reader_out(live_page: OpenPanel, scheme: str) -> None:
    page = live_page("words", scheme=scheme, size=PHONE)
    page.get_by_role("combobox").press("End")
    assert overflow(page) <= 0
    assert barriers_on(page) == []
