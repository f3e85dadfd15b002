"""Train on a file of uint8 rows and say how much memory that took; run by test_data.py.

By itself, with 2 GB: python tests/memory_map.py --megabytes 2048 --most 300 --compare
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import evengrad as keras
import numpy as np
from evengrad import layers

COLUMNS = 784
MIB = 1 << 20


def memory(kind: str) -> float:
    """A line of /proc/self/status, in MiB: VmRSS, RssAnon, RssFile, VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/self/status has no {kind}")


def write(path: Path, rows: int, form: str) -> None:
    """Real rows, a piece at a time."""
    rng = np.random.Generator(np.random.PCG64(0))
    file = np.lib.format.open_memmap(
        path, "w+", np.uint8, (rows, COLUMNS), fortran_order=form == "columns"
    )
    for begin in range(0, rows, 1 << 14):
        piece = file[begin : begin + (1 << 14)]
        piece[...] = rng.integers(0, 256, piece.shape, np.uint8)
    file.flush()


def network() -> keras.Sequential:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.BatchNormalization(),
            layers.Dense(100, "relu"),
            layers.BatchNormalization(),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Peak(keras.callbacks.Callback):
    """The most memory that belongs to no file, looked at now and then."""

    def __init__(self) -> None:
        self.anonymous, self._next = 0.0, 0.0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if time.monotonic() > self._next:
            self.anonymous = max(self.anonymous, memory("RssAnon"))
            self._next = time.monotonic() + 0.05


def steps_per_second(x: np.ndarray, y: np.ndarray, batch: int) -> float:
    model, best = network(), 0.0
    for _ in range(3):
        begin = time.perf_counter()
        model.fit(x, y, batch, verbose=0)
        best = max(best, len(x) / batch / (time.perf_counter() - begin))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("memory_map.npy"))
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--form", choices=["rows", "columns"], default="rows")
    parser.add_argument("--most", type=float, default=300.0, help="MiB that training may take")
    parser.add_argument("--compare", action="store_true", help="with float32 in memory")
    options = parser.parse_args()
    rows = options.megabytes * MIB // COLUMNS
    write(options.file, rows, options.form)
    x = np.load(options.file, mmap_mode="r")
    y = np.random.Generator(np.random.PCG64(1)).integers(0, 10, rows)
    model, peak = network(), Peak()
    model.fit(x[:512], y[:512], 256, verbose=0)
    before, begin = memory("RssAnon"), time.perf_counter()
    model.fit(x, y, 256, verbose=0, validation_split=0.1, callbacks=[peak])
    seconds = time.perf_counter() - begin
    model.evaluate(x, y, verbose=0)
    model.predict(x[: rows // 4])
    assert peak.anonymous > 0.0, "nobody looked"
    took = max(peak.anonymous, memory("RssAnon")) - before
    print(
        f"{options.megabytes} MiB of uint8, {rows} rows in {options.form}: training took "
        f"{took:.0f} MiB of memory of its own beside the {before:.0f} before it, "
        f"{rows * 0.9 / 256 / seconds:.0f} steps of 256 a second; VmHWM {memory('VmHWM'):.0f} MiB, "
        f"of it RssFile {memory('RssFile'):.0f} MiB now"
    )
    if options.compare:
        part = x[: 1 << 15]
        for batch in (32, 256):
            mapped, loaded = (
                steps_per_second(given, y[: 1 << 15], batch)
                for given in (part, part.astype(np.float32))
            )
            print(
                f"32,768 rows in batches of {batch}: {mapped:.0f} steps/s from the file (cached), "
                f"{loaded:.0f} from float32 in memory"
            )
    options.file.unlink()
    if took > options.most:
        raise SystemExit(f"expected at most {options.most:g} MiB")


if __name__ == "__main__":
    main()
