import torch

from calip_core.analysis import speed
from calip_core.attention import calip_logits
from tests.test_attention import TERMS, random_features


def test_the_timed_loop_computes_the_same_as_the_library():
    tokens, text = random_features()
    loop, ours = speed.released_loop(tokens, text), calip_logits(tokens, text)
    for name in TERMS:
        torch.testing.assert_close(getattr(loop, name), getattr(ours, name))


def test_alternatives_take_turns_and_the_warm_up_is_not_counted():
    calls = []
    seconds = speed.paired_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4 and set(seconds) == {"a", "b"}


def test_ratios_by_hand():
    measured = speed.AttentionSpeed(loop=6.0, products=0.9, ours=1.0, images=1)
    assert measured.times_faster == 6.0 and measured.share_of_bare_products == 0.9


def test_attention_speed_measures_all_three():
    measured = speed.attention_speed(images=2, grid=(2, 2), width=16, classes=5, repeats=1)
    assert min(measured.loop, measured.products, measured.ours) > 0 and measured.images == 2


def test_the_machine_is_named():
    assert "thread" in speed.machine() and torch.__version__ in speed.machine()


def test_a_machine_without_proc_is_named_too(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError))
    assert speed.processor_name()
