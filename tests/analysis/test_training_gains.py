import shutil

import pandas as pd
import pytest

from calip_core import evaluate, load_backbone, load_task
from calip_core.analysis.training_gains import TASKS, main, measure, shipped_gains
from calip_core.analysis.window import wide_grid
from calip_core.backbones.model_card import checkpoint_path


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """Two points of a run; "1000" comes after "200" although its name comes first."""
    folder = tmp_path_factory.mktemp("run") / "snapshots"
    folder.mkdir()
    for samples in (1000, 200):
        shutil.copy(checkpoint_path("mini-vit"), folder / f"mini-vit-{samples}.pt")
    (folder / "notes.txt").write_text("not weights")
    return folder


def test_every_snapshot_is_evaluated_under_both_protocols(snapshots, tmp_path):
    out = tmp_path / "table.csv"
    features = str(snapshots.parent / "features")
    options = ["--tasks", "mini-shapes", "--limit", "40", "--seed", "3", "--features", features, "--out", str(out)]
    main([str(snapshots), *options])
    table = pd.read_csv(out)
    assert list(table["samples"]) == [200, 200, 1000, 1000]
    assert list(table["protocol"]) == ["validation", "fixed"] * 2
    for row in table[table["samples"] == 200].itertuples():
        score = evaluate(
            load_task("mini-shapes"), load_backbone("mini-vit"), protocol=row.protocol, limit=40, seed=3,
            grid=wide_grid() if row.protocol == "validation" else None, features=snapshots.parent / "features",
        ).score  # fmt: skip
        assert (row.only_calip, row.only_clip, row.images, row.seed) == (score.only_method, score.only_clip, 40, 3)
        assert (row.clip, row.gain) == (pytest.approx(score.clip_top1), pytest.approx(score.gain))
        assert row.gain_low == pytest.approx(score.gain_low, abs=1e-5)
        assert row.p == pytest.approx(score.mcnemar_p, rel=0.01)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no weights mini-ARCH-SAMPLES.pt"):
        measure(tmp_path)


def test_the_shipped_table_is_one_run_on_all_tasks():
    table = shipped_gains("mini-vit")
    assert set(table["task"]) == set(TASKS) and set(table["protocol"]) == {"validation", "fixed"}
    counts = table.groupby("samples").size()
    assert len(counts) >= 2 and (counts == 2 * len(TASKS)).all() and table["samples"].is_monotonic_increasing
    gain = (table["only_calip"] - table["only_clip"]) / table["images"]
    assert (table["gain"] - gain).abs().max() < 1e-5
    assert (table["gain_low"] <= table["gain"]).all() and (table["gain"] <= table["gain_high"]).all()
