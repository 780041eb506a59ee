"""Tensors and pictures as values of JSON, which ``data.js`` unpacks."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from calip_core.tokens import ImageTokens


def floats(values: Tensor | np.ndarray) -> dict[str, Any]:
    """Numbers in single precision; in JavaScript, a Float32Array, or nested arrays of them."""
    array = np.ascontiguousarray(values, dtype="<f4")
    return {"float": base64.b64encode(array.tobytes()).decode(), "shape": list(array.shape)}


def features(tokens: ImageTokens, image: int) -> dict[str, Any]:
    """One image's features as ``calip.encodeImage`` returns them."""
    return {
        "pooled": floats(tokens.pooled[image].cpu()),
        "spatial": floats(tokens.spatial[image].cpu()),
        "grid": list(tokens.grid),
    }


def picture(image: Image.Image) -> str:
    """A picture without loss, as an address for ``<img src>``."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "webp", lossless=True, quality=100, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
