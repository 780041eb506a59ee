import csv

import pytest

from calip_core import published
from calip_core.methods import METHODS
from calip_core.paths import DATA_DIR


def test_published_values_have_sources_and_known_means():
    assert all(ref.source for ref in published.published())
    calip = [ref for ref in published.published() if ref.method == "calip"]
    # Two logs hold CALIP's column; they agree but for SUN397, so the mean gain over one baseline depends on the log.
    for log, theirs, mean in (("mrflogs", 58.59, 59.45), ("APE", 58.70, 59.46)):
        column = {ref.dataset: ref.top1 for ref in calip if log in ref.source}
        assert len(column) == 11 and column["sun397"] == pytest.approx(theirs / 100)
        assert 100 * sum(column.values()) / 11 == pytest.approx(mean, abs=0.005)
    for source, log, gain in (
        ("APE", "mrflogs", 0.92), ("mrflogs", "APE", 0.69), ("gaopengcuhk", "APE", 0.56),
        ("APE", "APE", 0.93), ("mrflogs", "mrflogs", 0.68), ("gaopengcuhk", "mrflogs", 0.55),
    ):  # fmt: skip
        column = [ref.top1 for ref in calip if log in ref.source]
        zero_shot = [r.top1 for r in published.published() if r.method == "zero_shot" and r.source.startswith(source)]
        assert len(zero_shot) == 11
        assert 100 * (sum(column) - sum(zero_shot)) / 11 == pytest.approx(gain, abs=0.005)


def test_a_zero_shot_number_without_a_backbone_says_who_lists_it():
    unstated = [ref for ref in published.published() if ref.backbone is None]
    assert {ref.dataset: ref.top1 for ref in unstated} == {"imagenet_a": pytest.approx(0.2396), "imagenet_v2": 0.537}
    assert all("aggregator" in ref.note and ref.source == "wizwand.com" for ref in unstated)


def test_every_published_table_has_one_value_a_column():
    for path in (DATA_DIR / "published").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert {len(row) for row in rows} == {len(rows[0])}, path.name


def test_published_clouds_have_sources():
    known = "PointCLIP", "yangyangyang127/PointCLIP_V2", "ZrrSkywalker/PointCLIP"
    assert all(ref.source.startswith(known) and 0 < ref.top1 < 1 for ref in published.published_clouds())
    # PointCLIP's issues 7, 13 and 17 and PointCLIP V2's issue 8 hold what users measured, and a paper's number quoted.
    of_issues = [ref for ref in published.published_clouds() if "issue" in ref.source]
    assert len(of_issues) == 6 and {round(100 * ref.top1, 2) for ref in of_issues} == {19.33, 16, 10.5, 7, 29.78, 50.09}
    assert sum("user" in ref.note for ref in of_issues) == 5
    assert {ref.backbone for ref in published.published_clouds()} > {None}  # a source that names none


def test_published_few_shot_values_have_sources_and_known_numbers():
    table = {(p.dataset, p.method, p.shots): p for p in published.published_few_shot()}
    assert len(table) == len(published.published_few_shot()) and all(p.source for p in table.values())
    assert table["imagenet", "tip_adapter_f", 16].top1 == pytest.approx(0.6551)
    assert table["eurosat", "coop", 16].top1 == pytest.approx(0.8327)
    assert table["stanford_cars", "clip_adapter", 8].top1 == pytest.approx(0.6789)
    assert table["dtd", "gda", 4].top1 == pytest.approx(0.5747)
    assert table["fgvc_aircraft", "coop", 1].top1 == pytest.approx(0.0887)
    datasets, methods = {p.dataset for p in table.values()}, {p.method for p in table.values()}
    assert len(table) == 11 * 5 * 5 == len(datasets) * len(methods) * 5
    assert all(p.draws and p.choices for p in table.values())
    assert {p.backbone for p in table.values()} == {"RN50"} and all(0 < p.top1 < 1 for p in table.values())


def test_published_gains_without_training_name_a_head_and_a_baseline_of_their_own():
    rows = published.published_training_free()
    assert all(row.source and 0 < row.clip < 1 and 0 < row.top1 < 1 for row in rows)
    found = {(row.method, row.data): 100 * (row.top1 - row.clip) for row in rows}
    assert len(found) == len(rows) and {method for method, _ in found} <= set(METHODS)
    assert found["tda", "ImageNet, RN50"] == pytest.approx(1.54)
    assert found["transclip", "the same, 1 to 4 classes per batch"] == pytest.approx(-26.3)
