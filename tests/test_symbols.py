"""What the compiled module exports.

The check of single objects needs those of a build: EVENGRAD_BUILD_DIR names the folder that CMake
built in, for instance `EVENGRAD_BUILD_DIR=build/cp311-cp311-linux_x86_64 pytest` after
`pip install -e .`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from evengrad import _core

NM = shutil.which("nm")
MODULE = Path(_core.__file__)
BUILD = os.environ.get("EVENGRAD_BUILD_DIR")

pytestmark = pytest.mark.skipif(NM is None, reason="nm (binutils) is not installed")


def listed(path: Path, *options: str) -> list[str]:
    """Lines of nm, names demangled."""
    assert NM is not None
    command = [NM, "-C", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"nm cannot read {path.name}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def symbols(path: Path, *options: str) -> list[tuple[str, str]]:
    """(type letter, name) of what a file defines."""
    lines = (line.split(maxsplit=2) for line in listed(path, "--defined-only", *options))
    return [(line[1], line[2]) for line in lines if len(line) == 3]


def undefined(path: Path) -> list[str]:
    """Names of what a file wants from others."""
    return [line.split(maxsplit=1)[1] for line in listed(path, "--undefined-only")]


@pytest.mark.skipif(not MODULE.read_bytes().startswith(b"\x7fELF"), reason="no ELF file")
def test_the_module_exports_its_entry_point_alone() -> None:
    exported = {name for _, name in symbols(MODULE, "-D")}
    assert "PyInit__core" in exported
    assert exported == {"PyInit__core"}


def objects() -> dict[str, Path]:
    if not BUILD:
        pytest.skip("EVENGRAD_BUILD_DIR does not name a build folder")
    found = {
        match[1]: path
        for path in Path(BUILD).rglob("kernels.cpp.*")
        if (match := re.search(r"kernels_(\w+)\.dir", str(path))) and path.suffix in (".o", ".obj")
    }
    assert "baseline" in found, f"{BUILD} holds no objects of kernels.cpp"
    return found


def test_an_object_of_an_instruction_set_exports_one_symbol() -> None:
    """Else the linker may take its copy of an inline function for all, and others crash."""
    for isa, path in objects().items():
        visible = [(kind, name) for kind, name in symbols(path) if kind.isupper() or kind in "uvw"]
        assert [name for _, name in visible] == [f"evengrad::{isa}::table()"], isa


def test_no_object_of_an_instruction_set_runs_code_at_start() -> None:
    for isa, path in objects().items():
        names = [name for _, name in symbols(path)]
        assert not [n for n in names if n.startswith(("_GLOBAL__sub_I", "_GLOBAL__I"))], isa


def test_kernels_call_no_function_of_a_library() -> None:
    """On the baseline fma, rintf and the like are calls that cost more than their loop."""
    allowed = {"memcpy", "memset", "memmove", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
    allowed |= {"pow"}  # of moving statistics and Adam, once a step
    for isa, path in objects().items():
        called = {name for name in undefined(path) if not name.startswith("evengrad::")}
        assert called <= allowed, isa
