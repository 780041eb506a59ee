"""YAML files read and checked against a pydantic model; errors name the file and the field."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from calip_core.reading import reading

MOST_NODES = 100_000
"""Maximum number of values in a file: a small file with nested aliases could expand beyond the memory."""

Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, model: type[Model], what: str) -> Model:
    """Read a YAML file and check it against a model.

    Args:
        path: the file.
        model: a pydantic model.
        what: what the file should describe, for messages, such as "a view set".

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is not YAML, repeats a key, or does not fit the model; the message names file and field.
    """
    with reading(path, "YAML"):
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Strict)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not describe {what}: {describe_faults(error)}") from error


def describe_faults(error: ValidationError) -> str:
    """The faults found by a model, field by field."""
    return "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values in a node, with every alias counted in full."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        below = [part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in below)
    return known[id(node)]


_INTEGER = "tag:yaml.org,2002:int"


class _Strict(yaml.SafeLoader):
    """Refuses repeated keys, of which YAML's own loader silently keeps the last.

    Only decimal numbers are integers: YAML reads ``010`` as eight and ``1:30`` as ninety. Here they remain text, which
    a model then refuses.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _INTEGER]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_document(self, node: yaml.Node) -> Any:
        if (count := _count(node, {})) > MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"it means {count} values", node.start_mark)
        return super().construct_document(node)

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
