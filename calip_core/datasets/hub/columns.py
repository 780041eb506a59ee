"""The columns of a parquet table: which holds the images, which the labels, and what the classes are called."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from calip_core.reading import reading

_WRITE = "write it with `datasets.Dataset.to_parquet` and the features Image and ClassLabel"
RATIO, ALWAYS_ALLOWED = 100, 64 << 20
"""How many times a file's size its columns may take, and how many bytes in any case: pictures do not shrink further."""
ALWAYS_ROWS = 1 << 20
"""How many rows a file may have in any case; a larger file may have one per byte."""


@dataclass(frozen=True)
class Columns:
    """What a table declares.

    Attributes:
        image: the column of the images.
        label: the column of the labels.
        names: names of the classes, in the order of the labels.
        table: the table that declares it.
    """

    image: str
    label: str
    names: tuple[str, ...]
    table: Path


def parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("parquet: needs the package pyarrow: `pip install 'calip-core[hub]'`") from error
    return pyarrow.parquet


def columns_of(path: Path, image: str | None = None, label: str | None = None) -> Columns:
    """The columns of images and of labels that the schema's metadata declares.

    Args:
        path: the table.
        image: the column of the images, if there are several.
        label: the column of the labels, if there are several.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the file is damaged, has no such metadata, or none or several of such columns and none is chosen.
        OSError: the file cannot be opened.
    """
    opened = parquet()
    with reading(path, "a parquet table"):
        schema = opened.read_schema(path)
        declared = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        if not declared:
            raise ValueError(f"{path} has no `datasets` metadata, which names the classes: {_WRITE}")
        chosen = _one(path, declared, "Image", image), _one(path, declared, "ClassLabel", label)
        names = declared[chosen[1]].get("names")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"the ClassLabel {chosen[1]!r} has no list of names")
        _check_types(schema, *chosen)
    return Columns(*chosen, tuple(names), path)


def _one(path: Path, declared: dict[str, Any], kind: str, chosen: str | None) -> str:
    known = [name for name, feature in declared.items() if isinstance(feature, dict) and feature.get("_type") == kind]
    if chosen is None and len(known) == 1:
        return known[0]
    if chosen in known:
        return str(chosen)
    option = "image" if kind == "Image" else "label"
    if not known:
        raise ValueError(f"{path} declares no column of type {kind}: {_WRITE}")
    what = f"{option}={chosen!r} is none of them" if chosen else f"choose one by load_task(..., {option}=...)"
    raise ValueError(f"{path} declares the columns {', '.join(known)} of type {kind}: {what}")


def _check_types(schema: Any, image: str, label: str) -> None:
    import pyarrow as pa

    contents = schema.field(image).type
    inside = contents.field("bytes").type if pa.types.is_struct(contents) else None
    if inside is None or not (pa.types.is_binary(inside) or pa.types.is_large_binary(inside)):
        raise ValueError(f"the column {image!r} is {contents}, expected a struct of bytes and path")
    if not pa.types.is_integer(schema.field(label).type):
        raise ValueError(f"the column {label!r} is {schema.field(label).type}, expected whole numbers")


def labels_of(path: Path, columns: Columns) -> Int64[np.ndarray, " n"]:
    """The labels of one table, after checking its columns, its classes and its size.

    Raises:
        ValueError: it is damaged, has other columns or classes, would take far more memory than its size, or lacks a
            label.
        OSError: it cannot be opened.
    """
    opened, own = parquet(), columns_of(path, columns.image, columns.label)
    if own.names != columns.names:
        raise ValueError(f"{path} has other classes than {columns.table}: fetch the dataset again")
    with reading(path, "a parquet table"), opened.ParquetFile(path) as file:
        _check_size(file.metadata, path.stat().st_size)
        values = file.read(columns=[columns.label]).column(columns.label)
        if values.null_count:
            missing = next(number for number, value in enumerate(values) if not value.is_valid)
            raise ValueError(f"row {missing} has no label in {columns.label!r}")
        return np.asarray(values.to_numpy(), np.int64)


def row_groups(path: Path) -> list[int]:
    """The number of rows in each row group of a table."""
    with reading(path, "a parquet table"), parquet().ParquetFile(path) as file:
        return [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]


def _check_size(metadata: Any, size: int) -> None:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [metadata.num_rows, *(group.num_rows for group in groups)]
    if min(rows) < 0 or metadata.num_rows != sum(rows[1:]) or metadata.num_rows > max(ALWAYS_ROWS, size):
        raise ValueError(f"it claims {metadata.num_rows:,} rows in {size:,} bytes")
    unpacked = sum(
        group.column(number).total_uncompressed_size for group in groups for number in range(group.num_columns)
    )
    if unpacked > max(ALWAYS_ALLOWED, RATIO * size):
        raise ValueError(f"it claims {unpacked:,} bytes in {size:,}, as files do that are made to fill memory")
