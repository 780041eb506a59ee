"""Chapter 3's panel: the weights, their effective numbers and the logits are the library's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from book.tools.live_data.affinity import choice
from tests.book.live.checks import barriers_on, overflow
from tests.book.live.conftest import PHONE, OpenPanel, Run
from tests.book.live.panel_data import answer, library_logits, panel_data, press

_ALPHAS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


def test_even_weights_use_all_choices(module: Callable[[str], Run]) -> None:
    run = module("panels/affinity.js")
    assert run("effectiveNumber", [0.25] * 4) == pytest.approx(4)
    assert run("effectiveNumber", [0, 1, 0]) == 1
    assert run("effectiveNumber", [0.5, 0.3, 0.2]) == pytest.approx(_effective(torch.tensor([0.5, 0.3, 0.2])))


def test_scenes_are_the_first_of_their_classes_and_one_that_clip_misreads() -> None:
    labels, right = np.array([4, 4, 1, 2, 1, 0]), np.array([1, 1, 1, 1, 0, 0], dtype=bool)
    assert list(choice(range(6), right, labels)) == [0, 2, 3, 5]


@pytest.mark.parametrize("kind", ["joint", "value"])
def test_weights_and_logits_are_the_librarys(live_page: OpenPanel, live_folder: Path, kind: str) -> None:
    data, page = panel_data(live_folder, "affinity"), live_page("affinity")
    page.get_by_label(kind, exact=True).check(force=True)
    press(page, "Row of the place", "End")  # row 4, column 2 from now on: place 13
    for alpha in _ALPHAS:
        press(page, "Temperature α", "Home", *["ArrowRight"] * _ALPHAS.index(alpha))
        _is_the_librarys(page, data, kind, alpha, place=13)


def _is_the_librarys(page: Page, data: Any, kind: str, alpha: float, place: int) -> None:
    scene = data["scenes"][0]
    image, label = scene["image"][kind], scene["label"]
    affinity = image["spatial"] @ data["text"].T
    over_places, over_classes = (affinity / alpha).softmax(0)[:, label], (affinity / alpha).softmax(1)[place]
    said = page.locator(".live-heatmap").get_attribute("aria-label") or ""
    weights = [float(number) for number in re.findall(r"\d\.\d+|\d", said.rsplit("weights", 1)[1])]
    assert weights == pytest.approx([float(over_places.min()), float(over_places.max())], abs=6e-4)
    used = [float(number) for number in re.findall(r"at ([\d.]+) of", answer(page))]
    assert used == pytest.approx([_effective(over_places), _effective(over_classes)], abs=0.06)
    logits = library_logits(data, image, alpha)
    for row, term in enumerate((logits.clip, logits.text_attended, logits.visual_attended)):
        own, best = page.locator("tbody tr").nth(row).locator("td").all_inner_texts()
        name, largest = best.split(", ")
        assert [_number(own), _number(largest)] == pytest.approx([float(term[0, label]), float(term.max())], abs=0.011)
        assert name == data["classes"][int(term.argmax())]


def test_a_scene_brings_its_class(live_page: OpenPanel, live_folder: Path) -> None:
    data, page = panel_data(live_folder, "affinity"), live_page("affinity")
    for number, scene in enumerate(data["scenes"], start=1):
        name = data["classes"][scene["label"]]
        page.get_by_role("radio", name=f"scene {number}, a {name}").check(force=True)
        assert page.get_by_role("radio", name=name, exact=True).is_checked()
        assert answer(page).startswith(f"The picture shows a {name}. ")
        assert page.locator(".live-row", has_text="✓").inner_text().startswith(f"{name} ✓")


def test_the_keyboard_reaches_every_control(live_page: OpenPanel) -> None:
    page = live_page("affinity")
    seen = {_state(page)}
    chips = [page.get_by_role("radio", name=name, exact=True) for name in ("scene 1, a ring", "joint", "crescent")]
    names = ("Temperature α", "Row of the place", "Column of the place")
    for name, control in enumerate([*chips, *(page.get_by_role("slider", name=name) for name in names)]):
        control.press("ArrowRight")
        assert _state(page) not in seen, name
        seen.add(_state(page))


def test_clicks_choose_places_and_classes(live_page: OpenPanel) -> None:
    page = live_page("affinity")
    picture = page.locator(".live-heatmap").bounding_box()
    assert picture is not None
    page.locator(".live-heatmap").click(position={"x": picture["width"] - 5, "y": 5})
    assert "row 1, column 4" in answer(page)
    page.locator(".live-drawing").click(position={"x": 76 + 14 * 8.5, "y": 20 * 2.5})
    assert "“triangle”" in answer(page) and "row 3, column 1" in answer(page)
    assert page.get_by_label("triangle", exact=True).is_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_barriers(live_page: OpenPanel, scheme: str) -> None:
    assert barriers_on(live_page("affinity", scheme=scheme)) == []


def test_it_fits_a_phone(live_page: OpenPanel) -> None:
    assert overflow(live_page("affinity", size=PHONE)) == 0


def _effective(weights: torch.Tensor) -> float:
    return float(torch.special.entr(weights.double()).sum().exp())


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _state(page: Page) -> str:
    """Everything that the panel says, its text alternatives too."""
    labels = page.locator(".calip-live [role=img]").evaluate_all("all => all.map(one => one.ariaLabel)")
    return f"{answer(page)} {labels} {page.locator('table').inner_text()}"
