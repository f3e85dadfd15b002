"""Initial values of weights.

An initializer is called with a shape and returns a new C-contiguous float32 array. One that draws
gives other values at each call: two layers that share it do not share their weights. With `seed`
it has a generator of its own, started when it is made, so that equal initializers agree call by
call; without, it draws from the package's generator (`evengrad.utils.set_random_seed`).

Fans, for a kernel of shape `(n_in, n_out)`: `fan_in = n_in`, `fan_out = n_out`. A vector of n has
both n, a number has both 1, and in more than two dimensions those before the last two multiply
both.

References
----------
.. [1] Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural
   networks", https://proceedings.mlr.press/v9/glorot10a.html
.. [2] He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers", arXiv:1502.01852
.. [3] LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp"
.. [4] Klambauer et al. 2017, "Self-normalizing neural networks", arXiv:1706.02515
.. [5] Saxe, McClelland, Ganguli 2013, "Exact solutions to the nonlinear dynamics of learning in
   deep linear neural networks", arXiv:1312.6120
.. [6] Mezzadri 2006, "How to generate random matrices from the classical compact groups",
   arXiv:math-ph/0609050
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evengrad import _random

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_MAX = float(np.finfo(np.float32).max)
# Standard deviation of a standard normal variable truncated at 2.
_TRUNCATED_STDDEV = 0.87962566103423978


class Interval(NamedTuple):
    """The numbers from `low` to `high`, without `low` itself when `open` is set."""

    low: float
    high: float
    open: bool = False

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, float)
        return self.low <= number <= self.high and not (self.open and number == self.low)

    def __str__(self) -> str:
        return f"{'(' if self.open else '['}{self.low:.7g}, {self.high:.7g}]"


ANY_NUMBER = Interval(-_MAX, _MAX)
LIMITS = {
    "value": ANY_NUMBER,
    "mean": ANY_NUMBER,
    "stddev": Interval(0.0, _MAX),
    "minval": ANY_NUMBER,
    "maxval": ANY_NUMBER,
    "gain": ANY_NUMBER,
    "scale": Interval(0.0, _MAX, open=True),
}
MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "untruncated_normal", "uniform")


class Initializer:
    """Base class of all initializers.

    Derive from it and write `__call__(shape, dtype)`; one with arguments also writes
    `get_config`, a dict of them, from which `from_config` and `clone` make an equal one.
    """

    _arguments: ClassVar[tuple[str, ...]] = ()

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> F32:
        """Return a new array.

        Parameters
        ----------
        shape : sequence of int
        dtype : "float32"
            Accepted for Keras' sake; there is no other.
        """
        _check_dtype(self._owner, dtype)
        values = self._values(_check_shape(self._owner, shape))
        return np.asarray(values, dtype=np.float32, order="C")

    def _values(self, shape: tuple[int, ...]) -> F32 | F64:
        raise NotImplementedError(f"{self._owner} does not define __call__(shape, dtype).")

    @property
    def _owner(self) -> str:
        return type(self).__name__

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an initializer from what `get_config` returned."""
        return cls(**config)

    def clone(self) -> Self:
        """Return an equal initializer at the start of its random stream."""
        return self.from_config(self.get_config())

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{self._owner}({arguments})"

    def _number(self, name: str, value: object) -> float:
        return _check_number(self._owner, name, value)


class Zeros(Initializer):
    """All 0.

    Examples
    --------
    >>> from evengrad.initializers import Zeros
    >>> Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.zeros(shape, dtype=np.float32)


class Ones(Initializer):
    """All 1.

    Examples
    --------
    >>> from evengrad.initializers import Ones
    >>> Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.ones(shape, dtype=np.float32)


class Constant(Initializer):
    """All the same number.

    Parameters
    ----------
    value : float, default 0.0

    Examples
    --------
    >>> from evengrad.initializers import Constant
    >>> Constant(0.5)((2,))
    array([0.5, 0.5], dtype=float32)
    """

    _arguments = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = self._number("value", value)

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.full(shape, self.value, dtype=np.float32)


