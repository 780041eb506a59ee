"""The landing page's panel in a browser: its answer follows the controls, by keyboard too."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from book.tools.bundle import LIVE
from tests.book.live.checks import barriers_on, overflow
from tests.book.live.conftest import DESK, PHONE, OpenPanel


def answer(page: Page) -> str:
    return page.locator("p[role=status]").inner_text()


def map_label(page: Page) -> str:
    return page.locator("canvas").get_attribute("aria-label") or ""


def test_the_first_view_tells_the_story(live_page: OpenPanel) -> None:
    page = live_page("landing")
    assert re.fullmatch(r"CLIP says “\w+” \(wrong\), CALIP “\w+” \(right\): rescued\.", answer(page))
    assert page.get_by_role("slider", name="λ").get_attribute("aria-valuetext") == "0.6"


def test_with_its_own_pool_clip_is_right(live_page: OpenPanel) -> None:
    page = live_page("landing")
    page.get_by_role("slider", name="λ").press("Home")
    assert re.fullmatch(r"CLIP and CALIP both say “\w+” \(right\)\.", answer(page))


def test_without_the_attended_terms_calip_is_clip(live_page: OpenPanel) -> None:
    page = live_page("landing")
    bars = page.get_by_role("img", name="Logits")
    before = bars.get_attribute("aria-label")
    for name in ("β₂", "β₃"):
        page.get_by_role("slider", name=name).press("Home")
    assert re.fullmatch(r"CLIP and CALIP both say “\w+” \(wrong\)\.", answer(page))
    assert bars.get_attribute("aria-label") != before


def test_the_scenes_hold_every_outcome(live_page: OpenPanel) -> None:
    page = live_page("landing")
    scenes, found = page.get_by_role("group", name="Scene").get_by_role("radio"), []
    scenes.first.focus()
    for _ in range(scenes.count()):
        found.append(answer(page))
        page.keyboard.press("ArrowRight")
    assert sum("rescued" in said for said in found) == 5
    assert sum("spoiled" in said for said in found) == 1
    assert sum("both say" in said and "(right)" in said for said in found) == 1
    assert len(set(found)) == len(found) == 8


def test_a_word_and_the_kind_of_tokens_change_the_map(live_page: OpenPanel) -> None:
    page = live_page("landing")
    labels = [map_label(page)]
    page.get_by_role("radio", name="heart").check()
    labels.append(map_label(page))
    page.get_by_role("group", name="Spatial tokens").get_by_role("radio", name="what CLIP answers").check()
    labels.append(map_label(page))
    assert "“heart”" in labels[1] and labels[2].startswith("Map of the joint tokens")
    assert len(set(labels)) == 3


def test_own_words_are_a_class_and_unseen_ones_are_named(live_page: OpenPanel) -> None:
    page = live_page("landing")
    field = page.get_by_role("textbox", name="Your own words")
    field.fill("a zebra")
    field.press("Enter")
    expect(page.get_by_role("radio", name="a zebra")).to_be_checked()
    assert "“a zebra”" in map_label(page)
    assert "Training never showed “zebra”" in answer(page)
    field.fill("star")
    field.press("Enter")
    expect(page.get_by_role("radio", name="star", exact=True)).to_be_checked()


def test_the_measured_sentence_follows_lambda_and_the_tokens(live_page: OpenPanel) -> None:
    page = live_page("landing")
    table: dict[str, list[dict[str, Any]]] = page.evaluate("calip.data('landing').then(({ measured }) => measured)")
    stops, slider = len(table["value"]), page.get_by_role("slider", name="λ")
    for kind, label in (("value", "what it saw"), ("joint", "what CLIP answers")):
        page.get_by_role("radio", name=label).check()
        slider.press("Home")
        for row in table[kind]:
            assert row["said"] in page.locator(".landing-measured").inner_text().replace("\u00a0", " ")
            slider.press("ArrowRight")
    assert stops == 11 and slider.get_attribute("aria-valuetext") == "1"


def test_nothing_moves_when_the_measured_sentence_grows(live_page: OpenPanel) -> None:
    page = live_page("landing")
    page.get_by_role("radio", name="what CLIP answers").check()
    slider, heights = page.get_by_role("slider", name="λ"), set[float]()
    for _ in range(11):
        heights.add(page.evaluate("document.documentElement.scrollHeight"))
        slider.press("ArrowLeft")
    assert len(heights) == 1


def test_the_measured_weights_can_be_set(live_page: OpenPanel) -> None:
    page = live_page("landing")
    button = page.get_by_role("button", name="Set these weights")
    expect(button).to_be_disabled()
    page.get_by_role("slider", name="λ").press("ArrowLeft")
    button.press("Enter")
    row = page.evaluate("calip.data('landing').then(({ measured }) => measured.value.find((r) => r.amount === 0.5))")
    assert page.get_by_role("slider", name="β₂").get_attribute("aria-valuetext") == f"{row['beta2']:g}"
    expect(button).to_be_disabled()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(live_page: OpenPanel, scheme: str, size: dict[str, int]) -> None:
    page = live_page("landing", scheme=scheme, size=size, motion="reduce")
    assert barriers_on(page) == []
    assert overflow(page) <= 1


def test_no_weights_are_loaded_before_the_reader_asks_for_more(
    live_folder: Path, offline: BrowserContext, live_page: OpenPanel
) -> None:
    live_page("landing")
    page, asked = offline.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    page.goto((live_folder / "landing.html").as_uri())
    page.locator(".calip-live-made").wait_for()
    page.close()
    assert {name for name in asked if name.endswith(".js")} == {"live.js", "landing.js"}


def test_the_static_figure_is_for_pages_without_scripts(live_folder: Path, offline: BrowserContext) -> None:
    page = offline.new_page()
    host = '<div class="calip-live" data-panel="landing"></div>'
    style = f'<link rel="stylesheet" href="{(LIVE / "live.css").as_uri()}">'
    for name, script in (("without", ""), ("with", '<script defer src="live.js"></script>')):
        path = live_folder / f"static-{name}.html"
        path.write_text(
            f'<!doctype html><meta charset="utf-8">{style}{script}<div class="calip-static">figure</div>{host}'
        )
    page.goto((live_folder / "static-without.html").as_uri())
    assert page.get_by_text("figure").is_visible() and not page.locator(".calip-live").is_visible()
    page.goto((live_folder / "static-with.html").as_uri())
    page.locator(".calip-live-made").wait_for()
    assert not page.get_by_text("figure", exact=True).is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("figure", exact=True).is_visible() and not page.locator(".calip-live").is_visible()
    page.close()
