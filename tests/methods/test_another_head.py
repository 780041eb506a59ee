"""Adding a head takes one class and one line in the registry: here it is done."""

from dataclasses import dataclass

import pytest
import torch

from calip_core.methods import METHODS, Head, load_method, make_method, save_method
from calip_core.methods.inputs import Support
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
    monkeypatch.setitem(METHODS, "nearest_mean", NearestMean)


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
