"""The command `python -m evengrad`, and that its demo shows what training did."""

import io
import subprocess
import sys
from dataclasses import replace

import evengrad as keras
import numpy as np
import pytest
from evengrad import demo
from evengrad.demo import runs
from evengrad.demo.terminal import Terminal

BLOCKS = set("▁▂▃▄▅▆▇█")


@pytest.fixture(scope="module")
def data() -> runs.Data:
    return runs.load_digits()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def text_file(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


def written(file: io.TextIOWrapper) -> str:
    file.flush()
    return file.buffer.getvalue().decode(file.encoding)


def result(start: object, end: object = None, **kwargs: object) -> runs.Result:
    start = np.asarray(start, float)
    run = runs.Run(0, 0.5, 1.0, start, start if end is None else np.asarray(end, float), **kwargs)
    return runs.Result("vanishing", "untreated", [run])


# -- networks and runs


def test_each_remedy_changes_one_thing() -> None:
    for sick in runs.SICK.values():
        treated = runs.treatments(sick)
        assert list(treated) == ["untreated", *runs.REMEDIES, "all four"]
        assert treated["untreated"] == sick
        assert treated["initialization"] == replace(sick, initializer=None)
        assert treated["activation"] == replace(sick, activation="elu")
        assert treated["batch norm"] == replace(sick, normalized=True)
        assert treated["clipping"] == replace(sick, clipnorm=1.0)
        assert treated["all four"] == runs.Network("elu", None, normalized=True, clipnorm=1.0)
        assert treated["all four"].kernel_initializer == "he_normal"


@pytest.mark.parametrize("normalized", [False, True])
def test_network(normalized: bool) -> None:
    model = runs.Network("sigmoid", "glorot_uniform", normalized).build()
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [64] * 20 + [10]
    assert all(layer.use_bias is not normalized for layer in dense[:-1])
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 20 * normalized


def test_gradients_are_those_that_moved_the_weights(data: runs.Data) -> None:
    network = runs.Network("elu", None, normalized=True)
    keras.utils.set_random_seed(0)
    model = network.build()
    kernels = [v for v in model.variables if v.name == "kernel"][:-1]
    before = [kernel.numpy() for kernel in kernels]
    model.train_on_batch(data.x[:32], data.y[:32])
    moved = [b.astype(float) - k.numpy() for b, k in zip(before, kernels, strict=True)]
    expected = [np.sqrt(np.mean(np.square(m))) / runs.RATE for m in moved]
    np.testing.assert_allclose(runs.gradients(model), expected, rtol=1e-3)


def test_same_seed_same_run(data: runs.Data) -> None:
    network = runs.treatments(runs.SICK["vanishing"])["all four"]
    one, other = (runs.train(network, data, 1, epochs=1) for _ in range(2))
    assert one.accuracy == other.accuracy
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.end, other.end)
    assert not np.array_equal(one.start, one.end)


def test_training_that_breaks_is_shown(data: runs.Data) -> None:
    run = runs.train(runs.SICK["exploding"], data, 0)
    assert isinstance(run.failure, keras.NonFiniteError)
    shown = result(run.start, run.end, failure=run.failure)
    where = f"step {run.failure.step + 1} of epoch 1"
    assert shown.failures == f"not finite in {where} (seed 0)"
    file = text_file()
    Terminal(file).chart(shown)
    assert shown.failures in written(file)


def test_medians_bear_zero_and_infinity() -> None:
    values = [[1e-8, 0.0, 0.0], [1e-2, 1.0, np.inf], [1e-4, 0.0, np.inf]]
    some = [runs.Run(seed, 0.25 * seed, 1.0, *2 * [np.array(v)]) for seed, v in enumerate(values)]
    shown = runs.Result("vanishing", "untreated", some)
    np.testing.assert_allclose(shown.start, [1e-4, 0.0, np.inf])
    assert shown.accuracy == 0.25


