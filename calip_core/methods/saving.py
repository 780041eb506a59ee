"""Heads on disk: a safetensors file with the learned tensors, and in its header what is needed to rebuild the head."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from calip_core.methods.base import Head, check_state
from calip_core.methods.registry import make_method
from calip_core.paths import atomic_path
from calip_core.reading import reading

_KEY = "calip_head"


class Header(BaseModel):
    """What a saved head is, besides its tensors.

    Attributes:
        method: name of the head.
        options: the keyword arguments that make it.
        backbone: name of the backbone whose features it was fitted on.
        classnames: the class names, in the order of its logits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    options: dict[str, object]
    backbone: str
    classnames: tuple[str, ...]


@dataclass(frozen=True)
class SavedHead:
    """A head read from disk and what it was fitted for."""

    head: Head
    header: Header


def save_method(head: Head, path: Path, *, backbone: str, classnames: Sequence[str]) -> None:
    """Write a fitted head; the file appears when it is whole.

    Args:
        head: any of ``METHODS``.
        path: such as ``head.safetensors``.
        backbone: name of the backbone whose features it was fitted on.
        classnames: the class names.

    Raises:
        RuntimeError: the head has not been fitted.
        ValueError: it was fitted on features of another backbone, or for a different number of classes.
        OSError: the folder cannot be written.
    """
    if head.features_of not in (None, backbone):
        raise ValueError(f"this {head.name} was fitted on features of {head.features_of}, not of {backbone}: say so")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
    if not tensors:
        raise RuntimeError(f"this {head.name} has not been fitted: call fit(tokens, labels, text) before it is saved")
    check_state(tensors, head.shapes(), f"this {head.name}", len(classnames))
    header = Header(method=head.name, options=head.options_dict(), backbone=backbone, classnames=tuple(classnames))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: header.model_dump_json()})


def load_method(path: Path, *, backbone: str, classnames: Sequence[str]) -> SavedHead:
    """Read a head back; it gives the same logits as before. The file cannot contain executable code.

    Args:
        path: a file written by ``save_method``.
        backbone: name of the backbone whose features it will be given.
        classnames: the classes expected in its logits, in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not a saved head, its tensors do not fit its head or its classes, or it was
            fitted for another backbone or other classes. Backbones are compared by name, and tokens by width: tokens of
            another backbone with the same width cannot be detected.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no saved head {path}: check the path")
    with reading(path, "a saved head"), safe_open(path, framework="pt") as file:
        header = Header.model_validate(json.loads((file.metadata() or {})[_KEY]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    _check_fits(path, header, backbone, tuple(classnames))
    with reading(path, f"a {header.method} of this version"):
        head = make_method(header.method, **header.options)
        check_state(tensors, head.shapes(), "the head", len(classnames))
        _check_values(tensors, len(classnames))
        head.load_state_dict(tensors)
    head.features_of = header.backbone
    return SavedHead(head, header)


def _check_values(tensors: Mapping[str, Tensor], classes: int) -> None:
    """Refuse values that no fit produces; every head calls its tensor of class numbers ``classes``."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"tensor {name} holds NaN or infinity")
        if tensor.is_floating_point() == (name == "classes"):
            raise ValueError(f"tensor {name} is of {tensor.dtype}")
        if name == "classes" and not bool(((tensor >= 0) & (tensor < classes)).all()):
            raise ValueError(f"class numbers run to {tensor.abs().max()}, expected 0 to {classes - 1}")


def _check_fits(path: Path, header: Header, backbone: str, classnames: tuple[str, ...]) -> None:
    if header.backbone != backbone:
        raise ValueError(f"{path} was fitted on features of {header.backbone}, expected {backbone}: fit it again")
    if header.classnames != classnames:
        raise ValueError(
            f"{path} was fitted for {len(header.classnames)} classes ({', '.join(header.classnames[:3])}, ...), "
            f"expected these {len(classnames)} in this order: {', '.join(classnames[:3])}, ..."
        )
