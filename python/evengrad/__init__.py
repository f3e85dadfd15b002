"""Deep fully connected networks on CPUs, with gradients that stay healthy, in Keras' words."""

import os as _os


def _import_core() -> None:
    """Load the compiled core so that its idle threads do not keep others from the cores.

    libgomp reads its spin count once, when it is loaded: by default its threads spin for
    milliseconds after a parallel region while numpy's or torch's wait. Where another library has
    brought libgomp in already, the setting comes too late and the core uses threads of its own.
    """
    try:
        with open("/proc/self/maps") as maps:
            late = "libgomp" in maps.read()
    except OSError:
        late = False
    ours = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & _os.environ.keys()
    if ours:
        _os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        from evengrad import _core
    finally:
        if ours:
            del _os.environ["GOMP_SPINCOUNT"]
    if late and ours:
        _core.use_pool()


_import_core()

from evengrad import (  # noqa: E402
    activations,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    saving,
    utils,
)
from evengrad._core import get_num_threads  # noqa: E402
from evengrad.errors import GradientError, ModelFileError, NonFiniteError  # noqa: E402
from evengrad.layers import Input  # noqa: E402
from evengrad.models import Sequential  # noqa: E402
from evengrad.utils import __version__, set_num_threads, show_config  # noqa: E402
from evengrad.variable import Variable  # noqa: E402

__all__ = [
    "GradientError",
    "Input",
    "ModelFileError",
    "NonFiniteError",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "datasets",
    "doctor",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "saving",
    "set_num_threads",
    "show_config",
    "utils",
]


def __getattr__(name: str) -> object:
    if name in ("datasets", "doctor"):  # not needed to train: loaded when first asked for
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    from evengrad.errors import explain_missing

    raise AttributeError(explain_missing(name))
