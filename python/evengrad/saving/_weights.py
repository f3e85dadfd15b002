"""Weights alone as files: .npz, which numpy reads, and .safetensors, which many do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from evengrad.errors import ModelFileError, warn

if TYPE_CHECKING:
    from evengrad.layers import Layer
    from evengrad.models import Sequential
    from evengrad.saving._weight_files import Source
    from evengrad.variable import Variable


def save_weights(
    model: Sequential,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    max_shard_size: float | None = None,
) -> None:
    """Write all variables of a model to a .npz file of numpy, or to one of safetensors.

    Parameters
    ----------
    model : Sequential
        Built.
    filepath : str or path
        A name that ends in ".npz", or in ".safetensors" where that library is installed
        (`pip install evengrad[safetensors]`).
    overwrite : bool
        With False a file that exists is replaced after a question on a terminal, and elsewhere not.
    max_shard_size : None
        Weights are one file.

    Raises
    ------
    ValueError
        If the name ends in something else, the model is not built, or a number is not finite.
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be written. After any error it is as it was.

    Notes
    -----
    The keys of a file are the paths of the variables, as "sequential/dense/kernel", in the order of
    `model.get_weights`. Moving statistics are float64, all else float32.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,), name="a")], name="m")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "w.npz")
    ...     keras.saving.save_weights(model, path)
    ...     with np.load(path) as file:
    ...         print(file.files)
    ['m/a/kernel', 'm/a/bias']
    """
    from evengrad.saving import _files, _weight_files

    who = "save_weights"
    path = _files.checked_path(who, filepath)
    write = _weight_files.writer_for(who, path)
    if max_shard_size is not None:
        raise ValueError(f"{who}: expected max_shard_size=None, got {max_shard_size!r}")
    _check_built(who, model)
    with model.locked():
        if _files.may_write(who, path, overwrite):
            write(path, dict(zip(keys_of(model.variables), model.variables, strict=True)))


def load_weights(
    model: Sequential, filepath: str | os.PathLike[str], skip_mismatch: bool = False
) -> None:
    """Give a model the weights of a file.

    Parameters
    ----------
    model : Sequential
        Built.
    filepath : str or path
        What `save_weights` wrote, .npz or .safetensors, or `save_model`.
    skip_mismatch : bool
        Whether layers that do not fit are left as they are, with a warning, instead of an error.

    Raises
    ------
    ModelFileError
        If the file is damaged or its weights do not fit. The model is as before then.
    FileNotFoundError
        If there is no file.
    ValueError, ImportError
        If the model is not built, the name ends in something else or a library is missing.

    Notes
    -----
    Weights find their variables by path; where the paths are others, as in a model with names of
    its own, by order, if numbers and shapes agree. Numbers at the end of names do not count where
    all else agrees: then by order, too. As with `set_weights`, the moving statistics of
    batch normalization count as old from here on, and the optimizer keeps what it has.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import evengrad as keras
    >>> def build():
    ...     return keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> first, second = build(), build()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "w.npz")
    ...     first.save_weights(path)
    ...     second.load_weights(path)
    >>> bool((first.get_weights()[0] == second.get_weights()[0]).all())
    True
    """
    from evengrad.saving import _files, _weight_files

    who = "load_weights"
    path = _files.checked_path(who, filepath)
    _files.readable(who, path)
    _check_built(who, model)
    left: list[Layer] = []
    with model.locked():
        with _weight_files.source_of(who, path) as source:
            chosen = _fitting(model, source, left) if skip_mismatch else list(_all(model, source))
            arrays = [source.read(key, variable) for key, variable in chosen]
        for (_, variable), array in zip(chosen, arrays, strict=True):
            variable.value[...] = array
        _tell_layers(model, {variable for _, variable in chosen})
    for layer in left:
        warn(f"{who}: {path} has no weights that fit {layer}, which stays as it is")


def _check_built(who: str, model: Sequential) -> None:
    if not model.built:
        raise ValueError(
            f"{who}: {model.name} has no weights yet; start it with Input(shape) or call build"
        )


def keys_of(variables: list[Variable]) -> list[str]:
    """Paths of variables, numbered where two have the same."""
    from evengrad._compiled import free_name

    found: dict[str, None] = {}
    for variable in variables:
        found[free_name(variable.path, found)] = None
    return list(found)


def _tell_layers(model: Sequential, given: set[Variable]) -> None:
    for layer in _layers(model):
        if given.intersection(layer.variables):
            layer.weights_were_set()


def _layers(model: Sequential) -> list[Layer]:
    from evengrad import _stack

    found = _stack.every(model.parts)
    return [part for part in found if not isinstance(part, _stack.Stack) and part.variables]


def _by_path(source: Source, variables: list[Variable]) -> bool:
    """Whether keys say which weights are whose; else their order does."""
    paths, keys = set(keys_of(variables)), set(source.keys)
    return paths == keys or not (paths.isdisjoint(keys) or _in_order(source, variables))


def _all(model: Sequential, source: Source) -> Iterator[tuple[str, Variable]]:
    """Every variable with its key, or an error."""
    variables = model.variables
    paths, keys = keys_of(variables), source.keys
    if set(paths) == set(keys):
        keys = paths
    elif len(keys) != len(paths) or _by_path(source, variables):
        raise ModelFileError(source.path, _difference(paths, keys))
    for key, variable in zip(keys, variables, strict=True):
        shape = source.shape(key)
        if shape != variable.shape:
            raise ModelFileError(
                source.path,
                f"expected {variable.path} of shape {variable.shape}, it has {key!r} of shape "
                f"{shape}; with skip_mismatch=True layers that do not fit are left as they are",
            )
        yield key, variable


def _in_order(source: Source, variables: list[Variable]) -> bool:
    """Whether all weights fit one after the other, but for the numbers in their paths.

    Automatic names count the layers of a process: dense_1 is dense in another one.
    """
    unnumbered = [re.sub(r"_\d+(?=/|$)", "", key) for key in source.keys]
    if unnumbered != [re.sub(r"_\d+(?=/|$)", "", path) for path in keys_of(variables)]:
        return False
    return [source.shape(key) for key in source.keys] == [v.shape for v in variables]


def _difference(paths: list[str], keys: list[str]) -> str:
    missing = [path for path in paths if path not in set(keys)]
    unknown = [key for key in keys if key not in set(paths)]
    return (
        f"expected {len(paths)} weights as the model has, it has {len(keys)}; missing "
        f"{_some(missing)}, unknown {_some(unknown)}; with skip_mismatch=True layers that do not "
        "fit are left as they are"
    )


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _fitting(model: Sequential, source: Source, left: list[Layer]) -> list[tuple[str, Variable]]:
    """The variables of layers that fit whole, each with its key; the others go to `left`."""
    found: list[tuple[str, Variable]] = []
    layers = _layers(model)
    paths = dict(zip(model.variables, keys_of(model.variables), strict=True))
    groups: dict[str, list[str]] = {}
    for key in source.keys:
        groups.setdefault(key.rpartition("/")[0], []).append(key)
    in_order = list(groups.values())
    by_path = _by_path(source, model.variables)
    for i, layer in enumerate(layers):
        variables = layer.variables
        keys = in_order[i] if not by_path and i < len(in_order) else []
        if by_path:
            keys = [paths[v] for v in variables if paths[v] in source.keys]
        if [source.shape(key) for key in keys] == [v.shape for v in variables]:
            found += zip(keys, variables, strict=True)
        else:
            left.append(layer)
    return found
