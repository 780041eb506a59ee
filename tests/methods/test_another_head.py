"""Adding a head takes one class and one line in the registry: here it is done."""

import sys
from dataclasses import dataclass

import pytest
import torch

from calip_core.backbones import load_backbone
from calip_core.evaluation.evaluate import evaluate
from calip_core.evaluation.sweep import make_sweep
from calip_core.methods import METHODS, Head, load_method, make_method, save_method
from calip_core.methods.inputs import Support
from calip_core.methods.registry import HEADS, Entry
from tests.evaluation.tasks import colour_task
from tests.methods.few_shots import LABELS, random_support

NAMES = ("cat", "dog", "oak", "elm", "fox")


class NearestMean(Head):
    """logits = s F_v m_k^T with the mean feature m_k of every class."""

    name = "nearest_mean"

    @dataclass(frozen=True, kw_only=True)
    class Options(Head.Options):
        logit_scale: float = 100.0

    def shapes(self):
        return {"means": "k c"}

    def fit(self, tokens, labels, text, val=None):
        support = Support.of(tokens, labels, text, self.name)
        rows = [support.tokens.pooled[support.targets == k].mean(dim=0) for k in range(len(text))]
        self._keep("means", torch.stack(rows))
        return self

    def logits(self, tokens):
        return self.options.logit_scale * tokens.pooled @ self._fitted("means", tokens.pooled).T


@pytest.fixture
def registered(monkeypatch):
    """This file in the place of one in calip_core/methods, and the line in the registry."""
    monkeypatch.setitem(sys.modules, "calip_core.methods.nearest_mean", sys.modules[__name__])
    monkeypatch.setitem(HEADS, "nearest_mean", Entry("nearest_mean", "NearestMean"))
    monkeypatch.setitem(METHODS, "nearest_mean", HEADS["nearest_mean"].load())  # read from the registry once a process


@pytest.mark.usefixtures("registered")
def test_a_new_head_is_made_fitted_saved_and_loaded(tmp_path):
    tokens, text = random_support()
    head = make_method("nearest_mean", logit_scale=3.0).fit(tokens, LABELS, text)
    expected = 3 * float(tokens.pooled[2] @ (tokens.pooled[0] + tokens.pooled[5])) / 2
    assert head.logits(tokens)[2, 0].item() == pytest.approx(expected)
    assert head.parameter_count() == 5 * 8 and head.chosen == {}
    save_method(head, tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES)
    back = load_method(tmp_path / "head.safetensors", backbone="RN50", classnames=NAMES).head
    assert isinstance(back, NearestMean) and torch.equal(back.logits(tokens), head.logits(tokens))
    assert METHODS["nearest_mean"].accepts() == {"logit_scale"} and METHODS["nearest_mean"].fixed(4).options == {}
    with pytest.raises(RuntimeError, match="this nearest_mean has not been fitted"):
        make_method("nearest_mean").logits(tokens)


@pytest.mark.usefixtures("registered")
def test_a_new_head_is_swept_and_evaluated_like_the_others(tmp_path):
    sweep = make_sweep(datasets=["digits"], backbones=["mini-rn"], methods=["nearest_mean"], shots=[0, 2])
    assert [(cell.method, cell.shots) for cell in sweep.cells()] == [("nearest_mean", 2)]
    backbone = load_backbone("mini-rn", device="cpu", precision="fp32")
    record = evaluate(colour_task(), backbone, "nearest_mean", shots=2, features=tmp_path, progress=False)
    assert record.head.method == "nearest_mean" and record.score.top1 > 0.5