class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, 0 elsewhere.

    Parameters
    ----------
    gain : float, default 1.0

    Raises
    ------
    ValueError
        When called with a shape that is not of rank 2.

    Examples
    --------
    >>> from evengrad.initializers import Identity
    >>> Identity(2.0)((2, 3))
    array([[2., 0., 0.],
           [0., 2., 0.]], dtype=float32)
    """

    _arguments = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = self._number("gain", gain)

    def _values(self, shape: tuple[int, ...]) -> F32 | F64:
        if len(shape) != 2:
            raise ValueError(f"{self._owner}: expected a shape of rank 2, got {shape}.")
        return np.float32(self.gain) * np.eye(*shape, dtype=np.float32)


class RandomInitializer(Initializer):
    """Base class of those that draw: holds `seed` and the generator it starts."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else _random.check_seed(self._owner, seed)
        self._own = None if self.seed is None else np.random.Generator(np.random.PCG64(self.seed))

    @property
    def _generator(self) -> np.random.Generator:
        return _random.generator() if self._own is None else self._own


class _Normal(RandomInitializer):
    _arguments = ("mean", "stddev", "seed")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = self._number("mean", mean)
        self.stddev = self._number("stddev", stddev)
        super().__init__(seed)


class RandomNormal(_Normal):
    """Normal distribution.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, at least 0, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import RandomNormal
    >>> RandomNormal(stddev=1.0, seed=1)((784, 300)).shape
    (784, 300)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return _normal(self._generator, shape, self.mean, self.stddev)


class TruncatedNormal(_Normal):
    """Normal distribution; values beyond two standard deviations are drawn again.

    `stddev` is that of the normal distribution before truncation; that of the values is
    0.8796 times as large.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, at least 0, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import TruncatedNormal
    >>> bool(abs(TruncatedNormal(stddev=0.5, seed=1)((784, 300))).max() <= 1.0)
    True
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return _truncated_normal(self._generator, shape, self.mean, self.stddev)


class RandomUniform(RandomInitializer):
    """Uniform distribution over [minval, maxval].

    Parameters
    ----------
    minval : float, default -0.05
    maxval : float, at least minval, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import RandomUniform
    >>> bool(RandomUniform(0.0, 1.0, seed=1)((784, 300)).min() >= 0.0)
    True
    """

    _arguments = ("minval", "maxval", "seed")

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = self._number("minval", minval)
        self.maxval = self._number("maxval", maxval)
        if self.minval > self.maxval:
            raise ValueError(
                f"{self._owner}: expected minval <= maxval, got minval={minval}, maxval={maxval}."
            )
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        return _uniform(self._generator, shape, self.minval, self.maxval)


