"""YAML files that describe one thing each: read, checked against a model, refused with the file and the field."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, model: type[Model], what: str) -> Model:
    """Read a YAML file and check it against a model.

    Args:
        path: the file.
        model: a pydantic model.
        what: what the file should describe, for messages, such as "a view set".

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is no YAML, gives a key twice, or does not fit the model; the message names file and field.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"{path} does not describe {what}: {faults}") from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"


class _UniqueKeys(yaml.SafeLoader):
    """YAML's own loader keeps the last of two values with the same key; this one refuses the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given in line {seen[key]} and again: give it once",
                    key_node.start_mark,
                )  # fmt: skip
            if isinstance(key, Hashable):
                seen[key] = line
        return super().construct_mapping(node, deep)
