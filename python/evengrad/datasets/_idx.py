"""Find, fetch, check and read the four IDX files whose names MNIST and Fashion-MNIST share."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from http.client import HTTPResponse

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Data = tuple[tuple[Images, Labels], tuple[Images, Labels]]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
IMAGE_SHAPE = (28, 28)
CLASSES = 10
UBYTE = 0x08
CHUNK = 1 << 20
# The largest original unpacks to 47,040,016 bytes: more than this is a mistake or a zip bomb.
MAX_BYTES = 1 << 26
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Source:
    """What tells one data set from the other.

    ``sha256`` is of the unpacked files: Debian and other mirrors compress them anew. ``keras`` is
    the place below Keras' ``datasets`` folder, a folder or one ``.npz`` file.
    """

    title: str
    module: str
    name: str
    url: str
    sha256: Mapping[str, str]
    keras: str
    system: str | None = None


def load(source: Source, path: str | os.PathLike[str] | None) -> Data:
    """Read ``path`` or, without one, the first place that has the data; else fetch them."""
    if path is not None:
        return _load_given(source, Path(path).expanduser())
    tried = []
    for place in _places(source):
        refusal = _refuse(source, place)
        if refusal is None:
            return read_npz(place) if place.suffix == ".npz" else _read_four(_find(place))
        tried.append(f"{place}: {refusal}")
    return _read_four(_fetch_missing(source, tried))


def _load_given(source: Source, path: Path) -> Data:
    takes_npz = source.keras.endswith(".npz")
    if takes_npz and path.is_file():
        return read_npz(path)
    if refusal := _refuse_folder(path):
        raise FileNotFoundError(
            f"{source.module}.load_data: path must be a folder with {', '.join(FILES)} "
            f"(each as it is or with .gz){' or an .npz file' if takes_npz else ''}, "
            f"got {str(path)!r}: {refusal}."
        )
    return _read_four(_find(path))


# ---- places


def _places(source: Source) -> list[Path]:
    keras_home = os.environ.get("KERAS_HOME") or "~/.keras"
    places = [Path(keras_home, "datasets", source.keras), _user_cache(source)]
    if source.system:
        places.insert(0, Path(source.system))
    if own := os.environ.get("EVENGRAD_DATA"):
        places = [Path(own, source.name), Path(own), *places]
    return [place.expanduser() for place in places]


def _user_cache(source: Source) -> Path:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore relative paths.
    return Path(xdg if os.path.isabs(xdg) else "~/.cache", "evengrad", source.name)


def _find(folder: Path) -> dict[str, Path]:
    """Return those of the four files that ``folder`` has, by name without ``.gz``."""
    # Of two candidates the later wins: .gz is what _fetch writes.
    candidates = ((name, folder / (name + end)) for end in ("", ".gz") for name in FILES)
    return {name: path for name, path in candidates if os.path.isfile(path)}


def _refuse(source: Source, place: Path) -> str | None:
    """Say why ``place`` cannot give the data; None if it can."""
    if place.suffix == ".npz":
        return None if os.path.isfile(place) else "no such file"
    if refusal := _refuse_folder(place):
        return refusal
    # The data sets share their file names: the smallest file tells them apart.
    name = FILES[-1]
    same = _sha256(_find(place)[name]) == source.sha256[name]
    return None if same else f"its {name} is not that of {source.title}"


def _refuse_folder(folder: Path) -> str | None:
    if not os.path.isdir(folder):
        return "not a folder" if os.path.exists(folder) else "no such folder"
    missing = [name for name in FILES if name not in _find(folder)]
    return f"lacks {', '.join(missing)}" if missing else None


# ---- download


def _fetch_missing(source: Source, tried: list[str]) -> dict[str, Path]:
    """Download those of the four files which the cache lacks or has with other bytes."""
    from http.client import HTTPException

    own = os.environ.get("EVENGRAD_DATA")
    folder = Path(own, source.name).expanduser() if own else _user_cache(source).expanduser()
    base = _base_url(source)
    files = _find(folder)
    try:
        for name in FILES:
            if name not in files or _sha256(files[name]) != source.sha256[name]:
                files[name] = _fetch(f"{base}/{name}.gz", folder, source.sha256[name])
    except (OSError, HTTPException) as error:
        places = "".join(f"\n  {place}" for place in tried)
        raise FileNotFoundError(
            f"{source.module}.load_data: {source.title} is in none of these places:{places}\n"
            f"and fetching it from {base} to {folder} failed: {type(error).__name__}: {error}\n"
            f"Give a folder with {', '.join(FILES)} (each as it is or with .gz) as path= or in "
            "EVENGRAD_DATA, or take fashion_mnist.load_sample() or digits.load_data(), "
            "which come with evengrad."
        ) from error
    return files


def _base_url(source: Source) -> str:
    mirror = os.environ.get("EVENGRAD_DATA_URL")
    if mirror and not mirror.startswith(("http://", "https://")):
        raise ValueError(f"EVENGRAD_DATA_URL must begin with http:// or https://, got {mirror!r}.")
    return f"{mirror.rstrip('/')}/{source.name}" if mirror else source.url


def _fetch(url: str, folder: Path, expected: str) -> Path:
    """Download one file; it gets its name in ``folder`` only once its sha256 is right."""
    from tempfile import TemporaryDirectory
    from urllib.request import urlopen

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / url.rpartition("/")[2]
    with TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        part = Path(scratch, target.name)
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response, part.open("wb") as out:
            _copy(response, out, target.name)
        received = _sha256(part)
        if received != expected:
            raise ValueError(
                f"{target.name} from {url}: the sha256 of the unpacked file must be {expected}, "
                f"received {received}. The download was deleted."
            )
        os.replace(part, target)
    return target


def _copy(response: HTTPResponse, out: BinaryIO, name: str) -> None:
    total, done = response.length, 0
    while chunk := response.read(CHUNK):
        out.write(chunk)
        done += len(chunk)
        if done > MAX_BYTES:
            raise OSError(f"{name}: the server sent more than {MAX_BYTES:,} bytes")
        _show(name, done, total, end="")
    if total is not None and done != total:
        raise OSError(f"{name}: the connection ended after {done:,} of {total:,} bytes")
    _show(name, done, total, end="\n")


def _show(name: str, done: int, total: int | None, end: str) -> None:
    """Keep one line a file on stderr; where it is no terminal, write it only once, at the end."""
    if sys.stderr is None or not (end or sys.stderr.isatty()):
        return
    of_total = f" of {total / 1e6:.1f}" if total else ""
    start = "\r" if sys.stderr.isatty() else ""
    print(f"{start}{name}: {done / 1e6:.1f}{of_total} MB", end=end, file=sys.stderr, flush=True)


# ---- files


def _chunks(path: Path) -> Generator[bytes, None, None]:
    """Yield the content of a file, unpacked if it is gzip, whatever its name says."""
    import gzip
    import zlib

    done = 0
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            while chunk := file.read(CHUNK):
                done += len(chunk)
                if done > MAX_BYTES:
                    raise ValueError(f"{path}: must unpack to at most {MAX_BYTES:,} bytes, is more")
                yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: must be whole, received damaged gzip: {error}") from error


def _sha256(path: Path) -> str:
    """Return the digest of the unpacked file, or what is wrong with it, which equals no digest."""
    import hashlib

    digest = hashlib.sha256()
    try:
        for chunk in _chunks(path):
            digest.update(chunk)
    except ValueError as error:
        return str(error)
    return digest.hexdigest()


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes in ``ndim`` dimensions, packed by gzip or not."""
    with closing(_chunks(path)) as chunks:
        content = bytearray(next(chunks, b""))
        start = 4 + 4 * ndim
        shape = _idx_shape(path, bytes(content[:start]), ndim)
        end = start + math.prod(shape)
        # Memory follows the bytes that are there, not what the header promises.
        while len(content) <= end and (chunk := next(chunks, b"")):
            content += chunk
    if len(content) != end:
        found = "more" if len(content) > end else f"{len(content) - start:,}"
        raise ValueError(
            f"{path}: dimensions {shape} need exactly {end - start:,} bytes after the header, "
            f"received {found}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _idx_shape(path: Path, header: bytes, ndim: int) -> tuple[int, ...]:
    magic, expected = header[:4], bytes([0, 0, UBYTE, ndim])
    if magic != expected:
        raise ValueError(
            f"{path}: an IDX file of unsigned bytes in {ndim} dimension(s) begins with "
            f"{expected.hex(' ')}, received {magic.hex(' ') or 'an empty file'}."
        )
    if len(header) != 4 + 4 * ndim:
        raise ValueError(
            f"{path}: the IDX header has {4 + 4 * ndim} bytes, received {len(header)}."
        )
    return tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))


