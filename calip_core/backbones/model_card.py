"""Model cards of the shipped miniatures; their weights are accessed only through the card's checksum."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from calip_core.digests import sha256_of
from calip_core.paths import DATA_DIR, atomic_path
from calip_core.yaml_model import read_model

MINIATURE_DIR = DATA_DIR / "miniature"

Architecture = Literal["rn", "vit"]


class Accuracy(BaseModel):
    """Top-1 accuracy of zero-shot classification, with its 95 % Wilson interval (all shares from 0 to 1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    accuracy: float
    correct: int
    images: int
    low: float
    high: float


class Training(BaseModel):
    """Settings and hardware of the training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: str
    samples: int
    steps: int
    batch_size: int
    learning_rate: float
    text_tower: str
    seed: int
    minutes: float
    processor: str
    threads: int
    python: str
    torch: str
    command: str


class ModelCard(BaseModel):
    """Description, training, accuracy and checksum of a miniature."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    architecture: Architecture
    description: str
    licence: str
    file: str
    bytes: int
    sha256: str
    parameters: int
    logit_scale: float
    training: Training
    accuracy: dict[str, Accuracy]


def load_card(name: str, folder: Path = MINIATURE_DIR) -> ModelCard:
    """The card ``NAME.yaml``.

    Raises:
        FileNotFoundError: there is no such card; the message lists the available ones.
        ValueError: the file does not describe a miniature.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"no model card {path}: cards there: {known}")
    return read_model(path, ModelCard, "a miniature")


def save_card(card: ModelCard, path: Path) -> None:
    """Write the card as YAML, atomically."""
    text = yaml.safe_dump(card.model_dump(), sort_keys=False, allow_unicode=True, width=100)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def checkpoint_path(name: str, folder: Path = MINIATURE_DIR) -> Path:
    """Path of a miniature's weights, after checking them against the card's checksum.

    Raises:
        FileNotFoundError: the card or the weights are missing.
        ValueError: the weights do not match the card: they are truncated, edited or exchanged.
    """
    card = load_card(name, folder)
    path = folder / card.file
    if not path.exists():
        raise FileNotFoundError(
            f"no weights at {path}: restore them with `git checkout`, or train them with `{card.training.command}`"
        )
    found = sha256_of(path)
    if found != card.sha256:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) has SHA-256 {found}, its card says {card.sha256} "
            f"({card.bytes} bytes): restore it with `git checkout`, or train it again"
        )
    return path
