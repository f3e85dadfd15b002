"""Zip archives of one JSON text and arrays of numbers, written and read piece by piece.

Members are stored, not compressed: weights hardly shrink, and what is in a file cannot be larger
than the file. Each array is a .npy file of version 1.0 in row-major order, little-endian, with the
header that `header` makes, so that it can be compared instead of parsed.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from evengrad.errors import ModelFileError
from evengrad.saving._encoding import to_text

# An array of a file, the memory it goes to, and what to call it.
Wanted = tuple[dict[str, Any], NDArray[Any], str]

DESCRIPTION = "model.json"
DTYPES = {"<f4": np.float32, "<f8": np.float64, "<i8": np.int64}
_MANY = 1 << 23  # bytes that are worth threads
_PIECE = 1 << 20  # bytes; stays in cache between reading, checking and copying
_SAFE = re.compile(r"(?!(.*/)?\.\.?(/|$))[\w.()+=,# -]+(/[\w.()+=,# -]+)*")
_LOCAL = struct.Struct("<4s5H3I2H")


def header(dtype: str, shape: Sequence[int]) -> bytes:
    """What a .npy file begins with."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def is_safe(member: str) -> bool:
    """Whether a name is a relative path that stays inside its folder, in harmless characters."""
    return len(member) < 1000 and _SAFE.fullmatch(member) is not None


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of an array, in order, of some rows each; vectors and numbers as part of one row."""
    if array.flags.c_contiguous:
        array = array.reshape(-1)
    step = max(1, _PIECE // max(1, array[:1].nbytes))
    for begin in range(0, len(array), step):
        yield array[begin : begin + step]


def _bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1)).cast("B")  # type: ignore[arg-type]


def is_finite(numbers: NDArray[Any]) -> bool:
    """Whether all are finite in float32."""
    if numbers.dtype.kind != "f":
        return True
    with np.errstate(over="ignore"):
        return bool(np.isfinite(numbers.astype(np.float32, copy=False)).all())


def _digest(array: NDArray[Any], dtype: str) -> str:
    digest = hashlib.sha256()
    for piece in pieces(array):
        digest.update(_bytes(np.ascontiguousarray(piece, dtype)))
    return digest.hexdigest()


def _threads(most: int) -> ThreadPoolExecutor:
    """Threads for checksums, which take the most time of all."""
    from evengrad._core import get_num_threads

    return ThreadPoolExecutor(min(most, get_num_threads()))


class Writer:
    """Writes an archive into an open file.

    Parameters
    ----------
    file : file
    digests : bool
        Whether checksums of the arrays will be asked for.
    """

    def __init__(self, file: BinaryIO, *, digests: bool = True) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._taken: set[str] = {DESCRIPTION}
        self._pool = _threads(1) if digests else None
        self._renames = digests  # names without a description are all that says what is what
        self._waiting: list[tuple[dict[str, Any], Future[str]]] = []

    def _open(self, member: str, size: int) -> Any:
        info = zipfile.ZipInfo(member)  # of no time: equal models make equal files
        info.external_attr = 0o644 << 16
        info.file_size = size
        return self._zip.open(info, "w")

    def add(self, member: str, array: NDArray[Any]) -> dict[str, Any]:
        """Write an array under the name, or with `digests` a similar one; return where it is.

        Its checksum may be known only when `add_description` is called.

        Raises
        ------
        ValueError
            If a number is not finite.
        """
        dtype = array.dtype.newbyteorder("<").str
        if self._renames and (not is_safe(member) or member.lower() in self._taken):
            member = f"{member.partition('/')[0]}/{len(self._taken)}"
        self._taken.add(member.lower())
        entry = {"member": member, "dtype": dtype, "shape": list(array.shape), "sha256": ""}
        if self._pool is not None and array.nbytes > _PIECE:
            self._waiting.append((entry, self._pool.submit(_digest, array, dtype)))
        elif self._pool is not None:
            entry["sha256"] = _digest(array, dtype)
        top = header(dtype, array.shape)
        with self._open(f"{member}.npy", len(top) + array.nbytes) as out:
            out.write(top)
            for piece in pieces(array):
                if not is_finite(piece):
                    raise ValueError("not all of its numbers are finite")
                out.write(_bytes(np.ascontiguousarray(piece, dtype)))
        return entry

    def add_description(self, content: Any) -> None:
        """Write the JSON text, in which entries of arrays are."""
        for entry, digest in self._waiting:
            entry["sha256"] = digest.result()
        text = to_text(content).encode()
        with self._open(DESCRIPTION, len(text)) as out:
            out.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._zip.close()  # writes the directory, also of what is thrown away


class Reader:
    """Reads an archive out of an open file, after it has looked at where its members lie."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self.path = file, path
        self._lock = threading.Lock()  # of the place in the file
        self._size = file.seek(0, 2)
        self._places = self._find_places()
        self._read: set[str] = set()

    def bad(self, reason: str) -> ModelFileError:
        """Return the error to raise."""
        return ModelFileError(self.path, reason)

    def _find_places(self) -> dict[str, tuple[int, int, int]]:
        """Begin, size and CRC of each member."""
        try:
            with zipfile.ZipFile(self._file) as archive:
                infos, end = archive.infolist(), archive.start_dir
        except (
            zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, EOFError,
            struct.error, OSError, RuntimeError,
        ) as error:  # fmt: skip
            self._file.seek(0)
            raise self.bad(_what_else(self._file.read(8)) or f"damaged: {error}") from None
        places: dict[str, tuple[int, int, int]] = {}
        infos.sort(key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in infos[1:]), end]
        for info, follower in zip(infos, ends, strict=False):  # without any there is one end
            if info.filename in places:
                raise self.bad(f"it has two members named {info.filename!r:.80}")
            places[info.filename] = self._place(info, follower)
        return places

    def _place(self, info: zipfile.ZipInfo, end: int) -> tuple[int, int, int]:
        name = f"member {info.filename!r:.80}"
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise self.bad(f"{name} is compressed; expected it stored, as model.save writes it")
        if info.flag_bits & ~0x800 or not is_safe(info.filename):
            raise self.bad(f"{name} is none that model.save writes")
        if not 0 <= info.header_offset <= self._size - _LOCAL.size:
            raise self.bad(f"damaged: {name} begins beyond the end")
        self._file.seek(info.header_offset)
        local = _LOCAL.unpack(self._file.read(_LOCAL.size))
        begin = info.header_offset + _LOCAL.size + local[9] + local[10]
        same = self._file.read(local[9]) == info.orig_filename.encode("utf-8", "replace")
        if local[0] != b"PK\3\4" or local[3] != 0 or not same:
            raise self.bad(f"damaged: {name} is not where the directory says")
        if begin + info.file_size > end:
            raise self.bad(f"damaged: {name} runs into what comes next")
        return begin, info.file_size, info.CRC

    @property
    def members(self) -> set[str]:
        """Names of the arrays."""
        return {name.removesuffix(".npy") for name in self._places.keys() - {DESCRIPTION}}

    def has(self, name: str) -> bool:
        """Whether there is a member of this full name."""
        return name in self._places

    def description(self) -> bytes:
        """Return the JSON text."""
        if DESCRIPTION not in self._places:
            raise self.bad(_of_keras(self._places) or f"it has no member {DESCRIPTION!r}")
        begin, size, crc = self._places[DESCRIPTION]
        self._file.seek(begin)
        content = self._file.read(size)
        if zlib.crc32(content) != crc:
            raise self.bad(f"damaged: {DESCRIPTION} is not what its checksum says")
        return content

    def check(self, entry: Any, what: str) -> None:
        """Compare what the description says of an array with its member, without reading it all."""
        begin, size, top, dtype = self._entry(entry, what)
        expected = len(top) + int(np.prod(entry["shape"], dtype=object)) * dtype.itemsize
        if size != expected:
            raise self.bad(f"damaged: {what} has {size} bytes, expected {expected}")
        self._file.seek(begin)
        if self._file.read(len(top)) != top:
            raise self.bad(f"damaged: {what} does not begin as a .npy file of what it should hold")
        if entry["member"] in self._read:
            raise self.bad(f"{what} is the array of something else, too")
        self._read.add(entry["member"])

    def _entry(self, entry: Any, what: str) -> tuple[int, int, bytes, np.dtype[Any]]:
        names = {"member": str, "dtype": str, "shape": list, "sha256": str}
        if not isinstance(entry, dict) or entry.keys() != names.keys():
            raise self.bad(f"expected {', '.join(names)} of the array of {what}")
        if not all(isinstance(entry[name], kind) for name, kind in names.items()):
            raise self.bad(f"expected other values of {', '.join(names)} for {what}")
        shape, dtype, place = entry["shape"], entry["dtype"], f"{entry['member']}.npy"
        if dtype not in DTYPES or len(shape) > 32 or not all(_is_size(n) for n in shape):
            raise self.bad(f"{what} has shape {shape!r:.80} and dtype {dtype!r:.20}")
        if place not in self._places:
            raise self.bad(f"it has no member {place!r:.80}, the array of {what}")
        return *self._places[place][:2], header(dtype, shape), np.dtype(dtype)

    def fill(self, wanted: Sequence[Wanted]) -> None:
        """Fill arrays with what `check` has looked at."""
        if sum(target.nbytes for _, target, _ in wanted) < _MANY:
            for entry, target, what in wanted:
                self.read_into(entry, target, what)
            return
        with _threads(4) as pool:
            list(pool.map(lambda one: self.read_into(*one), wanted))

    def read_into(self, entry: dict[str, Any], target: NDArray[Any], what: str) -> None:
        """Fill one array."""
        if target.dtype != np.dtype(entry["dtype"]) or list(target.shape) != entry["shape"]:
            raise self.bad(
                f"expected {what} as {target.dtype} of shape {target.shape}, it has "
                f"{entry['dtype']} of shape {tuple(entry['shape'])}"
            )
        place = self._places[f"{entry['member']}.npy"][0]
        place += len(header(entry["dtype"], entry["shape"]))
        digest, finite = hashlib.sha256(), True
        for piece in pieces(target):
            got = piece if piece.flags.c_contiguous else np.empty(piece.shape, piece.dtype)
            view = _bytes(got)
            with self._lock:
                self._file.seek(place)
                count = self._file.readinto(view)  # type: ignore[attr-defined]
            if count != len(view):
                raise self.bad(f"damaged: it ends within {what}")
            place += count
            digest.update(view)
            if got is not piece:
                piece[...] = got
            finite = finite and is_finite(got)
        if digest.hexdigest() != entry["sha256"]:
            raise self.bad(f"damaged: {what} is not what its checksum says")
        if not finite:
            raise self.bad(f"expected finite numbers, not so in {what}")

    def read(self, entry: dict[str, Any], what: str) -> NDArray[Any]:
        """Return an array that `check` has looked at."""
        made = np.empty(entry["shape"], DTYPES[entry["dtype"]])
        self.read_into(entry, made, what)
        return made

    def check_all_named(self) -> None:
        """Refuse members that the description does not know."""
        unknown = sorted(self.members - self._read)
        if unknown:
            raise self.bad(f"it has a member that nothing refers to, {unknown[0]!r:.80}")


def _is_size(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 62


def _what_else(begin: bytes) -> str:
    if begin.startswith(b"\x89HDF"):
        return (
            "it is an HDF5 file, as Keras writes; there, model.save_weights or numpy.savez, here "
            "model.set_weights with the arrays"
        )
    if not begin.startswith(b"PK"):
        return "expected a zip archive, as model.save writes it"
    return ""


def _of_keras(names: Any) -> str:
    if "config.json" not in names:
        return ""
    return (
        "it is a file of Keras; build the same model here and give it the weights: "
        "model.set_weights(keras_model.get_weights())"
    )
