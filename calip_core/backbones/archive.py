"""Read files written by torch without executing any code from them.

A pickle is a program that names functions and calls them. Here only dictionaries and tensors are ever built; every
other name becomes a ``Foreign`` and is never imported, and the instructions of TorchScript archives are ignored. The
three formats are the archives of ``torch.save``, those of TorchScript, and the older files of ``torch.save`` that are a
series of pickles with the tensors' bytes behind them.
"""

import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from calip_core.reading import reading

_DTYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_ZIP = b"PK\3\4"
_SERIES = (0x1950A86A20F9469CFC6C, 1001)  # the first two pickles of the older files
_SCRIPTED = "__torch__."  # how the names of TorchScript's classes begin

Bytes = Callable[[str, int], Tensor]
"""(key, size) -> the bytes of a storage, one-dimensional."""


@dataclass(eq=False, repr=False)
class Foreign:
    """An object of a class that is not read.

    Attributes:
        name: name of its class, or of the function that would create it.
        state: its attributes in the file.
    """

    name: str
    state: object = None

    def append(self, item: object) -> None:
        """Ignore list items in the file."""

    def __setitem__(self, key: object, item: object) -> None:
        """Ignore dictionary items in the file."""


def read_torch(path: Path) -> object:
    """The content of a file written by torch: plain values, containers, CPU tensors, and ``Foreign`` for all else.

    Raises:
        ValueError: the file is damaged or was not written by torch.
        OSError: it cannot be opened.
    """
    with reading(path, "a file that torch wrote"), path.open("rb") as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        return _read_archive(file) if start == _ZIP else _read_series(file, path.stat().st_size)


def scripted_tensors(content: object) -> dict[str, Tensor] | None:
    """The parameters and buffers of a TorchScript module by name; None if the content is not such a module."""
    if not isinstance(content, Foreign) or not content.name.startswith(_SCRIPTED):
        return None
    return dict(_tensors_below(content, "", set()))


def _tensors_below(module: Foreign, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(module) in seen or not isinstance(module.state, dict):
        return
    seen.add(id(module))
    for name, value in module.state.items():
        if isinstance(value, Tensor) and name != "attn_mask":  # CLIP's only tensor that is not part of its state
            yield f"{prefix}{name}", value
        elif isinstance(value, Foreign):
            yield from _tensors_below(value, f"{prefix}{name}.", seen)


def _read_archive(file: IO[bytes]) -> object:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} of its members are a data.pkl, expected one")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian: save it again on a usual machine")

        def member(name: str, size: int) -> Tensor:
            """A storage; torch leaves them uncompressed, so that none is larger than the file."""
            info = archive.getinfo(f"{folder}data/{name}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != size:
                raise ValueError(f"{info.filename} has {info.file_size} bytes, expected {size}, uncompressed")
            return torch.frombuffer(bytearray(archive.read(info)), dtype=torch.uint8) if size else torch.empty(0).byte()

        if archive.getinfo(pickles[0]).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{pickles[0]} is compressed, which torch does not do")
        with archive.open(pickles[0]) as stream:
            return _Reader(stream, member).load()


def _read_series(file: IO[bytes], size: int) -> object:
    """An older file: two numbers, facts about the machine, the content, the keys of its storages, their bytes."""
    storages: dict[str, Tensor] = {}

    def declared(key: str, length: int) -> Tensor:
        if sum(map(len, storages.values())) + length > size:
            raise ValueError(f"its tensors need more bytes than its {size}")
        storages[key] = torch.empty(length, dtype=torch.uint8)
        return storages[key]

    for number in _SERIES:
        if _Reader(file, declared).load() != number:
            raise ValueError("it does not begin as torch's files do")
    machine = _Reader(file, declared).load()
    if not (isinstance(machine, dict) and machine.get("little_endian") is True):
        raise ValueError("its numbers are big-endian: save it again on a usual machine")
    content, keys = _Reader(file, declared).load(), _Reader(file, declared).load()
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise ValueError("the storages that it lists are not those that its tensors use")
    for key in keys:
        file.read(8)  # the number of elements, which the content has said too
        if file.readinto(storages[key].numpy()) != len(storages[key]):  # type: ignore[attr-defined]
            raise EOFError(f"storage {key} ends early")
    return content


@dataclass(frozen=True)
class _Name:
    """A class or function named in the pickle, represented by its name only."""

    full: str


class _Reader(pickle._Unpickler):
    """Python's unpickler, with safe replacements for the instructions that act on objects."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, read_bytes: Bytes) -> None:
        super().__init__(file, encoding="utf-8")
        self._read_bytes, self._storages = read_bytes, dict[str, Tensor]()

    def find_class(self, module: str, name: str) -> _Name:
        """Return the name without importing it."""
        return _Name(f"{module}.{name}")

    def persistent_load(self, pid: object) -> Tensor:
        """A storage, as a tensor with one dimension."""
        match pid:
            case ("storage", _Name(name), str(key), _, int(length), *rest) if rest in ([], [None]):
                dtype = _DTYPES.get(name)
            case _:
                raise pickle.UnpicklingError(f"a storage is described by {str(pid)[:100]}")
        if dtype is None:
            raise pickle.UnpicklingError(f"its tensors are of {name}, expected one of {', '.join(_DTYPES)}")
        if key not in self._storages:
            self._storages[key] = self._read_bytes(key, length * dtype.itemsize)
        return self._storages[key].view(dtype)

    def _call(self) -> None:
        """REDUCE and NEWOBJ: a call of a function or class with arguments."""
        arguments, callee = self.stack.pop(), self.stack[-1]
        if not isinstance(callee, _Name):
            raise pickle.UnpicklingError(f"it calls a {type(callee).__name__}")
        self.stack[-1] = _made(callee.full, arguments)

    def _build(self) -> None:
        """BUILD: attributes of an object."""
        state, owner = self.stack.pop(), self.stack[-1]
        if isinstance(owner, Foreign):
            owner.state = state
        elif not isinstance(owner, dict):  # attributes of an OrderedDict, such as versions of modules, are ignored
            raise pickle.UnpicklingError(f"it sets attributes of a {type(owner).__name__}")

    def _set_item(self) -> None:
        """SETITEM: one entry of a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        """SETITEMS: entries of a dictionary."""
        self._fill(self.pop_mark())

    def _add_items(self) -> None:
        """ADDITEMS: elements of a set."""
        items, target = self.pop_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise pickle.UnpicklingError(f"it adds elements to a {type(target).__name__}")
        target.update(items)

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Foreign):
            raise pickle.UnpicklingError(f"it sets entries of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    dispatch: ClassVar[dict[int, Any]] = {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (
            pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.NONE,
            pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1,
            pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING,
            pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2,
            pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.EMPTY_SET,
            pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BINPERSID, pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT,
            pickle.LONG_BINPUT, pickle.MEMOIZE,
        )
    } | {
        pickle.REDUCE[0]: _call, pickle.NEWOBJ[0]: _call, pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items, pickle.ADDITEMS[0]: _add_items,
    }  # fmt: skip


def _made(name: str, arguments: tuple[Any, ...]) -> object:
    match name:
        case "collections.OrderedDict":
            return dict(*arguments)
        case "torch._utils._rebuild_tensor_v2":
            return _tensor(*arguments[:4])
        case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
            return arguments[0]
    return Foreign(name)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """A view of a storage. Torch refuses one that exceeds it, but not one that repeats elements to any size."""
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {size} has {len(storage)} numbers")
    return storage.as_strided(size, stride, offset)
