import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy, normalize

from calip_core.methods import make_method
from calip_core.methods.clap import class_prices
from calip_core.metrics import accuracy
from tests.methods.synthetic import as_tokens, synthetic_task


def test_prices_by_hand():
    """Cosines of 1 and 0 at scale ln 3 are probabilities of 3/4 and 1/4."""
    features = torch.eye(2).double()[[0, 0, 1, 1]]
    prices = class_prices(features, torch.tensor([0, 1, 1, 1]), torch.eye(2).double(), np.log(3))
    assert prices.tolist() == pytest.approx([3 / 4, (1 / 4 + 3 / 4 + 3 / 4) / 3])


def test_the_weights_minimise_the_objective():
    """Gradient descent by the equations, from the same start, ends where L-BFGS does."""
    (tokens, labels), _, (test, _), text = synthetic_task(shots=3)
    f, t, y = tokens.pooled.double(), text.double(), torch.from_numpy(labels)
    shares = torch.stack([torch.exp(10 * t @ image) / torch.exp(10 * t @ image).sum() for image in f])
    prices = torch.stack([shares[y == k, k].mean() for k in range(len(t))])
    weight = t.clone().requires_grad_()
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for _ in range(200):
        optimiser.zero_grad()
        drift = (weight - t).square().sum(dim=1)
        fit = cross_entropy(10 * f @ normalize(weight, dim=1).T, y)
        (fit + 20 * (prices * drift).mean()).backward()
        optimiser.step()
    expected = 10 * test.pooled.double() @ normalize(weight.detach(), dim=1).T
    head = make_method("clap", strength=20.0, logit_scale=10.0).fit(tokens, labels, text)
    torch.testing.assert_close(head.prices.double(), prices, rtol=0, atol=1e-6)
    torch.testing.assert_close(head.logits(test).double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_the_search_goes_down_to_the_minimum(strength):
    """A trust region with the exact Hessian, from the same start, ends at the same weights."""
    (tokens, labels), _, _, text = synthetic_task(shots=3)
    f, t, y = tokens.pooled.double(), text.double(), torch.from_numpy(labels)
    prices = class_prices(f, y, t, 30.0)

    def loss(flat):
        weight = flat.view(t.shape)
        drift = prices * (weight - t).square().sum(dim=1)
        return cross_entropy(30 * f @ normalize(weight, dim=1).T, y) + strength * drift.mean()

    def of(function):
        return lambda flat: function(torch.from_numpy(flat)).numpy()

    found = minimize(
        of(loss), t.flatten().numpy(), method="trust-exact", jac=of(torch.func.grad(loss)),
        hess=of(torch.func.hessian(loss)), options={"gtol": 1e-10},
    )  # fmt: skip
    expected = normalize(torch.from_numpy(found.x).view(t.shape), dim=1)
    head = make_method("clap", strength=strength, logit_scale=30.0).fit(tokens, labels, text.double())
    torch.testing.assert_close(head.weight.detach().double(), expected, rtol=0, atol=2e-6)


def test_a_high_price_keeps_the_text_and_none_lets_go():
    support, _, (test, _), text = synthetic_task()
    zero_shot = 30 * test.pooled @ text.T
    kept = make_method("clap", strength=1e7, logit_scale=30.0).fit(*support, text).logits(test)
    torch.testing.assert_close(kept, zero_shot, rtol=0, atol=0.01)
    free = make_method("clap", strength=0.0, logit_scale=30.0).fit(*support, text)
    assert accuracy(free.logits(support[0]), support[1]) == 1.0


def test_a_class_that_the_text_knows_moves_less():
    """Two classes, mirror images but for the text vector: one is at its images, one is off."""
    centres = normalize(torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.2, 1.0]]), dim=1)
    text = normalize(torch.tensor([[1.0, 0.2, 0.0], [0.5, -1.0, 0.6]]), dim=1)
    head = make_method("clap", logit_scale=10.0).fit(as_tokens(centres), np.array([0, 1]), text)
    drift = (head.state_dict()["weight"] - text).norm(dim=1)
    assert head.prices[0] > head.prices[1] and drift[0] < drift[1]


def test_the_validation_set_is_not_looked_at():
    support, val, (test, _), text = synthetic_task()
    logits = [make_method("clap").fit(*support, text, val=v).logits(test) for v in (None, val)]
    assert torch.equal(*logits)