def _read_four(files: Mapping[str, Path]) -> Data:
    train_images, train_labels, test_images, test_labels = (files[name] for name in FILES)
    return _read_pair(train_images, train_labels), _read_pair(test_images, test_labels)


def _read_pair(images: Path, labels: Path) -> tuple[Images, Labels]:
    x, y = read_idx(images, 3), read_idx(labels, 1)
    _check_pair(x, y, str(images), str(labels))
    return x, y


def read_npz(path: Path) -> Data:
    """Read an archive with Keras' four arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``."""
    # numpy leaves a file open that it opened itself and found to be no archive.
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                if any(entry.file_size > MAX_BYTES for entry in archive.zip.infolist()):
                    raise ValueError(f"an array unpacks to more than {MAX_BYTES:,} bytes")
                x_train, y_train, x_test, y_test = (archive[key] for key in NPZ_KEYS)
        # A damaged archive makes zipfile, zlib and numpy raise a dozen unrelated types.
        except Exception as error:
            raise ValueError(
                f"{path}: must be an .npz archive with the arrays {', '.join(NPZ_KEYS)}, "
                f"received {type(error).__name__}: {error}"
            ) from error
    _check_pair(x_train, y_train, f"{path}: x_train", f"{path}: y_train")
    _check_pair(x_test, y_test, f"{path}: x_test", f"{path}: y_test")
    return (x_train, y_train), (x_test, y_test)


def _check_pair(x: Images, y: Labels, images: str, labels: str) -> None:
    if x.dtype != np.uint8 or x.shape[1:] != IMAGE_SHAPE or len(x) == 0:
        raise ValueError(
            f"{images}: must be uint8 images (n, 28, 28) with n > 0, received {x.dtype} {x.shape}."
        )
    if y.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise ValueError(
            f"{labels}: must be uint8 labels ({len(x)},), one for each image, "
            f"received {y.dtype} {y.shape}."
        )
    if y.max() >= CLASSES:
        raise ValueError(f"{labels}: labels must lie in 0..{CLASSES - 1}, received {y.max()}.")
