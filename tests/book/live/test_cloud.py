"""Chapter 7's panel: a cloud to turn."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from jaxtyping import Float32
from playwright.sync_api import Page
from scipy.spatial.transform import Rotation

from calip_core import calip_logits, load_backbone, load_task, zero_shot_classifier
from calip_core.exhibits.point_clouds import first_of_class
from calip_core.features import encode_split
from calip_core.pointclouds import depth_maps, encoder_input, view_set
from tests.book.live.conftest import PHONE
from tests.book.live.panel_data import panel_data

OpenPanel = Callable[..., Page]
TURN, TILT, WEIGHTS = "Turn about the vertical", "Tilt towards you", "Weights of the views"

_COUNT = """() => {
  const encode = window.calip.encodeImage;
  window.encoded = 0;
  window.calip.encodeImage = (...given) => encode(...given).finally(() => (window.encoded += 1));
}"""


def _answer(page: Page) -> str:
    return page.locator("p[role=status]").inner_text()


def _probabilities(page: Page) -> dict[str, float]:
    """What the bars' text alternative says."""
    label = page.get_by_role("img", name="Probabilities").get_attribute("aria-label") or ""
    return {name: float(share) / 100 for name, share in re.findall(r"(\w+) ([\d.]+) %", label)}


def _press(page: Page, label: str, *keys: str) -> None:
    """Move a range input by keys, and wait for the networks."""
    page.evaluate(_COUNT)
    page.get_by_label(label, exact=True).focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("() => window.encoded >= 10 && document.querySelector('.live-progress').hidden")


def _expected(name: str, turn: float = 0, tilt: float = 0, views: str = "bright_voxels") -> dict[str, float]:
    """The library's probabilities for a cloud turned by angles in degrees, with all views alike."""
    backbone = load_backbone("mini-vit", device="cpu", precision="fp32", tokens="joint")
    task = load_task("mini-solids", views=views)
    text = zero_shot_classifier(backbone, task.classnames, task.templates)
    points = np.array(task.splits["test"].clouds[first_of_class(task)[name]])  # type: ignore[attr-defined]
    pose = Rotation.from_euler("yx", [turn, tilt], degrees=True)
    cloud: Float32[np.ndarray, "p 3"] = pose.apply(points).astype(np.float32)
    maps = depth_maps(torch.from_numpy(cloud[None]), views)
    pixels = encoder_input(maps, backbone.resolution, standardise=view_set(views).standardise)
    with torch.no_grad():
        logits = calip_logits(backbone.encode_image(pixels), text, logit_scale=backbone.logit_scale)
    shares = logits.combine(beta2=1.12, beta3=0.02).mean(dim=0).softmax(dim=0)
    return dict(zip(task.classnames, shares.tolist(), strict=True))