class Orthogonal(RandomInitializer):
    """Random matrix with orthonormal columns (rows if it is wider than tall), times `gain`.

    `Q` of the decomposition `A = Q R` of a normal matrix, the diagonal of `R` taken positive,
    which makes all orthogonal matrices equally likely [5]_ [6]_. A shape of higher rank stands
    for a matrix with its last dimension as columns.

    Parameters
    ----------
    gain : float, default 1.0
    seed : int, at least 0, or None

    Raises
    ------
    ValueError
        When called with a shape of rank less than 2.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad.initializers import Orthogonal
    >>> q = Orthogonal(seed=1)((100, 10))
    >>> bool(np.allclose(q.T @ q, np.eye(10), atol=1e-6))
    True
    """

    _arguments = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = self._number("gain", gain)
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        if len(shape) < 2:
            raise ValueError(f"{self._owner}: expected a shape of rank 2 or more, got {shape}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(self._generator.standard_normal(tall))
        q *= np.where(np.diagonal(r) < 0, -self.gain, self.gain)
        bound = abs(self.gain)
        return _rounded(q if rows >= columns else q.T, -bound, bound).reshape(shape)


class VarianceScaling(RandomInitializer):
    """Zero mean and a variance of `scale / n`, n taken from the shape [2]_.

    n is `fan_in`, `fan_out` or their mean, but at least 1. The distribution is "truncated_normal"
    (or "normal", the same): normal with `stddev = sqrt(scale / n) / 0.8796`, drawn again beyond
    two of them; "untruncated_normal": `stddev = sqrt(scale / n)`; or "uniform" over
    `[-limit, limit]`, `limit = sqrt(3 scale / n)`.

    Parameters
    ----------
    scale : float, more than 0, default 1.0
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
    distribution : {"truncated_normal", "normal", "untruncated_normal", "uniform"}
    seed : int, at least 0, or None
    input_axes, output_axes : sequence of int, or None
        Axes whose product is fan_in and fan_out; both or neither.

    Examples
    --------
    >>> from evengrad.initializers import VarianceScaling
    >>> he_avg = VarianceScaling(scale=2.0, mode="fan_avg", distribution="uniform", seed=1)
    >>> bool(abs(he_avg((784, 300)).var() * (784 + 300) / 2 - 2.0) < 0.02)
    True
    """

    _arguments: ClassVar[tuple[str, ...]] = (
        "scale",
        "mode",
        "distribution",
        "seed",
        "input_axes",
        "output_axes",
    )

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        self.scale = self._number("scale", scale)
        self.mode = _check_choice(self._owner, "mode", mode, MODES)
        self.distribution = _check_choice(self._owner, "distribution", distribution, DISTRIBUTIONS)
        if (input_axes is None) != (output_axes is None):
            raise ValueError(
                f"{self._owner}: expected both input_axes and output_axes or neither, "
                f"got input_axes={input_axes}, output_axes={output_axes}."
            )
        self.input_axes = _check_axes(self._owner, "input_axes", input_axes)
        self.output_axes = _check_axes(self._owner, "output_axes", output_axes)
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return _uniform(self._generator, shape, -limit, limit)
        if self.distribution == "untruncated_normal":
            return _normal(self._generator, shape, 0.0, stddev)
        return _truncated_normal(self._generator, shape, 0.0, stddev / _TRUNCATED_STDDEV)


class _Named(VarianceScaling):
    """A choice of scale, mode and distribution that has a name."""

    _arguments = ("seed", "input_axes", "output_axes")
    _choice: ClassVar[tuple[float, str, str]]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._choice, seed, input_axes, output_axes)


class GlorotNormal(_Named):
    """Truncated normal with variance `2 / (fan_in + fan_out)`, also called Xavier [1]_.

    Examples
    --------
    >>> from evengrad.initializers import GlorotNormal
    >>> GlorotNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (1.0, "fan_avg", "truncated_normal")


class GlorotUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(6 / (fan_in + fan_out))` [1]_.

    Examples
    --------
    >>> from evengrad.initializers import GlorotUniform
    >>> bool(abs(GlorotUniform(seed=1)((3, 3))).max() <= 1.0)
    True
    """

    _choice = (1.0, "fan_avg", "uniform")


