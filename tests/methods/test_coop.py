"""Prompts with learned context, against CLIP's own text encoder."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from calip_core.backbones import load_backbone
from calip_core.backbones.base import Backbone
from calip_core.methods import CoOp, TrainingOptions, make_method
from calip_core.methods.coop import Prompts
from calip_core.metrics import accuracy
from calip_core.tokens import ImageTokens
from tests.backbones.clips import WIDTH, random_clip
from tests.methods.few_shots import LABELS
from tests.test_attention import random_features

NAMES = ("cat", "fire engine", "oak", "red square", "hummingbird")
STILL = TrainingOptions(learning_rate=1e-30, epochs=1, warmup_epochs=0)
SHORT = TrainingOptions(learning_rate=0.05, epochs=2, warmup_epochs=0)


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("small", random_clip("rn"), precision="fp32")


@pytest.fixture(scope="module")
def miniature():
    return load_backbone("mini-rn", device="cpu", precision="fp32")


def features(k=5):
    tokens, text = random_features(n=len(LABELS), c=WIDTH, k=k, dtype=torch.float32)
    return tokens, text


def embedded(prompts, context):
    """Word vectors of every prompt, class by class and place by place."""
    rows = []
    for k in range(len(prompts.ends)):
        row = []
        for place in range(prompts.fixed.shape[1]):
            own = context if context.ndim == 2 else context[k]
            row.append(own[prompts.slots[k, place]] if prompts.open[k, place] else prompts.fixed[k, place])
        rows.append(torch.stack(row))
    return torch.stack(rows)


def by_clip(model, vectors, ends):
    """What CLIP's ``encode_text`` does after its word embedding, with CLIP's own modules on the whole prompt."""
    x = vectors + model.positional_embedding[: vectors.shape[1]]
    x = model.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
    x = model.ln_final(x)[torch.arange(len(ends)), ends] @ model.text_projection
    return normalize(x, dim=-1)


@pytest.mark.parametrize(("position", "sentence"), [("end", "a photo of a {}."), ("middle", "a photo {} of a.")])
def test_a_context_of_words_gives_the_features_of_the_sentence(miniature, position, sentence):
    tokens, text = random_features(n=len(LABELS), c=128, k=5, dtype=torch.float32)
    head = CoOp(backbone=miniature, classnames=NAMES, init="a photo of a", position=position, training=STILL)
    head.fit(tokens, LABELS, text)
    assert head.state_dict()["context"].shape == (4, 64)
    expected = miniature.encode_text([sentence.format(name) for name in NAMES])
    torch.testing.assert_close(head.state_dict()["text"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.logits(tokens), 100 * tokens.pooled @ expected.T, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle"])
def test_features_and_gradients_are_those_of_clips_own_modules(miniature, position, class_specific):
    prompts = Prompts.of(miniature, NAMES, 5, position, 256)
    context = prompts.first_context(class_specific, None, 3).requires_grad_()
    assert context.shape == ((5, 5, 64) if class_specific else (5, 64))
    weight = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
    ours = prompts.features(context)
    theirs = by_clip(miniature.model, embedded(prompts, context), prompts.ends)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad((x * weight).sum(), context)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * float(gradients[1].abs().max()))


def test_prompts_read_start_context_name_stop_end(backbone):
    prompts = Prompts.of(backbone, NAMES, 4, "middle", 256)
    ids = backbone.tokenize([f"{name}." for name in NAMES])
    words = backbone.model.token_embedding.weight
    assert prompts.open[1].tolist() == [False, True, True, False, False, True, True, False, False]
    assert prompts.slots[1][prompts.open[1]].tolist() == [0, 1, 2, 3]
    assert torch.equal(prompts.fixed[1][~prompts.open[1]], words[ids[1]])
    assert prompts.ends.tolist() == [int(row.argmax()) + 4 for row in ids]


def test_chunks_of_classes_change_nothing(backbone):
    tokens, text = features()
    heads = [
        CoOp(backbone=backbone, classnames=NAMES, context=4, chunk=chunk, training=SHORT).fit(tokens, LABELS, text)
        for chunk in (256, 2)
    ]
    for name in ("context", "text"):
        torch.testing.assert_close(heads[0].state_dict()[name], heads[1].state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_context_learns_and_the_encoder_does_not(backbone):
    tokens, text = features()
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    head = CoOp(backbone=backbone, classnames=NAMES, context=4, training=SHORT).fit(tokens, LABELS, text)
    start = Prompts.of(backbone, NAMES, 4, "end", 256).first_context(False, None, 1)
    assert not torch.equal(head.state_dict()["context"], start)
    for name, p in backbone.model.named_parameters():
        assert p.grad is None and torch.equal(p, before[name]), name


def test_half_precision_weights_are_read_in_float32():
    half = Backbone.from_clip("small", random_clip("rn"), precision="bf16")
    full = Backbone.from_clip("small", random_clip("rn"), precision="fp32")
    tokens, text = features()
    heads = [CoOp(backbone=backbone, classnames=NAMES, context=4, training=SHORT) for backbone in (half, full)]
    found = [head.fit(tokens, LABELS, text).state_dict()["text"] for head in heads]
    assert found[0].dtype == torch.float32
    assert float((found[0] * found[1]).sum(dim=1).min()) > 0.99


def test_what_is_missing_is_named(backbone):
    tokens, text = features()
    with pytest.raises(ValueError, match=r"make it with backbone=load_backbone\(...\) and classnames"):
        CoOp(classnames=NAMES).fit(tokens, LABELS, text)
    with pytest.raises(ValueError, match="make it with backbone"):
        CoOp(backbone=backbone).fit(tokens, LABELS, text)
    with pytest.raises(ValueError, match="coop has 2 class names and text features of 5 classes"):
        CoOp(backbone=backbone, classnames=NAMES[:2]).fit(tokens, LABELS, text)
    too_long = "with 16 context vectors the longest prompt has 21 tokens, and small reads 16: use at most 11"
    with pytest.raises(ValueError, match=too_long):
        CoOp(backbone=backbone, classnames=NAMES).fit(tokens, LABELS, text)
    other = Backbone.from_clip("other", random_clip("rn"), precision="fp32")
    other.model = torch.nn.Identity()
    with pytest.raises(ValueError, match="OpenAI's architecture, other has a Identity"):
        CoOp(backbone=other, classnames=NAMES).fit(tokens, LABELS, text)


def test_sixteen_shots_of_learned_context_beat_zero_shot(miniature):
    """Images near the features of sentences that the prompts of zero-shot do not know."""
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
