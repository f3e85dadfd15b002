"""README's examples run as they stand, and its map names what is there."""

import re
from pathlib import Path
from typing import Any

import evengrad
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    return [text for name, text in fenced if name == language]


def test_example() -> None:
    example, *_ = blocks("python")
    assert len(example.splitlines()) <= 25
    names: dict[str, object] = {}
    exec(example, names)
    accuracy = names["accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.96


def test_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    first, example, *_ = blocks("python")
    names: dict[str, Any] = {}
    exec(first, names)
    healthy = names["model"]
    exec(example, names)
    assert names["report"].healthy
    assert names["model"] is healthy
    healthy.optimizer.learning_rate = 1e-5
    healthy.layers[-1].set_weights([np.zeros((300, 10)), np.zeros(10)])
    healthy.fit(names["x"], names["y"], epochs=2, verbose=0)
    exec(example, names)
    assert not names["report"].healthy
    assert "sure" in capsys.readouterr().out
    assert names["result"].improved
    assert names["model"] is not healthy


def test_callbacks_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, example, _ = blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(first, names)
    exec(example, names)
    again, x, y = names["again"], names["x"], names["y"]
    assert [path.name for path in tmp_path.iterdir()] == ["best.evengrad"]
    assert again.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] > 0.98


def test_layer_of_ones_own() -> None:
    *_, example = blocks("python")
    names: dict[str, object] = {"keras": evengrad}
    exec(example, names)
    square = names["Square"]
    assert isinstance(square, type)
    dense = evengrad.layers.Dense
    model = evengrad.Sequential([dense(3), square(), dense(1)])
    model.compile("adam", "mse")
    x = np.linspace(-1.0, 1.0, 64)[:, None]
    losses = model.fit(x, x**2, epochs=50, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_two_commands_come_first() -> None:
    first, second = blocks("")[0].splitlines()
    assert first == "pip install . && python -m evengrad demo"
    assert second == "pip install '.[test]' && pytest"


def test_map_names_what_is_there() -> None:
    (house,) = (block for block in blocks("") if block.startswith("csrc/"))
    folder = README.parent
    for line in house.splitlines():
        top = re.match(r"(\S+/)", line)
        if top:
            folder = README.parent / top[1]
            assert folder.is_dir(), line
        for name in re.findall(r"(?:^  |;  )(\S+)", line):
            path = name if "/" in name or "." in name else ""
            assert not path or (folder / path).exists(), name
