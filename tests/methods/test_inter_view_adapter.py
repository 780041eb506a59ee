"""PointCLIP's adapter between the views of a cloud."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from calip_core.methods import TrainingOptions, inter_view_adapter, make_method
from calip_core.tokens import ImageTokens

VIEWS, WIDTH, CLASSES = 3, 8, 4
SHORT = TrainingOptions(epochs=100, learning_rate=0.05, warmup_epochs=0)


def clouds(seed=0, n=24):
    """Only the mean over a cloud's views knows its class: single views are mostly noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(n) % CLASSES
    signal = torch.eye(WIDTH)[torch.from_numpy(labels) + 4].unsqueeze(1)
    pooled = normalize(signal + 0.4 * torch.randn(n, VIEWS, WIDTH, generator=generator), dim=2).flatten(0, 1).double()
    return ImageTokens(pooled, pooled.unsqueeze(1), (1, 1)), np.repeat(labels, VIEWS)


TEXT = torch.eye(WIDTH, dtype=torch.float64)[:CLASSES]  # orthogonal to the signal: zero-shot is at chance


def head(**options):
    return make_method("inter_view_adapter", **{"cloud_views": VIEWS, "training": SHORT} | options)


def of_clouds(logits):
    return logits.view(-1, VIEWS, CLASSES).mean(dim=1)


class InTorchsLayers(nn.Module):
    """The published network of torch's own layers, without dropout: one row of logits per cloud."""

    def __init__(self, views=VIEWS, width=WIDTH):
        super().__init__()
        self.weights = nn.Parameter(torch.full((views, 1), 0.5))
        self.norm = nn.BatchNorm1d(width)
        self.layers = nn.Sequential(
            nn.Linear(views * width, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, views * width), nn.ReLU(),
        )  # fmt: skip
        self.double()

    def named(self):
        """The head's names -> the tensors of torch's layers."""
        gather, norm, _, deepen, _, spread, _ = self.layers
        norms = {
            f"{name}_{ours}": getattr(layer, theirs)
            for name, layer in (("view", self.norm), ("cloud", norm))
            for ours, theirs in (
                ("scale", "weight"), ("shift", "bias"), ("mean", "running_mean"), ("variance", "running_var"),
            )
        }  # fmt: skip
        layers = {"gather": gather, "deepen": deepen, "spread": spread}
        weights = {name: layer.weight for name, layer in layers.items()}
        biases = {f"{name}_bias": layer.bias for name, layer in layers.items()}
        return {"weights": self.weights} | norms | weights | biases

    @torch.no_grad()
    def take(self, state):
        for name, tensor in self.named().items():
            tensor.copy_(state[name].view_as(tensor))
        return self

    def forward(self, pooled, ratio, scale):
        clouds = pooled.view(-1, *self.weights.shape[:1], pooled.shape[1])
        views = self.norm((clouds * self.weights).flatten(0, 1)).view(len(clouds), -1)
        mixed = ratio * self.layers(views) + (1 - ratio) * clouds.flatten(1)
        return scale * cosine_similarity(mixed.unsqueeze(1), TEXT.repeat(1, VIEWS), dim=2)


def test_the_logits_are_those_of_torchs_layers_and_clouds_do_not_depend_on_each_other():
    tokens, labels = clouds()
    fitted = head(ratio=0.3, logit_scale=5.0).fit(tokens, labels, TEXT)
    published = InTorchsLayers().take(fitted.state_dict()).eval()
    torch.testing.assert_close(of_clouds(fitted.logits(tokens)), published(tokens.pooled, 0.3, 5.0))
    torch.testing.assert_close(fitted.logits(tokens[:VIEWS]), fitted.logits(tokens)[:VIEWS])


def test_training_is_that_of_torchs_layers(monkeypatch):
    monkeypatch.setattr(inter_view_adapter, "DROPOUT", 0.0)
    tokens, labels = clouds()
    still = TrainingOptions(learning_rate=1e-300, epochs=1, warmup_epochs=0)
    published = InTorchsLayers().take(head(training=still).fit(tokens, labels, TEXT).state_dict())
    with torch.no_grad():  # that step moved the statistics, not the rest
        for layer in (published.norm, published.layers[1]):
            layer.reset_running_stats()
    recipe = TrainingOptions(learning_rate=0.1, epochs=4, warmup_epochs=0, label_smoothing=0.2)  # one batch per epoch
    trained = head(training=recipe, logit_scale=5.0).fit(tokens, labels, TEXT)
    optimizer = torch.optim.SGD(published.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    for _ in range(4):
        optimizer.zero_grad()
        target = torch.from_numpy(labels[::VIEWS])
        cross_entropy(published(tokens.pooled, 0.6, 5.0), target, label_smoothing=0.2).backward()
        optimizer.step()
        schedule.step()
    for name, tensor in published.named().items():
        torch.testing.assert_close(trained.state_dict()[name], tensor.detach().view_as(trained.state_dict()[name]))


def test_it_learns_as_many_numbers_as_the_published_network():
    pooled = normalize(torch.randn(20, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    tokens, text = ImageTokens(pooled, pooled.unsqueeze(1), (1, 1)), pooled[:2]
    fitted = head(cloud_views=10, training=TrainingOptions(epochs=1)).fit(tokens, np.repeat([0, 1], 10), text)
    learned = sum(parameter.numel() for parameter in fitted.parameters())
    assert learned == sum(parameter.numel() for parameter in InTorchsLayers(10, 64).parameters()) == 87_050
    assert fitted.parameter_count() == learned + 4 * 64  # and the running statistics


def test_dropout_keeps_the_mean():
    rows = inter_view_adapter.dropped(torch.ones(500, 400), torch.Generator().manual_seed(0))
    zero = rows == 0
    assert zero.float().mean().item() == pytest.approx(0.075, abs=0.003)
    assert torch.allclose(rows[~zero], torch.tensor(1 / 0.925))


def test_it_learns_what_zero_shot_cannot_know_and_keeps_the_text():
    fitted = head().fit(*clouds(0), TEXT)
    tokens, labels = clouds(1)
    assert (of_clouds(fitted.logits(tokens)).argmax(dim=1).numpy() == labels[::VIEWS]).mean() > 0.8
    assert torch.equal(fitted.state_dict()["text"], TEXT)


def test_a_seed_gives_the_same_head_and_without_adapter_it_is_zero_shot():
    tokens, labels = clouds()
    first, second = (head(seed=3).fit(tokens, labels, TEXT).logits(tokens) for _ in range(2))
    assert torch.equal(first, second)
    plain = head(ratio=0.0).fit(tokens, labels, TEXT).logits(tokens)
    torch.testing.assert_close(plain, 100 * tokens.pooled @ TEXT.T)


def test_a_last_batch_of_one_cloud_trains_too():
    tokens, labels = clouds(n=9)
    fitted = head(training=TrainingOptions(epochs=3, batch_size=4)).fit(tokens, labels, TEXT)
    assert fitted.report.steps == 9 and fitted.logits(tokens).isfinite().all()


def test_bad_input_is_named():
    tokens, labels = clouds()
    with pytest.raises(ValueError, match="there are 70 views, expected a multiple of 3"):
        head().fit(tokens[:70], labels[:70], TEXT)
    with pytest.raises(ValueError, match=r"the 3 views of cloud 0 have labels .3, 0, 0., expected one label"):
        head().fit(tokens, np.roll(labels, 1), TEXT)
