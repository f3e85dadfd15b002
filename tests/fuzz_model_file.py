"""Files that are damaged or hostile: each loads as it was or is a ModelFileError, at once.

`python tests/fuzz_model_file.py --seconds 60 --seed 1` goes on for as long as one likes and prints
what became of the files; `test_model_file.py` runs the first few hundred. `--kill 20` saves in a
process that is killed so many times and looks for what it left.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad as keras
import models_at_random
import numpy as np

Random = np.random.Generator

MOST_MEMORY = 30 << 20  # bytes beyond those of the file
MOST_SECONDS = 3.0

# -- damage to bytes


def flip(content: bytes, rng: Random) -> bytes:
    """Change some bytes."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        made[rng.integers(len(made))] = rng.integers(256)
    return bytes(made)


def flip_near_the_end(content: bytes, rng: Random) -> bytes:
    """Change some bytes of the directory or the description."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        made[-rng.integers(1, min(len(made), 9000))] = rng.integers(256)
    return bytes(made)


def cut(content: bytes, rng: Random) -> bytes:
    """Leave the end out."""
    return content[: rng.integers(len(content))]


def take_out(content: bytes, rng: Random) -> bytes:
    """Leave a piece out."""
    begin = rng.integers(len(content))
    return content[:begin] + content[begin + rng.integers(1, 200) :]


def put_in(content: bytes, rng: Random) -> bytes:
    """Repeat a piece, or put rubbish in."""
    begin, to = rng.integers(len(content), size=2)
    piece = content[begin : begin + 100] if rng.random() < 0.5 else rng.bytes(50)
    return content[:to] + piece + content[to:]


# -- damage to members


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # two of a name
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def swap_members(content: bytes, rng: Random) -> bytes:
    """Give two members each other's bytes, leave one out, repeat, rename or compress them."""
    members = list(members_of(content).items())
    i, j = rng.integers(len(members), size=2)
    (a, of_a), (b, of_b) = members[i], members[j]
    kind = rng.integers(6)
    if kind == 0:
        members[i], members[j] = (a, of_b), (b, of_a)
    elif kind == 1:
        del members[i]
    elif kind == 2:
        members.append((a, of_b))
    elif kind == 3:
        names = "../../evil.npy", "/etc/passwd.npy", "C:\\evil.npy", "a/../b.npy", "extra.npy", " "
        members[i] = names[rng.integers(len(names))], of_a
    elif kind == 4:
        return zipped(members, zipfile.ZIP_DEFLATED)
    else:
        members.append((f"extra{rng.integers(9)}.npy", b"\0" * int(rng.integers(100))))
    return zipped(members)


HEADERS = [
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
    "__import__('os').system('true')",
]


