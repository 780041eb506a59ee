"""Files of torch's are read without running anything in them."""

import argparse
import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from calip_core.backbones import archive
from calip_core.backbones.archive import Foreign, read_torch, scripted_tensors
from calip_core.backbones.openai import load_clip
from tests.backbones.clips import FAMILIES, save_as_shipped

TENSORS = {
    **{str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in archive._DTYPES.values()},
    "scalar": torch.tensor(4.6),
    "empty": torch.zeros(0, 3),
    "view": torch.arange(12.0).reshape(3, 4)[1:, ::2].T,
    "parameter": nn.Parameter(torch.ones(2)),
}
CONTENT = {
    "weights": collections.OrderedDict(TENSORS),
    "plain": [1, -3, 2**70, 0.5, None, True, "text", b"bytes", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}],
    "one": {"lr": 1e-3},
}
FORMATS = {
    "archive": {},
    "archive of protocol 4": {"pickle_protocol": 4},
    "series": {"_use_new_zipfile_serialization": False},
}


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(map(equal, first, second)) and len(first) == len(second)
    return first == second and type(first) is type(second)


@pytest.fixture(params=FORMATS)
def save(request, tmp_path):
    """Writes a value as one of the formats of ``torch.save`` and returns the path."""

    def saved(value):
        torch.save(value, tmp_path / "x.pt", **FORMATS[request.param])
        return tmp_path / "x.pt"

    return saved


def test_what_torch_saved_comes_back(save):
    content = {**CONTENT, "plain": [value for value in CONTENT["plain"] if not isinstance(value, bytes)]}
    assert equal(content, read_torch(save(content)))


def test_views_of_one_storage_stay_views(save):
    base = torch.arange(6.0)
    whole, part = read_torch(save([base, base[2:4]]))
    whole[2] = 9
    assert part[0] == 9


@pytest.mark.filterwarnings("ignore")  # torch would rather be rid of TorchScript
@pytest.mark.parametrize("family", FAMILIES)
def test_torchscript_gives_its_own_state_dict(family, tmp_path):
    save_as_shipped(family, "archive", tmp_path / "x.pt")
    expected = torch.jit.load(tmp_path / "x.pt").state_dict()
    assert equal(dict(expected), scripted_tensors(read_torch(tmp_path / "x.pt")))


