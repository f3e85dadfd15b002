"""The door: the one place where what users pass is checked and converted."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _frames, _sources
from evengrad.errors import rows_text

if TYPE_CHECKING:
    from evengrad.variable import Variable

F32 = NDArray[np.float32]

# -- numbers, names, shapes


def check_number(
    who: str,
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return value as a float, or raise where it is none or outside its interval."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{who}: expected {name} to be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        number = float("inf")
    open_low, open_high = open_low or low == -np.inf, open_high or high == np.inf
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{who}: expected {name} in {interval}, got {value!r}")
    return number


def check_count(who: str, name: str, value: Any, low: int = 1) -> int:
    """Return value as an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{who}: expected {name} to be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{who}: expected {name} to be at least {low}, got {value}")
    return int(value)


def check_flag(who: str, name: str, value: Any) -> bool:
    """Return value as a bool; 0 and 1 count as one."""
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{who}: expected {name} to be True or False, got {value!r}")


def check_choice(who: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """Return value where it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{who}: expected {name} to be one of {', '.join(choices)}, got {value!r}")
    return value


def check_name(who: str, name: Any) -> str:
    """Return a layer's name: a string that can stand in a path."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"{who}: expected name to be a string without '/', got {name!r}")
    return name


def check_dtype(who: str, dtype: Any) -> None:
    """Refuse all but float32."""
    try:
        fits = dtype is None or np.dtype(dtype) == np.float32
    except TypeError:
        fits = False
    if not fits:
        raise ValueError(f"{who}: expected dtype float32, the only one there is, got {dtype!r}")


def check_shape(who: str, name: str, shape: Any) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple of ints."""
    if isinstance(shape, int | np.integer):
        shape = (shape,)
    if not isinstance(shape, Sequence) or len(shape) == 0:
        raise ValueError(f"{who}: expected {name} to be a shape such as (784,), got {shape!r}")
    return tuple(check_count(who, f"each of {name}", n) for n in shape)


def check_weights(who: str, weights: Any, variables: Sequence[Variable]) -> None:
    """Compare number, shapes and range of weights with the variables they are for."""
    if not isinstance(weights, Sequence | np.ndarray):
        raise TypeError(f"{who}: expected a list of weights, got {type(weights).__name__}")
    if len(weights) != len(variables):
        raise ValueError(f"{who}: expected {len(variables)} weights, got {len(weights)}")
    for weight, variable in zip(weights, variables, strict=True):
        array = as_array(who, variable.path, weight)
        if array.shape != variable.shape:
            raise ValueError(
                f"{who}: expected {variable.path} of shape {variable.shape}, got {array.shape}"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32)).all()
        if not finite:
            raise ValueError(f"{who}: expected finite float32 numbers for {variable.path}")


# -- data


def as_array(who: str, name: str, data: Any) -> NDArray[Any]:
    """Return what users call data as a numeric array, without converting numbers."""
    if type(data) is np.ndarray and data.dtype.kind in "fiub":
        return data
    if data is None:
        raise TypeError(f"{who}: expected {name} to be an array of numbers, got None")
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise TypeError(f"{who}: expected {name} to be dense, got a sparse matrix; pass .toarray()")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError(f"{who}: expected {name} without masked values; fill them first")
    if hasattr(data, "to_numpy"):
        data = _frames.values(who, name, data)
    try:
        array = np.asarray(data)
        if array.dtype.kind == "O":
            if not all(isinstance(item, numbers.Real | np.bool_ | Decimal) for item in array.flat):
                raise TypeError("not all of its items are")
            array = array.astype(np.float64)
    except OverflowError:
        raise ValueError(
            f"{who}: expected {name} to hold numbers within the range of float32 (3.4e38)"
        ) from None
    except (ValueError, TypeError) as error:
        raise TypeError(f"{who}: expected {name} to be an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{who}: expected {name} to be numbers, got dtype {array.dtype}")
    return array


def as_float32(who: str, name: str, data: Any) -> F32:
    """Return data as a C-contiguous float32 array, itself if it is one; non-finite passes."""
    array = as_array(who, name, data)
    return _sources.converted(array).reshape(array.shape)


def sample_array(
    who: str, name: str, data: Any, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Return samples (n, *shape) as an array of any dtype; what is in it is not looked at.

    A vector counts as n samples of one feature where that is what `shape` says.
    """
    if type(data) is not np.ndarray and hasattr(data, "compute_output_shape"):
        raise TypeError(
            f"{who}: expected {name} to be an array, got {data}; layers do not make graphs: give "
            "them to an evengrad.Sequential, those with a shortcut around them to layers.Residual"
        )
    array = as_array(who, name, data)
    if array.ndim == 1 and shape == (1,):
        array = array[:, None]
    if shape is not None and array.shape[1:] != shape:
        want = "(n, " + ", ".join(map(str, shape)) + ")"
        raise ValueError(f"{who}: expected {name} of shape {want}, got {array.shape}")
    if array.ndim < 2:
        raise ValueError(f"{who}: expected {name} of shape (n, features), got {array.shape}")
    if array.size == 0:
        raise ValueError(f"{who}: expected {name} with at least one row, got {array.shape}")
    return array


def features(who: str, name: str, data: Any, shape: tuple[int, ...] | None = None) -> F32:
    """Return samples as finite C-contiguous float32 (n, *shape), borrowed where they are that."""
    array = sample_array(who, name, data, shape)
    numbers = _sources.converted(array)
    _sources.check(who, name, numbers, array)
    return numbers


def target_array(who: str, name: str, data: Any, n: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return targets (n, *shape) as an array of any dtype; what is in it is not looked at."""
    array = as_array(who, name, data)
    if array.shape == (n,) and shape == (1,):
        array = array[:, None]
    if array.shape != (n, *shape):
        raise ValueError(
            f"{who}: expected {name} of shape {(n, *shape)}, as the model's output, "
            f"got {array.shape}"
        )
    return array


def targets(who: str, name: str, data: Any, n: int, shape: tuple[int, ...]) -> F32:
    """Return float targets (n, *shape) for outputs of that shape."""
    return features(who, name, target_array(who, name, data, n, shape))


def probabilities(who: str, name: str, data: Any, n: int, shape: tuple[int, ...]) -> F32:
    """Return targets from 0 to 1."""
    array = sample_array(who, name, target_array(who, name, data, n, shape))
    numbers = _sources.converted(array)
    _sources.check(who, name, numbers, array, (0.0, 1.0))
    return numbers


def labels(who: str, name: str, data: Any, n: int, classes: int) -> NDArray[np.int32]:
    """Return class numbers as int32 (n,), each from 0 to classes - 1."""
    array = as_array(who, name, data)
    if array.shape == (n, 1):
        array = array[:, 0]
    if array.shape != (n,):
        raise ValueError(f"{who}: expected {name} of shape ({n},), got {array.shape}")
    bad = ~((array >= 0) & (array < classes))  # NaN is bad
    if array.dtype.kind == "f":
        bad |= array != np.floor(array)
    if bad.any():
        rows = np.flatnonzero(bad)
        raise ValueError(
            f"{who}: expected {name} to be class numbers from 0 to {classes - 1} for {classes} "
            f"outputs, got {array[rows[0]]} in row {rows_text(rows)}"
        )
    return _sources.contiguous(array, np.int32)


def sample_weights(who: str, data: Any, n: int) -> F32:
    """Return weights (n,), finite and not negative."""
    array = as_array(who, "sample_weight", data)
    if array.shape == (n, 1):
        array = array[:, 0]
    if array.shape != (n,):
        raise ValueError(f"{who}: expected sample_weight of shape ({n},), got {array.shape}")
    weights = _sources.converted(array)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if bad.size:
        raise ValueError(
            f"{who}: expected sample_weight to be finite and at least 0, got {array[bad[0]]} in "
            f"row {rows_text(bad)}"
        )
    return weights


def class_weights(who: str, weights: Any, classes: NDArray[Any]) -> F32:
    """Return a weight for each sample from a dict of weights by class; 1 for classes not in it."""
    if not isinstance(weights, dict):
        raise TypeError(f"{who}: expected class_weight to be a dict, got {type(weights).__name__}")
    result = np.ones(len(classes), np.float32)
    for label, weight in weights.items():
        value = check_number(who, f"class_weight[{label!r}]", weight, 0.0, _sources.LARGEST)
        whole = isinstance(label, float | np.floating) and label == np.floor(label)
        number = int(label) if whole else label  # 1.0, as np.unique gives for float labels
        result[classes == check_count(who, "each class of class_weight", number, 0)] = value
    return result
