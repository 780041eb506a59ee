"""YAML files that describe one thing each: read, checked against a model, refused with the file and the field."""

import re
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
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not describe {what}: {describe_faults(error)}") from error


def describe_faults(error: ValidationError) -> str:
    """What a model does not accept, field by field."""
    return "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"


_INTEGER = "tag:yaml.org,2002:int"


class _Strict(yaml.SafeLoader):
    """Refuses the second of two values with the same key, of which YAML's own loader keeps the last.

    Only decimal numbers are integers: YAML reads ``010`` as eight and ``1:30`` as ninety. Here they stay text, which a
    model then refuses.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _INTEGER]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

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


_Strict.add_implicit_resolver(_INTEGER, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
