"""Chapters re-run with other parameters, and stop at once on a parameter that cannot be used."""

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from book.tools.chapters import NOTEBOOKS, chapter_sources, parameters, read_chapter
from calip_core import load_task
from calip_core.evaluation.store import load
from calip_core.methods import METHODS


def run(chapter, out, **values):
    source, result = NOTEBOOKS / f"{chapter}.ipynb", out / "out.ipynb"
    options = {"cwd": NOTEBOOKS, "progress_bar": False, "kernel_name": "python3"}
    return papermill.execute_notebook(source, result, values, **options)


@pytest.mark.parametrize(
    ("chapter", "values"),
    [
        ("00_start", {"backbone": "mini-vit", "dataset": "digits", "seed": 3, "samples": 100}),
        ("01_clip_baseline", {"backbone": "mini-vit", "dataset": "digits", "samples": 40}),
        ("02_spatial_tokens", {"backbone": "mini-vit", "dataset": "digits", "samples": 40, "examples": 1}),
        ("03_calip_attention", {"backbone": "mini-vit", "dataset": "digits", "samples": 40}),
        ("03_calip_attention", {"backbone": "mini-vit", "dataset": "mini-textures", "seed": 1, "samples": 200}),
        ("04_when_it_pays", {"backbone": "mini-vit", "dataset": "digits", "tokens": "joint", "samples": 100}),
        ("05_blending", {"backbone": "mini-vit", "dataset": "digits", "samples": 60}),
        ("11_when_not_to_answer", {"backbone": "mini-vit", "dataset": "digits", "samples": 200, "left_off": 2}),
        # Photographs have a test split alone.
        ("01_clip_baseline", {"backbone": "mini-rn", "dataset": "photos", "samples": 20}),
        ("02_spatial_tokens", {"backbone": "mini-rn", "dataset": "photos", "samples": 20, "examples": 1}),
        ("03_calip_attention", {"backbone": "mini-rn", "dataset": "photos", "samples": 20}),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value['backbone']}-{value['dataset']}",
)
def test_a_chapter_runs_with_other_parameters(chapter, values, tmp_path):
    notebook = run(chapter, tmp_path, **values)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = "".join(str(output) for cell in code for output in cell.outputs)
    named = values["dataset"], load_task(values["dataset"]).title  # a chapter may say either
    assert any(name in shown for name in named) and values["backbone"] in shown


def test_appendix_b_runs_on_ones_own_folder(tmp_path):
    for name, colour in (("red_thing", "red"), ("blue_thing", "blue")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.new("RGB", (150, 120), "white")
            image.paste(colour, (10 * number, 20, 10 * number + 60, 90))
            image.save(tmp_path / "mine" / name / f"{number}.png")
    notebook = run("B_your_own_images", tmp_path, folder=str(tmp_path / "mine"), backbone="mini-vit")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = "".join(str(output) for cell in code for output in cell.outputs)
    assert "red thing" in shown and "blue thing" in shown and "mini-vit" in shown


def answered(record):
    data, choice = record.data, record.choice
    return data.task, record.encoder.backbone, choice.protocol, record.seed, data.limit


def test_the_benchmarks_measure_what_they_were_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    asked = {"dataset": "digits", "backbone": "mini-vit", "config": "paper", "protocol": "fixed", "seed": 2}
    asked["tokens"] = "value"
    run("06_benchmarks_2d", tmp_path, samples=60, **asked)
    (record,) = load(tmp_path / "runs.jsonl")
    assert (record.head.options["config"], record.encoder.tokens) == ("paper", "value")
    assert answered(record) == (asked["dataset"], asked["backbone"], asked["protocol"], asked["seed"], 60)


def test_chapter_7_measures_what_it_was_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    asked = {"dataset": "mini-solids", "backbone": "mini-vit", "protocol": "oracle", "seed": 2}
    run("07_point_clouds", tmp_path, views="pointclip", samples=20, **asked)
    (record,) = load(tmp_path / "runs.jsonl")
    assert answered(record) == (asked["dataset"], asked["backbone"], asked["protocol"], asked["seed"], 20)
    assert record.data.images == 20 and record.data.projection == "pointclip, 1024 points"


@pytest.mark.parametrize(("chapter", "heads"), [("08_calip_fs", 2), ("09_few_shots", 9)])
def test_chapters_of_few_shots_measure_what_they_were_asked(chapter, heads, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    asked = {"dataset": "digits", "backbone": "mini-vit", "tokens": "value"}
    run(chapter, tmp_path, most_shots=1, draws=1, samples=60, **asked)
    records = load(tmp_path / "runs.jsonl")
    assert {(record.data.task, record.encoder.backbone, record.seed, record.data.limit) for record in records} == {
        ("digits", "mini-vit", 1, 60)
    }
    assert {record.encoder.tokens for record in records} == {"value"}
    assert {record.shots for record in records} == {0, 1}
    assert len({record.head.method for record in records}) == heads


def test_chapter_10_measures_every_head_without_labels_as_it_was_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_RESULTS", str(tmp_path / "runs.jsonl"))
    asked = {"dataset": "digits", "backbone": "mini-vit", "samples": 100, "crop_samples": 5, "batch": 20, "draws": 2}
    run("10_in_its_field", tmp_path, **asked)
    records = load(tmp_path / "runs.jsonl")
    assert {record.encoder.backbone for record in records} == {"mini-vit"}
    assert {record.head.method for record in records} == {n for n, head in METHODS.items() if head.sees != "labels"}
    images = {record.head.method: record.data.images for record in records if record.data.task == "digits"}
    assert images.pop("mta") == 5 and set(images.values()) == {100}


@pytest.mark.parametrize("source", chapter_sources(), ids=lambda source: source.stem)
def test_a_misspelt_or_impossible_parameter_stops_a_chapter_before_any_work(source, tmp_path):
    names = list(parameters(read_chapter(source)))
    wrong = {f"{names[0]}s": 1, "seed": -1} if "seed" in names else {f"{names[0]}s": 1}
    with pytest.raises(PapermillExecutionError) as caught:
        run(source.stem, tmp_path, **wrong)
    assert caught.value.ename == "ParameterError"
    assert f"{names[0]}s is not a parameter of this chapter. Did you mean {names[0]!r}?" in caught.value.evalue
    assert all(name in caught.value.evalue for name in names)
    assert ("seed = -1" in caught.value.evalue) == ("seed" in names)
    assert caught.value.exec_count <= 4  # set-up, parameters, papermill's own, the check
