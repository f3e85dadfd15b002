"""Whole models as files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evengrad.errors import ModelFileError
from evengrad.saving import registration

if TYPE_CHECKING:
    from pathlib import Path

    from evengrad.models import Sequential
    from evengrad.saving._archive import Reader, Writer
    from evengrad.variable import Variable

_SUFFIX = ".evengrad"
_FORMAT, _VERSION = "evengrad model", 1


def save_model(
    model: Sequential,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
) -> None:
    """Write a model to a file, from which `load_model` makes it as it is.

    Parameters
    ----------
    model : Sequential
    filepath : str or path
        A name that ends in ".evengrad".
    overwrite : bool
        With False a file that exists is replaced after a question on a terminal, and elsewhere not.
    zipped : bool, optional
        A file is one zip archive; there is no other form.
    include_optimizer : bool
        Whether what `compile` was given and the state of training are saved, too.

    Raises
    ------
    TypeError
        If a part of the model is of a class or function of yours without a registered name, see
        `register_keras_serializable`.
    ValueError
        If the name ends in something else, or a number of the model is not finite.
    OSError
        If the file cannot be written. After any error the file is as it was.

    Notes
    -----
    Saved are architecture, weights, moving statistics in full and their counts, what is trainable,
    and of training: optimizer with all that it keeps, loss, metrics, steps done and the state of
    random draws. Training that goes on from a file does so bit for bit.

    The file is a zip archive of "model.json" and .npy arrays, "variables/" and the path of the
    variable; `numpy.load` reads them. It is written under another name beside the old one, to the
    disk, and takes its place at once.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "m.evengrad")
    ...     keras.models.save_model(model, path)
    ...     twin = keras.models.load_model(path)
    >>> bool((twin.predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
    True
    """
    from evengrad.saving import _files  # this and what it needs only where a file is used

    path = _files.checked_path("save", filepath)
    if path.suffix != _SUFFIX:
        raise ValueError(
            f"save: expected a name that ends in {_SUFFIX}, got {path.name!r}; evengrad has a "
            f"format of its own: model.save({(path.stem or 'model') + _SUFFIX!r})"
        )
    if zipped is not None and not zipped:
        raise ValueError(f"save: expected zipped=True, the only form there is, got {zipped!r}")
    with model.locked():
        if not _files.may_write("save", path, overwrite):
            return
        with registration.strict():
            _write(model, path, include_optimizer=include_optimizer)


def _write(model: Sequential, path: Path, *, include_optimizer: bool) -> None:
    from evengrad import __version__, _stack
    from evengrad.saving import _files, _state
    from evengrad.saving._archive import Writer
    from evengrad.saving._encoding import encode, to_text

    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "written_by": f"evengrad {__version__}",
        "model": describe(model),
        "layers": [_state.describe_part(part) for part in _stack.every(model.parts)],
        "random": _state.describe_draws(model.draws) if include_optimizer else None,
        "training": None,
    }
    if include_optimizer and model.compiled:
        content["training"] = {
            "config": encode(model.get_compile_config(), "compile"),
            "skipped_steps": model.skipped_steps,
            "skipped_in_a_row": model.skipped_in_a_row,
        }
    to_text(content)  # what cannot be saved is an error before anything is written
    with _files.replacing(path) as file, Writer(file) as writer:
        content["variables"] = [_variable(v, writer) for v in model.variables]
        if content["training"] is not None:
            state = _state.describe_optimizer(model.optimizer, model.variables, writer)
            content["training"]["optimizer"] = state
        writer.add_description(content)


def describe(model: Sequential) -> dict[str, Any]:
    """Return class and configuration, fit for JSON."""
    from evengrad import layers
    from evengrad.saving._encoding import encode

    return dict(encode(layers.serialize(model), model.name))


def _variable(variable: Variable, writer: Writer) -> dict[str, Any]:
    try:
        array = writer.add(f"variables/{variable.path}", variable.value)
    except ValueError as error:
        raise ValueError(
            f"save: {variable.path}: {error}; a file holds finite weights only. Nothing was saved."
        ) from None
    return {"path": variable.path, "trainable": variable.trainable, "array": array}


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Sequential:
    """Make a model from a file that `save_model` wrote.

    Parameters
    ----------
    filepath : str or path
    custom_objects : dict of class or function by name, optional
        Yours that the model uses, where they are not registered.
    compile : bool
        Whether to compile it as it was, with the state of its optimizer.
    safe_mode : bool
        Accepted, without effect: no file holds code.

    Returns
    -------
    Sequential
        Ready to go on with training where it was: `fit(..., initial_epoch=...)`.

    Raises
    ------
    ModelFileError
        If the file is damaged, or holds something else, or needs a class that is not there.
    FileNotFoundError
        If there is no file.

    Notes
    -----
    Files are data. Names in them are looked up among evengrad's layers, losses and so on and what
    is registered; sizes are compared with those of the file before memory is asked for, arrays with
    their checksums. The package's random numbers are not touched.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> model.compile("adam", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "m.evengrad")
    ...     model.save(path)
    ...     keras.models.load_model(path).optimizer
    Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-07, amsgrad=False)
    """
    from evengrad.saving import _files
    from evengrad.saving._archive import Reader

    del safe_mode
    path = _files.checked_path("load_model", filepath)
    _files.readable("load_model", path)
    with (
        open(path, "rb") as file,
        failures(str(path)),
        registration.custom_object_scope(custom_objects),
    ):
        reader = Reader(file, str(path))
        return _restore(reader, read_description(reader), compile=compile)


@contextmanager
def failures(path: str) -> Iterator[None]:
    """Let whatever a bad file leads to be the one error for it."""
    try:
        yield
    except (ModelFileError, OSError):
        raise
    except MemoryError:
        raise ModelFileError(path, "it claims more memory than there is") from None
    except Exception as error:
        reason = str(error)
        if not isinstance(error, ValueError | TypeError):
            reason = f"its description is not that of a model: {type(error).__name__}: {error}"
        raise ModelFileError(path, reason) from error


def read_description(reader: Reader) -> dict[str, Any]:
    """Return what model.json holds, of a version that this package knows."""
    from evengrad import __version__
    from evengrad.saving import _state
    from evengrad.saving._encoding import from_text

    text = reader.description()
    try:
        content = from_text(text)
    except ValueError as error:
        raise reader.bad(f"model.json is no JSON that model.save writes: {error}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise reader.bad("it is no model of evengrad")
    version = content.get("version")
    if isinstance(version, int) and version > _VERSION:
        raise reader.bad(
            f"it has format version {version}, written by {content.get('written_by')!r:.80}; "
            f"evengrad {__version__} reads up to {_VERSION}; upgrade it"
        )
    if version != _VERSION or isinstance(version, bool):
        raise reader.bad(f"expected format version {_VERSION}, got {version!r:.80}")
    nothing = type(None)
    return _state.checked(content, "model.json", {
        "format": str, "version": int, "written_by": str, "model": dict, "layers": list,
        "random": (dict, nothing), "variables": list, "training": (dict, nothing),
    })  # fmt: skip


def check_variables(reader: Reader, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is said of each variable, after a look at where its array is."""
    from evengrad.saving import _state

    seen: set[str] = set()
    for entry in content["variables"]:
        _state.checked(entry, "a variable", {"path": str, "trainable": bool, "array": dict})
        reader.check(entry["array"], entry["path"])
        if entry["path"] in seen:
            raise reader.bad(f"it has two variables of the path {entry['path']!r:.80}")
        seen.add(entry["path"])
    return list(content["variables"])


def _restore(reader: Reader, content: dict[str, Any], *, compile: bool) -> Sequential:
    from evengrad import _building, _stack
    from evengrad.saving import _state
    from evengrad.saving._encoding import decode

    entries, training = check_variables(reader, content), content["training"]
    if training is not None:
        _state.checked(training, "training", {
            "config": dict, "optimizer": dict, "skipped_steps": int, "skipped_in_a_row": int,
        })  # fmt: skip
        for entry, what in _state.arrays_of(training["optimizer"]):
            reader.check(entry, what)
    reader.check_all_named()
    draws = _state.restore_draws(content["random"])
    training = training if compile else None
    with _building.from_file(tuple(entry["array"]["shape"]) for entry in entries):
        model = make(content["model"])
        parts = _state.build_parts(_stack.every(model.parts), content["layers"])
        _fill(model, entries, reader)
        for part, described in zip(parts, content["layers"], strict=True):
            _state.restore_part(part, described)
        if training is not None:
            model.compile(**model.compile_arguments(decode(training["config"])))
            _state.restore_optimizer(
                model.optimizer, training["optimizer"], model.variables, reader
            )
            model.skipped_steps = training["skipped_steps"]
            model.skipped_in_a_row = training["skipped_in_a_row"]
    model.draws = draws
    return model


def make(described: Any) -> Sequential:
    """Return the model of a class name and a configuration."""
    from evengrad import layers
    from evengrad.models import Sequential
    from evengrad.saving import _state
    from evengrad.saving._encoding import decode

    _state.checked(described, "the model", {"class_name": str, "config": dict})
    made = layers.deserialize(decode(described))
    if not isinstance(made, Sequential):
        raise ValueError(f"expected a Sequential, got {described['class_name']!r:.80}")
    return made


def _fill(model: Sequential, entries: list[dict[str, Any]], reader: Reader) -> None:
    variables = model.variables
    if len(variables) != len(entries):
        raise ValueError(f"it has {len(entries)} variables, its layers make {len(variables)}")
    pairs = list(zip(variables, entries, strict=True))
    reader.fill([(entry["array"], variable.value, entry["path"]) for variable, entry in pairs])
    for variable, entry in pairs:
        variable.path = entry["path"]
        variable.trainable = entry["trainable"]