class HeNormal(_Named):
    """Truncated normal with variance `2 / fan_in`, for ReLU and its relatives [2]_.

    Examples
    --------
    >>> from evengrad.initializers import HeNormal
    >>> HeNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(6 / fan_in)`, for ReLU and its relatives [2]_.

    Examples
    --------
    >>> from evengrad.initializers import HeUniform
    >>> bool(abs(HeUniform(seed=1)((6, 3))).max() <= 1.0)
    True
    """

    _choice = (2.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal with variance `1 / fan_in` [3]_; the one SELU asks for [4]_.

    Examples
    --------
    >>> from evengrad.initializers import LecunNormal
    >>> LecunNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(3 / fan_in)` [3]_.

    Examples
    --------
    >>> from evengrad.initializers import LecunUniform
    >>> bool(abs(LecunUniform(seed=1)((3, 3))).max() <= 1.0)
    True
    """

    _choice = (1.0, "fan_in", "uniform")


class _Function(Initializer):
    """A function of the user's own, its result checked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @property
    def _owner(self) -> str:
        return f"initializer {getattr(self.function, '__name__', repr(self.function))}"

    def _values(self, shape: tuple[int, ...]) -> F32:
        values = np.asarray(self.function(shape, dtype="float32"))
        if values.shape != shape or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._owner}: expected it to return numbers of shape {shape}, "
                f"got {values.dtype} of shape {values.shape}."
            )
        if not (np.abs(values.astype(np.float64)) <= _MAX).all():
            raise ValueError(f"{self._owner}: expected finite float32 numbers, got others.")
        return values.astype(np.float32)  # a copy: the function may keep the array

    def get_config(self) -> dict[str, Any]:
        raise TypeError(
            f"{self._owner}: a function has no configuration to save. "
            "Derive a class from evengrad.initializers.Initializer."
        )

    def clone(self) -> Self:
        return type(self)(self.function)

    def __repr__(self) -> str:
        return f"<{self._owner}>"


_CLASSES: tuple[type[Initializer], ...] = (
    Zeros,
    Ones,
    Constant,
    Identity,
    RandomNormal,
    TruncatedNormal,
    RandomUniform,
    Orthogonal,
    VarianceScaling,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


_NAMES: dict[str, type[Initializer]] = {
    **{_snake_case(c.__name__): c for c in _CLASSES},
    **{c.__name__: c for c in _CLASSES},
    # Keras' other names.
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
}


def get(identifier: object) -> Initializer | None:
    """Make an initializer out of what a layer's argument may hold.

    Parameters
    ----------
    identifier : None, str, dict, Initializer, class or callable
        A name ("he_normal" or "HeNormal"), what `serialize` returned, an initializer (returned as
        it is), a class derived from `Initializer`, or a function that returns an array for
        `(shape, dtype="float32")`. None gives None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is nothing of the above.

    Examples
    --------
    >>> from evengrad import initializers
    >>> initializers.get("he_normal")
    HeNormal(seed=None, input_axes=None, output_axes=None)
    """
    if identifier is None or isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, str):
        return _find(identifier, {})()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, type):
        if issubclass(identifier, Initializer):
            return identifier()
    elif callable(identifier):
        return _Function(identifier)
    raise TypeError(
        "initializer: expected None, a name, a config, an Initializer, a class derived from it "
        f"or a function, got {_short(identifier)}."
    )


def serialize(initializer: Initializer | None) -> dict[str, Any] | None:
    """Return the class name and arguments of an initializer, fit for JSON; None for None.

    Examples
    --------
    >>> from evengrad import initializers
    >>> initializers.serialize(initializers.Constant(0.5))
    {'class_name': 'Constant', 'config': {'value': 0.5}}
    """
    if initializer is None:
        return None
    if not isinstance(initializer, Initializer):
        raise TypeError(f"serialize: expected an Initializer, got {_short(initializer)}.")
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, type[Initializer]] | None = None
) -> Initializer:
    """Make an initializer from what `serialize`, or Keras' own, returned.

    Parameters
    ----------
    config : dict
        With "class_name" and "config"; other keys are not looked at.
    custom_objects : dict, optional
        Classes of the user's own, by name.
    """
    name, arguments = config.get("class_name"), config.get("config", {})
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise ValueError(
            'initializer: expected a dict with "class_name" (a name) and "config" (a dict), '
            f"got {_short(dict(config))}."
        )
    found = _find(name, custom_objects or {})
    try:
        return found.from_config(arguments)
    except TypeError as error:
        raise TypeError(f"initializer {name}: cannot use config {arguments}: {error}") from None


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[int, int]:
    """Return the number of inputs and of outputs of a unit, for weights of `shape`.

    Examples
    --------
    >>> from evengrad.initializers import compute_fans
    >>> compute_fans((784, 300)), compute_fans((7,)), compute_fans((3, 3, 16, 32))
    ((784, 300), (7, 7), (144, 288))
    """
    if input_axes is not None and output_axes is not None:
        for axis in (*input_axes, *output_axes):
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"fans: axis {axis} does not exist in shape {tuple(shape)}.")
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _normal(
    generator: np.random.Generator, shape: tuple[int, ...], mean: float, stddev: float
) -> F32:
    return _rounded(mean + stddev * generator.standard_normal(shape), -_MAX, _MAX)


def _truncated_normal(
    generator: np.random.Generator, shape: tuple[int, ...], mean: float, stddev: float
) -> F32:
    z = generator.standard_normal(math.prod(shape))
    (outside,) = np.nonzero(np.abs(z) > 2.0)
    while outside.size:
        z[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(z[outside]) > 2.0]
    return _rounded(mean + stddev * z.reshape(shape), mean - 2 * stddev, mean + 2 * stddev)


def _uniform(
    generator: np.random.Generator, shape: tuple[int, ...], low: float, high: float
) -> F32:
    return _rounded(low + (high - low) * generator.random(shape), low, high)


def _rounded(values: F64, low: float, high: float) -> F32:
    """Round to float32 without leaving [low, high]; to its middle if no float32 lies within."""
    low, high = max(low, -_MAX), min(high, _MAX)
    bottom, top = np.float32(low), np.float32(high)
    if float(bottom) < low:
        bottom = np.nextafter(bottom, np.float32(np.inf))
    if float(top) > high:
        top = np.nextafter(top, np.float32(-np.inf))
    if bottom > top:
        bottom = top = np.float32(low / 2 + high / 2)
    # Clipped before rounding: what is rounded then lies between two float32 numbers.
    return np.clip(values, float(bottom), float(top)).astype(np.float32)


def _find(name: str, custom: Mapping[str, type[Initializer]]) -> type[Initializer]:
    found = custom.get(name) or _NAMES.get(name)
    if found is None:
        close = difflib.get_close_matches(name, _NAMES, n=1)
        known = ", ".join(_snake_case(c.__name__) for c in _CLASSES)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {known}."
        raise ValueError(f"initializer: {_short(name)} is unknown; {hint}")
    return found


def _check_number(owner: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{owner}: expected {name} to be a number, got {_short(value)}.")
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        number = math.inf
    if number not in LIMITS[name]:  # NaN is in none
        raise ValueError(f"{owner}: expected {name} in {LIMITS[name]}, got {number:.7g}.")
    return number


def _check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{owner}: expected {name} to be one of {', '.join(choices)}, got {_short(value)}."
        )
    return value


def _check_axes(owner: str, name: str, axes: object) -> list[int] | None:
    if axes is None:
        return None
    return list(_integers(owner, name, axes, minimum=None))


def _check_shape(owner: str, shape: object) -> tuple[int, ...]:
    return _integers(owner, "shape", shape, minimum=0)


def _integers(owner: str, name: str, values: object, minimum: int | None) -> tuple[int, ...]:
    try:
        if isinstance(values, str | bytes):
            raise TypeError
        numbers = tuple(operator.index(v) for v in values)  # type: ignore[attr-defined]
    except TypeError:
        raise TypeError(
            f"{owner}: expected {name} to be a tuple of integers, got {_short(values)}."
        ) from None
    if minimum is not None and any(n < minimum for n in numbers):
        raise ValueError(f"{owner}: expected {name} of at least {minimum} each, got {numbers}.")
    return numbers


def _check_dtype(owner: str, dtype: DTypeLike) -> None:
    try:
        right = dtype is None or np.dtype(dtype) == np.float32
    except TypeError:
        right = False
    if not right:
        raise ValueError(f"{owner}: expected dtype float32, the only one, got {_short(dtype)}.")


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