@pytest.mark.parametrize("sickness", list(runs.SICK))
def test_untreated_fails_and_all_remedies_cure(sickness: str, data: runs.Data) -> None:
    treated = runs.treatments(runs.SICK[sickness])
    sick, cured = (runs.train(treated[name], data, 0) for name in ("untreated", "all four"))
    assert sick.accuracy < 0.20
    assert cured.accuracy >= 0.94
    assert cured.failure is None
    faded = sick.start[0] / sick.start[-1]
    assert faded < 1e-10 if sickness == "vanishing" else sick.start.min() > 1e10
    for values in (cured.start, cured.end):
        assert 0.1 < values[0] / values[-1] < 10
        assert values.min() > 1e-4
        assert values.max() < 1


# -- what is printed


def test_bars() -> None:
    file = text_file()
    start = np.array([0, 1e-30, 1e-15, 1e-13, 1e-1, 1, 10, 1e15, 1e30, np.inf] * 2)
    Terminal(file).chart(result(start, np.ones(20)))
    assert written(file).splitlines() == [
        "untreated                 ▁███      ▁███",
        "50.0%  1.00 s     0  ▁▁▂██████ ▁▁▂██████ inf   1e+00 ████████████████████ 1e+00",
    ]


def test_bars_of_what_is_not_finite() -> None:
    file = text_file()
    Terminal(file).chart(result([np.nan] * 20))
    assert " nan ████████████████████ nan " in written(file)


def test_run() -> None:
    file = text_file()
    results = demo.run((3, 4), epochs=1, reference_epochs=1, stream=file)
    text = written(file)
    for stated in ("rate 0.05", "batch 32", "1 epochs", "seeds 3, 4", "1,437 images"):
        assert stated in " ".join(text.split())
    assert [(r.sickness, r.treatment) for r in results] == [
        (sickness, name) for sickness in runs.SICK for name in runs.treatments(runs.SICK[sickness])
    ]
    for shown in results:
        assert f"{shown.accuracy:.1%}" in text
        assert [run.seed for run in shown.runs] == [3, 4]
    for clipping in ("clipnorm=1 ", "clipvalue=1 "):
        assert clipping in text


@pytest.mark.parametrize("columns", [60, 80, 160, 400])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_fits(columns: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    error = keras.NonFiniteError("", epoch=0, step=1, tensor="loss")
    run = runs.Run(0, 1.0, 99.99, np.full(20, 1e-14), np.full(20, np.inf), error)
    monkeypatch.setattr(runs, "train", lambda *_: run)
    monkeypatch.setattr(runs, "train_reference", lambda *_: (1.0, 99.99))
    file = text_file(encoding)
    demo.run(stream=file)
    text = written(file)
    assert max(map(len, text.splitlines())) < columns
    assert bool(BLOCKS & set(text)) == (encoding == "utf-8")
    assert "\x1b" not in text


def test_every_remedy_is_explained() -> None:
    assert list(demo._REMEDIES) == [*runs.REMEDIES, runs.ALL]


# -- the command


def test_import_leaves_the_demo_out() -> None:
    assert (
        python("-c", "import evengrad, sys; sys.exit('evengrad.demo' in sys.modules)").returncode
        == 0
    )


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(arguments: list[str]) -> None:
    done = python("-m", "evengrad", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m evengrad")
    assert "demo" in done.stdout


def test_version_and_config() -> None:
    assert python("-m", "evengrad", "--version").stdout == f"evengrad {keras.__version__}\n"
    assert keras.__version__ in python("-m", "evengrad", "config").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cure"], "invalid choice: 'cure'"),
        (["demo", "--seeds", "0"], "at least 1, got '0'"),
        (["demo", "--seeds", "two"], "at least 1, got 'two'"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str) -> None:
    done = python("-m", "evengrad", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_plot_without_matplotlib() -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; from evengrad.__main__ import main; "
        "main(['demo', '--plot', 'gradients.png'])"
    )
    done = python("-c", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'evengrad[plot]'" in done.stderr


@pytest.mark.parametrize("name", ["nowhere/gradients.png", "gradients.doc", "gradients"])
def test_plot_to_an_impossible_file(name: str, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    done = python("-m", "evengrad", "demo", "--plot", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr


def test_plot(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "gradients.png"
    file = text_file()
    demo.run((0,), picture, epochs=1, reference_epochs=1, stream=file)
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert picture.stat().st_size > 20_000
    assert str(picture) in written(file)
