"""Heads on disk: one safetensors file with the learned tensors, and in its header all that makes the head again."""

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
    """What a saved head is, beside its tensors.

    Attributes:
        method: name of the head.
        options: the keyword arguments that make it.
        backbone: name of the backbone whose features it was fitted on.
        classnames: of its classes, in the order of its logits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    options: dict[str, object]
    backbone: str
    classnames: tuple[str, ...]


@dataclass(frozen=True)
class SavedHead:
    """A head from disk and what it was fitted for."""

    head: Head
    header: Header


def save_method(head: Head, path: Path, *, backbone: str, classnames: Sequence[str]) -> None:
    """Write a fitted head; the file appears when it is whole.

    Args:
        head: any of ``METHODS``.
        path: such as ``head.safetensors``.
        backbone: name of the backbone whose features it was fitted on.
        classnames: of its classes.

    Raises:
        RuntimeError: the head has not been fitted.
        ValueError: it was fitted on features of another backbone, or for another number of classes.
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
    """Read a head back; it gives the same logits as before. Nothing in such a file can run.

    Args:
        path: what ``save_method`` wrote.
        backbone: whose features it will get.
        classnames: the classes that its logits will be read as.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no saved head, its tensors do not fit its head or its classes, or it was
            fitted for another backbone or other classes. Of a backbone the name is compared, and of bare tokens the
            width: equally wide tokens of another backbone than the one that was said cannot be told apart.
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
    """Numbers that no fit gives; the tensor of class numbers is called ``classes`` in every head that has one."""
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
