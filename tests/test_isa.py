"""EVENGRAD_ISA chooses the kernels, and all of them train alike."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import evengrad
import numpy as np
import pytest

ISAS = ("baseline", "avx2", "avx512")
NEEDED = {
    "baseline": set(),
    "avx2": {"avx2", "fma"},
    "avx512": {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"},
}
SCRIPT = """
import json
import evengrad as keras
layers = keras.layers
keras.utils.set_random_seed(0)
(x, y), _ = keras.datasets.digits.load_data()
model = keras.Sequential([layers.Flatten(input_shape=[8, 8]), layers.BatchNormalization()])
for activation in ("elu", "tanh", "silu"):
    model.add(layers.Dense(50, kernel_initializer="he_normal", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.Activation(activation))
    model.add(layers.Dropout(0.1))
model.add(layers.Dense(10, activation="softmax"))
optimizer = keras.optimizers.SGD(0.02, clipnorm=1.0)
model.compile(optimizer, "sparse_categorical_crossentropy")
history = model.fit(x[:320], y[:320], epochs=2, validation_split=0.2, verbose=0).history
print(json.dumps({"config": keras._core.config(), "history": history}))
"""


def run(isa: str | None, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "EVENGRAD_ISA"}
    if isa is not None:
        environment["EVENGRAD_ISA"] = isa
    environment["PYTHONPATH"] = str(Path(evengrad.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def available() -> list[str]:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["baseline"]
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # elsewhere the module itself is asked
        return [isa for isa in ISAS if run(isa, "import evengrad").returncode == 0]
    return [isa for isa in ISAS if NEEDED[isa] <= flags]


AVAILABLE = available()


def trained(isa: str | None) -> dict[str, Any]:
    done = run(isa)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    return trained("baseline")


@pytest.mark.parametrize("isa", ISAS)
def test_each_instruction_set_trains_alike(isa: str, baseline: dict[str, Any]) -> None:
    if isa not in AVAILABLE:
        pytest.skip(f"this processor has no {isa}")
    made = trained(isa)
    assert made["config"]["isa"] == isa
    assert baseline["config"]["isa"] == "baseline"
    for name, right in baseline["history"].items():
        np.testing.assert_allclose(made["history"][name], right, rtol=1e-5)
    assert made["history"]["loss"][1] < made["history"]["loss"][0]


@pytest.mark.parametrize("isa", [None, ""])
def test_the_best_is_chosen_where_none_is_named(isa: str | None) -> None:
    done = run(isa, "import evengrad; print(evengrad._core.config()['isa'])")
    assert done.stdout.strip() == AVAILABLE[-1]


def test_the_configuration_shows_it() -> None:
    done = run("baseline", "import evengrad; evengrad.show_config()")
    assert "isa       baseline\n" in done.stdout


@pytest.mark.parametrize("wrong", ["avx3", "AVX2", "baseline ", "x" * 500])
def test_a_wrong_name_is_an_error_at_import(wrong: str) -> None:
    done = run(wrong, "import evengrad")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    for word in ("EVENGRAD_ISA", "expected one of baseline, avx2, avx512", wrong[:20]):
        assert word in last


def test_an_instruction_set_that_is_not_there_is_an_error_at_import() -> None:
    missing = [isa for isa in ISAS if isa not in AVAILABLE]
    if not missing:
        pytest.skip("this processor has them all")
    done = run(missing[0], "import evengrad")
    assert done.returncode != 0
    assert "EVENGRAD_ISA" in done.stderr.splitlines()[-1]