def hostile_array(content: bytes, rng: Random) -> bytes:
    """Another header, version or numbers that are not finite, with checksums of zip that fit."""
    members = members_of(content)
    name = rng.choice([name for name in members if name.endswith(".npy")])
    data = bytearray(members[name])
    kind = rng.integers(3)
    if kind == 0:
        text = HEADERS[rng.integers(len(HEADERS))].ljust(118)[:118] + "\n"
        data[10 : 10 + len(text)] = text.encode()
    elif kind == 1:
        data[6] = rng.integers(256)
    else:
        at = 128 + 4 * rng.integers(max(1, (len(data) - 128) // 4))
        data[at : at + 4] = np.float32([np.nan, np.inf][rng.integers(2)]).tobytes()
    members[name] = bytes(data)
    return zipped(list(members.items()))


# -- damage to the description


VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**12, 10**30, -(10**12), 2**63, 0.5, 1e308, -0.0, "", "x",
    "../x", "Dense", "os.system", "Custom>x", "__float__", [], [0], [10**12], [[[[]]]], {},
    {"a": 1},
    {"class_name": "function", "config": "print"}, {"class_name": "__float__", "config": "nan"},
    {"class_name": "__numpy__", "config": {"dtype": "object", "value": [1]}},
    {"class_name": "__numpy__", "config": {"dtype": "float32", "value": [[1], 2]}},
    {"class_name": "__object__", "config": {"kind": "layer", "value": {"class_name": "Dense"}}},
    {"class_name": "__object__", "config": {"kind": "object", "value": {}}},
    {"class_name": "Dense", "config": {"units": 10**12}},
    {"class_name": "Sequential", "config": {"layers": [], "name": "s"}},
    {"class_name": "AUC", "config": {"num_thresholds": 10**9}},
    {"class_name": "AutoClip", "config": {"history": 10**11}},
    {"class_name": "Constant", "config": {"value": [1] * 1000}},
]  # fmt: skip


def places(content: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container with a key that something lies under."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        found.append((content, key))
        if isinstance(content[key], dict | list):
            places(content[key], found)
    return found


def change_description(content: bytes, rng: Random) -> bytes:
    """Change values of the JSON, take some out, put some in, or exchange them."""
    members = members_of(content)
    description = json.loads(members["model.json"])
    for _ in range(rng.integers(1, 4)):
        found = places(description, [])
        (where, key), (other, of_other) = (found[i] for i in rng.integers(len(found), size=2))
        kind = rng.integers(5)
        try:
            if kind == 0:
                del where[key]
            elif kind == 1 and isinstance(where, dict):
                where[["extra", "name", "units", "layers", "class_name"][rng.integers(5)]] = 1
            elif kind == 2:
                where[key] = json.loads(json.dumps(other[of_other]))
            else:
                where[key] = VALUES[rng.integers(len(VALUES))]
        except (KeyError, IndexError):  # what was there is gone
            continue
    members["model.json"] = json.dumps(description).encode()
    return zipped(list(members.items()))


def change_text(content: bytes, rng: Random) -> bytes:
    """JSON that is none, or more than one expects."""
    members = members_of(content)
    text = members["model.json"].decode()
    choices: list[Callable[[], str]] = [
        lambda: "[" * 100_000 + "]" * 100_000,
        lambda: '{"a":' * 5_000 + "1" + "}" * 5_000,
        lambda: text.replace("{", '{"format": "x", ', 1),
        lambda: text.replace(": 0.", ": NaN, 0.", 1),
        lambda: text.replace("true", "Infinity", 1),
        lambda: text.replace("true", "9" * 10_000, 1),
        lambda: text.replace("true", "1e999", 1),
        lambda: text[: rng.integers(len(text))],
        lambda: text + " ",
        lambda: text.replace('"version": 1', f'"version": {rng.integers(2, 9)}'),
        lambda: "null",
        lambda: "\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + text,
        lambda: json.dumps([{str(i): i for i in range(1000)}] * 100),
    ]
    members["model.json"] = choices[rng.integers(len(choices))]().encode("utf-8", "replace")
    return zipped(list(members.items()))


BYTES = [flip, flip_near_the_end, cut, take_out, put_in]
KINDS = [
    *BYTES, swap_members, hostile_array, change_description, change_description,
    change_description, change_text,
]  # fmt: skip

# -- what comes of it


def models() -> list[keras.Sequential]:
    """A few small ones, trained."""
    made = [models_at_random.model(seed) for seed in (1, 2, 5, 6)]
    for model in made:
        model.fit(models_at_random.data()[0], models_at_random.targets(model), 16, verbose=0)
    return made


def outcome(path: Path) -> keras.Sequential | str:
    """The model, or why there is none; whatever else happens is an AssertionError."""
    begin = time.perf_counter()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: keras.Sequential | str = keras.models.load_model(path)
    except keras.ModelFileError as error:
        result = error.reason
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MOST_MEMORY + 3 * path.stat().st_size, f"{peak} bytes of memory"
    assert time.perf_counter() - begin < MOST_SECONDS, "too slow"
    assert result, "no reason"
    return result


def run(
    folder: Path,
    seed: int,
    files: int | None,
    seconds: float,
    reasons: Counter[tuple[str, str]] | None = None,
) -> Counter[str]:
    """Try files until there were so many or the time is over; count what became of them."""
    path = folder / "m.evengrad"
    originals, states = [], []
    for model in models():
        model.save(path)
        originals.append(path.read_bytes())
        states.append(models_at_random.state(model))
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and (files is None or number < files):
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        kind = KINDS[number % len(KINDS)]
        which = rng.integers(len(originals))
        path.write_bytes(kind(originals[which], rng))
        try:
            result = outcome(path)
            if not isinstance(result, str) and kind in BYTES:
                assert models_at_random.state(result) == states[which], "loaded as another"
        except BaseException:
            print(f"seed {seed}, file {number}, {kind.__name__}", file=sys.stderr)
            raise
        became = "refused" if isinstance(result, str) else "loaded"
        counts[f"{kind.__name__}: {became}"] += 1
        if reasons is not None and isinstance(result, str):
            reasons[kind.__name__, re.sub(r"[0-9]+|'.*?'", "_", result)] += 1
        number += 1
    assert {file.name for file in folder.iterdir()} == {path.name}
    return counts


SAVER = """
import sys, evengrad as keras
from evengrad import layers
model = keras.Sequential([keras.Input((300,)), layers.Dense(300), layers.Dense(300)])
number = 0
print("ready", flush=True)
while True:
    number += 1
    model.layers[0].bias.value[...] = number
    model.layers[1].bias.value[...] = number
    model.save(sys.argv[1])
"""


def kill_saves(folder: Path, times: int, seed: int = 0) -> int:
    """Kill a process that saves, at random times; return how often the number went up."""
    path, rng, last, grown = folder / "m.evengrad", np.random.Generator(np.random.PCG64(seed)), 0, 0
    package = Path(keras.__file__).parent.parent
    for _ in range(times):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(package)},
        )
        assert saver.stdout is not None
        saver.stdout.readline()
        time.sleep(0.02 + 0.08 * rng.random())
        saver.send_signal(signal.SIGKILL)
        saver.wait()
        saver.stdout.close()
        if path.exists():
            first, second = keras.models.load_model(path).layers
            values = {*first.bias.numpy().tolist(), *second.bias.numpy().tolist()}
            assert len(values) == 1, values
            grown += values != {last}
            last = values.pop()
        left = {file.name for file in folder.iterdir()}
        assert left <= {"m.evengrad", "m.evengrad.tmp"}, left
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--reasons", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.kill:
            print(f"{kill_saves(Path(folder), options.kill, options.seed)} new files, all whole")
            return
        reasons: Counter[tuple[str, str]] = Counter()
        counts = run(Path(folder), options.seed, None, options.seconds, reasons)
    for name, count in sorted(counts.items()):
        print(f"{count:7} {name}")
    for (kind, reason), count in sorted(reasons.items()) if options.reasons else ():
        print(f"{count:7} {kind}: {reason}")


if __name__ == "__main__":
    main()
