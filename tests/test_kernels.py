"""What every method of Program has in common: what it accepts and how it refuses the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evengrad import _core
from evengrad._arena import tensor, vector

CAPACITY, COLUMNS, UNITS = 6, 20, 33
Arguments = dict[str, Any]


def zeros(n: int = COLUMNS, dtype: Any = np.float64) -> Any:
    return np.zeros(n, dtype)


def x(columns: int = COLUMNS) -> Any:
    return tensor(CAPACITY, columns)


def labels() -> Any:
    return np.zeros(CAPACITY, np.int32)


def weight() -> Any:
    return vector(CAPACITY)


def variables() -> list[Any]:
    return [tensor(3, COLUMNS), vector(COLUMNS)]


def update(slots: int) -> Arguments:
    return {
        "values": variables(), "gradients": variables(),
        "slots": [variables() for _ in range(slots)], "norms": zeros(2), "clip": "norm",
    }  # fmt: skip


# Arguments that each method accepts, made anew at each call.
GOOD: dict[str, Callable[[], Arguments]] = {
    "dense_forward": lambda: {
        "x": x(), "kernel": tensor(COLUMNS, UNITS), "bias": vector(UNITS), "y": x(UNITS),
    },
    "dense_backward": lambda: {
        "x": x(), "kernel": tensor(COLUMNS, UNITS), "dy": x(UNITS),
        "dkernel": tensor(COLUMNS, UNITS), "dbias": vector(UNITS), "dx": x(),
    },
    "dense_backward_folded": lambda: {
        "x": x(), "kernel": tensor(COLUMNS, UNITS), "dy": x(UNITS),
        "dkernel": tensor(COLUMNS, UNITS), "dbias": vector(UNITS), "xhat": x(),
        "gamma": vector(COLUMNS), "beta": vector(COLUMNS), "dgamma": vector(COLUMNS),
        "dbeta": vector(COLUMNS),
    },
    "batch_norm_forward": lambda: {
        "x": x(), "gamma": vector(COLUMNS), "beta": vector(COLUMNS), "y": x(),
        "mean": zeros(), "variance": zeros(), "epsilon": 1e-3, "xhat": x(),
    },
    "batch_norm_backward": lambda: {
        "handle": 0, "gamma": vector(COLUMNS), "dy": x(), "dgamma": vector(COLUMNS),
        "dbeta": vector(COLUMNS), "dx": x(),
    },
    "batch_norm_moving": lambda: {
        "mean": zeros(), "variance": zeros(), "moving_mean": zeros(), "moving_variance": zeros(),
        "count": zeros(1, np.int64), "momentum": 0.9, "debias": True,
    },
    "batch_norm_inference": lambda: {
        "x": x(), "gamma": vector(COLUMNS), "beta": vector(COLUMNS), "moving_mean": zeros(),
        "moving_variance": zeros(), "y": x(), "epsilon": 1e-3,
    },
    "batch_norm_frozen_backward": lambda: {
        "gamma": vector(COLUMNS), "moving_variance": zeros(), "dy": x(), "dx": x(),
        "epsilon": 1e-3,
    },
    "layer_norm_forward": lambda: {
        "x": x(), "gamma": vector(COLUMNS), "beta": vector(COLUMNS), "y": x(),
        "mean": zeros(CAPACITY), "inverse": zeros(CAPACITY), "epsilon": 1e-3,
    },
    "layer_norm_backward": lambda: {
        "x": x(), "gamma": vector(COLUMNS), "mean": zeros(CAPACITY), "inverse": zeros(CAPACITY),
        "dy": x(), "dgamma": vector(COLUMNS), "dbeta": vector(COLUMNS), "dx": x(),
    },
    "activation_forward": lambda: {"name": "elu", "x": x(), "y": x(), "parameters": [1.0]},
    "activation_backward": lambda: {
        "name": "silu", "x": x(), "y": x(), "dy": x(), "dx": x(), "parameters": [],
    },
    "prelu_forward": lambda: {"x": x(), "alpha": vector(COLUMNS), "y": x()},
    "prelu_backward": lambda: {
        "x": x(), "alpha": vector(COLUMNS), "dy": x(), "dalpha": vector(COLUMNS), "dx": x(),
    },
    "softmax_forward": lambda: {"x": x(), "y": x()},
    "softmax_backward": lambda: {"y": x(), "dy": x(), "dx": x()},
    "log_softmax_forward": lambda: {"x": x(), "y": x()},
    "log_softmax_backward": lambda: {"y": x(), "dy": x(), "dx": x()},
    "dropout": lambda: {"x": x(), "y": x(), "rate": 0.5, "layer": 0},
    "alpha_dropout": lambda: {"x": x(), "y": x(), "rate": 0.5, "layer": 0, "gradient": True},
    "noise": lambda: {"x": x(), "y": x(), "added": 0.5, "multiplied": 0.5, "layer": 0},
    "affine": lambda: {
        "kind": "normalize", "x": x(), "center": zeros(), "spread": zeros(), "y": x(),
        "gradient": False,
    },
    "add": lambda: {"a": x(), "b": x(), "y": x()},
    "reshape": lambda: {"x": x(), "y": tensor(CAPACITY * 4, 5)},
    "gather": lambda: {"x": x(), "labels": labels(), "target": None, "weight": weight()},
    "copy": lambda: {"source": zeros(), "destination": zeros()},
    "scatter": lambda: {"y": x()},
    "loss": lambda: {
        "kind": "softmax_cross_entropy", "x": x(), "labels": None, "target": x(),
        "weight": weight(), "dx": x(), "result": zeros(2), "parameters": [0.1],
        "reduction": "mean", "each": zeros(CAPACITY, np.float32),
    },
    "metric": lambda: {
        "kind": "top_k_accuracy", "x": x(), "labels": labels(), "target": None,
        "weight": weight(), "result": zeros(2), "parameters": [3.0],
    },
    "confusion": lambda: {
        "x": x(), "labels": None, "target": x(), "weight": weight(), "thresholds": [0.5],
        "result": zeros(4), "top_k": 2, "class_id": 1, "even": False, "by_column": False,
    },
    "f_score_sums": lambda: {
        "x": x(), "labels": labels(), "target": None, "weight": weight(),
        "result": zeros(3 * COLUMNS + 2), "threshold": 0.5,
    },
    "r2_sums": lambda: {
        "x": x(), "labels": None, "target": x(), "weight": weight(),
        "result": zeros(3 * COLUMNS + 2),
    },
    "gradient_norms": lambda: {
        "gradients": variables(), "norms": zeros(2), "clip": "norm", "health": zeros(3),
    },
    "clip": lambda: {"gradients": variables(), "norms": zeros(2), "kind": "norm"},
    "auto_clip": lambda: {
        "norms": zeros(3), "percentile": 10.0, "history": zeros(7), "ordered": zeros(7),
        "seen": zeros(1, np.int64), "health": zeros(3),
    },
    "z_clip": lambda: {
        "norms": zeros(3), "alpha": 0.9, "z": 2.0, "warm_up": 3, "statistic": zeros(2),
        "seen": zeros(1, np.int64), "health": zeros(3),
    },
    "unit_clip": lambda: {
        "values": variables(), "gradients": variables(), "norms": zeros(2),
        "lambdas": np.full(2, 0.01), "epsilon": 1e-3, "health": zeros(3),
    },
    "regularize": lambda: {
        "values": variables(), "gradients": variables(), "l1": zeros(2), "l2": zeros(2),
        "per_sample": 1, "result": zeros(1),
    },
    "constrain": lambda: {
        "value": tensor(3, COLUMNS), "kind": "columns", "minimum": 0.0, "maximum": 1.0, "rate": 1.0,
    },
    "sgd": lambda: {
        "values": variables(), "gradients": variables(), "momenta": variables(),
        "norms": zeros(2), "clip": "norm", "momentum": 0.9, "nesterov": True, "decays": zeros(2),
    },
    "adam": lambda: {
        "values": variables(), "gradients": variables(), "slots": [variables(), variables()],
        "norms": zeros(2), "clip": "none", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
        "amsgrad": False, "decays": zeros(2),
    },
    "rmsprop": lambda: {
        "values": variables(), "gradients": variables(), "velocities": variables(),
        "momenta": variables(), "means": variables(), "norms": zeros(2), "clip": "none",
        "rho": 0.9, "momentum": 0.5, "epsilon": 1e-7, "decays": zeros(2),
    },
    "nadam": lambda: {
        **update(2), "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "decays": zeros(2),
    },
    "adamax": lambda: {
        **update(2), "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "decays": zeros(2),
    },
    "adagrad": lambda: {**update(1), "epsilon": 1e-7, "decays": zeros(2)},
    "adadelta": lambda: {**update(2), "rho": 0.95, "epsilon": 1e-7, "decays": zeros(2)},
    "lion": lambda: {**update(1), "beta_1": 0.9, "beta_2": 0.99, "decays": zeros(2)},
    "accumulate": lambda: {"gradients": variables(), "accumulators": variables(), "steps": 2},
    "carry": lambda: {"gradients": variables(), "accumulators": variables()},
    "average": lambda: {
        "values": variables(), "averages": variables(), "momentum": 0.9, "overwrite": 3,
    },
    "watch": lambda: {
        "norms": zeros(2), "totals": zeros(2), "before": zeros(2), "sums": zeros(3),
        "steps": zeros(4 * 8), "looks": zeros(4 * 5), "state": np.array([0, 1, 0, 1, 0]),
        "known": zeros(2), "outputs": [("tanh", [], None, x(), 0.01, vector(COLUMNS))],
    },
}  # fmt: skip

WRITTEN = {
    "dense_forward": {"y"},
    "dense_backward": {"dkernel", "dbias", "dx"},
    "dense_backward_folded": {"dkernel", "dbias", "dgamma", "dbeta"},
    "batch_norm_forward": {"y", "mean", "variance", "xhat"},
    "batch_norm_backward": {"dgamma", "dbeta", "dx"},
    "batch_norm_moving": {"moving_mean", "moving_variance", "count"},
    "batch_norm_inference": {"y"},
    "batch_norm_frozen_backward": {"dx"},
    "layer_norm_forward": {"y", "mean", "inverse"},
    "layer_norm_backward": {"dgamma", "dbeta", "dx"},
    "activation_forward": {"y"},
    "activation_backward": {"dx"},
    "prelu_forward": {"y"},
    "prelu_backward": {"dalpha", "dx"},
    "softmax_forward": {"y"},
    "softmax_backward": {"dx"},
    "log_softmax_forward": {"y"},
    "log_softmax_backward": {"dx"},
    "dropout": {"y"},
    "alpha_dropout": {"y"},
    "noise": {"y"},
    "affine": {"y"},
    "add": {"y"},
    "reshape": {"y"},
    "copy": {"destination"},
    "gather": {"x", "labels", "weight"},
    "scatter": set(),
    "loss": {"x", "dx", "result", "each"},
    "metric": {"result"},
    "confusion": {"result"},
    "f_score_sums": {"result"},
    "r2_sums": {"result"},
    "gradient_norms": {"norms", "health"},
    "clip": {"gradients"},
    "auto_clip": {"norms", "history", "ordered", "seen", "health"},
    "z_clip": {"norms", "statistic", "seen", "health"},
    "unit_clip": {"gradients", "norms", "health"},
    "regularize": {"gradients", "result"},
    "constrain": {"value"},
    "sgd": {"values", "momenta"},
    "adam": {"values", "slots"},
    "rmsprop": {"values", "velocities", "momenta", "means"},
    **{name: {"values", "slots"} for name in ("nadam", "adamax", "adagrad", "adadelta", "lion")},
    "accumulate": {"gradients"},
    "carry": {"accumulators"},
    "average": {"values", "averages"},
    "watch": {"steps", "looks", "state", "known"},
}

OPTIONAL = {
    "dense_forward": {"bias"},
    "dense_backward": {"dkernel", "dbias", "dx"},
    "dense_backward_folded": {"dbias", "gamma", "beta", "dgamma", "dbeta"},
    "batch_norm_forward": {"gamma", "beta", "xhat"},
    "batch_norm_backward": {"gamma", "dgamma", "dbeta", "dx"},
    "batch_norm_inference": {"gamma", "beta"},
    "batch_norm_frozen_backward": {"gamma"},
    "layer_norm_forward": {"gamma", "beta"},
    "layer_norm_backward": {"gamma", "dgamma", "dbeta", "dx"},
    "prelu_backward": {"dalpha", "dx"},
    "gather": {"labels", "weight"},
    "loss": {"weight", "dx", "each"},
    "metric": {"weight"},
    "confusion": {"weight"},
    "f_score_sums": {"weight"},
    "r2_sums": {"weight"},
    "sgd": {"momenta", "decays"},
    "rmsprop": {"momenta", "means", "decays"},
    **{name: {"decays"} for name in ("adam", "nadam", "adamax", "adagrad", "adadelta", "lion")},
    "gradient_norms": {"health"},
    "auto_clip": {"health"},
    "z_clip": {"health"},
    "unit_clip": {"health"},
    "regularize": {"gradients"},
}

# (method, argument) of every array, and of every list of arrays
ARRAYS = [
    (method, name)
    for method, good in GOOD.items()
    for name, value in good().items()
    if isinstance(value, np.ndarray)
]
LISTS = [
    (method, name)
    for method, good in GOOD.items()
    for name, value in good().items()
    if isinstance(value, list) and name not in ("parameters", "thresholds", "outputs")
]
# What lists of slots are called in errors.
SLOTS = {"momenta", "velocities", "means"}


def record(method: str, arguments: Arguments) -> _core.Program:
    program = _core.Program(CAPACITY)
    if method == "batch_norm_backward":
        program.batch_norm_forward(
            tensor(CAPACITY, COLUMNS), None, None, x(), zeros(), zeros(), 1e-3
        )
    getattr(program, method)(**arguments)
    return program


def refused(method: str, arguments: Arguments, name: str) -> None:
    """Raises in one short line that starts with the argument's name."""
    with pytest.raises((ValueError, TypeError)) as caught:
        record(method, arguments)
    text = str(caught.value)
    assert text.startswith(f"{name}: "), text
    assert "\n" not in text
    assert len(text) < 300


