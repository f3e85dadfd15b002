"""Keras' backend, and the table of errors at the end of a run."""

from __future__ import annotations

import os

import pytest

# Read when keras and jax are imported.
os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from parity import errors

    if not errors.rows:
        return
    terminalreporter.section("parity")
    for line in errors.table():
        terminalreporter.line(line)
