"""The convex polygon of CALIP's two weights in which a given class wins a single image."""

import numpy as np
from jaxtyping import Float

from calip_core.tokens import CalipLogits


def winning_polygon(
    logits: CalipLogits, image: int, label: int,
    *, beta2: tuple[float, float] = (0.0, 2.0), beta3: tuple[float, float] = (0.0, 0.1), beta1: float = 1.0,
) -> Float[np.ndarray, "v 2"]:  # fmt: skip
    """The convex polygon of pairs (beta2, beta3) in a rectangle at which ``label`` wins image number ``image``.

    Returns:
        Its corners in order; empty if the label never wins.
    """
    terms = [term[image].double().cpu().numpy() for term in (logits.clip, logits.text_attended, logits.visual_attended)]
    offset, slope2, slope3 = (term[label] - np.delete(term, label) for term in terms)
    corners = np.array([*zip((*beta2, *beta2[::-1]), np.repeat(beta3, 2), strict=True)], dtype=np.float64)
    for a, b, c in zip(beta1 * offset, slope2, slope3, strict=True):
        corners = _cut(corners, a + corners @ (b, c))
    return corners


def _cut(corners: Float[np.ndarray, "v 2"], lead: Float[np.ndarray, "v"]) -> Float[np.ndarray, "w 2"]:
    """The part of a convex polygon in which a linear function, given at its corners, is not negative."""
    kept = []
    for i in range(len(corners)):
        here, there = lead[i - 1], lead[i]
        if here * there < 0:
            kept.append(corners[i - 1] + (corners[i] - corners[i - 1]) * here / (here - there))
        if there >= 0:
            kept.append(corners[i])
    return np.array(kept).reshape(-1, 2)