def test_turning_by_keyboard_changes_the_answer(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    assert "bowl" in _answer(page) and "wrong: it is a cone" in _answer(page)
    cloud = page.get_by_role("img", name=re.compile("^A cloud of 1024 points, a cone, turned by 0°, tilted by 0°$"))
    cloud.wait_for()
    before = _probabilities(page)
    _press(page, TILT, "PageUp", "PageUp")
    assert page.get_by_label(TILT).get_attribute("aria-valuetext") == "36°"
    assert "cone" in _answer(page) and "right" in _answer(page)
    assert _probabilities(page)["cone"] > before["cone"] + 0.2
    page.get_by_role("img", name=re.compile("tilted by 36°")).wait_for()


@pytest.mark.parametrize(("name", "views"), [("cone", "bright_voxels"), ("table", "pointclip")])
def test_it_answers_at_once_what_the_library_answers(name: str, views: str, live_page: OpenPanel) -> None:
    page = live_page("cloud")
    page.evaluate(_COUNT)
    page.get_by_label(name, exact=True).check()
    page.get_by_label(views, exact=True).check()
    assert _probabilities(page) == pytest.approx(_expected(name, views=views), abs=1e-3)
    assert page.evaluate("window.encoded") == 0


def test_turned_by_nothing_and_turned_the_networks_give_the_librarys_answer(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    _press(page, TURN, "ArrowRight", "ArrowLeft")
    assert _probabilities(page) == pytest.approx(_expected("cone"), abs=1e-2)
    _press(page, TURN, "PageUp")
    _press(page, TILT, "PageDown")
    assert _probabilities(page) == pytest.approx(_expected("cone", 36, -18), abs=1e-2)


def test_the_views_weights_move_the_answer(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    select = page.get_by_label(WEIGHTS)
    select.select_option(label="searched on validation clouds")
    assert "cone" in _answer(page) and "right" in _answer(page)
    select.select_option(label="−y alone")
    assert "Only the view from −y counts" in _answer(page)
    page.get_by_label("octahedron", exact=True).check()
    assert "Only the view from −y counts" in _answer(page)
    assert "it is an octahedron" in _answer(page)
    assert page.locator("figure", has_text="from −y").inner_text().endswith("weight 1")
    assert page.locator("figure", has_text="from +z").last.inner_text().endswith("weight 0")


def test_only_the_newest_pose_is_answered(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    page.evaluate(
        """() => {
          const encode = window.calip.encodeImage;
          window.asked = 0;
          window.answers = [];
          window.calip.encodeImage = async (...given) => {
            window.asked += 1;
            if (window.asked === 1) await new Promise((resolve) => (window.release = resolve));
            return encode(...given);
          };
          const line = document.querySelector("p[role=status]");
          new MutationObserver(() => window.answers.push(line.textContent)).observe(line, { childList: true });
        }"""
    )
    page.get_by_label(TILT, exact=True).focus()
    page.keyboard.press("PageUp")
    page.wait_for_function("() => window.asked === 1")
    page.keyboard.press("PageUp")
    page.evaluate("() => window.release()")
    page.wait_for_function("() => window.asked === 11 && document.querySelector('.live-progress').hidden")
    assert len(page.evaluate("window.answers")) == 1  # of the second pose, and nothing of the first
    assert _probabilities(page) == pytest.approx(_expected("cone", 0, 36), abs=1e-2)


def test_dragging_turns_the_cloud_and_a_button_turns_it_back(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    box = page.get_by_role("img", name=re.compile("^A cloud of")).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 140)
    page.mouse.up()
    assert page.get_by_label(TURN).get_attribute("aria-valuetext") == "30°"
    assert page.get_by_label(TILT).get_attribute("aria-valuetext") == "20°"
    page.get_by_label(TURN).press("End")
    assert page.get_by_label(TURN).get_attribute("aria-valuetext") == "180°"
    page.get_by_role("button", name="Reset").click()
    assert page.get_by_label(TURN).get_attribute("aria-valuetext") == "0°"
    assert "bowl" in _answer(page)


def test_it_turns_by_itself_only_when_asked(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    angle = page.get_by_label(TURN)
    page.get_by_role("button", name="Turn slowly").press("Enter")
    page.wait_for_function("input => input.getAttribute('aria-valuetext') !== '0°'", arg=angle.element_handle())
    page.get_by_role("button", name="Stop").press("Enter")
    page.get_by_role("button", name="Turn slowly").wait_for()
    stopped = angle.get_attribute("aria-valuetext")
    page.wait_for_timeout(300)
    assert angle.get_attribute("aria-valuetext") == stopped


def test_an_answer_names_its_pose_and_fades_while_the_cloud_turns(live_page: OpenPanel) -> None:
    page = live_page("cloud")
    stale = page.locator(".cloud-stale")
    assert _answer(page).startswith("Unturned: ") and stale.count() == 0
    page.get_by_label(TILT).press("PageUp")
    assert stale.count() > 0
    page.wait_for_function("() => document.querySelector('.cloud-stale') === null")
    assert _answer(page).startswith("Turned by 0°, tilted by 18°: the answer is ")


@pytest.mark.parametrize("label", ["all alike", "searched on validation clouds"])
def test_the_accuracy_is_that_of_the_weights(label: str, live_page: OpenPanel, live_folder: Path) -> None:
    page, chosen = live_page("cloud"), panel_data(live_folder, "cloud")["sets"][0]
    page.get_by_label(WEIGHTS).select_option(label=label)
    test = load_task("mini-solids", views=chosen["name"]).splits["test"]
    backbone = load_backbone("mini-vit", device="cpu", precision="fp32", tokens="joint")
    tokens, labels = encode_split(backbone, test, limit=chosen["images"], progress=False)
    text = zero_shot_classifier(backbone, load_task("mini-solids").classnames, load_task("mini-solids").templates)
    logits = calip_logits(tokens, text, logit_scale=backbone.logit_scale).combine(beta2=1.12, beta3=0.02)
    weights = torch.ones(10) if label == "all alike" else torch.tensor(chosen["weights"])
    best = torch.einsum("nvk,v->nk", logits.unflatten(0, (-1, 10)), weights).argmax(dim=1)
    share = float((best.numpy() == labels[::10]).mean())
    assert f"{100 * share:.1f} % are recognised" in page.locator(".cloud-note").inner_text()


def test_it_never_turns_by_itself_for_readers_who_asked_for_less_motion(live_page: OpenPanel) -> None:
    page = live_page("cloud", motion="reduce")
    assert page.get_by_role("button", name="Turn slowly").count() == 0


def test_it_fits_a_phone(live_page: OpenPanel) -> None:
    page = live_page("cloud", size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, live_page: OpenPanel) -> None:
    page = live_page("cloud", scheme=scheme)
    found = Axe().run(page, options={"preload": False}).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []
