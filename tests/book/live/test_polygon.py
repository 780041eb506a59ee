"""Chapter 5's panel: the polygon is the library's, and the answer changes where the point leaves it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from book.tools.live_data.polygon import BETA2, BETA3, area, choice
from calip_core import CalipLogits
from calip_core.blend.polygon import winning_polygon
from tests.book.live.checks import barriers_on, overflow
from tests.book.live.conftest import PHONE, OpenPanel, Run
from tests.book.live.panel_data import answer, library_logits, panel_data, press


def test_polygon_and_area_are_the_librarys(module: Callable[[str], Run]) -> None:
    run, random = module("engine/polygon.js"), np.random.default_rng(0)
    corners = []
    for _ in range(40):
        terms = random.normal(size=(3, 5)).astype(np.float32) * [[10], [1], [5]]
        arrays = [f"new Float32Array({json.dumps(term.tolist())})" for term in terms]
        given = "{{clip: {}, textAttended: {}, visualAttended: {}}}".format(*arrays)
        found = run("winningPolygon", js=f"[{given}, 2, [0, 10], [0, 2]]")
        logits = CalipLogits(*torch.from_numpy(terms.astype(np.float32))[:, None])
        wanted = winning_polygon(logits, 0, 2, beta2=BETA2, beta3=BETA3)
        np.testing.assert_allclose(np.reshape(found, (-1, 2)), wanted, atol=1e-9)
        assert run("area", found) == pytest.approx(area(wanted))
        corners.append(len(wanted))
    assert {0, 3, 4, 5} <= set(corners)  # never, in a corner, between two lines, ...


def test_images_are_chosen_by_what_the_weights_do_to_them() -> None:
    shares = np.array([0.5, 0.01, 1.0, 0.3, 0.7, 0.1, 0.2, 0.4, 0.6, 0.8])
    right = np.array([0, 0, 1, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    assert choice(shares, right) == [
        ("rescued", 3), ("rescued", 0), ("rescued", 0), ("spoiled", 6), ("spoiled", 7), ("spoiled", 8),
        ("always right", 2),
    ]  # fmt: skip


def test_the_answer_and_the_polygon_are_the_librarys(live_page: OpenPanel, live_folder: Path) -> None:
    data, page = panel_data(live_folder, "polygon"), live_page("polygon")
    for number, scene in enumerate(data["scenes"]):
        page.locator(f"input[type=radio][value='{number}']").check(force=True)
        for alpha, presses in ((0.5, []), (0.2, ["ArrowLeft"])):
            press(page, "Temperature α", "Home", *["ArrowRight"] * 6, *presses)
            logits = library_logits(data, scene["image"], alpha)
            corners = winning_polygon(logits, 0, scene["label"], beta2=BETA2, beta3=BETA3)
            assert f"{100 * area(corners) / 20:.0f} % of the rectangle" in _plane(page)
            assert f"{len(corners)} corners" in _plane(page)
            for beta2, beta3 in ((0, 0), (10, 0), (0, 2), (10, 2)):
                press(page, "β₂, text-attended", "End" if beta2 else "Home")
                press(page, "β₃, visual-attended", "End" if beta3 else "Home")
                best, clip = (int(found.argmax()) for found in (logits.combine(beta2=beta2, beta3=beta3), logits.clip))
                verdict = "right" if best == scene["label"] else "wrong"
                assert f"CLIP says {data['classes'][clip]} (" in answer(page)
                if beta2 or beta3:
                    assert f"CALIP says {data['classes'][best]} ({verdict})." in answer(page)
                else:
                    assert "at β₂ = β₃ = 0, CALIP is CLIP" in answer(page)


def test_the_answer_changes_where_the_point_leaves_the_polygon(live_page: OpenPanel, live_folder: Path) -> None:
    data, page = panel_data(live_folder, "polygon"), live_page("polygon")
    scene = data["scenes"][0]
    terms = library_logits(data, scene["image"], 0.5)
    assert page.get_by_text("CLIP wrong, some weights right").count() == 3
    assert "CLIP says" in answer(page) and "(wrong)" in answer(page) and "outside" in _plane(page)
    before = page.locator(".live-bars").get_attribute("aria-label")
    for step in range(1, 81):
        press(page, "β₃, visual-attended", "ArrowRight")
        right = int(terms.combine(beta2=0, beta3=step / 40).argmax()) == scene["label"]
        assert ("(right)." in answer(page)) == ("inside" in _plane(page)) == right
    assert right
    assert page.locator(".live-bars").get_attribute("aria-label") != before


def test_bars_are_sorted_and_the_label_is_marked(live_page: OpenPanel, live_folder: Path) -> None:
    data, page = panel_data(live_folder, "polygon"), live_page("polygon")
    assert f"6 of {len(data['classes'])} classes" in page.locator("figcaption").last.inner_text()
    press(page, "β₃, visual-attended", "End")
    numbers = [float(number.replace("−", "-")) for number in page.locator(".live-row > :last-child").all_inner_texts()]
    assert len(numbers) == 6 and numbers == sorted(numbers, reverse=True)
    label = data["classes"][data["scenes"][0]["label"]]
    assert page.locator(".live-row", has_text=f"{label} ✓").count() == 1


def test_a_click_moves_the_point(live_page: OpenPanel) -> None:
    page = live_page("polygon")
    page.locator(".live-drawing").click(position={"x": 165, "y": 131})  # the middle of the plane
    assert "β₂ = 5, β₃ = 1 " in answer(page)
    assert page.get_by_label("β₂, text-attended").get_attribute("aria-valuetext") == "5"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_barriers(live_page: OpenPanel, scheme: str) -> None:
    assert barriers_on(live_page("polygon", scheme=scheme)) == []


def test_it_fits_a_phone(live_page: OpenPanel) -> None:
    assert overflow(live_page("polygon", size=PHONE)) == 0


def _plane(page: Page) -> str:
    return page.locator(".live-drawing").get_attribute("aria-label") or ""
