import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from calip_core import CalipConfig, evaluate, load_backbone, load_task
from calip_core.analysis.window import (
    Sample,
    encode_sample,
    measured_gain,
    paired_gain,
    pool_sweep,
    temperature_sweep,
    token_facts,
    wide_grid,
)
from calip_core.blend.selection import Grid
from calip_core.methods.calip import Calip
from calip_core.tokens import ImageTokens


def random_sample(images=12, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return normalize(torch.randn(*shape, generator=generator), dim=-1)

    text, labels = unit(3, 8), np.arange(images) % 3
    val, test = (ImageTokens(unit(images, 8), unit(images, 4, 8), (2, 2)) for _ in range(2))
    return Sample(text, val, labels, test, labels)


def test_the_gain_is_that_of_loops_in_double_precision():
    """Choose the pair and count, image by image, with nothing of the library."""
    sample, alpha = random_sample(images=20), 0.3
    grid = Grid(np.array([0.0, 1.0, 4.0]), np.array([0.0, 0.5]))
    head = Calip(beta2=None, beta3=None, config=CalipConfig(alpha, alpha))
    head.grid = grid
    found = measured_gain(head, sample)

    def blend(tokens, image, beta2, beta3):
        pooled, spatial, text = (x.double().numpy() for x in (tokens.pooled[image], tokens.spatial[image], sample.text))
        scores, votes = [], []
        for place in spatial:
            weights = np.exp(text @ place / alpha)
            votes.append(weights @ text / weights.sum())
        visual = np.mean(votes, axis=0) + np.max(votes, axis=0)
        for vector in text:
            weights = np.exp(spatial @ vector / alpha)
            attended = weights @ spatial / weights.sum()
            scores.append(pooled @ vector + beta2 * pooled @ attended + beta3 * visual @ vector)
        return int(np.argmax(scores))

    def hits(tokens, labels, pair):
        return np.array([blend(tokens, i, *pair) == label for i, label in enumerate(labels)])

    best = max(hits(sample.val, sample.val_labels, pair).sum() for pair in grid.pairs())
    chosen = found["beta2"], found["beta3"]
    assert hits(sample.val, sample.val_labels, chosen).sum() == best
    calip, clip = (hits(sample.test, sample.test_labels, pair) for pair in (chosen, (0, 0)))
    assert found["only_calip"] == (calip & ~clip).sum() and found["only_clip"] == (clip & ~calip).sum()
    assert found["clip"] == pytest.approx(clip.mean()) and found["calip"] == pytest.approx(calip.mean())


def test_a_gain_has_its_interval_and_its_test():
    calip, clip = np.array([True] * 9 + [False]), np.array([True] * 4 + [False] * 5 + [True])
    found = paired_gain(calip, clip)
    assert (found["only_calip"], found["only_clip"], found["images"]) == (5, 1, 10)
    assert found["gain"] == pytest.approx(0.4) and found["gain_low"] < 0.4 < found["gain_high"]
    assert found["p"] == pytest.approx(2 * 7 / 64)


def test_copies_have_nothing_of_their_own():
    sample = random_sample()
    copies = ImageTokens(sample.test.pooled, sample.test.pooled.unsqueeze(1).repeat(1, 4, 1), (2, 2))
    facts = token_facts(Sample(sample.text, sample.val, sample.val_labels, copies, sample.test_labels))
    assert facts["cosine"] == pytest.approx(1, abs=1e-6) and facts["affinity_spread"] == pytest.approx(0, abs=1e-6)
    clip = (sample.test.pooled @ sample.text.T).argmax(dim=1).numpy()
    assert facts["hottest"] == pytest.approx((clip == sample.test_labels).mean()) and facts["classes"] == 3


def test_means_of_tokens_spoil_like_the_tokens():
    sample, values = random_sample(), random_sample(seed=1)
    for amount in (0.0, 0.5, 1.0):
        whole, means = sample.spoiled(values, amount), sample.spoiled(values.with_mean_tokens(), amount)
        torch.testing.assert_close(whole.test.pooled, means.test.pooled)
        torch.testing.assert_close(whole.val.pooled, means.val.pooled)
        assert torch.equal(whole.test.spatial, sample.test.spatial)


def test_the_grid_includes_clip_itself():
    grid = wide_grid()
    assert grid.shape == (81, 81) and (grid.beta2[0], grid.beta3[0]) == (0, 0)


def test_every_temperature_has_a_row():
    table = temperature_sweep(random_sample(), [0.1, 1.0], Grid(np.arange(3.0), np.arange(2.0)))
    assert list(table["alpha"]) == [0.1, 1.0] and set(table["beta2"]) <= {0.0, 1.0, 2.0}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    backbones = {kind: load_backbone("mini-rn", tokens=kind) for kind in ("joint", "value")}
    folder = tmp_path_factory.mktemp("features")
    options = {"limit": 60, "seed": 1, "features": folder, "progress": False}
    task = load_task("mini-pairs")
    return pool_sweep([task], backbones, (0.0, 1.0), **options), task, backbones, options


def test_without_spoiling_the_sweep_is_what_evaluate_measures(swept):
    table, task, backbones, options = swept
    assert len(table) == 2 * 2 * 2
    for row in table[table["amount"] == 0].itertuples():
        grid = wide_grid() if row.protocol == "validation" else None
        record = evaluate(task, backbones[row.tokens], protocol=row.protocol, grid=grid, **options)
        assert (row.calip, row.clip) == (record.score.top1, record.score.clip_top1)
        assert (row.gain_low, row.gain_high) == (record.score.gain_low, record.score.gain_high)
        assert (row.only_calip, row.only_clip) == (record.score.only_method, record.score.only_clip)
        assert row.p == record.score.mcnemar_p
        assert {"beta2": row.beta2, "beta3": row.beta3}.items() <= record.choice.values.items()


def test_both_kinds_of_tokens_meet_the_same_spoiled_pool(swept):
    table = swept[0]
    spoiled = table[table["amount"] == 1]
    assert spoiled["clip"].nunique() == 1 and spoiled["clip"].iloc[0] < table["clip"].max()
    facts = table.groupby("tokens").first()
    assert facts.loc["joint", "cosine"] > 0.95 > facts.loc["value", "cosine"]


def test_the_sweep_needs_value_tokens_and_validation_images(swept):
    _, _, backbones, options = swept
    with pytest.raises(ValueError, match="'value' is missing"):
        pool_sweep([], {"joint": backbones["joint"]})
    with pytest.raises(ValueError, match="photos has no validation images"):
        encode_sample(load_task("photos"), backbones["joint"], **options)
