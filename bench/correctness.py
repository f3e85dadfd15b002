"""Where evengrad is more exact: its figures beside those of Keras on JAX and of PyTorch.

python bench/correctness.py                  some two minutes
python bench/correctness.py --markdown       the table as README has it

The exit code is 1 if a figure of evengrad's own is worse than what is promised.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import machine
import numpy as np
from libraries import EPSILON, LIBRARIES, Library, Split
from numpy.typing import NDArray
from tables import render

F64 = NDArray[np.float64]

# Scales of gradients, and what becomes of squares in float32 there.
SCALES = {
    "1e-30 to 1e-20": (1e-30, 1e-25, 1e-22, 1e-20),  # 0, or a few bits
    "1 to 1e18": (1.0, 1e6, 1e12, 1e18),
    "2e19 to 1e38": (2e19, 1e25, 1e30, 1e38),  # infinity
}
# mean / std: error that is promised
RATIOS = {"1": 1e-5, "1e2": 1e-5, "1e4": 2e-5, "1e6": 1e-4}
WRONG_BY = {"0 to 16": (0, 1, 4, 16), "17 to 1,000": (17, 18, 30, 100, 1000)}  # logits
EPOCHS = [5, 20, 100]
SEEDS = (0, 1, 2)
DATA = ("wine", "breast_cancer")


class Figure(NamedTuple):
    """One number of one library: how it is printed, and whether it is as good as promised."""

    text: str
    good: bool


Row = tuple[str, Callable[[Library], Figure]]


def error(largest: float, allowed: float) -> Figure:
    """Return an error as a figure; NaN and infinity are never good."""
    text = f"{largest:.0e}" if np.isfinite(largest) else "NaN"
    return Figure(text, bool(largest <= allowed))


def largest_of(errors: Iterator[float]) -> float:
    """Return the largest; NaN if there is one."""
    return float(np.max(np.fromiter(errors, np.float64)))


# -- clipping


def relative_error(made: list[Any], exact: list[F64]) -> float:
    """Largest over the variables of |made - exact| / |exact|, both as Euclidean norms."""
    return largest_of(
        float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))
        for a, b in zip(made, exact, strict=True)
    )


def clipping_error(library: Library, clip: str, scale: float) -> float:
    """Error of a step whose kernel gradient is of that scale, clipped to a tenth of it or to 1."""
    rng = np.random.default_rng(5)
    x, target = rng.choice([-1.0, 1.0], (2, 1, 16)) * rng.uniform(0.1, 0.9, (2, 1, 16))
    largest = min(scale, 1e18)  # of the target: the loss is its square
    x, target = (
        (scale / largest * x).astype(np.float32),
        (largest * target[:, :4]).astype(np.float32),
    )
    limit = float(min(1.0, scale / 10.0))
    dy = -2.0 * target.astype(np.float64) / target.shape[1]
    exact = [x.astype(np.float64).T @ dy, dy[0]]
    norms = [float(np.linalg.norm(g)) for g in exact]
    if clip == "global_clipnorm":
        norms = [float(np.hypot(*norms))] * 2
    exact = [g * (limit / max(n, limit)) for g, n in zip(exact, norms, strict=True)]
    with np.errstate(all="ignore"):
        return relative_error(library.clipped_step(clip, limit, x, target), exact)


def clipping_rows() -> Iterator[Row]:
    """By norm and by global norm."""
    for clip in ("clipnorm", "global_clipnorm"):
        for title, scales in SCALES.items():

            def measure(library: Library, clip: str = clip, scales: Any = scales) -> Figure:
                return error(largest_of(clipping_error(library, clip, s) for s in scales), 1e-6)

            yield f"{clip}, gradients of {title}: relative error", measure


# -- batch normalization


def normalization_error(library: Library, ratio: float, *, training: bool) -> float:
    """Largest absolute error of y on 256 rows of 32 features."""
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((256, 32)) + ratio).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + EPSILON)
    return float(np.abs(library.normalize(x, training=training) - exact).max())


def normalization_rows() -> Iterator[Row]:
    """In training and in inference."""
    for training in (True, False):
        for ratio, promised in RATIOS.items():

            def measure(
                library: Library,
                ratio: str = ratio,
                training: bool = training,
                promised: float = promised,
            ) -> Figure:
                largest = normalization_error(library, float(ratio), training=training)
                return error(largest, promised)

            mode = "training" if training else "inference"
            yield f"batch norm, {mode}, mean / std {ratio}: error of y", measure


# -- cross-entropy


def cross_entropy_error(library: Library, wrong_by: int) -> float:
    """Largest absolute error of softmax - truth."""
    logits = np.zeros(10, np.float32)
    logits[3] = wrong_by
    exact = np.exp(logits.astype(np.float64) - wrong_by)
    exact /= exact.sum()
    exact[7] -= 1.0
    return float(np.abs(library.cross_entropy_gradient(logits, 7) - exact).max())


def cross_entropy_rows() -> Iterator[Row]:
    """A sample whose class has a logit so much smaller than another."""
    for title, gaps in WRONG_BY.items():

        def measure(library: Library, gaps: tuple[int, ...] = gaps) -> Figure:
            return error(largest_of(cross_entropy_error(library, g) for g in gaps), 1e-6)

        yield f"cross-entropy, wrong by {title} logits: error of the gradient", measure


# -- raw data


def splits(name: str) -> Iterator[Split]:
    """A quarter of the rows held out, another one for each seed; features as they are."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(x))
        test, train = np.split(order, [len(x) // 4])
        x32, y64 = x.astype(np.float32), y.astype(np.int64)
        yield x32[train], y64[train], x32[test], y64[test]


def raw_data_rows() -> Iterator[Row]:
    """Batch normalization as the first layer."""
    for name in DATA:

        def measure(library: Library, name: str = name) -> Figure:
            runs = [
                library.accuracies(data, seed, EPOCHS)
                for seed, data in zip(SEEDS, splits(name), strict=True)
            ]
            means = np.mean(runs, axis=0)
            text = " / ".join(f"{mean:.3f}".lstrip("0") for mean in means)
            return Figure(text, bool(means[1:].min() >= 0.94))

        epochs = ", ".join(map(str, EPOCHS))
        yield f"{name.replace('_', ' ')}, raw: accuracy after {epochs} epochs", measure


# -- initializers


def shared_rows() -> Iterator[Row]:
    """One object in two layers."""

    def measure(library: Library) -> Figure:
        equal = library.shared_initializer()
        return Figure("equal" if equal else "differ", not equal)

    yield "kernels of two layers with one initializer object", measure


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="as README has it")
    options = parser.parse_args()
    libraries = [cls() for cls in LIBRARIES if cls.installed()]
    versions = {k: v for library in libraries for k, v in library.versions().items()}
    versions["numpy"] = np.__version__
    everything = [*clipping_rows(), *normalization_rows(), *cross_entropy_rows()]
    try:
        import sklearn
    except ImportError:
        print("scikit-learn is not installed: no raw data", file=sys.stderr)
    else:
        versions["scikit-learn"] = sklearn.__version__
        everything += raw_data_rows()
    everything += shared_rows()
    table, broken = [], []
    for title, measure in everything:
        figures = [measure(library) for library in libraries]
        table.append([title, *(figure.text for figure in figures)])
        if not figures[0].good:
            broken.append(title)
        if sys.stderr.isatty():
            print(f"\r{len(table)} of {len(everything)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    about = machine.describe()
    used = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    print(f"{datetime.date.today()}, {about['cpu']}, Python {about['python']}. {used}.\n")
    print(render(["", *(lib.title for lib in libraries)], table, markdown=options.markdown))
    for title in broken:
        print(f"! worse than promised: {title}", file=sys.stderr)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
