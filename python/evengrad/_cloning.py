"""Models like another one, with weights of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad.layers.input import InputLayer
from evengrad.saving import _configs, registration

if TYPE_CHECKING:
    from evengrad._stack import Part
    from evengrad.models import Sequential


def clone_model(
    model: Sequential,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: None = None,
    recursive: bool = False,
) -> Sequential:
    """Return a model of the same layers, with weights drawn anew.

    Parameters
    ----------
    model : Sequential
        One that is compiled gives one that is, with an optimizer that begins anew.
    input_tensors : InputLayer, shape or a list of one, optional
        What the clone's samples are like. Default: as the model's.
    clone_function : callable, optional
        Given each layer, returns the layer that the clone has in its place. Default: one of the
        same class and arguments.
    call_function : None
        For models of Keras that are no Sequential.
    recursive : bool
        Whether clone_function is given the layers of models inside the model, too, and not these
        models.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else.

    Notes
    -----
    Classes and functions of your own need not be registered, but have get_config. To copy the
    weights, too: `clone.set_weights(model.get_weights())`, or `copy.deepcopy(model)`.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(3, input_shape=(2,))])
    >>> twin = keras.models.clone_model(model)
    >>> bool((twin.get_weights()[0] == model.get_weights()[0]).any())
    False
    """
    from evengrad.models import Sequential

    who = "clone_model"
    if not isinstance(model, Sequential):
        raise TypeError(f"{who}: expected a Sequential, got {model!r}")
    if call_function is not None:
        raise ValueError(
            f"{who}: expected call_function=None, for in a Sequential layers are only listed; use "
            "clone_function"
        )
    if clone_function is not None and not callable(clone_function):
        raise TypeError(f"{who}: expected clone_function to be callable, got {clone_function!r}")
    shape = _sample_shape(who, model, input_tensors)
    with registration.by_reference() as named:
        config = _configs.config_of(model)
        compiled = model.get_compile_config()
    with registration.custom_object_scope(named):
        if clone_function is None:
            made = type(model).from_config(_with_shape(config, shape))
        else:
            made = type(model)(_cloned(model, clone_function, shape, recursive), name=model.name)
        if compiled:
            made.compile_from_config(compiled)
    return made


def _sample_shape(who: str, model: Sequential, given: Any) -> tuple[int, ...] | None:
    if given is None:
        return model.declared_shape
    if isinstance(given, list | tuple) and len(given) == 1 and not isinstance(given[0], int):
        given = given[0]
    if isinstance(given, InputLayer):
        return given.declared_shape
    return _validation.check_shape(who, "input_tensors", given)


def _with_shape(config: dict[str, Any], shape: tuple[int, ...] | None) -> dict[str, Any]:
    """The configuration of a model for other samples."""
    from evengrad.layers import serialize

    layers = list(config.get("layers", ()))
    if shape is None or "layers" not in config:
        return config
    if layers and layers[0]["class_name"] == InputLayer.__name__:
        del layers[0]
    return config | {"layers": [serialize(InputLayer(shape, name="input_layer")), *layers]}


def _cloned(
    model: Sequential, function: Callable[[Any], Any], shape: Any, recursive: bool
) -> list[Part]:
    from evengrad.models import Sequential

    found: list[Part] = [] if shape is None else [InputLayer(shape, name="input_layer")]
    for part in model.layers:
        if recursive and isinstance(part, Sequential):
            found.append(clone_model(part, None, function, recursive=True))
        else:
            found.append(function(part))
    return found


def model_from_json(
    json_string: str, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """Make a model from the architecture that `model.to_json` returned, with new weights.

    Parameters
    ----------
    json_string : str
    custom_objects : dict of class or function by name, optional
        Yours, where they are not registered.

    Raises
    ------
    ValueError, TypeError
        If it is no such text, or names what is not there.

    Examples
    --------
    >>> import evengrad as keras
    >>> text = keras.Sequential([keras.layers.Dense(3, input_shape=(2,))]).to_json()
    >>> keras.models.model_from_json(text).output_shape
    (None, 3)
    """
    from evengrad.saving._encoding import from_text
    from evengrad.saving._model_file import make

    if not isinstance(json_string, str):
        raise TypeError(f"model_from_json: expected a text, got {json_string!r:.80}")
    try:
        content = from_text(json_string)
    except ValueError as error:
        raise ValueError(f"model_from_json: expected what to_json returns: {error}") from None
    with registration.custom_object_scope(custom_objects):
        return make(content)
