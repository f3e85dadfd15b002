"""What a peer costs before it does anything: time to import, space on disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from peers import PEERS

IMPORT = """
import time, numpy
begin = time.perf_counter()
import {module}
print(time.perf_counter() - begin)
"""


def import_ms(names: list[str], repeats: int) -> dict[str, float]:
    """Return milliseconds beyond numpy in fresh interpreters, medians of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in names}
    # Installed packages have their bytecode: a source tree gets its own in the first round.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for number in range(repeats + 1):
        for name in names:
            code = IMPORT.format(module=PEERS[name].needs[0])
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=environment | PEERS[name].environment,
                capture_output=True,
                text=True,
                check=True,
            )
            if number:  # the first fills the caches
                times[name].append(1e3 * float(done.stdout.split()[-1]))
    return {name: statistics.median(values) for name, values in times.items()}


def install_mb(name: str) -> float:
    """Return megabytes of the packages and all they need beyond numpy, without bytecode."""
    if name == "evengrad":  # an editable install has its files elsewhere
        spec = importlib.util.find_spec("evengrad")
        assert spec is not None
        assert spec.origin is not None
        files = [f for f in Path(spec.origin).parent.rglob("*") if f.is_file()]
    else:
        without = _with_requirements("numpy", set())
        wanted: set[str] = set()
        for package in PEERS[name].packages:
            _with_requirements(package, wanted)
        files = [
            Path(str(file.locate()))
            for package in wanted - without
            for file in importlib.metadata.files(package) or ()
        ]
    sizes = [f.stat().st_size for f in files if f.suffix != ".pyc" and f.exists()]
    return sum(sizes) / 1e6


def _with_requirements(package: str, found: set[str]) -> set[str]:
    key = re.sub(r"[-_.]+", "-", package).lower()
    if key in found:
        return found
    try:
        needs = importlib.metadata.requires(key) or []
    except importlib.metadata.PackageNotFoundError:  # for another system or Python version
        return found
    found.add(key)
    for need in needs:
        if "extra ==" not in need:
            match = re.match(r"[\w.-]+", need)
            assert match is not None
            _with_requirements(match.group(), found)
    return found
