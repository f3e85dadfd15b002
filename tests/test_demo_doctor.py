"""The command `python -m evengrad demo --doctor`: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reports
from evengrad.demo import doctor
from evengrad.doctor import CureResult, Report
from test_demo import python, text_file, written


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A doctor who sees the same each time, and what it is asked."""
    calls: list[str] = []

    def diagnose(model: keras.Sequential, x: Any, y: Any) -> Report:
        calls.append(f"diagnose {model.built} {len(x)}")
        gradient = 1e-9 if calls == [calls[0]] else 1e-2
        return reports.replace_gradients(reports.report(21), gradient)

    def cure(model: keras.Sequential, x: Any, y: Any, **options: Any) -> CureResult:
        rows = len(options["validation_data"][0])
        calls.append(f"cure {len(x)} {rows} {options['budget']:g}")
        return reports.cure(model=model)

    monkeypatch.setattr(keras.Sequential, "diagnose", diagnose, raising=False)
    monkeypatch.setattr(keras.Sequential, "cure", cure, raising=False)
    return calls


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_shown(asked: list[str], encoding: str, tmp_path: Path) -> None:
    file = text_file(encoding)
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    result = doctor.run(page, data, epochs=1, budget=3.0, stream=file)
    assert asked == ["diagnose True 1149", "cure 1149 288 3", "diagnose True 1149"]
    text = written(file)
    for said in (
        "1,149 images", "288 by which", "360 more", "1 epochs", "vanishing_gradient, 97% sure",
        "Improved on held-out data", 'activation = "elu"', str(page), str(data),
    ):  # fmt: skip
        assert said in " ".join(text.split()), said
    before, after = (line for line in text.splitlines() if line.startswith(("before ", "after ")))
    assert before.split()[:2] == ["before", "1e-09"]
    assert after.split()[:2] == ["after", "1e-02"]
    accuracy = [line.split()[-1] for line in (before, after)]
    assert all(value.endswith("%") for value in accuracy)
    assert f"Trained: test accuracy {accuracy[0]}." in text
    assert max(map(len, text.split("Written:")[0].splitlines())) < 80
    assert "gradient of each layer" in page.read_text()
    assert json.loads(data.read_text()) == result.to_dict()


def test_the_network_is_diagnosed_and_cured() -> None:
    file = text_file()
    result = doctor.run(stream=file)
    (first, *_) = result.report.verdicts
    assert first.disease == "vanishing_gradient"
    hidden = [layer.name for layer in result.report.layers[:20]]
    assert set(hidden[:15]) <= set(first.layers) <= set(hidden)
    assert result.improved
    assert result.before < 0.2
    assert result.after >= 0.9
    text = written(file)
    before, after = (line for line in text.splitlines() if line.startswith(("before ", "after ")))
    assert float(before.split()[1]) < 1e-10
    assert float(after.split()[1]) > 1e-6
    assert float(after.split()[-1].rstrip("%")) >= 90.0


def test_bars_of_a_depth() -> None:
    file = text_file()
    terminal = doctor.Terminal(file)
    terminal.depth("small", np.array([1e-15, 1e-1]), "10%")
    terminal.depth("large", np.array([1.0, 1e15]), "20%")
    assert written(file).splitlines() == [
        "small         1e-15 ▁█ 1e-01 10%",
        f"{'':21}█",
        "large         1e+00 ██ 1e+15 20%",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "report.html"], "--html and --json are of --doctor"),
        (["--json", "report.json"], "--html and --json are of --doctor"),
        (["--doctor", "--html", "nowhere/report.html"], "existing folder, got nowhere/report.html"),
        (["--doctor", "--json", "nowhere/report.json"], "existing folder, got nowhere/report.json"),
        (["--doctor", "--plot", "a.png"], "--plot is not of --doctor"),
    ],
)
def test_wrong_options(arguments: list[str], said: str) -> None:
    done = python("-m", "evengrad", "demo", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
