"""Names for classes and functions of your own, under which files and configurations know them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

_OBJECTS: dict[str, Any] = {}  # what is registered, by name
_NAMES: dict[Any, str] = {}
_EMPTY: Mapping[str, Any] = {}
_scope: ContextVar[Mapping[str, Any]] = ContextVar("custom_objects", default=_EMPTY)
# What becomes of a class without a name: None, its __name__; "strict", an error; a dict, a name
# made up, under which the dict then has it.
_naming: ContextVar[str | dict[str, Any] | None] = ContextVar("naming", default=None)


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[_T], _T]:
    """Give a class or function of yours a name, so that models that use it can be saved.

    Parameters
    ----------
    package : str
        What the name begins with, default "Custom".
    name : str, optional
        Default: that of the class or function.

    Returns
    -------
    callable
        A decorator. The name is "package>name"; one that is taken is given to the new owner.

    Raises
    ------
    ValueError, TypeError
        If package or name is no text, or the class has no `get_config`.

    Notes
    -----
    A file holds the name alone, never code: register the same in the process that loads it, by
    importing the module with the class, or pass it as `load_model(custom_objects={name: class})`.

    Examples
    --------
    >>> from evengrad import layers, saving
    >>> @saving.register_keras_serializable("shop")
    ... class Double(layers.Layer):
    ...     def call(self, inputs):
    ...         return 2.0 * inputs
    ...
    ...     def call_backward(self, inputs, outputs, dy):
    ...         return 2.0 * dy
    >>> saving.get_registered_name(Double)
    'shop>Double'
    """
    who = "register_keras_serializable"
    for what, text in (("package", package), ("name", name)):
        if not (isinstance(text, str) and text) and not (what == "name" and text is None):
            raise TypeError(f"{who}: expected {what} to be a text, got {text!r}")

    def register(thing: _T) -> _T:
        own = name or getattr(thing, "__name__", None)
        if own is None or not callable(thing):
            raise TypeError(f"{who}: expected a class or a function, got {thing!r}")
        if inspect.isclass(thing) and not hasattr(thing, "get_config"):
            raise ValueError(
                f"{who}: expected {own} to have get_config(self), which returns the arguments of "
                "its constructor"
            )
        if name is None and own == "<lambda>":
            raise ValueError(f"{who}: expected name for a lambda, which has none of its own")
        full = f"{package}>{own}"
        _OBJECTS[full] = thing
        _NAMES[thing] = full
        return thing

    return register


class CustomObjectScope:
    """Classes and functions of yours by name, known within a `with`.

    Parameters
    ----------
    custom_objects : dict of class or function by name, optional
        Looked at before what is registered and before evengrad's own. Scopes add up; the inner one
        comes first.

    Raises
    ------
    TypeError
        If it is no such dict.

    Examples
    --------
    >>> from evengrad import initializers, saving
    >>> class Halves(initializers.Initializer):
    ...     pass
    >>> with saving.custom_object_scope({"Halves": Halves}):
    ...     made = initializers.get("Halves")
    >>> type(made) is Halves
    True
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None = None) -> None:
        given = {} if custom_objects is None else custom_objects
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise TypeError(
                f"custom_objects: expected a dict of classes and functions by name, got {given!r}"
            )
        self.custom_objects = dict(given)
        self._tokens: list[Token[Mapping[str, Any]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_scope.set({**_scope.get(), **self.custom_objects}))
        return self

    def __exit__(self, *error: object) -> None:
        _scope.reset(self._tokens.pop())


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """Return what is registered, by name: the live dict, which may be written to.

    Examples
    --------
    >>> from evengrad import saving
    >>> saving.get_custom_objects()["my_rate"] = lambda step: 0.1 / (1 + step)
    >>> del saving.get_custom_objects()["my_rate"]
    """
    return _OBJECTS


def get_registered_name(obj: Any) -> str:
    """Return the name that a class or function is registered under, else its Python name.

    Parameters
    ----------
    obj : class or function

    Examples
    --------
    >>> from evengrad import layers, saving
    >>> saving.get_registered_name(layers.Dense)
    'Dense'
    """
    return _registered(obj) or str(obj.__name__)


def _registered(thing: Any) -> str | None:
    try:
        return _NAMES.get(thing)
    except TypeError:  # it has no hash
        return None


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Return the class or function of a name, None if there is none.

    Parameters
    ----------
    name : str
        As `get_registered_name` returns it.
    custom_objects, module_objects : dict by name, optional
        Looked at after the scopes one is in and what is registered.

    Examples
    --------
    >>> from evengrad import saving
    >>> saving.get_registered_object("nobody>knows") is None
    True
    """
    for known in (_scope.get(), _OBJECTS, custom_objects or {}, module_objects or {}):
        if name in known:
            return known[name]
    return None


# -- for the package itself


def is_ours(thing: Any) -> bool:
    """Whether a class or function is one of the package's own."""
    module = str(getattr(thing, "__module__", ""))
    if module != "evengrad" and not module.startswith("evengrad."):
        return False
    return getattr(sys.modules.get(module), getattr(thing, "__name__", ""), None) is thing


@contextmanager
def strict() -> Iterator[None]:
    """Let what has no name to be found by be an error, because a file is to hold it."""
    token = _naming.set("strict")
    try:
        yield
    finally:
        _naming.reset(token)


def naming() -> bool:
    """Whether a model is being saved or copied."""
    return _naming.get() is not None


@contextmanager
def by_reference() -> Iterator[dict[str, Any]]:
    """Let everything have a name for now, found in the dict: for copies within the process."""
    made: dict[str, Any] = {}
    token = _naming.set(made)
    try:
        yield made
    finally:
        _naming.reset(token)


def name_of(thing: Any, kind: str) -> str:
    """Return the name under which `find` gives a class or function back.

    Raises
    ------
    TypeError
        If there is none and a file is being written.
    """
    if is_ours(thing):
        return str(thing.__name__)
    for name in (_registered(thing), *_names_in(_scope.get(), thing), *_names_in(_OBJECTS, thing)):
        if name is not None and _same(get_registered_object(name), thing):
            return name
    own = str(getattr(thing, "__name__", repr(thing)))
    naming = _naming.get()
    if isinstance(naming, dict):
        return _made_up(naming, thing, own)
    if naming == "strict":
        raise TypeError(_unregistered(thing, kind, own))
    return own


def _same(found: Any, thing: Any) -> bool:
    """Whether it is that class or function, or what the same lines made when they ran again."""
    names = "__module__", "__qualname__"
    return found is not None and all(getattr(found, n, 0) == getattr(thing, n, 1) for n in names)


def _names_in(known: Mapping[str, Any], thing: Any) -> Iterator[str]:
    return (name for name, value in known.items() if value is thing)


def _made_up(made: dict[str, Any], thing: Any, own: str) -> str:
    for name, value in made.items():
        if value is thing:
            return name
    name = f"<{len(made)}>{own}"
    made[name] = thing
    return name


def _unregistered(thing: Any, kind: str, own: str) -> str:
    if own == "<lambda>":
        return (
            f"{kind}: a lambda cannot be saved, for a file holds names and no code; write it with "
            "def, above it @evengrad.saving.register_keras_serializable()"
        )
    what = "class" if inspect.isclass(thing) else "function"
    name = _registered(thing)
    if name is not None and get_registered_object(name) is not None:
        return (
            f"{kind}: the name {name!r} of the {what} {own} belongs to another one now; register "
            "this one with a package of its own: register_keras_serializable(package=...)"
        )
    return (
        f"{kind}: the {what} {own} is not registered, and a file holds names and no code; write "
        f"@evengrad.saving.register_keras_serializable() above its definition"
    )


def find(name: Any, kind: str, *bases: type[Any]) -> Any:
    """Return the class of that name, derived from one of `bases`; without any, the function.

    None where nothing of that name is in a scope or registered.

    Raises
    ------
    TypeError
        If what is found is something else.
    ValueError
        If nothing is and the name is one that only registered things have.
    """
    if not isinstance(name, str):
        return None
    found = get_registered_object(name)
    if found is None and ">" in name:
        found = _scope.get().get(name.rpartition(">")[2])  # given by its Python name
        if found is None:
            raise ValueError(f"{kind}: {unknown(name)}")
    if found is None:
        return None
    if bases:
        fits = inspect.isclass(found) and issubclass(found, bases)
    else:
        fits = callable(found) and not inspect.isclass(found)
    if not fits:
        wanted = " or ".join(base.__name__ for base in bases)
        wanted = f"a class derived from {wanted}" if bases else "a function"
        raise TypeError(f"{kind}: expected {name!r} to be {wanted}, got {found!r}")
    return found


def unknown(name: str) -> str:
    """What to do about a name of something of the user's own that is not there."""
    short = name.rpartition(">")[2]
    return (
        f"{name!r} is not known in this process; import the module that registers it, or pass "
        f"load_model(custom_objects={{{name!r}: {short}}})"
    )
