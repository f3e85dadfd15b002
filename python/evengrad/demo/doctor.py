"""The command `python -m evengrad demo --doctor`: a sick network, what ails it, and its cure."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

import evengrad as keras
from evengrad.demo import runs
from evengrad.demo.terminal import Terminal

if TYPE_CHECKING:
    from evengrad.doctor import CureResult, Report

_SICK = "vanishing"
_HELD_OUT = 5  # each 5th sample of training is one by which the doctor judges cures
BUDGET = 8.0  # trainings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --doctor and what belongs to it to `python -m evengrad demo`."""
    parser.add_argument(
        "--doctor",
        action="store_true",
        help="instead: train the vanishing network, diagnose and cure it",
    )
    for name, what in (("html", "a page with charts"), ("json", "JSON")):
        parser.add_argument(
            f"--{name}",
            metavar=f"FILE.{name}",
            type=Path,
            help=f"with --doctor: also write the report as {what}",
        )


def command(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Check the options before the training, and run."""
    if arguments.plot is not None:
        parser.error("--plot is not of --doctor, which has --html")
    for name in ("html", "json"):
        path = getattr(arguments, name)
        if path is not None and not path.parent.is_dir():
            parser.error(f"--{name}: expected a file in an existing folder, got {path}")
    run(arguments.html, arguments.json)


def run(
    html: Path | None = None,
    json: Path | None = None,
    *,
    epochs: int = runs.EPOCHS,
    budget: float = BUDGET,
    stream: TextIO | None = None,
) -> CureResult:
    """Train the network, show what the doctor finds, what it does, and what that changed.

    Parameters
    ----------
    html, json : Path, optional
        Where to write the report.
    epochs : int
        Of the training.
    budget : float
        Of the cure, in units of one training.
    stream : text file, optional
        Default: sys.stdout.

    Returns
    -------
    CureResult
        With the report.
    """
    begin = time.perf_counter()
    terminal = Terminal(stream or sys.stdout)
    data = runs.load_digits()
    held_out = np.arange(len(data.x)) % _HELD_OUT == 0
    train = data.x[~held_out], data.y[~held_out]
    _introduce(terminal, len(train[0]), int(held_out.sum()), len(data.x_test), epochs)
    model = _trained(*train, epochs)
    before = _accuracy(model, data)
    terminal.line(f"Trained: test accuracy {before:.1%}.")

    terminal.heading("model.diagnose(x, y)")
    report = model.diagnose(*train)
    terminal.doctor(report)
    terminal.heading(f"model.cure(x, y, validation_data=..., budget={budget:g})")
    validation = data.x[held_out], data.y[held_out]
    result = model.cure(*train, validation_data=validation, budget=budget)
    terminal.doctor(result)

    terminal.heading("Root-mean-square gradient by layer, and test accuracy")
    after = result.model.diagnose(*train)
    terminal.depth("before", _gradients(report), f"{before:.1%}")
    terminal.depth("after", _gradients(after), f"{_accuracy(result.model, data):.1%}")
    _write(terminal, result, html, json)
    terminal.line(f"\n{time.perf_counter() - begin:.1f} s in all.")
    return result


def _introduce(terminal: Terminal, train: int, held_out: int, test: int, epochs: int) -> None:
    terminal.versions()
    network = runs.SICK[_SICK]
    terminal.prose(
        f"Digits: {train:,} images of 64 pixels, standardized, to train on; {held_out} by which "
        f"cures are judged; {test} more to test. {runs.HIDDEN_LAYERS} hidden layers of "
        f"{runs.UNITS} units, {network.activation}, {network.initializer}; softmax; plain SGD, "
        f"learning rate {runs.RATE}, batch {runs.BATCH}, {epochs} epochs."
    )
    terminal.line()


def _trained(x: runs.F64, y: runs.F64, epochs: int) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    model = runs.SICK[_SICK].build()
    model.fit(x, y, batch_size=runs.BATCH, epochs=epochs, verbose=0)
    return model


def _accuracy(model: keras.Sequential, data: runs.Data) -> float:
    found = model.predict(data.x_test).argmax(axis=1)
    return float((found == data.y_test).mean())


def _gradients(report: Report) -> runs.F64:
    found = [layer.gradient for layer in report.layers]
    return np.array([gradient for gradient in found if not np.isnan(gradient)])


def _write(terminal: Terminal, result: CureResult, html: Path | None, json: Path | None) -> None:
    if html is not None:
        result.save_html(html)
    if json is not None:
        result.to_json(json)
    written = [str(path) for path in (html, json) if path is not None]
    if written:
        terminal.line(f"\nWritten: {', '.join(written)}")
