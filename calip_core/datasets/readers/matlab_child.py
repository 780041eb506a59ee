"""Run by ``matlab.py`` in a process of its own: one variable of a MATLAB file on standard input, as JSON.

It imports NumPy and one reader, so that it starts in a few tenths of a second.
"""

import io
import json
import sys
from contextlib import suppress
from typing import Any

MOST_MEMORY = 4 << 30  # bytes; damaged files can state any size
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
HDF5_PLACE = 512  # MATLAB puts a header of its own before HDF5's


def main() -> None:
    """Print ``{"value": ...}``, or ``{"known": [...]}`` with the names of the variables if it has no such one."""
    content, (variable,) = sys.stdin.buffer.read(), sys.argv[1:]
    is_hdf5 = content.startswith(HDF5_MARK, HDF5_PLACE)
    print(json.dumps((_from_hdf5 if is_hdf5 else _from_mat)(io.BytesIO(content), variable)))


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows and macOS lack the one or refuse the other
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _from_mat(file: io.BytesIO, variable: str) -> dict[str, Any]:
    """MATLAB's formats 4 to 7.2."""
    from scipy.io import loadmat, whosmat

    _limit_memory()
    known = [name for name, *_ in whosmat(file)]
    if variable not in known:
        return {"known": known}
    file.seek(0)
    return {"value": _plain(loadmat(file, variable_names=[variable], squeeze_me=True)[variable])}


def _plain(value: Any) -> Any:
    """Arrays as lists without axes of length one, arrays of structs as one list for each field."""
    fields = getattr(getattr(value, "dtype", None), "names", None)
    if fields:
        return {field: [_plain(item) for item in value[field].ravel()] for field in fields}
    if hasattr(value, "ravel"):
        return [_plain(item) for item in value.ravel().tolist()]
    return value


def _from_hdf5(file: io.BytesIO, variable: str) -> dict[str, Any]:
    """MATLAB's format 7.3, which is HDF5."""
    import h5py

    _limit_memory()
    with h5py.File(file, "r") as content:
        known = [name for name in content if not name.startswith("#")]
        return {"value": _of_node(content, variable)} if variable in known else {"known": known}


def _of_node(parent: Any, name: Any) -> Any:
    """A variable, or what a reference leads to: text, numbers, a cell array, or a struct as one list for each field."""
    import h5py

    if isinstance(name, str) and not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to another place")
    node = parent[name]
    if isinstance(node, h5py.Group):
        return {field: _listed(_of_node(node, field)) for field in node}
    if node.is_virtual or node.external:
        raise ValueError(f"{name} is kept in another file")
    empty, kind = "MATLAB_empty" in node.attrs, node.attrs.get("MATLAB_class")
    values = [] if empty else node[()].ravel().tolist()
    if kind == b"char":
        return "".join(map(chr, values))
    if h5py.check_ref_dtype(node.dtype):
        return [_single(_of_node(node.file, reference)) for reference in values]
    return values


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


if __name__ == "__main__":
    main()
