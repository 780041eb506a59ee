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
    cells = page.locator("tbody tr", has_text="digits").locator("td").all_inner_texts()
    shown = [cell.replace("\u00a0", " ") for cell in cells]
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
            assert ("by a leak" in answer(page)) == (kind == "joint" and clear != [])
            labels = page.locator(".live-drawing").evaluate_all("all => all.map(one => one.ariaLabel)")
            for row, label in zip(rows, labels, strict=True):
                assert f"CALIP {percent(row['calip'])}, gain {points(row['gain'])} " in label
            press(page, "λ, how spoiled the pool is", "ArrowRight")


def test_a_point_of_the_map_is_the_librarys(live_page: OpenPanel) -> None:
    model = synthetic.TokenModel(distractors=0.0)
    found = synthetic.phase_diagram(model, temperatures=(0.05,), shares=(0.35,), spreads=(0.3,))
    (row,) = found.to_dict("records")
    page = live_page("phase")
    press(page, "Temperature α", *["ArrowLeft"] * 3)
    press(page, "Spread of the tokens", "ArrowLeft")
    gain = f"At α = 0.05, ρ = 0.35 and spread 0.3: a clear gain, {points(row['gain'])} points"
    assert f"{gain}, with the weight on the visual term" in answer(page)
    cells = page.locator("tbody td").all_inner_texts()
    assert cells[0] == f"{percent(row['clip'])}, {percent(row['calip'])}"
    assert cells[2] == f"{row['only_calip']} : {row['only_clip']}"
    assert cells[3] == f"{row['beta2']:.3g}, {row['beta3']:.3g}"
    sizes = [cell.split(" of at most ")[0] for cell in cells[4:]]
    assert sizes == ["0.3", "0.35", f"{window.factors(model, 0.3, 0.35, 0.05)[2]:.3f}".rstrip("0")]


def test_it_opens_where_no_factor_is_missing(live_page: OpenPanel) -> None:
    page = live_page("phase")
    assert "a clear gain" in answer(page) and "with the weight on the text term" in answer(page)
    assert "No factor of the text term’s lead is missing." in answer(page)
    assert "0.05 / 216" in page.locator("figcaption").inner_text()


def test_every_point_says_and_marks_what_is_missing(live_page: OpenPanel) -> None:
    page = live_page("phase")
    press(page, "Temperature α", "ArrowLeft", "ArrowLeft")
    press(page, "ρ, share that is object", "ArrowLeft")
    assert "pool knows the object (hardly), temperature fits (α is so low" in answer(page)
    assert "every place votes for itself" in answer(page)
    cells = page.locator("tbody td").all_inner_texts()
    assert [cell.endswith(": missing") for cell in cells[4:]] == [False, True, True]
    press(page, "Spread of the tokens", "ArrowLeft")
    press(page, "ρ, share that is object", "ArrowRight", "ArrowRight")
    assert "no clear gain" in answer(page) and "but their product is small" in answer(page)


def test_the_factors_multiply_to_the_lead() -> None:
    model = synthetic.TokenModel(distractors=0.0)
    first, second, third = window.factors(model, 1.0, 0.35, 0.2)
    lead = synthetic.text_lead(0.35, 0.2, strength=model.strength, common=model.common)
    assert first * second * third == pytest.approx(float(lead))


@pytest.mark.parametrize(
    ("point", "missing"),
    [
        ({"clip": 0.999, "share": 0.9}, ["errors"]),
        ({"share": 0.0, "factors": [1.0, 0.0, 0.0], "most": [1.0, 0.9, 0.0]}, ["object", "pool"]),
        ({"factors": [0.1, 0.5, 0.2]}, ["differ"]),
        ({"factors": [1.0, 0.2, 0.2]}, ["pool"]),
        ({"alpha": 0.01, "factors": [1.0, 0.5, 0.04]}, ["low"]),
        ({"alpha": 2.0, "factors": [1.0, 0.05, 0.02]}, ["pool", "high"]),
        ({}, []),
    ],
)
def test_what_is_missing_is_below_a_quarter(point: dict[str, float], missing: list[str]) -> None:
    usual = {"clip": 0.6, "share": 0.5, "alpha": 0.5, "factors": [1.0, 0.5, 0.2], "most": [1.0, 0.9, 0.2]}
    assert window.lacking(usual | point, best=0.5) == missing


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
