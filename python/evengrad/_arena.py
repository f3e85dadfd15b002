"""Memory for the kernels: 64-byte aligned float32, rows padded with zeros to whole cache lines."""

import itertools

import numpy as np
from numpy.typing import NDArray

_LINE = 16  # floats in a cache line, and the granule of a pitch
_PAGE = 4096  # bytes; two addresses equal modulo this alias in L1
_STAGGER = 7 * 64  # bytes between successive starts; 7 is odd, so all 64 lines of a page are used

_allocations = itertools.count()


def _aligned(floats: int) -> NDArray[np.float32]:
    """Zeroed memory that starts on a cache line, at another offset in its page each time."""
    raw = np.zeros(floats + _PAGE // 4, dtype=np.float32)
    start = (next(_allocations) * _STAGGER - raw.ctypes.data) % _PAGE // 4
    return raw[start : start + floats]


def _padded(columns: int) -> int:
    return -(-columns // _LINE) * _LINE


def tensor(rows: int, columns: int) -> NDArray[np.float32]:
    """Zeros of shape (rows, columns), a view of rows of whole cache lines.

    Parameters
    ----------
    rows, columns : int
        The visible shape. Memory goes on behind each row, as zeros, to the next multiple of 16
        floats, and one cache line further where rows would lie whole pages apart.
    """
    pitch = _padded(columns)
    if pitch * 4 % _PAGE == 0:
        pitch += _LINE
    return _aligned(rows * pitch).reshape(rows, pitch)[:, :columns]


def vector(columns: int) -> NDArray[np.float32]:
    """Zeros of shape (columns,), with zeros behind up to a multiple of 16 floats."""
    return _aligned(_padded(columns))[:columns]


def padding(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the numbers behind each row of a tensor, or behind a vector, up to a cache line."""
    *rows, columns = view.shape
    whole = np.lib.stride_tricks.as_strided(view, (*rows, _padded(columns)), view.strides)
    return whole[..., columns:]