def message(method: str, arguments: Arguments) -> str | None:
    """How a call is refused; None if it is not."""
    try:
        record(method, arguments)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def test_every_method_is_here() -> None:
    methods = {
        name
        for name, member in inspect.getmembers(_core.Program, callable)
        if not name.startswith(("_", "run")) and name not in ("begin_part", "python")
    }
    assert methods == set(GOOD) == set(WRITTEN)


@pytest.mark.parametrize("method", GOOD)
def test_good_arguments(method: str) -> None:
    program = record(method, GOOD[method]())
    assert len(program) == 1 + (method == "batch_norm_backward")
    if method not in ("gather", "scatter"):
        program.run(CAPACITY, learning_rate=0.1, clip=1.0)


@pytest.mark.parametrize("method", GOOD)
def test_optional_arguments(method: str) -> None:
    for name in OPTIONAL.get(method, ()):
        record(method, GOOD[method]() | {name: None})


@pytest.mark.parametrize(("method", "name"), ARRAYS)
def test_none_where_an_array_is_wanted(method: str, name: str) -> None:
    if name in OPTIONAL.get(method, ()):
        return
    arguments = GOOD[method]() | {name: None}
    if name in ("labels", "target"):
        refused(method, arguments, "labels, target")
    else:
        refused(method, arguments, name)


