"""Minimise smooth losses with L-BFGS: no learning rate, no epochs, no seed."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

Weights = Float64[Tensor, "k d"]
Gradient = Float64[np.ndarray, "e"]


class NotConvergedWarning(UserWarning):
    """A search ended before it found the minimum, so the result only approximates the solution."""


def steepest(gradient: Gradient) -> float:
    """The largest entry of a gradient in magnitude."""
    return float(np.abs(gradient).max())


def minimise(
    loss: Callable[[Weights], Tensor], start: Weights,
    *, iterations: int = 1000, tolerance: float = 1e-6, error: Callable[[Gradient], float] = steepest,
    what: str = "L-BFGS",
) -> Weights:  # fmt: skip
    """Return the minimiser of a loss that SciPy's L-BFGS-B finds from ``start``.

    Args:
        loss: function of the weights, a scalar that PyTorch can differentiate.
        start: the initial weights, in float64, on the device that the loss computes on.
        iterations: maximum number of iterations.
        tolerance: the search ends when the error is at most this share of the loss, or when the loss no longer changes
            but for rounding.
        error: of the gradient, a measure or a bound of how far the loss is above its minimum.
        what: name of the caller, for messages.

    Warns:
        NotConvergedWarning: the search ended before the minimum; the last weights are returned.

    Raises:
        ArithmeticError: the loss is not finite at the end of the search.
    """
    latest = np.full(start.numel(), np.inf)

    def value_and_gradient(flat: Float64[np.ndarray, "e"]) -> tuple[float, Gradient]:
        nonlocal latest
        weights = torch.from_numpy(flat).view(start.shape).to(start.device, copy=True).requires_grad_()
        with torch.enable_grad():
            value = loss(weights)
            (gradient,) = torch.autograd.grad(value, weights)
        latest = gradient.flatten().cpu().numpy()
        return value.item(), latest

    def stop_at_minimum(intermediate_result: OptimizeResult) -> None:
        if error(latest) <= tolerance * intermediate_result.fun:  # the last gradient is that of the new weights
            raise StopIteration

    first = start.detach().flatten().cpu().numpy()
    # ftol ends a search whose loss no longer changes but for rounding. With SciPy's own memory of 10 steps, a weakly
    # penalised regression with rare classes took eight times as many.
    options = {"maxiter": iterations, "gtol": 0.0, "ftol": 64 * np.finfo(np.float64).eps, "maxcor": 30}
    found = minimize(
        value_and_gradient, first, jac=True, method="L-BFGS-B", options=options, callback=stop_at_minimum
    )
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        raise ArithmeticError(f"{what}: the loss is {found.fun} after {found.nit} iterations: look for huge features")
    if not found.success and error(found.jac) > tolerance * found.fun:
        warnings.warn(
            f"{what}: stopped after {found.nit} iterations before the minimum ({found.message}): the error is "
            f"{error(found.jac) / found.fun:.2g} of the loss, expected at most {tolerance:g}: allow more iterations",
            NotConvergedWarning, stacklevel=2,
        )  # fmt: skip
    return torch.from_numpy(found.x).view(start.shape).to(start.device)
