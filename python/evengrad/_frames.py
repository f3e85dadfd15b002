"""Tables of pandas and polars as arrays: numbers go through, the rest is named by its column."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALL = {np.dtype(t) for t in ("?", "i1", "i2", "u1", "u2", "f2", "f4")}  # exact in float32


def column_names(data: Any) -> list[str] | None:
    """Names of the columns of a table, or None for what is none."""
    if _is(data, "pandas", "DataFrame") or _is(data, "polars", "DataFrame"):
        return [str(name) for name in data.columns]
    return None


def values(who: str, name: str, data: Any) -> Any:
    """Return what has `to_numpy` as an array.

    Columns of one dtype keep it; else all become float32 where it holds them exactly, or float64.
    """
    if _is(data, "pandas", "DataFrame", "Series", "Index"):
        return _pandas(who, name, data)
    if _is(data, "polars", "DataFrame", "Series"):
        return _polars(who, name, data)
    return data.to_numpy()


def _is(data: Any, module: str, *classes: str) -> bool:
    library = sys.modules.get(module)  # whoever has such an object has imported it
    return library is not None and isinstance(
        data, tuple(getattr(library, name) for name in classes if hasattr(library, name))
    )


def _pandas(who: str, name: str, data: Any) -> NDArray[Any]:
    from pandas.api import types  # type: ignore[import-untyped,unused-ignore]

    table = data.ndim == 2
    columns = list(data.items()) if table else [(data.name, data)]
    strange = [
        (label, str(column.dtype))
        for label, column in columns
        if not (types.is_numeric_dtype(column.dtype) or _holds_numbers(column))
        or types.is_complex_dtype(column.dtype)
    ]
    _refuse_strange(who, name, strange, table)
    missing = [label for label, column in columns if column.isna().any()]
    _refuse_missing(who, name, missing, table)
    kinds = {getattr(column.dtype, "numpy_dtype", column.dtype) for _, column in columns}
    array: NDArray[Any] = data.to_numpy(dtype=_common(kinds))
    return array


def _holds_numbers(column: Any) -> bool:
    """Whether the objects of a column are numbers; missing ones are looked for elsewhere."""
    if column.dtype != object:
        return False
    number = numbers.Real | np.bool_ | Decimal
    return all(isinstance(item, number) for item in column[~column.isna()])


def _polars(who: str, name: str, data: Any) -> NDArray[Any]:
    import polars as pl

    table = isinstance(data, pl.DataFrame)
    columns = data.get_columns() if table else [data]
    strange = [
        (column.name, str(column.dtype))
        for column in columns
        if not (column.dtype.is_numeric() or column.dtype == pl.Boolean)
    ]
    _refuse_strange(who, name, strange, table)
    missing = [
        c.name for c in columns if c.null_count() or (c.dtype.is_float() and c.is_nan().any())
    ]
    _refuse_missing(who, name, missing, table)
    kinds = {column.head(0).to_numpy().dtype for column in columns}
    common = _common(kinds)
    if len(kinds) > 1 or common not in kinds:
        data = data.cast(pl.Float32 if common == np.float32 else pl.Float64)
    array: NDArray[Any] = data.to_numpy()
    return array


def _common(kinds: set[Any]) -> np.dtype[Any]:
    """One dtype for columns of these."""
    if len(kinds) == 1 and getattr(only := next(iter(kinds)), "kind", "O") in "fiub":
        same: np.dtype[Any] = np.dtype(only)
        return same
    return np.dtype(np.float32 if kinds <= _SMALL else np.float64)


def _refuse_strange(who: str, name: str, strange: Sequence[tuple[Any, str]], table: bool) -> None:
    if not strange:
        return
    found = ", ".join(f'"{label}" ({dtype})' if table else dtype for label, dtype in strange[:5])
    more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
    where = f" in column{'s' if len(strange) > 1 else ''}" if table else ""
    raise TypeError(
        f"{who}: expected {name} to be numbers, got others{where} {found}{more}; turn them into "
        "numbers first, categories for instance into one column each, or leave them out"
    )


def _refuse_missing(who: str, name: str, missing: Sequence[Any], table: bool) -> None:
    if not missing:
        return
    found = ", ".join(f'"{label}"' for label in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    where = f"; some are in column{'s' if len(missing) > 1 else ''} {found}{more}" if table else ""
    raise ValueError(
        f"{who}: expected {name} without missing values{where}; fill them, or leave out their rows"
    )