def unaligned(array: Any, offset: int) -> Any:
    """A copy that starts `offset` bytes off a cache line."""
    pitch = array.strides[0] if array.ndim == 2 else 0
    raw = np.zeros(array.shape[0] * max(pitch, array.nbytes) + 256, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    typed = raw[start : start + raw.size // array.itemsize * array.itemsize - 64]
    typed = typed[: typed.size // array.itemsize * array.itemsize].view(array.dtype)
    return np.lib.stride_tricks.as_strided(typed, array.shape, array.strides)


def wrong_of_any(array: Any) -> dict[str, Any]:
    """Wrong whatever the argument is."""
    return {
        "a list": array.tolist(),
        "a number": 1.0,
        "a string": "x",
        "another type": array.astype(np.float64 if array.dtype != np.float64 else np.float32),
        "an integer type": array.astype(np.int16),
        "the other byte order": array.astype(array.dtype.newbyteorder()),
        "complex": array.astype(np.complex64),
        "objects": array.astype(object),
        "more dimensions": array[None],
        "no dimension": np.array(0, array.dtype),
        "too short": array[:-1] if len(array) > 1 else array[:0],
        "empty": array[:0],
    }


def wrong_of_rows(array: Any) -> dict[str, Any]:
    """Wrong for what has padded rows."""
    wide = tensor(len(array), 2 * array.shape[-1] + 64)
    wrong: dict[str, Any] = {
        "4 bytes off": unaligned(array, 4),
        "16 bytes off": unaligned(array, 16),
    }
    if array.ndim == 1:
        return wrong | {
            "every second": wide[0, : 2 * array.shape[0] : 2],
            "backwards": vector(len(array))[::-1],
            "a row too few in dimensions": tensor(1, len(array)),
        }
    packed = np.zeros((len(array) + 1) * array.shape[1] + 16, np.float32)
    start = -packed.ctypes.data % 64 // 4
    rows, columns = array.shape
    return wrong | {
        "packed rows": packed[start : start + rows * columns].reshape(rows, columns),
        "every second column": wide[:, : 2 * columns : 2],
        "columns backwards": tensor(rows, columns)[:, ::-1],
        "rows backwards": tensor(rows, columns)[::-1],
        "transposed": tensor(columns, rows).T,
        "one row again and again": np.broadcast_to(tensor(1, columns), (rows, columns)),
        "a column too many": tensor(rows, columns + 1),
        "a column too few": tensor(rows, columns - 1),
        "no columns": tensor(rows, columns)[:, :0],
        "a row too many": tensor(rows + 1, columns),
        "one dimension": vector(columns),
    }


def wrong_of_plain(array: Any) -> dict[str, Any]:
    """Wrong for what is plain: float64, int32, int64 or one float32 a sample."""
    return {
        "too long": np.zeros(len(array) + 1, array.dtype),
        "every second": np.zeros(2 * len(array) + 2, array.dtype)[: 2 * len(array) : 2]
        if len(array) > 1
        else np.zeros(2, array.dtype),
        "backwards": np.zeros(len(array), array.dtype)[::-1]
        if len(array) > 1
        else np.zeros(0, array.dtype),
        "a column": np.zeros((len(array), 1), array.dtype),
    }


def is_plain(name: str, array: Any) -> bool:
    return array.dtype != np.float32 or name in ("weight", "each")


def first_of_its_kind(method: str, name: str) -> bool:
    """Whether the argument's width is free, as nothing before it says what it should be."""
    return (method, name) in {
        ("dense_forward", "kernel"),
        ("dense_backward_folded", "kernel"),
        ("dense_backward", "kernel"),
        ("gather", "x"),
        ("copy", "source"),
        ("auto_clip", "norms"),
        ("auto_clip", "history"),
        ("z_clip", "norms"),
        ("constrain", "value"),
        ("scatter", "y"),
        ("reshape", "x"),
        ("add", "a"),
        ("metric", "x"),
        ("batch_norm_moving", "mean"),
        ("batch_norm_frozen_backward", "dy"),
        ("watch", "norms"),
        ("watch", "steps"),
        ("watch", "looks"),
    } or name in {"x", "y"}


@pytest.mark.parametrize(("method", "name"), ARRAYS)
def test_wrong_arrays(method: str, name: str) -> None:
    array = GOOD[method]()[name]
    wrong = wrong_of_any(array)
    if is_plain(name, array):
        wrong |= wrong_of_plain(array)
    else:
        wrong |= wrong_of_rows(array)
    if method == "constrain":
        del wrong["one dimension"]  # a vector is as good
    failures = []
    for what, bad in wrong.items():
        try:
            refused(method, GOOD[method]() | {name: bad}, name)
        except (AssertionError, pytest.fail.Exception) as error:
            # A wrong shape of the first array may show at a later one.
            if isinstance(bad, np.ndarray) and first_of_its_kind(method, name):
                try:
                    record(method, GOOD[method]() | {name: bad})
                except (ValueError, TypeError) as raised:
                    if len(str(raised)) < 300 and "\n" not in str(raised):
                        continue
                else:
                    if what.startswith(("a column", "a row", "too short", "too long")):
                        continue
            failures.append(f"{what}: {str(error)[:200]}")
    assert not failures, "\n".join(failures)


def test_plain_arrays_are_aligned() -> None:
    failures = []
    for method, name in ARRAYS:
        array = GOOD[method]()[name]
        if is_plain(name, array):
            bad = unaligned(array, array.itemsize // 2)
            try:
                refused(method, GOOD[method]() | {name: bad}, name)
            except (AssertionError, pytest.fail.Exception):
                failures.append(f"{method}: {name}")
    assert not failures, "accepted off their alignment: " + ", ".join(failures)


def with_first(method: str, name: str, bad: Any) -> tuple[Arguments, str]:
    """Good arguments but for the first array of a list, and what the list is called in errors."""
    arguments = GOOD[method]()
    if isinstance(arguments[name][0], list):
        arguments[name][0][0] = bad
        return arguments, "slots"
    arguments[name][0] = bad
    return arguments, "slots" if name in SLOTS else name


# Right by themselves, wrong beside the other arrays of an update.
OTHER_SHAPES = {"too short", "a column too many", "a column too few", "a row too many",
                "one dimension", "empty"}  # fmt: skip


@pytest.mark.parametrize(("method", "name"), LISTS)
def test_wrong_lists(method: str, name: str) -> None:
    array = variables()[0]
    failures = []
    for what, bad in {**wrong_of_any(array), **wrong_of_rows(array)}.items():
        if what in OTHER_SHAPES:
            continue
        try:
            refused(method, *with_first(method, name, bad))
        except (AssertionError, pytest.fail.Exception) as error:
            failures.append(f"{what}: {str(error)[:200]}")
    assert not failures, "\n".join(failures)


def test_variables_of_an_update_have_one_shape() -> None:
    failures = []
    for method, name in LISTS:
        if method in ("gradient_norms", "clip"):
            continue
        wrong = wrong_of_any(variables()[0]) | wrong_of_rows(variables()[0])
        for what in sorted(OTHER_SHAPES):
            arguments, _ = with_first(method, name, wrong[what])
            if message(method, arguments) is None:
                failures.append(f"{method}: {name}, {what}")
    assert not failures, "accepted: " + "; ".join(failures)


@pytest.mark.parametrize(("method", "name"), ARRAYS)
def test_read_only_arrays(method: str, name: str) -> None:
    arguments = GOOD[method]()
    arguments[name].setflags(write=False)
    if name in WRITTEN[method]:
        refused(method, arguments, name)
    else:
        record(method, arguments)


@pytest.mark.parametrize(("method", "name"), LISTS)
def test_read_only_lists(method: str, name: str) -> None:
    arguments = GOOD[method]()
    first = arguments[name][0]
    (first[0] if isinstance(first, list) else first).setflags(write=False)
    if name in WRITTEN[method]:
        called = "slots" if isinstance(first, list) or name in SLOTS else name
        refused(method, arguments, called)
    else:
        record(method, arguments)


def test_read_only_gather_target() -> None:
    target = tensor(CAPACITY, 3)
    target.setflags(write=False)
    arguments = GOOD["gather"]() | {"labels": None, "target": target}
    refused("gather", arguments, "target")


# Pairs that may be one array: the kernel works in place.
IN_PLACE = {
    ("batch_norm_backward", "dy", "dx"),
    ("batch_norm_inference", "x", "y"),
    ("batch_norm_frozen_backward", "dy", "dx"),
    ("layer_norm_forward", "x", "y"),
    ("layer_norm_backward", "dy", "dx"),
    ("activation_forward", "x", "y"),
    ("activation_backward", "dy", "dx"),
    ("prelu_forward", "x", "y"),
    ("prelu_backward", "dy", "dx"),
    ("softmax_forward", "x", "y"),
    ("softmax_backward", "dy", "dx"),
    ("log_softmax_forward", "x", "y"),
    ("log_softmax_backward", "dy", "dx"),
    ("dropout", "x", "y"),
    ("alpha_dropout", "x", "y"),
    ("noise", "x", "y"),
    ("affine", "x", "y"),
    ("add", "a", "y"),
    ("add", "b", "y"),
}


def pairs(same_shape: bool) -> list[tuple[str, str, str]]:
    """(method, read or written, written) of two arrays of one type, of one shape or not."""
    found = []
    for method, good in GOOD.items():
        arrays = {k: v for k, v in good().items() if isinstance(v, np.ndarray)}
        names = list(arrays)
        for written in WRITTEN[method] & set(names):
            for other in names:
                a, b = arrays[written], arrays[other]
                seen = other in WRITTEN[method] and names.index(other) > names.index(written)
                if other == written or seen or a.dtype != b.dtype:
                    continue
                if (a.shape == b.shape) == same_shape:
                    found.append((method, other, written))
    return sorted(found)


def refuse_overlaps(
    same_shape: bool, overlap: Callable[[Arguments, str, str], bool], *, in_place: bool = False
) -> None:
    failures = []
    for method, other, written in pairs(same_shape):
        arguments = GOOD[method]()
        if not overlap(arguments, other, written):
            continue
        if in_place and (method, other, written) in IN_PLACE:
            record(method, arguments).run(CAPACITY)
            continue
        text = message(method, arguments)
        if text is None or "expected memory of its own, but it overlaps" not in text:
            failures.append(f"{method}: {other} and {written}")
    assert not failures, "accepted: " + "; ".join(failures)


def test_one_array_for_two_arguments() -> None:
    def overlap(arguments: Arguments, other: str, written: str) -> bool:
        arguments[written] = arguments[other]
        return True

    refuse_overlaps(True, overlap, in_place=True)


def test_arrays_that_overlap_in_part() -> None:
    def overlap(arguments: Arguments, other: str, written: str) -> bool:
        like = arguments[other]
        if like.ndim == 2:
            both = tensor(len(like) + 1, like.shape[1])
            arguments[other], arguments[written] = both[:-1], both[1:]
            return True
        step = 64 // like.itemsize
        if len(like) <= step:
            return False
        both = vector(len(like) + step) if like.dtype == np.float32 else zeros(len(like) + step)
        arguments[other], arguments[written] = both[:-step], both[step:]
        return True

    refuse_overlaps(True, overlap)


def test_arrays_inside_larger_ones() -> None:
    def overlap(arguments: Arguments, other: str, written: str) -> bool:
        large, small = sorted((other, written), key=lambda name: -arguments[name].nbytes)
        memory, like = arguments[large], arguments[small]
        if memory.ndim == 1:
            inside = memory[: len(like)]
        else:
            flat = memory.base[(memory.ctypes.data - memory.base.ctypes.data) // 4 :]
            pitch = -(-like.shape[-1] // 16) * 16
            inside = flat[: len(like)]
            if like.ndim == 2:
                if flat.size < len(like) * pitch:
                    return False
                inside = flat[: len(like) * pitch].reshape(-1, pitch)[:, : like.shape[1]]
        arguments[small] = inside
        return True

    refuse_overlaps(False, overlap)


def test_neighbours_do_not_overlap() -> None:
    both = tensor(2 * CAPACITY, COLUMNS)
    above, below = both[:CAPACITY], both[CAPACITY:]
    program = _core.Program(CAPACITY)
    program.activation_forward("exponential", above, below)
    program.run(CAPACITY)
    assert (above == 0.0).all()
    assert (below == 1.0).all()


def test_padding_is_inside_the_arrays_own_memory() -> None:
    """A vector whose memory ends with its last number has nothing for a kernel to write behind."""
    whole = vector(5)
    memory: Any = whole.base
    start = (whole.ctypes.data - memory.ctypes.data) // 4
    cut = np.frombuffer(memoryview(memory)[start : start + 5], np.float32)
    assert cut.ctypes.data % 64 == 0
    program = _core.Program(CAPACITY)
    with pytest.raises(ValueError, match=r"^bias: expected rows padded to a multiple of 16 float"):
        program.dense_forward(tensor(CAPACITY, 3), tensor(3, 5), cut, tensor(CAPACITY, 5))


SCALARS = [
    (method, name)
    for method, good in GOOD.items()
    for name, value in good().items()
    if isinstance(value, float | int | str) and not isinstance(value, bool)
]


def check_short_errors(calls: dict[str, tuple[str, Arguments]]) -> None:
    messages = {what: message(*call) for what, call in calls.items()}
    accepted = [what for what, text in messages.items() if text is None]
    assert not accepted, "accepted: " + "; ".join(accepted)
    long = [what for what, text in messages.items() if text and ("\n" in text or len(text) >= 300)]
    assert not long, "more than one short line: " + "; ".join(long)


def test_scalars_of_another_type() -> None:
    bad: dict[str, Any] = {"None": None, "a list": [1.0], "an array": np.zeros((40, 40))}
    check_short_errors(
        {
            f"{method}: {name}, {what}": (method, GOOD[method]() | {name: value})
            for method, name in SCALARS
            for what, value in bad.items()
        }
    )


def test_lists_of_something_else() -> None:
    bad: dict[str, Any] = {"None": None, "3": 3, "a string": "x", "of None": [None], "a dict": {}}
    check_short_errors(
        {
            f"{method}: {name}, {what}": (method, GOOD[method]() | {name: value})
            for method, name in LISTS
            for what, value in bad.items()
            if value is not None or name not in OPTIONAL.get(method, ())
        }
    )


def test_slots_of_none() -> None:
    check_short_errors(
        {
            f"{i}": ("adam", GOOD["adam"]() | {"slots": slots})
            for i, slots in enumerate([[None, variables()], [variables(), None], [None, None]])
        }
    )


def test_missing_arguments() -> None:
    calls = {}
    for method, good in GOOD.items():
        arguments = good()
        arguments.pop(next(iter(arguments)))
        calls[method] = (method, arguments)
    check_short_errors(calls)


@pytest.mark.parametrize("bad", [None, "7", 1.5, [7]])
def test_rows_of_another_type(bad: Any) -> None:
    with pytest.raises(TypeError, match="rows"):
        _core.Program(CAPACITY).run(bad)
