"""tests/README.md has a row for every argument of a model's methods and of the callbacks."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import Any

import evengrad as keras
import pytest
from test_arguments import BAD

ROOT = Path(__file__).parent.parent
README = (ROOT / "tests" / "README.md").read_text()
METHODS = {("Sequential" if name == "__init__" else name): name for name in BAD}
CALLBACKS = {
    name: value
    for name in keras.callbacks.__all__
    if inspect.isclass(value := getattr(keras.callbacks, name))
}


def tables() -> dict[str, list[list[str]]]:
    """Cells of the rows below each heading of the third level."""
    found: dict[str, list[list[str]]] = {}
    owner = ""
    for line in README.splitlines():
        if line.startswith("#"):
            owner = line.removeprefix("### ").strip("` ") if line.startswith("### ") else ""
        elif owner and line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(owner, []).append(cells)
    return found


TABLES = tables()


def arguments_of(function: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind not in kinds]


def arguments(owner: str) -> list[str]:
    if owner in METHODS:
        return arguments_of(getattr(keras.Sequential, METHODS[owner]))
    made = CALLBACKS[owner].__init__
    return [] if made is object.__init__ else arguments_of(made)


@functools.cache
def names_in(path: str) -> set[str]:
    file = ROOT / path
    if not file.is_file():
        return set()
    nodes = ast.walk(ast.parse(file.read_text()))
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


@pytest.mark.parametrize("owner", [*METHODS, *CALLBACKS])
def test_each_argument_has_a_row(owner: str) -> None:
    rows = [cells[0].strip("`") for cells in TABLES.get(owner, [])]
    assert rows == arguments(owner)


def test_there_is_no_other_table() -> None:
    assert len(TABLES) >= len(METHODS)
    assert set(TABLES) <= {*METHODS, *CALLBACKS}


@pytest.mark.parametrize("owner", TABLES)
def test_each_row_names_a_test(owner: str) -> None:
    for name, _, *last in TABLES[owner]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", last[-1] if last else "")
        assert named, f"{owner}({name}) has no test"
        for path, test in named:
            assert test in names_in(path), f"{owner}({name}): {path}::{test} does not exist"


def test_tests_named_elsewhere_exist() -> None:
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", README):
        assert test in names_in(path), f"{path}::{test}"
