"""What a panel is given, its images' logits by the library, and what it says when a key is pressed."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Page

from calip_core import CalipConfig, CalipLogits, ImageTokens, calip_logits


def panel_data(folder: Path, panel: str) -> Any:
    """The data of a panel, with packed numbers as tensors."""
    script = (folder / "data" / f"{panel}.js").read_text(encoding="utf-8")
    text = script.split(f"calipData({json.dumps(panel)}, ", 1)[1].rstrip().removesuffix(");")
    return json.loads(text, object_hook=_unpacked)


def _unpacked(value: dict[str, Any]) -> Any:
    if "float" not in value:
        return value
    numbers = np.frombuffer(base64.b64decode(value["float"]), dtype="<f4").reshape(value["shape"])
    return torch.from_numpy(numbers.copy())


def library_logits(data: Any, image: Any, alpha: float) -> CalipLogits:
    """The three terms of one of the data's images."""
    tokens = ImageTokens(image["pooled"][None], image["spatial"][None], tuple(image["grid"]))
    return calip_logits(tokens, data["text"], CalipConfig(alpha, alpha), data["scale"])


def press(page: Page, label: str, *keys: str) -> None:
    """Press keys on a control."""
    for key in keys:
        page.get_by_label(label).press(key)


def answer(page: Page) -> str:
    """The line that says the panel's answer."""
    return page.locator(".live-answer").inner_text()
