"""CALIP written from its equations, one number at a time in float64: slow, and independent of the library.

Beside it PointCLIP's routine, in the published order of operations.
"""

import math

import numpy as np
import torch
from torch import Tensor

from calip_core.pointclouds.views import ViewSet, view_set


def _softmax(values):
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    return [w / sum(weights) for w in weights]


def _unit(vector):
    return vector / math.sqrt(sum(float(x) ** 2 for x in vector))


def attention(spatial, text, alpha_t, alpha_s):
    """F_t^a (K x C) and F_s^a (M x C) of one image."""
    m, k = len(spatial), len(text)
    affinity = [[sum(float(a) * float(b) for a, b in zip(spatial[i], text[j], strict=True)) for j in range(k)]
                for i in range(m)]
    text_attended = np.zeros_like(text)
    for j in range(k):
        weights = _softmax([affinity[i][j] / alpha_t for i in range(m)])
        for i in range(m):
            text_attended[j] += weights[i] * spatial[i]
    visual_attended = np.zeros_like(spatial)
    for i in range(m):
        weights = _softmax([affinity[i][j] / alpha_s for j in range(k)])
        for j in range(k):
            visual_attended[i] += weights[j] * text[j]
    return text_attended, visual_attended


def attention_pool(places, position, query, key, value, output, heads):
    """CLIP's attention pool asked by the mean of the places alone: one vector of one image.

    ``query`` ... ``output`` are pairs of a matrix and a bias; ``position`` has a row more than ``places``.
    """

    def project(row, layer):
        matrix, bias = layer
        return [sum(float(w) * float(x) for w, x in zip(line, row, strict=True)) + float(b)
                for line, b in zip(matrix, bias, strict=True)]

    mean = [sum(column) / len(column) for column in places.T]
    rows = [[float(x) + float(p) for x, p in zip(row, shift, strict=True)]
            for row, shift in zip([mean, *places], position, strict=True)]
    asked, keys = project(rows[0], query), [project(row, key) for row in rows]
    values, width = [project(row, value) for row in rows], len(rows[0]) // heads
    answer = []
    for head in range(heads):
        own = range(head * width, (head + 1) * width)
        weights = _softmax([sum(asked[i] * line[i] for i in own) / math.sqrt(width) for line in keys])
        answer += [sum(w * line[i] for w, line in zip(weights, values, strict=True)) for i in own]
    return np.array(project(answer, output))


def logits(pooled, spatial, text, alpha_t, alpha_s, pooling, unit_length, scale):
    """The three logit terms of one image, each a list of K numbers."""
    text_attended, visual_attended = attention(spatial, text, alpha_t, alpha_s)
    mean = np.array([sum(column) / len(column) for column in visual_attended.T])
    largest = np.array([max(column) for column in visual_attended.T])
    named = {"mean+max": mean + largest, "mean": mean, "max": largest}
    visual = pooling(visual_attended) if callable(pooling) else named[pooling]
    if unit_length:
        visual = _unit(visual)
        text_attended = np.stack([_unit(row) for row in text_attended])
    return (
        [scale * float(pooled @ row) for row in text],
        [scale * float(pooled @ row) for row in text_attended],
        [scale * float(visual @ row) for row in text],
    )


def published_steps(points: Tensor, views: ViewSet | None = None) -> Tensor:
    """The order of operations of PointCLIP's ``trainers/mv_utils_zs.py``, written anew.

    Every cloud repeated per view, a product a copy, the general window of pixels a point (here one, yet with its
    axes), a dense sum of weights, another of weighted depths, their quotient.
    """
    views = views or view_set("pointclip")
    side, n, v = views.resolution, len(points), len(views)
    turned = torch.repeat_interleave(points, v, dim=0) @ views.rotations().transpose(1, 2).repeat(n, 1, 1)
    turned = turned + torch.tensor([0.0, 0.0, views.distance or 0.0])
    depth = turned[..., 2]
    row, column = (_window((turned[..., axis] / (depth + 1e-12) + 1) * side / 2) for axis in (0, 1))
    row, column = row.unsqueeze(3).repeat(1, 1, 1, 1).ceil_(), column.unsqueeze(2).repeat(1, 1, 1, 1).ceil_()
    value = depth[..., None, None].repeat(1, 1, 1, 1)
    seen = (row >= 0) * (row <= side - 1) * (column >= 0) * (column <= side - 1) * (value >= 0)
    weight = seen.float() * (1 / (value + 1e-12))
    weighted = (value * weight).view(n * v, -1)
    pixel = ((row % side).view(n * v, -1) * side + (column % side).view(n * v, -1)).long()
    total = torch.zeros(n * v, side * side).scatter_add(1, pixel, weight.view(n * v, -1))
    total += (total == 0.0).float()
    sums = torch.zeros(n * v, side * side).scatter_add(1, pixel, weighted)
    return (sums / total).view(n, v, side, side)


def _window(coordinate: Tensor) -> Tensor:
    """The window's positions along one axis: one, half a pixel before the coordinate."""
    return coordinate.unsqueeze(2).repeat(1, 1, 1) + torch.tensor([-0.5])
