import numpy as np
import pytest
import torch

from calip_core.attention import calip_logits
from calip_core.blend.landscape import beta_landscape
from calip_core.methods import CalipFs, CalipFsConfig, TrainingOptions, make_method
from calip_core.metrics import accuracy
from tests import reference
from tests.methods.few_shots import LABELS, informative, random_support
from tests.test_attention import random_features

STILL = TrainingOptions(learning_rate=1e-30, epochs=1, warmup_epochs=0)
SHORT = TrainingOptions(learning_rate=0.05, epochs=3)
CONFIGS = {
    "ours": CalipFsConfig.ours(),
    "from_calip": CalipFsConfig.from_calip(),
    "yuranusduke": CalipFsConfig.yuranusduke(),
    "mixed": CalipFsConfig(hidden=(5,), bias=True, pre_init="random", post_init="random", scale=None, pooling="mean"),
    "shared": CalipFsConfig(shared=True, bias=True, post_init="random", scale=3.0, pooling="max"),
}


def by_loops(tokens, state, config, scale):
    """The three terms, each step in the order of the paper: F_t^a is formed, and one image follows the other."""
    s = {name: tensor.double().numpy() for name, tensor in state.items()}
    width = s["text"].shape[1]

    def layer(x, name):
        return x @ s[name].T + s.get(f"{name}_bias", 0.0)

    def project(x, side):
        side = "both" if config.shared else side
        for i in range(len(config.hidden)):
            x = np.maximum(layer(x, f"{side}_hidden{i}"), 0)
        return [layer(x, f"{side}_{role}") for role in "qkv"]

    def softmax(rows):
        return np.array([reference._softmax(row) for row in rows])

    factor = width**-0.5 if config.scale is None else config.scale
    qt, kt, vt = project(s["text"], "t")
    terms = []
    for pooled, spatial in zip(tokens.pooled.double().numpy(), tokens.spatial.double().numpy(), strict=True):
        qs, ks, vs = project(spatial, "s")
        text_attended = layer(softmax(factor * qt @ ks.T) @ vs, "post")
        visual = layer(softmax(factor * qs @ kt.T) @ vt, "post")
        visual = {"mean+max": visual.mean(0) + visual.max(0), "mean": visual.mean(0), "max": visual.max(0)}
        pooled_visual = visual[config.pooling]
        terms.append([scale * s["text"] @ pooled, scale * text_attended @ pooled, scale * s["text"] @ pooled_visual])
    return np.array(terms).transpose(1, 0, 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_terms_and_blend_follow_the_equations(name):
    tokens, text = random_support()
    head = CalipFs(beta1=1.1, beta2=0.7, beta3=0.4, config=CONFIGS[name], training=SHORT, logit_scale=7.0)
    head.fit(tokens, LABELS, text)
    others = random_features(n=4, seed=9)[0]
    clip, attended, visual = by_loops(others, head.state_dict(), CONFIGS[name], 7.0)
    terms = head.terms(others)
    np.testing.assert_allclose(terms.clip.numpy(), clip, rtol=1e-12)
    np.testing.assert_allclose(terms.text_attended.numpy(), attended, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(terms.visual_attended.numpy(), visual, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(head.logits(others).numpy(), 1.1 * clip + 0.7 * attended + 0.4 * visual, rtol=1e-9)


def test_it_starts_exactly_at_zero_shot():
    tokens, text = random_support()
    head = CalipFs(training=STILL).fit(tokens, LABELS, text)
    zero_shot = make_method("zero_shot").fit(None, None, text)
    torch.testing.assert_close(head.logits(tokens), zero_shot.logits(tokens), rtol=1e-12, atol=1e-12)
    assert float(head.terms(tokens).text_attended.abs().max()) < 1e-20


def test_it_can_start_at_parameter_free_calip():
    tokens, text = random_support()
    head = CalipFs(beta2=0.5, beta3=0.3, config=CalipFsConfig.from_calip(), training=STILL).fit(tokens, LABELS, text)
    expected = calip_logits(tokens, text).combine(beta2=0.5, beta3=0.3)
    torch.testing.assert_close(head.logits(tokens), expected, rtol=1e-9, atol=1e-9)


def test_the_known_implementation_starts_elsewhere_but_near():
    tokens, text = random_support()
    options = CalipFs.yuranusduke().options
    assert (options.beta2, options.beta3, options.logit_scale, options.training.epochs) == (0.08, 0.02, 1 / 0.07, 200)
    still = CalipFs(beta2=0.08, beta3=0.02, config=options.config, training=STILL, logit_scale=1.0)
    terms = still.fit(tokens, LABELS, text).terms(tokens)
    gap = float((still.logits(tokens) - terms.clip).abs().max())
    assert 0 < gap < 0.1


def test_every_layer_learns_and_nothing_else_does():
    tokens, text = random_support()
    spatial, words = tokens.spatial.clone(), text.clone()
    first = CalipFs(training=STILL).fit(tokens, LABELS, text).state_dict()
    state = CalipFs(training=SHORT).fit(tokens, LABELS, text).state_dict()
    projections = {f"{side}_{role}" for side in "st" for role in "qkv"}
    assert set(state) == {"text", "beta1", "beta2", "beta3", "post"} | projections
    changed = {name for name in state if not torch.equal(state[name], first[name])}
    assert changed == set(state) - {"text", "beta1", "beta2", "beta3"}
    assert torch.equal(tokens.spatial, spatial) and torch.equal(text, words)


def test_validation_chooses_the_blend():
    task = informative(shots=2)
    head = CalipFs(training=SHORT, logit_scale=10.0).fit(task.support, task.labels, task.text, task.val)
    grid = np.linspace(0, 2, 41)
    best = beta_landscape(head.terms(task.val[0]), task.val[1], beta2=grid, beta3=grid).best()
    assert head.chosen == {"beta1": 1.0, "beta2": best.beta2, "beta3": best.beta3}
    plain = CalipFs(training=SHORT, logit_scale=10.0).fit(task.support, task.labels, task.text)
    assert set(plain.chosen.values()) == {1.0}
    fixed = CalipFs(beta2=0.5, beta3=0.5, training=SHORT).fit(task.support, task.labels, task.text, task.val)
    assert list(fixed.chosen.values()) == [1.0, 0.5, 0.5]


def test_many_images_go_through_in_chunks(monkeypatch):
    tokens, text = random_support()
    head = CalipFs(training=SHORT).fit(tokens, LABELS, text)
    whole = head.logits(tokens)
    monkeypatch.setattr("calip_core.methods.calip_fs._CHUNK_ELEMENTS", 2 * 6 * 8)
    torch.testing.assert_close(head.logits(tokens), whole)
    assert head.logits(tokens[:0]).shape == (0, 5)


def test_from_parameter_free_attention_it_beats_zero_shot_too():
    task = informative()
    options = {"training": TrainingOptions(learning_rate=0.05, epochs=10), "logit_scale": 20.0}
    head = CalipFs(config=CalipFsConfig.from_calip(), **options).fit(task.support, task.labels, task.text, task.val)
    zero_shot = make_method("zero_shot").fit(None, None, task.text).logits(task.test)
    assert accuracy(head.logits(task.test), task.test_labels) > accuracy(zero_shot, task.test_labels)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pre_init": "zero"}, "pre_init is 'zero', expected one of"),
        ({"post_init": "one"}, "post_init is 'one'"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
        ({"hidden": (0,), "pre_init": "random"}, "hidden is .0,., expected widths"),
        ({"hidden": (3,)}, "pre_init is 'identity' and hidden is .3,."),
        ({"scale": 0.0}, "scale is 0.0, expected a positive"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_configurations_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        CalipFsConfig(**options)


def test_an_untrained_head_has_moved_nowhere_and_shrinkage_is_no_move():
    tokens, text = random_support()
    head = CalipFs(training=STILL, config=CalipFsConfig.from_calip()).fit(tokens, LABELS, text)
    assert max(head.moved().values()) < 1e-6
    with torch.no_grad():
        head.t_k *= 0.5
        head.post[0, 0] += 1
    moved = head.moved()
    assert moved["t_k"] < 1e-6
    factor = 1 + 1 / text.shape[1]  # the best multiple of the identity
    turned = head.post.detach() - factor * torch.eye(text.shape[1])
    assert moved["post"] == pytest.approx(float(turned.norm() / text.shape[1] ** 0.5))


def test_a_matrix_that_started_at_zero_is_compared_with_the_identity_and_a_random_one_with_its_start():
    tokens, text = random_support()
    head = CalipFs(training=SHORT, logit_scale=7.0).fit(tokens, LABELS, text)
    assert head.moved()["post"] == pytest.approx(float(head.post.detach().norm()) / text.shape[1] ** 0.5)
    config = CalipFsConfig(hidden=(5,), bias=True, pre_init="random", post_init="random")
    still = CalipFs(training=STILL, config=config, seed=3).fit(tokens, LABELS, text).moved()
    assert set(still) == {"s_hidden0", "s_q", "s_k", "s_v", "t_hidden0", "t_q", "t_k", "t_v", "post"}
    assert max(still.values()) < 1e-6
