"""Kinds of files that hold weights by name."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad.errors import ModelFileError
from evengrad.saving import _files
from evengrad.saving._archive import Reader, Writer, is_finite

if TYPE_CHECKING:
    from evengrad.variable import Variable

Named = Mapping[str, "Variable"]

_LARGEST_HEADER = 10_000


class Source:
    """Arrays of a file by key, of which nothing is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.keys: list[str] = []

    def shape(self, key: str) -> tuple[int, ...]:
        """Return what the file says of an array."""
        raise NotImplementedError

    def array(self, key: str, variable: Variable) -> NDArray[Any]:
        """Return the array, whose shape is that of the variable."""
        raise NotImplementedError

    def read(self, key: str, variable: Variable) -> NDArray[Any]:
        """Return the array in the dtype of the variable, checked."""
        array = self.array(key, variable)
        with np.errstate(over="ignore"):
            array = array.astype(variable.storage.dtype, copy=False)
        if not is_finite(array):
            raise ModelFileError(self.path, f"expected finite float32 numbers, not so in {key!r}")
        return array


def writer_for(who: str, path: Path) -> Callable[[Path, Named], None]:
    """Return what writes a file of this name."""
    if path.suffix == ".npz":
        return _write_npz
    if path.suffix == ".safetensors":
        _safetensors(who)
        return _write_safetensors
    raise _wrong_name(who, path)


@contextmanager
def source_of(who: str, path: Path) -> Iterator[Source]:
    """Open a file for reading; whatever is wrong with what it holds is a ModelFileError."""
    from evengrad.saving._model_file import failures

    if path.suffix == ".safetensors":
        _safetensors(who)
    elif path.suffix not in (".npz", ".evengrad"):
        raise _wrong_name(who, path)
    with failures(str(path)):
        if path.suffix == ".safetensors":
            yield _SafeTensors(path)
            return
        with open(path, "rb") as file:
            yield (_Npz if path.suffix == ".npz" else _Model)(path, file)


def _wrong_name(who: str, path: Path) -> ValueError:
    name = path.name.removesuffix(path.suffix) + ".npz"
    of_keras = "; HDF5 is not here" if path.suffix in (".h5", ".hdf5") else ""
    return ValueError(
        f"{who}: expected a name that ends in .npz or .safetensors, got {path.name!r}{of_keras}: "
        f"use {name!r}"
    )


# -- .evengrad


class _Model(Source):
    """The variables of a whole model."""

    def __init__(self, path: Path, file: Any) -> None:
        from evengrad.saving._model_file import check_variables, read_description

        super().__init__(path)
        self._reader = Reader(file, self.path)
        entries = check_variables(self._reader, read_description(self._reader))
        self._entries = {entry["path"]: entry["array"] for entry in entries}
        self.keys = list(self._entries)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return what the file says of an array."""
        return tuple(self._entries[key]["shape"])

    def array(self, key: str, variable: Variable) -> NDArray[Any]:
        """Return the array."""
        return self._reader.read(self._entries[key], key)


# -- .npz


def _write_npz(path: Path, variables: Named) -> None:
    with _files.replacing(path) as file, Writer(file, digests=False) as writer:
        for key, variable in variables.items():
            try:
                writer.add(key, variable.value)
            except ValueError as error:
                raise ValueError(f"save_weights: {key}: {error}; nothing was saved") from None


class _Npz(Source):
    """What `numpy.savez` and `numpy.savez_compressed` write, too."""

    def __init__(self, path: Path, file: Any) -> None:
        super().__init__(path)
        self._zip = zipfile.ZipFile(file)
        names = self._zip.namelist()
        self.keys = [name.removesuffix(".npy") for name in names]
        if len(set(self.keys)) < len(names) or not all(name.endswith(".npy") for name in names):
            raise ValueError("expected .npy members of different names, as save_weights writes")

    def _open(self, key: str) -> tuple[Any, tuple[int, ...], bool, np.dtype[Any]]:
        try:
            member = self._zip.open(f"{key}.npy")
        except OSError as error:  # of a place that is none
            raise ValueError(f"damaged: {key!r} is not where the directory says") from error
        version = np.lib.format.read_magic(member)
        if version != (1, 0):  # of others the header alone may be of 4 GB
            raise ValueError(f"expected {key!r} in version 1.0 of .npy, got {version}")
        read = np.lib.format.read_array_header_1_0
        return member, *read(member, max_header_size=_LARGEST_HEADER)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return what the file says of an array."""
        member, shape, _, _ = self._open(key)
        member.close()
        return shape

    def array(self, key: str, variable: Variable) -> NDArray[Any]:
        """Return the array; no more is read than it should hold."""
        member, shape, columns_first, dtype = self._open(key)
        with member:
            if dtype.kind not in "fiub":
                raise ValueError(f"expected numbers in {key!r}, got dtype {dtype}")
            size = math.prod(shape) * dtype.itemsize
            content = member.read(size)
            if len(content) != size or member.read(1):  # the end is where checksums are looked at
                raise ValueError(f"damaged: {key!r} does not have the {size} bytes it should")
        flat = np.frombuffer(content, dtype)
        return flat.reshape(shape, order="F" if columns_first else "C")


# -- .safetensors


def _safetensors(who: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            f"{who}: .safetensors needs a library: pip install evengrad[safetensors]"
        ) from None
    return safetensors


def _write_safetensors(path: Path, variables: Named) -> None:
    library = _safetensors("save_weights")
    arrays = {key: np.ascontiguousarray(v.value) for key, v in variables.items()}
    for key, array in arrays.items():
        if not is_finite(array):
            raise ValueError(f"save_weights: {key}: not all of its numbers are finite")
    content = library.numpy.save(arrays, {"order": json.dumps(list(arrays))})
    with _files.replacing(path) as file:
        file.write(content)


class _SafeTensors(Source):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = _safetensors("load_weights").safe_open(path, framework="numpy")
        self.keys = list(self._file.keys())
        order = json.loads((self._file.metadata() or {}).get("order", "[]"))
        if isinstance(order, list) and sorted(map(str, order)) == sorted(self.keys):
            self.keys = list(map(str, order))

    def shape(self, key: str) -> tuple[int, ...]:
        """Return what the file says of an array."""
        return tuple(self._file.get_slice(key).get_shape())

    def array(self, key: str, variable: Variable) -> NDArray[Any]:
        """Return the array."""
        array: NDArray[Any] = self._file.get_tensor(key)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"expected numbers in {key!r}, got dtype {array.dtype}")
        return array
