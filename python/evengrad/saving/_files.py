"""Files: where to write and what may be read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from evengrad import _validation

Named = str | os.PathLike[str]

_NOT_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def checked_path(who: str, filepath: Any) -> Path:
    """Return what users give as the name of a file."""
    try:
        path = os.fspath(filepath)
    except TypeError:
        path = b""
    if not isinstance(path, str) or not path or "\0" in path:
        raise TypeError(f"{who}: expected filepath to be the name of a file, got {filepath!r}")
    return Path(path)


def readable(who: str, path: Path) -> None:
    """Refuse what is no file."""
    if not path.exists():
        raise FileNotFoundError(f"{who}: there is no file {path}")
    if not path.is_file():
        raise ValueError(f"{who}: expected a file, {path} is none")


def may_write(who: str, path: Path, overwrite: Any) -> bool:
    """Whether to write; asks, as Keras does, where a file exists and overwrite is False."""
    _validation.check_flag(who, "overwrite", overwrite)
    if path.is_dir():
        raise IsADirectoryError(f"{who}: expected the name of a file, {path} is a folder")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{who}: expected a folder to write into, {path.parent} is none; make it first"
        )
    if overwrite or not path.exists():
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise FileExistsError(f"{who}: {path} exists; remove it, or pass overwrite=True")
    return input(f"{path} exists. Overwrite it? [y/n] ").strip().lower() in ("y", "yes")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` in the end, whole, or not at all.

    It is written beside it under the name of `path` with ".tmp", to the disk before it takes its
    place. What is left of a process that was killed is overwritten by the next one.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(target.name + ".tmp")
    with _locked(temporary) as file:
        try:
            with suppress(OSError):  # keep who may read it
                os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # no file in use can be renamed there
                file.close()
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    _sync_folder(target.parent)


@contextmanager
def _locked(temporary: Path) -> Iterator[BinaryIO]:
    """Open an empty file that nobody else has: whoever comes second waits."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | _NOT_LINKS, 0o666)
        with os.fdopen(descriptor, "r+b", buffering=1 << 20) as file:
            _lock(file)
            if not _still_there(temporary, file):  # whoever had it has renamed it
                continue
            file.truncate(0)
            yield file
            return


def _lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # where there is none a file in use cannot be replaced either
        return
    with suppress(OSError):  # some network file systems have no locks
        fcntl.flock(file, fcntl.LOCK_EX)


def _still_there(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a loss of power."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