class Intruder:
    """Calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def fail():
    pytest.fail("code of a checkpoint was run")


@pytest.mark.parametrize(
    "intruder",
    [Intruder(fail), Intruder(os._exit, 3), Intruder(eval, "1 / 0"), Intruder(os.system, "kill $PPID")],
    ids=lambda intruder: intruder.call[0].__name__,
)
def test_a_function_is_named_and_not_called(save, intruder):
    path = save({"visual.conv1.weight": intruder})
    held = read_torch(path)["visual.conv1.weight"]
    assert isinstance(held, Foreign) and held.name.endswith(intruder.call[0].__name__)
    with pytest.raises(ValueError, match=rf"x\.pt holds other things than tensors .*{intruder.call[0].__name__}"):
        load_clip(path)


def test_a_module_is_not_even_imported(save, monkeypatch, tmp_path):
    (tmp_path / "intruding.py").write_text("class Model: pass\n\ndef __getattr__(name): raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    import intruding

    path = save(intruding.Model())
    (tmp_path / "intruding.py").write_text("raise SystemExit('imported')")
    monkeypatch.delitem(__import__("sys").modules, "intruding")
    assert read_torch(path).name == "intruding.Model"
    with pytest.raises(ValueError, match=r"holds a intruding.Model, expected .*state_dict\(\)"):
        load_clip(path)


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_setstate_is_not_run(tmp_path):
    """The attack of a checkpoint that overwrites a file of the reader's while it is loaded."""

    class Writes(nn.Module):
        def __init__(self, path: str, payload: torch.Tensor):
            super().__init__()
            self.path, self.payload, self.training = path, payload, False

        @torch.jit.export
        def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
            return (self.path, self.payload, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
            self.path = state[0]
            self.payload = state[1]
            self.training = state[2]
            opened = torch.from_file(state[0], True, int(state[1].numel()), dtype=torch.uint8)
            opened.copy_(state[1])
            self.payload = opened

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    own = tmp_path / "own.txt"
    own.write_bytes(b"words of the reader's own")
    scripted = torch.jit.script(Writes(str(own), torch.tensor(list(b"overwritten"), dtype=torch.uint8)))
    scripted.save(str(tmp_path / "x.pt"))
    own.write_bytes(b"words of the reader's own")
    with pytest.raises(ValueError, match=r"x\.pt holds a __torch__.*Writes"):
        load_clip(tmp_path / "x.pt")
    assert own.read_bytes() == b"words of the reader's own"
    torch.jit.load(tmp_path / "x.pt")
    assert own.read_bytes() != b"words of the reader's own"  # the attack is one


@pytest.mark.parametrize(
    "extra",
    [np.float64(71.3), np.arange(3), argparse.Namespace(lr=1), collections.Counter("aab"), {1}, b"x", torch.Size([2])],
    ids=lambda extra: type(extra).__name__,
)  # fmt: skip
def test_other_objects_do_not_hide_the_tensors(save, extra):
    content = read_torch(save({"weight": torch.ones(2), "extra": extra, "after": torch.zeros(1)}))
    assert isinstance(content["extra"], Foreign | set | bytes) and torch.equal(content["weight"], torch.ones(2))
    assert torch.equal(content["after"], torch.zeros(1))


# Programs that no pickler writes: they try to change what the reader itself works with.
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\4tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0%s%s\x89Nt" + b"R"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\0\0\0__defaults__Nstb.", "sets attributes of a _Name"),
        (STORAGE + b"}X\4\0\0\0dataNsb.", "sets attributes of a Tensor"),
        (STORAGE + b"K\0K\1s.", "sets entries of a Tensor"),
        (STORAGE + b"(K\0K\1u.", "sets entries of a Tensor"),
        (STORAGE + b"(K\1\x90.", "adds elements to a"),
        (STORAGE + b")R.", "it calls a Tensor"),
        (b"cbuiltins\neval\n)\x81)R.", "it calls a Foreign"),
        (b"(X\1\0\0\0acbuiltins\neval\no.", "KeyError"),
        (b"(cbuiltins\neval\nX\1\0\0\0ao.", "KeyError"),
        (b"(X\1\0\0\0aibuiltins\neval\n.", "KeyError"),
        (b"\x82\1.", "KeyError"),
        (TENSOR % (b"K\2K\3\x86", b"K\3K\1\x86") + b".", "a tensor of shape .2, 3. has 4 numbers"),
        (TENSOR % (b"\x8a\6\0\0\0\0\0\1\x85", b"K\0\x85") + b".", "a tensor of shape .* has 4 numbers"),
        (TENSOR % (b"K\4\x85", b"K\2\x85") + b".", "out of bounds"),
        (TENSOR % (b"K\4\x85", b"J\xff\xff\xff\xff\x85") + b".", "Negative strides"),
        (TENSOR % (b"J\xff\xff\xff\xff\x85", b"K\1\x85") + b".", "RuntimeError"),
        (STORAGE.replace(b"K\4", b"J\xff\xff\xff\x7f") + b".", "has 16 bytes, expected 8589934588"),
        (STORAGE.replace(b"Float", b"Typed") + b".", "its tensors are of torch.TypedStorage"),
        (b"X\1\0\0\0aQ.", "a storage is described by a"),
    ],
)  # fmt: skip
def test_hand_written_programs_are_refused(tmp_path, program, said):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("x/data.pkl", b"\x80\2" + program)
        file.writestr("x/data/0", struct.pack("4f", 1, 2, 3, 4))
    with pytest.raises(ValueError, match=rf"x\.pt cannot be read as a file that torch wrote .*{said}"):
        read_torch(tmp_path / "x.pt")


def test_compressed_and_big_endian_archives_are_refused(tmp_path):
    torch.save({"x": torch.zeros(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as file:
        members = {name: file.read(name) for name in file.namelist()}
    for compressed in ("data.pkl", "data/0"):
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
            for name, content in members.items():
                file.writestr(name, content, zipfile.ZIP_DEFLATED if name.endswith(compressed) else zipfile.ZIP_STORED)
        with pytest.raises(ValueError, match="compressed"):
            read_torch(tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        for name, content in members.items():
            file.writestr(name, b"big" if name.endswith("byteorder") else content)
    with pytest.raises(ValueError, match="big-endian"):
        read_torch(tmp_path / "x.pt")


def series(content, keys=("0",), tail=b"", machine=None):
    """An older file, by hand."""
    buffer = io.BytesIO()
    for value in (*archive._SERIES, {"little_endian": True} if machine is None else machine):
        pickle.dump(value, buffer, 2)
    buffer.write(b"\x80\2" + content)
    pickle.dump(list(keys), buffer, 2)
    return buffer.getvalue() + tail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (series(STORAGE + b".", tail=bytes(8)), "storage 0 ends early"),
        (series(STORAGE + b".", keys=["1"], tail=bytes(24)), "storages that it lists"),
        (series(STORAGE.replace(b"K\4", b"J\xff\xff\xff\x7f") + b"."), "its tensors need more bytes than its"),
        (series(STORAGE + b".", machine={"little_endian": False}), "big-endian"),
        (pickle.dumps(Intruder(fail), 2), "does not begin as torch's files do"),
    ],
)
def test_older_files_that_lie_are_refused(tmp_path, content, said):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.pt cannot be read as a file that torch wrote .*{said}"):
        read_torch(tmp_path / "x.pt")
