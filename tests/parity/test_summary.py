"""summary: the rows and counts of Keras' table, and what its arguments do."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest

from parity import helpers
from parity.helpers import keras
from parity.twins import outcome

pytestmark = [
    helpers.quiet,
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
]

WIDE = {"line_length": 200, "positions": [0.5, 0.8, 1.0]}


def small(library: ModuleType) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((2, 3)),
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dense(5, "relu", name="hidden"),
            layers.Dropout(0.5),
            layers.PReLU(),
            layers.LayerNormalization(),
            layers.Dense(1, use_bias=False),
        ],
        name="small",
    )


def of_axes(library: ModuleType) -> Any:
    layers = library.layers
    stack = [layers.Dense(1200), layers.Activation("elu"), layers.Dense(700), layers.Reshape((7,))]
    return library.Sequential([library.Input((4, 30)), *stack[:3]], name="of_axes")


def nested(library: ModuleType) -> Any:
    inner = library.Sequential(
        [library.Input((4,)), library.layers.Dense(3), library.layers.ReLU()], name="inner"
    )
    outer = library.Sequential([library.Input((4,)), inner, library.layers.Dense(2)], name="outer")
    outer.layers[0].trainable = False
    return outer


def unbuilt(library: ModuleType) -> Any:
    return library.Sequential([library.layers.Dense(3), library.layers.ReLU()], name="unbuilt")


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras cuts off what is wider than that."""
    monkeypatch.setenv("COLUMNS", "250")


BUILDERS = {f.__name__: f for f in (small, of_axes, nested, unbuilt)}


def text_of(model: Any, **options: Any) -> str:
    said: list[str] = []
    assert model.summary(print_fn=lambda text, **_: said.append(text), **options) is None
    (text,) = said
    return text


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(("┃", "│"))]
    return [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines]


def footer(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "params:" in line]


def pair(builder: str) -> list[Any]:
    for library in (evengrad, keras):
        library.utils.clear_session()
    return [BUILDERS[builder](library) for library in (evengrad, keras)]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"show_trainable": True},
    {"expand_nested": True},
    {"expand_nested": True, "show_trainable": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("builder", BUILDERS)
def test_rows_and_counts(builder: str, options: dict[str, Any]) -> None:
    ours, theirs = (text_of(model, **WIDE, **options) for model in pair(builder))
    assert rows(ours) == rows(theirs)
    assert footer(ours) == footer(theirs)
    assert ours.splitlines()[0] == theirs.splitlines()[0].strip()
    for model in pair(builder)[:1]:  # the same cells where lines are as long as they need be
        assert rows(text_of(model, **options)) == rows(theirs)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adagrad"])
def test_parameters_of_the_optimizer(optimizer: str) -> None:
    x = np.zeros((4, 2, 3), np.float32)
    texts = []
    for model in pair("small"):
        model.compile(optimizer, loss="mse")
        assert "Optimizer" not in text_of(model, **WIDE)
        model.train_on_batch(x, np.zeros((4, 1), np.float32))
        texts.append(footer(text_of(model, **WIDE)))
    assert len(texts[0]) == 4
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "names",
    [
        ["hidden", "hidden"], ("flatten", "hidden"), ["hidden", "flatten"], [".*norm", "drop"],
        ["dense", "dense"],
    ],
    ids=str,
)  # fmt: skip
def test_layer_range(names: Any) -> None:
    ours, theirs = (text_of(model, **WIDE, layer_range=names) for model in pair("small"))
    assert rows(ours) == rows(theirs)
    assert footer(ours) == footer(theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"layer_range": ["nope", "hidden"]},
        {"layer_range": ["hidden"]},
        {"layer_range": [1, 2]},
        {"line_length": 8},
        {"line_length": 80, "positions": [0.5, 0.51, 1.0]},
    ],
    ids=str,
)
def test_what_is_refused(options: dict[str, Any]) -> None:
    assert [outcome(lambda m=m: text_of(m, **options)) for m in pair("small")] == [ValueError] * 2


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("length", [60, 77, 120])
def test_lines_have_the_length_asked_for(length: int, trainable: bool) -> None:
    for model in pair("small"):
        options = {"line_length": length, "show_trainable": trainable}
        lines = text_of(model, **options).splitlines()
        table = [line for line in lines if line.startswith(tuple("┃│┏┡└├"))]
        assert {len(line) for line in table} == {length}
        names = "".join(row[0] for row in rows("\n".join(table)))
        assert "batch_normalization(BatchNormalization)" in re.sub(r"\s", "", names)  # wrapped


def test_positions_say_where_columns_end() -> None:
    """Also in characters, as Keras' docstring says and its code no longer does."""
    model = pair("small")[0]
    by_share = text_of(model, line_length=100, positions=[0.5, 0.8, 1.0])
    assert text_of(model, line_length=100, positions=[50, 80, 100]) == by_share
    (top,) = [line for line in by_share.splitlines() if line.startswith("┏")]
    assert [i + 1 for i, mark in enumerate(top) if mark in "┳┓"] == [50, 80, 100]


def test_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for model in pair("small"):
        model.summary()
        said.append(capsys.readouterr().out)
    assert footer(said[0]) == footer(said[1])
