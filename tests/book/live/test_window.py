"""Chapter 4's panels: their numbers are the library's at the chapter's settings, and the controls choose among them."""

from pathlib import Path

import pytest

from book.tools.live_data import window
from calip_core import CalipConfig, load_backbone, load_task
from calip_core.analysis import synthetic
from calip_core.analysis.window import pool_sweep
from calip_core.exhibits.exhibit import interval, percent, points
from tests.book.live.checks import barriers_on, overflow
from tests.book.live.conftest import PHONE, OpenPanel
from tests.book.live.panel_data import answer, panel_data, press

_CHAPTER = Path(__file__).parents[3] / "notebooks" / "04_when_it_pays.py"


def test_settings_are_the_chapters() -> None:
    source = _CHAPTER.read_text(encoding="utf-8")
    assert f'backbone: str = "{window.BACKBONE}"' in source and f"samples: int = {window.IMAGES} " in source
    assert f"alpha: float = {window.ALPHA} " in source and "seed: int = 0 " in source
    assert "model = synthetic.TokenModel(distractors=0.0)" in source
    assert "phase_diagram(model, spreads=(0.1, 0.3, 1.0), seed=seed)" in source
    assert synthetic.SPREADS == (0.1, 0.3, 1.0)


def test_a_row_is_the_librarys(live_page: OpenPanel) -> None:
    models = {kind: load_backbone(window.BACKBONE, tokens=kind) for kind in ("joint", "value")}
    config = CalipConfig(alpha_t=window.ALPHA, alpha_s=window.ALPHA)
    sweep = pool_sweep([load_task("digits")], models, [0.75], config=config, limit=window.IMAGES, progress=False)
    (row,) = sweep.query("tokens == 'joint' and protocol == 'validation'").to_dict("records")
    page = live_page("window")
    press(page, "λ, how spoiled the pool is", "ArrowRight")
    page.get_by_label("joint", exact=True).check(force=True)
    shown = page.locator("tbody tr", has_text="digits").locator("td").all_inner_texts()
    gain = f"{points(row['gain'])} {interval(row['gain_low'], row['gain_high'])} *"
    assert shown == [percent(row["clip"]), percent(row["calip"]), gain, f"{row['only_calip']} : {row['only_clip']}"]


def test_lambda_and_tokens_choose_the_rows(live_page: OpenPanel, live_folder: Path) -> None:
    data, page = panel_data(live_folder, "window")["pool"], live_page("window")
    assert len(data["rows"]) == len(data["amounts"]) * 2 * len(data["tasks"])
    for kind in ("joint", "value"):
        page.get_by_label(kind, exact=True).check(force=True)
        press(page, "λ, how spoiled the pool is", "Home")
        for amount in data["amounts"]:
            rows = [row for row in data["rows"] if (row["tokens"], row["amount"]) == (kind, amount)]
            assert f"At λ = {amount:g} with {kind} tokens" in answer(page)
            clear = [row["task"] for row in rows if row["clear"]]
            assert [task for task in data["tasks"] if f"points on {task}" in answer(page)] == clear
            labels = page.locator(".live-drawing").evaluate_all("all => all.map(one => one.ariaLabel)")
            assert all(percent(row["calip"]) in label for row, label in zip(rows, labels, strict=True))
            press(page, "λ, how spoiled the pool is", "ArrowRight")


def test_a_point_of_the_map_is_the_librarys(live_page: OpenPanel) -> None:
    model = synthetic.TokenModel(distractors=0.0)
    found = synthetic.phase_diagram(model, temperatures=(0.05,), shares=(0.35,), spreads=(0.3,))
    (row,) = found.to_dict("records")
    page = live_page("phase")
    for label, key in (
        ("Temperature α", "ArrowLeft"), ("ρ, share that is object", "ArrowRight"),
        ("Spread of the tokens", "ArrowLeft"),
    ):  # fmt: skip
        press(page, label, key)
    assert f"At α = 0.05, ρ = 0.35 and spread 0.3: a clear gain, {points(row['gain'])} points" in answer(page)
    cells = page.locator("tbody td").all_inner_texts()
    assert cells[0] == f"{percent(row['clip'])}, {percent(row['calip'])}"
    assert cells[2] == f"{row['only_calip']} : {row['only_clip']}"
    assert cells[3] == f"{row['beta2']:.3g}, {row['beta3']:.3g}"
    assert cells[4:] == ["0.3", "0.35", f"{window.factors(model, 0.3, 0.35, 0.05)[2]:.3f}".rstrip("0")]


def test_the_factors_multiply_to_the_lead() -> None:
    model = synthetic.TokenModel(distractors=0.0)
    first, second, third = window.factors(model, 1.0, 0.35, 0.2)
    lead = synthetic.text_lead(0.35, 0.2, strength=model.strength, common=model.common)
    assert first * second * third == pytest.approx(float(lead))


@pytest.mark.parametrize(
    ("point", "missing"),
    [
        ({"clip": 0.999, "share": 0.9}, "errors"),
        ({"share": 0.0, "factors": [1.0, 0.0, 0.0]}, "object"),
        ({"spread": 0.1}, "differ"),
        ({"share": 0.05}, "pool"),
        ({"alpha": 0.01, "factors": [1.0, 0.5, 0.001]}, "low"),
        ({"alpha": 2.0, "factors": [1.0, 0.5, 0.02]}, "high"),
        ({}, "nothing"),
    ],
)
def test_what_is_missing(point: dict[str, float], missing: str) -> None:
    usual = {"clip": 0.6, "spread": 1.0, "share": 0.5, "alpha": 0.5, "factors": [1.0, 0.5, 0.2]}
    assert window.lacking(usual | point, {0.01: 0.001, 0.5: 0.2, 2.0: 0.02}, largest=0.9) == missing


def test_a_click_moves_the_point(live_page: OpenPanel) -> None:
    page = live_page("phase")
    page.locator(".live-drawing").click(position={"x": 52 + 34 * 7.5, "y": 2 + 24 * 3.5})
    assert "At α = 2, ρ = 0.35 " in answer(page)
    assert page.get_by_label("Temperature α").get_attribute("aria-valuetext") == "2"


@pytest.mark.parametrize("panel", ["window", "phase"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_barriers(live_page: OpenPanel, panel: str, scheme: str) -> None:
    assert barriers_on(live_page(panel, scheme=scheme)) == []


@pytest.mark.parametrize("panel", ["window", "phase"])
def test_it_fits_a_phone(live_page: OpenPanel, panel: str) -> None:
    assert overflow(live_page(panel, size=PHONE)) == 0
