"""Smooth losses brought to their minimum by L-BFGS: no learning rate, no epochs, no seed."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import minimize
from torch import Tensor

Weights = Float64[Tensor, "k d"]


def minimise(
    loss: Callable[[Weights], Tensor], start: Weights, *, iterations: int = 1000, tolerance: float = 1e-6
) -> Weights:
    """Where a loss has its minimum, as SciPy's L-BFGS-B finds it from ``start``.

    Args:
        loss: a number for weights, which PyTorch can differentiate.
        start: the first weights, in float64, on the device that the loss computes on.
        iterations: at most so many.
        tolerance: it is found where no entry of the gradient is larger.
    """

    def value_and_gradient(flat: Float64[np.ndarray, "e"]) -> tuple[float, Float64[np.ndarray, "e"]]:
        weights = torch.from_numpy(flat).view(start.shape).to(start.device, copy=True).requires_grad_()
        with torch.enable_grad():
            value = loss(weights)
            (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.flatten().cpu().numpy()

    first = start.detach().flatten().cpu().numpy()
    # The third number ends a search whose loss no longer changes but for rounding.
    options = {"maxiter": iterations, "gtol": tolerance, "ftol": 64 * np.finfo(np.float64).eps}
    found = minimize(value_and_gradient, first, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).view(start.shape).to(start.device)
