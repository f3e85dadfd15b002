"""The machine: which CPUs to use, what they are, and whether they are ours at the moment.

As a script it is the calibration process: it answers each line on stdin with the seconds that a
fixed amount of numpy products takes, one Python thread a CPU and one BLAS thread each.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from pathlib import Path

SIZE, PRODUCTS = 512, 6  # about 15 ms of multiply-adds a thread
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def pick_cpus(threads: int) -> list[int]:
    """Return CPUs that we may use, one of each core before its siblings."""
    allowed = sorted(os.sched_getaffinity(0))

    def is_sibling(cpu: int) -> bool:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            first = int(path.read_text().replace("-", ",").split(",")[0])
        except (OSError, ValueError):
            return False
        return cpu != first

    ordered = sorted(allowed, key=lambda cpu: (is_sibling(cpu), cpu))
    if len(ordered) < threads:
        raise SystemExit(f"{threads} threads asked for, but only CPUs {allowed} may be used")
    return ordered[:threads]


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that is to use so many threads."""
    return dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(threads))


def describe() -> dict[str, str]:
    """Name the machine."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": f"{names[0] if names else platform.processor()} ({os.cpu_count()} CPUs)",
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def busy_seconds(cpus: list[int]) -> float:
    """Return the seconds that these CPUs have spent on anybody's work, steal included."""
    wanted, total = {f"cpu{cpu}" for cpu in cpus}, 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def _calibrate(threads: int) -> float:
    import numpy as np

    rng = np.random.default_rng(0)
    work = [rng.standard_normal((3, SIZE, SIZE), np.float32) for _ in range(threads)]
    gate = threading.Barrier(threads + 1)

    def multiply(a: np.ndarray, cpu: int) -> None:
        os.sched_setaffinity(0, [cpu])  # of this thread: two that begin on one CPU take longer
        gate.wait()
        for _ in range(PRODUCTS):
            np.matmul(a[0], a[1], out=a[2])

    cpus = pick_cpus(threads)
    team = [threading.Thread(target=multiply, args=pair) for pair in zip(work, cpus, strict=True)]
    for thread in team:
        thread.start()
    gate.wait()
    begin = time.perf_counter()
    for thread in team:
        thread.join()
    return time.perf_counter() - begin


def main() -> None:
    """Answer until stdin ends."""
    threads = int(sys.argv[1])
    os.sched_setaffinity(0, pick_cpus(threads))
    _calibrate(threads)
    for _ in sys.stdin:
        print(_calibrate(threads), flush=True)


if __name__ == "__main__":
    main()
