"""What holds for every head that learns by gradient descent."""

import dataclasses

import numpy as np
import pytest
import torch

from calip_core.backbones import load_backbone
from calip_core.backbones.base import Backbone
from calip_core.methods import Method, TrainingDivergedError, TrainingOptions, make_method
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens
from tests.backbones.clips import WIDTH, random_clip
from tests.methods.few_shots import LABELS, informative, random_support
from tests.test_attention import random_features

NAMES = ("cat", "dog", "oak", "elm", "fox", "hen")
ON_FEATURES = ("calip_fs", "clip_adapter", "tip_adapter_f")
TRAINED = (*ON_FEATURES, "coop")
SHORT = TrainingOptions(learning_rate=0.01, epochs=2)


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("small", random_clip("rn"), precision="fp32")


@pytest.fixture
def make(backbone):
    def make_head(name, **options):
        extra = {"backbone": backbone, "classnames": NAMES[:5], "context": 4} if name == "coop" else {}
        return make_method(name, **{"training": SHORT, **extra, **options})

    return make_head


def support():
    return random_features(n=len(LABELS), c=WIDTH, k=5, dtype=torch.float32)


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_a_method_and_reports(name, make):
    tokens, text = support()
    head = make(name)
    assert isinstance(head, Method) and head.report is None
    assert head.fit(tokens, LABELS, text) is head
    assert head.report.steps == 2 and head.report.seconds > 0
    assert not any(tensor.requires_grad for tensor in head.state().values())
    assert not head.logits(tokens).requires_grad


@pytest.mark.parametrize("name", TRAINED)
def test_a_seed_gives_the_same_head_and_leaves_the_global_generator_alone(name, make):
    tokens, text = support()
    options = {"training": TrainingOptions(learning_rate=0.01, epochs=2, batch_size=3)}
    before = torch.get_rng_state()
    heads = [make(name, seed=seed, **options).fit(tokens, LABELS, text) for seed in (3, 3, 4)]
    assert torch.equal(before, torch.get_rng_state())
    logits = [head.logits(tokens) for head in heads]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.usefixtures("shapes_unchecked")
def test_support_sets_that_cannot_be_learned_from_are_named(name, make):
    tokens, text = support()
    with pytest.raises(ValueError, match=f"{name} learns from a support set: give its tokens and labels"):
        make(name).fit(None, None, text)
    with pytest.raises(ValueError, match=f"{name}: 1 of 5 classes have no image .* class 4"):
        make(name).fit(tokens, np.where(LABELS == 4, 0, LABELS), text)
    with pytest.raises(ValueError, match=f"{name}: image features are 32 wide and text features 8"):
        make(name).fit(tokens, LABELS, random_support()[1])
    fitted = make(name).fit(tokens, LABELS, text)
    with pytest.raises(ValueError, match=f"{name}: image features are 8 wide and text features 32"):
        fitted.logits(random_support()[0])


@pytest.mark.parametrize("name", TRAINED)
def test_divergence_stops_and_keeps_the_last_good_head(name, make):
    tokens, text = support()
    head = make(name, training=TrainingOptions(learning_rate=1e38, epochs=8, warmup_epochs=0, weight_decay=1.0))
    with pytest.raises(TrainingDivergedError, match=f"{name}: training diverged, the loss at step .* learning rate"):
        head.fit(tokens, LABELS, text)
    assert head.report is None
    assert all(tensor.isfinite().all() for tensor in head.state().values())
    assert head.logits(tokens).isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_half_precision_features_are_trained_on_in_float32(name, make):
    tokens, text = support()
    half = ImageTokens(tokens.pooled.half(), tokens.spatial.half(), tokens.grid)
    logits = make(name).fit(half, LABELS, text.half()).logits(half)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, make(name).fit(tokens, LABELS, text).logits(tokens), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("name", TRAINED)
def test_more_views_of_an_image_are_more_rows(name, make):
    tokens, text = support()
    views = ImageTokens.cat([tokens, tokens])
    head = make(name).fit(views, np.concatenate([LABELS, LABELS]), text)
    assert head.logits(tokens).shape == (7, 5)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_sixteen_shots_beat_zero_shot(name, make):
    task = informative()
    recipe = TrainingOptions.coop(epochs=15) if name != "tip_adapter_f" else TrainingOptions.tip_adapter_f()
    extra = {"ratios": (0.4, 0.8)} if name == "clip_adapter" else {}
    head = make(name, training=dataclasses.replace(recipe, learning_rate=0.02), logit_scale=20.0, **extra)
    head.fit(task.support, task.labels, task.text, task.val)
    zero_shot = make_method("zero_shot").fit(None, None, task.text).logits(task.test)
    found, before = accuracy(head.logits(task.test), task.test_labels), accuracy(zero_shot, task.test_labels)
    assert found > before + 0.02 and found > 2 / 6


def test_sixteen_shots_of_learned_context_beat_zero_shot():
    """Images near the features of sentences that the prompts of zero-shot do not know."""
    miniature = load_backbone("mini-rn", device="cpu", precision="fp32")
    names = ("circle", "triangle", "star", "heart", "cross", "ring")
    centres = miniature.encode_text([f"a digit and a blue {name}" for name in names])
    text = miniature.encode_text(list(names))
    generator = torch.Generator().manual_seed(0)

    def draw(per_class):
        labels = np.arange(6).repeat(per_class)
        pooled = centres[labels] + 2 * torch.randn(len(labels), 128, generator=generator) * 128**-0.5
        pooled = torch.nn.functional.normalize(pooled, dim=-1)
        return ImageTokens(pooled, pooled[:, None], (1, 1)), labels

    (tokens, labels), (test, test_labels) = draw(16), draw(50)
    recipe = TrainingOptions.coop(epochs=10)
    options = {"backbone": miniature, "classnames": names, "context": 4, "training": recipe, "logit_scale": 20.0}
    found = accuracy(make_method("coop", **options).fit(tokens, labels, text).logits(test), test_labels)
    zero_shot = accuracy(make_method("zero_shot").fit(None, None, text).logits(test), test_labels)
    assert found > zero_shot + 0.02 and found > 2 / 6


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("clip_adapter", {"ratio": 1.5}, "a residual ratio is 1.5, expected a share"),
        ("clip_adapter", {"ratios": ()}, "ratios is empty"),
        ("clip_adapter", {"reduction": 0}, "reduction is 0, expected at least 1"),
        ("tip_adapter_f", {"alpha": 1.0}, "alpha is 1.0 and beta None, expected both"),
        ("tip_adapter_f", {"alpha": -1.0, "beta": 1.0}, "alpha is -1.0, expected a finite number, 0 or more"),
        ("tip_adapter_f", {"views": 0}, "views is 0, expected at least 1"),
        ("tip_adapter_f", {"beta_max": -1.0}, "beta_max is -1.0"),
        ("tip_adapter_f", {"beta_steps": 0}, "beta_steps is 0, expected at least 1"),
        ("calip_fs", {"beta2": 1.0}, "beta2 is 1.0 and beta3 is None: give both"),
        ("calip_fs", {"beta2": 1.0, "beta3": float("nan")}, "beta3 is nan, expected a finite weight"),
        ("calip_fs", {"beta_max": 0.0}, "beta_max is 0.0 and beta_steps 40"),
        ("clip_adapter", {"training": {"epochs": 0}}, "epochs is 0, expected at least 1"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_options_are_named(name, options, said):
    with pytest.raises(ValueError, match=said):
        make_method(name, **options)
