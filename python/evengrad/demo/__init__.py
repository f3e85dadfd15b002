"""The command `python -m evengrad demo`: sick networks, four remedies, and what they do."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from evengrad.demo import doctor, plot, runs
from evengrad.demo.terminal import Terminal
from evengrad.initializers import Initializer

__all__ = ["add_command", "run"]

_CURED = 0.9

_CHART_KEY = (
    "Each bar is the root-mean-square gradient of one hidden layer's kernel, before clipping, on "
    "one logarithmic scale: the lower line spans 1e-16 to 1, the upper one 1 to 1e+16, and each of "
    "{} is a factor of 100. The numbers beside are those of the first and the last layer."
)
_REMEDIES = {
    "initialization": "a kernel variance that the activation preserves: {}",
    "activation": "ELU, which does not saturate above 0 (the exploding network has it already)",
    "batch norm": "batch normalization before each activation, in place of the bias",
    "clipping": f"SGD(clipnorm={runs.CLIP:g})",
    "all four": "the same network, whatever the sickness was",
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` to the commands of `python -m evengrad`."""
    parser = commands.add_parser(
        "demo",
        help="train deep networks with vanishing and exploding gradients, and cure them",
        description="Train networks of 20 hidden layers whose gradients vanish or explode, on "
        "handwritten digits, untreated and with each of four remedies; then the reference "
        "program on a sample of Fashion-MNIST. Takes a few seconds. With --doctor: what ails the "
        "vanishing network, found out and cured by the gradient doctor.",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        type=Path,
        help="also draw the gradients with matplotlib (pip install 'evengrad[plot]')",
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=_count,
        default=3,
        help="train each network from the seeds 0 to N-1 (default: %(default)s)",
    )

    doctor.add_options(parser)

    def command(arguments: argparse.Namespace) -> None:
        if arguments.doctor:
            doctor.command(parser, arguments)
            return
        if arguments.html or arguments.json:
            parser.error("--html and --json are of --doctor")
        if arguments.plot is not None:
            try:
                plot.check(arguments.plot)
            except (ImportError, ValueError) as error:
                parser.error(f"--plot {error}")
        run(range(arguments.seeds), arguments.plot)

    parser.set_defaults(command=command)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def run(
    seeds: Sequence[int] = (0, 1, 2),
    picture: Path | None = None,
    *,
    epochs: int = runs.EPOCHS,
    reference_epochs: int = runs.REFERENCE_EPOCHS,
    stream: TextIO | None = None,
) -> list[runs.Result]:
    """Train, print as results come in, and return those of the sick networks.

    Parameters
    ----------
    seeds : sequence of int
        Of the trainings of each network.
    picture : Path, optional
        Where to draw the gradients.
    epochs, reference_epochs : int
        Of the sick networks and of the reference program.
    stream : text file, optional
        Default: sys.stdout.
    """
    begin = time.perf_counter()
    terminal = Terminal(stream or sys.stdout)
    settings = _settings(epochs, seeds)
    data = runs.load_digits()
    _introduce(terminal, data, settings)
    results: list[runs.Result] = []
    for sickness, network in runs.SICK.items():
        terminal.heading(f"{sickness.capitalize()}: {_describe(network)}")
        terminal.chart_head()
        for result in runs.run_sickness(sickness, data, seeds, epochs):
            terminal.chart(result)
            results.append(result)
    _conclude(terminal, results)
    _reference(terminal, seeds, reference_epochs)
    if picture is not None:
        plot.draw(results, settings, picture)
        terminal.line(f"\nDrawn: {picture}")
    terminal.line(f"\n{time.perf_counter() - begin:.1f} s in all.")
    return results


def _settings(epochs: int, seeds: Sequence[int]) -> str:
    seed = runs.listed(seeds)
    return f"plain SGD, learning rate {runs.RATE}, batch {runs.BATCH}, {epochs} epochs, {seed}"


def _describe(network: runs.Network) -> str:
    return f"{network.activation}, {_named(network.kernel_initializer)}"


def _named(initializer: str | Initializer) -> str:
    if isinstance(initializer, str):
        return initializer
    given = [f"{k}={v!r}" for k, v in initializer.get_config().items() if v is not None]
    return f"{type(initializer).__name__}({', '.join(given)})"


def _introduce(terminal: Terminal, data: runs.Data, settings: str) -> None:
    terminal.versions()
    terminal.prose(
        f"Digits: {len(data.x):,} images of 64 pixels, standardized; {len(data.x_test)} more are "
        f"held out to test. {runs.HIDDEN_LAYERS} hidden layers of {runs.UNITS} units, softmax; "
        f"{settings}. Test accuracy and seconds of training are means over the seeds, gradients "
        "medians. Where training met a number that is not finite, it ended there, and the "
        "accuracy is that of the model as it stood."
    )
    terminal.line()
    preserving = [f"{_named(i)} for {name}" for name, i in runs.VARIANCE_PRESERVING.items()]
    for name, text in _REMEDIES.items():
        terminal.prose(f"{name:16}{text.format(', '.join(preserving))}", 16)
    terminal.line()
    terminal.prose(_CHART_KEY.format(terminal.shades[1:]))


def _conclude(terminal: Terminal, results: Sequence[runs.Result]) -> None:
    terminal.heading("Root-mean-square gradient by layer")
    terminal.table(results)
    terminal.line()
    terminal.line(f"At least {_CURED:.0%} test accuracy:")
    for sickness in runs.SICK:
        cures = [r.treatment for r in results if r.sickness == sickness and r.accuracy >= _CURED]
        terminal.prose(f"{sickness:16}{', '.join(cures) or 'none'}", 16)


def _reference(terminal: Terminal, seeds: Sequence[int], epochs: int) -> None:
    terminal.heading("Fashion-MNIST, a sample: the reference program")
    data = runs.load_fashion()
    terminal.prose(
        f"{len(data.x):,} images of 28x28 pixels as they are, {len(data.x_test)} more to test. "
        "Batch normalization, then hidden layers of 300 and 100 units, each he_normal, batch norm, "
        f"ELU; softmax; {_settings(epochs, seeds)}."
    )
    for clipping in ("clipnorm", "clipvalue"):
        accuracy, seconds = runs.train_reference(clipping, data, seeds, epochs)
        figures = f"test accuracy {accuracy:.1%}, {seconds:.2f} s"
        terminal.line(f"{f'{clipping}={runs.CLIP:g}':16}{figures}")
