"""The recorded program: replays, batches gathered and scattered, failures, threads."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _arena, _core
from evengrad._arena import tensor, vector
from gradcheck import assert_gradients
from harness import (
    F32,
    SIZES,
    THREAD_ROWS,
    UNIT,
    batch,
    blank,
    draws,
    matrix,
    number_of_threads,
    output,
    run,
    taken,
    upstream,
    whole,
)

# The memory that kernels work on


@pytest.mark.parametrize("columns", [*SIZES, 1008, 1024, 1030, 4096])
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_arena_tensor(rows: int, columns: int) -> None:
    t = tensor(rows, columns)
    assert t.shape == (rows, columns)
    assert t.dtype == np.float32
    assert t.ctypes.data % 64 == 0
    padded = -(-columns // 16) * 16
    pitch = t.strides[0] // 4
    assert t.strides == (4 * pitch, 4)
    assert pitch == (padded + 16 if padded % 1024 == 0 else padded)
    assert (whole(t) == 0.0).all()
    t[...] = 1.0
    assert whole(t).sum() == rows * columns
    assert isinstance(t.base, np.ndarray)
    assert t.base.sum() == rows * columns
    last = t.ctypes.data + 4 * (rows - 1) * pitch + 4 * padded
    assert t.base.ctypes.data <= t.ctypes.data
    assert last <= t.base.ctypes.data + t.base.nbytes


@pytest.mark.parametrize("columns", SIZES)
def test_arena_vector(columns: int) -> None:
    v = vector(columns)
    assert v.shape == (columns,)
    assert v.dtype == np.float32
    assert v.ctypes.data % 64 == 0
    assert v.flags.c_contiguous
    assert (whole(v) == 0.0).all()
    assert isinstance(v.base, np.ndarray)
    assert v.ctypes.data + whole(v).nbytes <= v.base.ctypes.data + v.base.nbytes


def test_arena_starts_at_different_offsets() -> None:
    # Arrays of whole pages would start at one offset and alias in L1.
    kept = [tensor(256, 256) for _ in range(64)]
    offsets = {t.ctypes.data % 4096 for t in kept}
    assert len(offsets) == 64


# Recording and replaying


def test_length_and_capacity() -> None:
    p = _core.Program(7)
    assert (len(p), p.capacity, p.failure) == (0, 7, None)
    p.run(3)  # nothing to do
    x = tensor(7, 5)
    p.activation_forward("relu", x, x)
    p.activation_forward("elu", x, x)
    assert len(p) == 2


@pytest.mark.parametrize("capacity", [0, -1, -(2**63)])
def test_bad_capacity(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"^capacity: expected at least 1 row, got"):
        _core.Program(capacity)


@pytest.mark.parametrize("rows", [0, -1, 8, 2**62])
def test_bad_rows(rows: int) -> None:
    p, x = _core.Program(7), tensor(7, 5)
    p.activation_forward("exponential", x, x)
    with pytest.raises(ValueError, match=rf"^rows: expected 1 to 7, got {rows}"):
        p.run(rows)
    assert (x == 0.0).all()


def test_a_refused_call_is_not_recorded() -> None:
    p, x = _core.Program(7), tensor(7, 5)
    with pytest.raises(ValueError, match=r"^y: "):
        p.activation_forward("relu", x, tensor(7, 6))
    assert len(p) == 0


def test_a_program_keeps_its_arrays_alive() -> None:
    p = _core.Program(4)
    x, w, y = batch(np.ones((1, 3))), matrix(np.ones((3, 2))), output(1, 2)
    owner = weakref.ref(w.base)
    p.dense_forward(x, w, None, y)
    del w
    gc.collect()
    assert owner() is not None
    p.run(1)
    np.testing.assert_array_equal(y[0], 3.0)
    del p
    gc.collect()
    assert owner() is None


def test_a_replay_in_another_thread_is_refused() -> None:
    n = 1024
    p, x, y = _core.Program(64), tensor(64, n), tensor(64, n)
    w = tensor(n, n)
    for _ in range(100):
        p.dense_forward(x, w, None, y)
    started = threading.Event()
    refused: list[str] = []

    def long() -> None:
        started.set()
        p.run(64)

    thread = threading.Thread(target=long)
    thread.start()
    started.wait()
    while thread.is_alive() and not refused:
        time.sleep(0.001)
        try:
            p.run(1)
        except RuntimeError as error:
            refused.append(str(error))
    thread.join()
    assert len(refused) == 1
    assert refused[0].startswith("Program: already running, in another thread or ")
    p.run(1)


def test_the_lock_is_released_during_a_replay() -> None:
    n = 1024
    p, x, y = _core.Program(64), tensor(64, n), tensor(64, n)
    w = tensor(n, n)
    for _ in range(100):
        p.dense_forward(x, w, None, y)
    thread = threading.Thread(target=lambda: p.run(64))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0)
    assert turns > 10


def test_programs_run_side_by_side() -> None:
    """One finds the team busy, works alone and makes the same bits."""
    x, w = draws(1, (200, 300), (300, 300))
    kernel = matrix(w)
    made: list[list[bytes]] = [[], []]

    def work(mine: list[bytes]) -> None:
        y = output(200, 300)
        p = _core.Program(203)
        p.dense_forward(batch(x), kernel, None, y)
        for _ in range(20):
            y[...] = np.nan
            p.run(200)
            mine.append(y[:200].tobytes())

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made[0]) == len(made[1]) == 20
    assert len(set(made[0] + made[1])) == 1


# Reshape


@pytest.mark.parametrize(
    ("samples", "from_", "to"),
    [
        (5, (1, 12), (3, 4)),
        (5, (3, 4), (1, 12)),
        (33, (2, 17), (17, 2)),
        (9, (1, 784), (28, 28)),
        (7, (1, 1), (1, 1)),
        (40, (1, 33), (1, 33)),
    ],
)
def test_reshape(samples: int, from_: tuple[int, int], to: tuple[int, int]) -> None:
    x = draws(1, (samples * from_[0], from_[1]))[0]
    y = output(samples * to[0], to[1], to[0])
    whole(y)[:, to[1] :] = 0.0  # reshape leaves padding alone
    for threads in (1, 2):
        # As many samples, though not rows, in both.
        run(samples, lambda p: p.reshape(batch(x, from_[0]), y), threads=threads)
        np.testing.assert_array_equal(taken(y, samples * to[0]), x.reshape(-1, to[1]))
        y[: samples * to[0]] = np.nan


def test_reshape_of_unequal_sizes() -> None:
    with pytest.raises(ValueError, match=r"^y: expected 12 numbers a sample, as in x, got"):
        _core.Program(2).reshape(tensor(2, 12), tensor(4, 5))


# Gather and scatter


class Copies:
    """A program that gathers x, labels or target, weight, and scatters x times 2."""

    def __init__(self, capacity: int, columns: int, truth: str, per_sample: int = 1) -> None:
        self.program = _core.Program(capacity)
        self.x, self.y = (tensor(capacity * per_sample, columns) for _ in range(2))
        self.labels = np.zeros(capacity, np.int32) if truth == "labels" else None
        self.target = tensor(capacity, 3) if truth == "target" else None
        self.weight = vector(capacity)
        self.program.gather(self.x, self.labels, self.target, self.weight)
        kernel = matrix(2.0 * np.eye(columns))
        self.program.dense_forward(self.x, kernel, None, self.y)
        self.program.scatter(self.y)


def source(rows: int, columns: int, truth: str) -> tuple[F32, Any, F32]:
    x, weight = draws(1, (rows, columns), (rows,))
    y: Any = None
    if truth == "labels":
        y = np.arange(rows, dtype=np.int32)
    elif truth == "target":
        y = draws(2, (rows, 3))[0]
    return x, y, weight


@pytest.mark.parametrize("truth", ["none", "labels", "target"])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    ("rows", "capacity"), [(1, 1), (10, 4), (8, 4), (3, 4), (300, 128), (65, 33)]
)
def test_batches(truth: str, shuffled: bool, rows: int, capacity: int) -> None:
    x, y, weight = source(rows, 5, truth)
    order = np.random.Generator(np.random.PCG64(1)).permutation(rows) if shuffled else None
    seen = np.arange(rows) if order is None else order
    steps = -(-rows // capacity)
    for threads in (1, 2):
        copies = Copies(capacity, 5, truth)
        made = np.full((rows, 5), np.nan, dtype=np.float32)
        with number_of_threads(threads):
            done = copies.program.run_batches(x, y, weight, order, made, first=0, steps=steps)
        assert done == steps
        assert copies.program.failure is None
        np.testing.assert_array_equal(made, 2.0 * x[seen])
        last = seen[(steps - 1) * capacity :]
        np.testing.assert_array_equal(copies.x[: len(last)], x[last])
        np.testing.assert_array_equal(copies.weight[: len(last)], weight[last])
        if copies.labels is not None:
            np.testing.assert_array_equal(copies.labels[: len(last)], y[last])
        if copies.target is not None:
            np.testing.assert_array_equal(copies.target[: len(last)], y[last])


def test_batches_from_the_middle() -> None:
    x, y, _ = source(20, 5, "labels")
    copies, made = Copies(4, 5, "labels"), np.zeros((20, 5), np.float32)
    assert copies.program.run_batches(x, y, None, None, made, first=8, steps=2) == 2
    np.testing.assert_array_equal(made[8:16], 2.0 * x[8:16])
    assert (made[:8] == 0.0).all()
    assert (made[16:] == 0.0).all()
    np.testing.assert_array_equal(copies.weight, 1.0)  # where none are given


def test_rows_of_a_source_may_repeat_and_be_left_out() -> None:
    x, _, _ = source(20, 5, "none")
    order = np.array([3, 3, 19, 0, 3, 7, 19], dtype=np.int64)
    copies, made = Copies(4, 5, "none"), np.zeros((7, 5), np.float32)
    copies.program.run_batches(x, None, None, order, made, first=0, steps=2)
    np.testing.assert_array_equal(made, 2.0 * x[order])


def test_sources_of_higher_rank() -> None:
    x = draws(1, (6, 4, 5))[0]
    copies = Copies(4, 5, "none", per_sample=4)
    made = np.zeros((6, 4, 5), np.float32)
    copies.program.run_batches(x, output=made, first=0, steps=2)
    np.testing.assert_array_equal(made, 2.0 * x)


@pytest.mark.parametrize("bad", [-1, 20, 2**40, -(2**62)])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_index_out_of_range_ends_the_replay(bad: int, threads: int) -> None:
    x, y, _ = source(20, 5, "labels")
    order = np.arange(20)
    order[13] = bad
    copies, made = Copies(4, 5, "labels"), np.zeros((20, 5), np.float32)
    with number_of_threads(threads):
        done = copies.program.run_batches(x, y, None, order, made, first=0, steps=5)
    assert done == 3
    assert copies.program.failure == ("index", bad)
    np.testing.assert_array_equal(made[:12], 2.0 * x[:12])
    assert (made[12:] == 0.0).all()


def test_read_only_and_borrowed_sources() -> None:
    x, y, weight = source(20, 5, "labels")
    order = np.arange(20)
    for array in (x, y, weight, order):
        array.setflags(write=False)
    copies, made = Copies(4, 5, "labels"), np.zeros((20, 5), np.float32)
    copies.program.run_batches(x, y, weight, order, made, first=0, steps=5)
    np.testing.assert_array_equal(made, 2.0 * x)


def good_batches() -> dict[str, Any]:
    x, y, weight = source(20, 5, "labels")
    return {
        "x": x,
        "y": y,
        "weight": weight,
        "order": np.arange(20),
        "output": np.zeros((20, 5), np.float32),
        "first": 0,
        "steps": 5,
        "learning_rates": np.ones(5),
    }


BAD_BATCHES: list[tuple[str, Any]] = [
    ("x", np.zeros((20, 5), np.complex64)),
    ("x", np.zeros((20, 5), np.longdouble)),
    ("x", np.zeros((20, 5), "M8[s]")),
    ("x", np.zeros((20, 5), "V0")),
    ("x", np.zeros((20, 5), object)),
    ("x", np.zeros((20, 6), np.float32)),
    ("x", np.zeros((5, 20), np.float32).T),
    ("x", np.zeros((20, 10), np.float32)[:, ::2]),
    ("x", np.zeros((20, 5), ">f4")),
    ("x", np.zeros(401, np.uint8)[1:].view(np.float32).reshape(20, 5)),
    ("x", [[0.0] * 5] * 20),
    ("x", None),
    ("x", np.float32(1.0)),
    ("x", np.array(1.0, np.float32)),
    ("y", np.zeros(20, np.int64)),
    ("y", np.zeros(20, np.float32)),
    ("y", np.zeros(19, np.int32)),
    ("y", None),
    ("weight", np.zeros(19, np.float32)),
    ("weight", np.zeros(20)),
    ("weight", 1.0),
    ("order", np.zeros(20, np.int32)),
    ("order", np.zeros((20, 2), np.int64)),
    ("order", list(range(20))),
    ("output", np.zeros((19, 5), np.float32)),
    ("output", np.zeros((20, 5))),
    ("output", None),
    ("output", np.broadcast_to(np.float32(0), (20, 5))),
    ("learning_rates", np.ones(4)),
    ("learning_rates", np.ones(5, np.float32)),
    ("learning_rates", [1.0] * 5),
    ("steps", 0),
    ("steps", 6),
    ("steps", -1),
    ("steps", 2**62),
]


@pytest.mark.parametrize(("name", "bad"), BAD_BATCHES)
def test_bad_batches(name: str, bad: Any) -> None:
    arguments = good_batches()
    copies = Copies(4, 5, "labels")
    assert copies.program.run_batches(**arguments) == 5
    arguments["output"][...] = 0.0
    kept = arguments["output"]
    arguments[name] = bad
    with pytest.raises((ValueError, TypeError), match=f"^{name}: expected") as caught:
        copies.program.run_batches(**arguments)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert (kept == 0.0).all()


@pytest.mark.parametrize(("first", "steps"), [(-1, 1), (20, 1), (21, 1), (17, 2), (2**62, 1)])
def test_bad_first(first: int, steps: int) -> None:
    arguments = good_batches() | {"first": first, "steps": steps, "learning_rates": None}
    with pytest.raises(ValueError, match=f"^steps: expected 1 to .* from row {first} of 20"):
        Copies(4, 5, "labels").program.run_batches(**arguments)


def test_an_output_is_not_its_source() -> None:
    arguments = good_batches()
    arguments["output"] = arguments["x"]
    arguments["order"] = np.arange(20)[::-1].copy()
    with pytest.raises(ValueError, match=r"^output: .*overlap"):
        Copies(4, 5, "labels").program.run_batches(**arguments)


def test_run_and_run_batches_have_their_programs() -> None:
    copies = Copies(4, 5, "labels")
    with pytest.raises(ValueError, match=r"^run: this program gathers or scatters; call run_batc"):
        copies.program.run(4)
    p, x = _core.Program(4), tensor(4, 5)
    p.activation_forward("relu", x, x)
    with pytest.raises(ValueError, match=r"^run_batches: this program gathers nothing; call run"):
        p.run_batches(np.zeros((4, 5), np.float32), first=0, steps=1)
    with pytest.raises(ValueError, match=r"^labels, target: expected at most one of the two"):
        p.gather(x, np.zeros(4, np.int32), tensor(4, 1), None)


def test_all_that_gathers_wants_rows_of_one_width() -> None:
    """Else the source would be checked for one of them and read by the other, beyond its end."""
    p = _core.Program(4)
    p.gather(tensor(4, 50), None, None, None)
    with pytest.raises(ValueError, match=r"^x: "):
        p.gather(tensor(4, 5), None, None, None)
    with pytest.raises(ValueError, match=r"^x: "):
        p.gather(tensor(4, 500), None, None, None)


def test_all_that_scatters_has_rows_of_one_width() -> None:
    p = _core.Program(4)
    p.scatter(tensor(4, 50))
    with pytest.raises(ValueError, match=r"^y: "):
        p.scatter(tensor(4, 5))


def test_all_that_gathers_wants_one_kind_of_truth() -> None:
    p = _core.Program(4)
    p.gather(tensor(4, 5), np.zeros(4, np.int32), None, None)
    with pytest.raises(ValueError, match=r"^target: "):
        p.gather(tensor(4, 5), None, tensor(4, 2), None)


# A whole network


class Network:
    """10 inputs, a hidden layer with batch normalization and ELU, 4 classes."""

    def __init__(self, capacity: int, *, training: bool = True, gathers: bool = True) -> None:
        rng = np.random.Generator(np.random.PCG64(7))
        self.program = p = _core.Program(capacity)
        shapes: list[tuple[int, ...]] = [(10, 20), (20,), (20,), (20, 4), (4,)]
        self.values = [matrix(0.5 * rng.standard_normal(shape)) for shape in shapes]
        self.values[1][...] = 1.0
        self.gradients = [blank(v) for v in self.values]
        self.momenta = [matrix(np.zeros(shape)) for shape in shapes]
        w, gamma, beta, v, b = self.values
        dw, dgamma, dbeta, dv, db = self.gradients
        self.x = tensor(capacity, 10)
        self.labels = np.zeros(capacity, np.int32)
        hidden, normal, self.logits = (tensor(capacity, n) for n in (20, 20, 4))
        dlogits, dhidden = tensor(capacity, 4), tensor(capacity, 20)
        self.loss, self.correct = np.zeros(2), np.zeros(2)
        mean, variance, self.norms = np.zeros(20), np.zeros(20), np.zeros(len(shapes))
        if gathers:
            p.gather(self.x, self.labels, None, None)
        p.dense_forward(self.x, w, None, hidden)
        handle = p.batch_norm_forward(hidden, gamma, beta, normal, mean, variance, 1e-3)
        p.activation_forward("elu", normal, normal)
        p.dense_forward(normal, v, b, self.logits)
        p.loss("softmax_cross_entropy", self.logits, self.labels, None, None, dlogits, self.loss)
        p.metric("categorical_accuracy", self.logits, self.labels, None, None, self.correct)
        p.dense_backward(normal, v, dlogits, dv, db, dhidden)
        p.activation_backward("elu", None, normal, dhidden, dhidden)
        p.batch_norm_backward(handle, gamma, dhidden, dgamma, dbeta, dhidden)
        p.dense_backward(self.x, w, dhidden, dw, None, None)
        if training:
            p.gradient_norms(self.gradients, self.norms)
            p.sgd(self.values, self.gradients, self.momenta, self.norms, "global_norm", 0.9, True)


def classes(rows: int) -> tuple[F32, Any]:
    """Four classes that a small network can learn."""
    rng = np.random.Generator(np.random.PCG64(3))
    y = rng.integers(4, size=rows).astype(np.int32)
    centers = 2.0 * rng.standard_normal((4, 10))
    x = centers[y] + rng.standard_normal((rows, 10))
    return x.astype(np.float32), y


def test_network_gradients_by_finite_differences() -> None:
    net = Network(9, training=False, gathers=False)
    net.x[...], net.labels[...] = classes(9)
    net.program.run(9)
    names = ["kernel", "gamma", "beta", "kernel_2", "bias_2"]
    gradients = {n: g.copy() for n, g in zip(names, net.gradients, strict=True)}

    def loss() -> float:
        net.loss[0] = 0.0
        net.program.run(9)
        return float(net.loss[0]) / 9.0

    # elu bends at 0; a step may cross it.
    assert_gradients(loss, dict(zip(names, net.values, strict=True)), gradients, kinks=0.1)


def test_network_against_float64() -> None:
    net = Network(33, training=False, gathers=False)
    net.x[...], net.labels[...] = classes(33)
    net.program.run(33)
    w, gamma, beta, v, b = (reference.f64(a) for a in net.values)
    hidden = reference.dense_forward(net.x, w)
    normal, _, _ = reference.batch_norm_forward(hidden, gamma, beta, 1e-3)
    after = reference.activation_forward("elu", normal)
    logits = reference.dense_forward(after, v, b)
    target = reference.one_hot(net.labels, 4)
    loss, dlogits, _ = reference.loss("softmax_cross_entropy", logits, target)
    dafter, dv, db = reference.dense_backward(after, v, dlogits)
    dnormal = dafter * reference.activation_slope("elu", normal)
    dhidden, dgamma, dbeta = reference.batch_norm_backward(hidden, gamma, dnormal, 1e-3)
    _, dw, _ = reference.dense_backward(net.x, w, dhidden)
    np.testing.assert_allclose(net.loss[0], loss, rtol=1e-6)
    assert net.correct[0] == (logits.argmax(axis=1) == net.labels).sum()
    for made, right in zip(net.gradients, (dw, dgamma, dbeta, dv, db), strict=True):
        # Some hundred roundings in a row, relative to the largest element.
        np.testing.assert_allclose(made, right, rtol=0, atol=200 * UNIT * np.abs(right).max())


def train(net: Network, x: F32, y: Any, epochs: int, threads: int) -> list[float]:
    steps = -(-len(x) // net.program.capacity)
    losses = []
    with number_of_threads(threads):
        for epoch in range(epochs):
            order = np.random.Generator(np.random.PCG64(epoch)).permutation(len(x))
            net.loss[0] = net.correct[0] = 0.0
            done = net.program.run_batches(
                x,
                y,
                order=order,
                first=0,
                steps=steps,
                learning_rates=np.full(steps, 0.05),
                counter=np.array([epoch * steps]),
                clip=1.0,
            )
            assert done == steps
            losses.append(float(net.loss[0]) / len(x))
    return losses


def test_network_learns() -> None:
    x, y = classes(500)
    net = Network(32)
    losses = train(net, x, y, 10, 1)
    assert losses[-1] < 0.2 * losses[0]
    assert net.correct[0] > 0.95 * 500


@pytest.mark.parametrize("capacity", THREAD_ROWS)
def test_training_has_the_same_bits_for_any_number_of_threads(capacity: int) -> None:
    x, y = classes(700)
    bits = set()
    for threads in (1, 2, 2):
        net = Network(capacity)
        # Layers wide enough to be shared.
        big = tensor(capacity, 512), tensor(512, 512), tensor(capacity, 512)
        net.program.dense_forward(big[0], big[1], None, big[2])
        losses = train(net, x, y, 2, threads)
        bits.add((tuple(losses), b"".join(v.tobytes() for v in net.values)))
    assert len(bits) == 1


@pytest.mark.parametrize("spoilt", ["x", "y"])
def test_a_failed_step_changes_no_parameter(spoilt: str) -> None:
    x, y = classes(100)
    bad_x, bad_y = x.copy(), y.copy()
    if spoilt == "x":
        bad_x[70, 3] = np.nan
    else:
        bad_y[70] = 4
    net, twin, rates = Network(32), Network(32), np.full(4, 0.05)
    done = net.program.run_batches(bad_x, bad_y, first=0, steps=4, learning_rates=rates, clip=1.0)
    assert done == 2
    assert net.program.failure == (("loss", 0) if spoilt == "x" else ("label", 4))
    twin.program.run_batches(x, y, first=0, steps=2, learning_rates=rates[:2], clip=1.0)
    for after, right in zip(net.values + net.momenta, twin.values + twin.momenta, strict=True):
        np.testing.assert_array_equal(after, right)
    if spoilt == "x":
        assert net.loss[0] == twin.loss[0]


def test_steps_and_chunks_are_the_same() -> None:
    """Ten steps at once or one by one, with a learning rate for each."""
    x, y = classes(320)
    rates = np.linspace(0.1, 0.01, 10)
    at_once, one_by_one = Network(32), Network(32)
    at_once.program.run_batches(x, y, first=0, steps=10, learning_rates=rates, clip=1.0)
    for i in range(10):
        one_by_one.program.run_batches(
            x,
            y,
            first=32 * i,
            steps=1,
            learning_rates=rates[i : i + 1],
            counter=np.array([i]),
            clip=1.0,
        )
    for a, b in zip(at_once.values, one_by_one.values, strict=True):
        assert a.tobytes() == b.tobytes()


def test_iterations_count_up() -> None:
    """Adam's correction and dropout's mask follow the number of the step."""
    p, w, g = _core.Program(1), matrix(np.zeros((1, 4))), matrix(np.ones((1, 4)))
    x = tensor(1, 4)
    p.gather(x, None, None, None)
    slots = [[matrix(np.zeros((1, 4)))], [matrix(np.zeros((1, 4)))]]
    p.adam([w], [g], slots, np.zeros(1), "none", 0.9, 0.999, 1e-7, False)
    p.run_batches(
        np.zeros((6, 4), np.float32),
        first=0,
        steps=6,
        learning_rates=np.full(6, 0.1),
        counter=np.zeros(1, np.int64),
    )
    expected = reference.adam(np.zeros((1, 4)), [np.ones((1, 4))] * 6, 0.1)
    np.testing.assert_allclose(w, expected, rtol=64 * UNIT)

    p, made = _core.Program(1), np.zeros((6, 100), np.float32)
    x, y = tensor(1, 100), tensor(1, 100)
    p.gather(x, None, None, None)
    p.dropout(x, y, 0.5, 3)
    p.scatter(y)
    p.run_batches(
        np.ones((6, 100), np.float32), output=made, first=0, steps=6, counter=np.array([8]), seed=5
    )
    for i in range(6):
        kept = reference.dropout_mask((1, 100), 0.5, 5, 3, 9 + i)
        np.testing.assert_array_equal(made[i] != 0.0, kept[0])


def test_a_later_kernel_may_write_what_an_earlier_one_read() -> None:
    """All of x is read for each column of x w; then f(x w) goes over the first columns of x.

    Three vectors of columns on two threads: one is done when the other has half of its way to go.
    """
    n = 2048
    start, w = draws(1, (33, n), (n, 48))
    fresh, kernel, y = matrix(start), matrix(w / np.float32(np.sqrt(n))), tensor(33, 48)
    made = set()
    for threads in (1, *[2] * 10):
        x = tensor(33, n)
        p = _core.Program(33)
        p.reshape(fresh, x)
        p.dense_forward(x, kernel, None, y)
        p.activation_forward("tanh", y, x[:, :48])
        with number_of_threads(threads):
            p.run(33)
        made.add(x.tobytes())
    assert len(made) == 1


# Calls of Python between kernels


def doubled(p: _core.Program, x: F32, y: F32) -> None:
    """y = 2 x, in Python."""

    def call(rows: int) -> None:
        y[:rows] = 2.0 * x[:rows]

    p.python(call)


@pytest.mark.parametrize("threads", [1, 2])
def test_python_between_kernels(threads: int) -> None:
    """y = 4 relu(x w) w: kernels find what Python left, and Python what kernels left."""
    n = 40
    p, x = _core.Program(256), tensor(256, n)
    a, b, c, d = (tensor(256, n) for _ in range(4))
    w = matrix(draws(1, (n, n))[0])
    p.gather(x, None, None, None)
    for _ in range(8):  # work enough for two threads
        p.dense_forward(x, w, None, a)
    p.activation_forward("relu", a, a)
    doubled(p, a, b)
    doubled(p, b, c)  # nothing between the two
    for _ in range(8):
        p.dense_forward(c, w, None, d)
    p.scatter(d)
    assert p.segments == 3
    assert len(p) == 1 + 8 + 1 + 1 + 1 + 8 + 1
    (data,) = draws(2, (600, n))
    made = np.zeros((600, n), np.float32)
    with number_of_threads(threads):
        assert p.run_batches(data, output=made, first=0, steps=3) == 3
    wide, kernel = data.astype(np.float64), w.astype(np.float64)
    right = 4.0 * np.maximum(wide @ kernel, 0.0) @ kernel
    size = 4.0 * np.maximum(wide @ kernel, 0.0) @ np.abs(kernel)
    inner = 4.0 * (np.abs(wide) @ np.abs(kernel)) @ np.abs(kernel)
    assert (np.abs(made - right) <= (n + 2) * UNIT * (size + inner)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_run_one_by_one(threads: int) -> None:
    """Each on what the others left; a call of Python divides its own part only."""
    n = 40
    p, x = _core.Program(256), tensor(256, n)
    w = matrix(draws(1, (n, n))[0])
    a, b, c, d = (tensor(256, n) for _ in range(4))
    for _ in range(8):  # work enough for two threads
        p.dense_forward(x, w, None, a)
    assert p.begin_part() == 1
    p.activation_forward("relu", a, b)
    doubled(p, b, c)
    assert p.begin_part() == 2
    for _ in range(8):
        p.dense_forward(c, w, None, d)
    assert (len(p), p.segments) == (8 + 1 + 1 + 8, 2)
    (values,) = draws(2, (200, n))
    x[:200] = values
    with number_of_threads(threads):
        p.run(200)
        assert not b.any()
        p.run(200, part=1)
        np.testing.assert_array_equal(c[:200], 2.0 * np.maximum(a[:200], 0.0))
        assert not d.any()
        a[...] = 0.0
        p.run(200, part=2)  # of what part 1 has left
    right = c[:200].astype(np.float64) @ w.astype(np.float64)
    size = np.abs(c[:200]).astype(np.float64) @ np.abs(w)
    assert (np.abs(d[:200] - right) <= (n + 2) * UNIT * size).all()
    assert not d[200:].any()
    for part in (-1, 3):
        with pytest.raises(ValueError, match=rf"^part: expected 0 to 2, got {part}$"):
            p.run(200, part=part)


def test_a_part_may_be_recorded_after_others_have_run() -> None:
    p, x, y = _core.Program(4), tensor(4, 3), tensor(4, 3)
    p.activation_forward("relu", x, y)
    x[...] = -1.0
    x[0] = 2.0
    p.run(4)
    assert p.begin_part() == 1
    doubled(p, y, y)
    p.run(4, part=1)
    p.run(4, part=1)
    assert y[:, 0].tolist() == [8.0, 0.0, 0.0, 0.0]
    assert p.begin_part() == 2
    p.run(4, part=2)  # nothing
    assert y[0, 0] == 8.0


def test_a_failure_of_a_part_is_its_own() -> None:
    p = _core.Program(4)
    p.python(lambda rows: False)
    p.begin_part()
    p.python(lambda rows: None)
    p.run(4)
    assert p.failure == ("loss", 0)
    p.run(4, part=1)
    assert p.failure is None


def test_python_is_told_the_rows_of_each_step() -> None:
    p, seen = _core.Program(4), list[int]()
    x = tensor(4, 3)
    p.gather(x, None, None, None)
    p.python(seen.append)
    assert p.run_batches(np.ones((10, 3), np.float32), first=0, steps=3) == 3
    assert p.run_batches(np.ones((10, 3), np.float32), first=6, steps=1) == 1
    assert seen == [4, 4, 2, 4]
    only = _core.Program(5)
    only.python(seen.append)
    assert (len(only), only.segments, _core.Program(5).segments) == (1, 2, 1)
    only.run(3)
    assert seen[4:] == [3]


def test_python_runs_on_the_thread_that_replays() -> None:
    p, seen = _core.Program(1), list[int]()
    p.python(lambda rows: seen.append(threading.get_ident()))
    p.run(1)
    thread = threading.Thread(target=p.run, args=(1,))
    thread.start()
    thread.join()
    assert seen[0] == threading.get_ident() != seen[1]


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_what_python_raises_ends_the_replay(error: BaseException) -> None:
    p, x = _core.Program(4), tensor(4, 3)
    w, g = matrix(np.zeros((1, 3))), matrix(np.ones((1, 3)))
    counter, steps = np.array([5]), list[int]()

    def call(rows: int) -> None:
        steps.append(rows)
        if len(steps) == 3:
            raise error

    p.gather(x, None, None, None)
    p.python(call)
    p.sgd([w], [g], None, np.zeros(1), "none", 0.0, False)
    data, rates = np.ones((20, 3), np.float32), np.ones(5)
    with pytest.raises(type(error)) as caught:
        p.run_batches(data, first=0, steps=5, learning_rates=rates, counter=counter)
    assert caught.value is error
    assert caught.traceback[-1].name == "call"
    assert p.failure == ("call", 0)
    assert counter[0] == 5 + 2
    np.testing.assert_array_equal(w, np.full((1, 3), -2.0))
    # What is left is done when asked for; the old error is forgotten.
    assert p.run_batches(data, first=8, steps=3, learning_rates=rates[:3], counter=counter) == 3
    assert p.failure is None
    assert counter[0] == 5 + 5
    np.testing.assert_array_equal(w, np.full((1, 3), -5.0))


def test_python_says_that_a_loss_is_not_finite() -> None:
    p, w, g = _core.Program(4), matrix(np.zeros((1, 3))), matrix(np.ones((1, 3)))
    answers: list[object] = [None, True, 0, False, None]
    p.gather(tensor(4, 3), None, None, None)
    p.python(lambda rows: answers.pop(0))
    p.sgd([w], [g], None, np.zeros(1), "none", 0.0, False)
    data = np.ones((20, 3), np.float32)
    assert p.run_batches(data, first=0, steps=5, learning_rates=np.ones(5)) == 3
    assert p.failure == ("loss", 0)
    np.testing.assert_array_equal(w, np.full((1, 3), -3.0))


def test_a_kernel_that_fails_calls_no_python() -> None:
    p, seen = _core.Program(4), list[int]()
    p.gather(tensor(4, 3), None, None, None)
    p.python(seen.append)
    data, order = np.ones((8, 3), np.float32), np.array([0, 1, 2, 3, 4, 5, 6, 8])
    assert p.run_batches(data, order=order, first=0, steps=2) == 1
    assert p.failure == ("index", 8)
    assert seen == [4]


def test_a_program_that_runs_is_left_alone() -> None:
    p, x = _core.Program(4), tensor(4, 3)
    refused: list[str] = []

    def call(rows: int) -> None:
        for use in (
            lambda: p.run(1),
            lambda: p.activation_forward("relu", x, x),
            lambda: p.python(print),
        ):
            with pytest.raises(RuntimeError) as caught:
                use()
            refused.append(str(caught.value))
        other = _core.Program(4)
        other.activation_forward("exponential", x, x)
        other.run(rows)

    p.activation_forward("relu", x, x)
    p.python(call)
    p.run(3)
    assert len(refused) == 3
    assert all(text.startswith("Program: already running") for text in refused)
    assert (x[:3] == 1.0).all()
    p.activation_forward("relu", x, x)
    assert len(p) == 3


@pytest.mark.parametrize("bad", [None, 3, "print"])
def test_what_cannot_be_called(bad: Any) -> None:
    p = _core.Program(4)
    with pytest.raises(TypeError, match=r"^call: expected a function of the rows"):
        p.python(bad)
    assert (len(p), p.segments) == (0, 1)


def test_a_call_that_knows_its_program_is_collected() -> None:
    class Owner:
        program: _core.Program

        def __call__(self, rows: int) -> None:
            pass

    owner = Owner()
    owner.program = _core.Program(4)
    owner.program.python(owner)
    owner.program.run(1)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    _core.Program.__new__(_core.Program)  # without __init__: the collector meets nothing in it
    gc.collect()


# Threads of the process

SCRIPT = """
import sys, threading
sys.path[:0] = sys.argv[2:]
import numpy as np
from evengrad import _core
if sys.argv[1] == "pool":
    _core.use_pool()
import test_program
assert _core.config()["backend"] == sys.argv[1] or _core.config()["backend"] == "serial"
x, y = test_program.classes(700)
net = test_program.Network(200)
test_program.train(net, x, y, 2, min(2, _core.get_num_threads()))
print(hash(b"".join(v.tobytes() for v in net.values)))
"""


def test_pool_and_openmp_make_the_same_bits() -> None:
    backends = ["pool"] if _core.config()["backend"] == "pool" else ["openmp", "pool"]
    results = set()
    for backend in backends:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, backend, *sys.path],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        assert done.returncode == 0, done.stderr
        results.add(done.stdout)
    assert len(results) == 1


def test_config() -> None:
    config = _core.config()
    assert config["isa"] in ("baseline", "avx2", "avx512")
    assert config["backend"] in ("openmp", "pool", "serial")
    assert config["threads"] == _core.get_num_threads()
    assert config["version"]
    assert config["compiler"]


def test_number_of_threads_is_at_least_one() -> None:
    before = _core.get_num_threads()
    try:
        _core.set_num_threads(1)
        assert _core.get_num_threads() == 1
    finally:
        _core.set_num_threads(before)


def test_padding_of_a_chain_stays_zero() -> None:
    """dx of one kernel is dy of the next: what is behind its columns must be 0 each time."""
    x, c = draws(1, (33, 17), (33, 17))
    for name in _core.activations:
        x_, y, dy, dx = batch(x), output(33, 17), upstream(c), output(33, 17)
        needed = x_ if _core.activations[name].needs_input else None

        def record(
            p: _core.Program,
            name: str = name,
            arrays: tuple[Any, ...] = (x_, y, dy, dx, needed),
        ) -> None:
            x_, y, dy, dx, needed = arrays
            p.activation_forward(name, x_, y)
            p.activation_backward(name, needed, y, dy, dx)

        run(33, record)
        taken(dx, 33, gradient=True)


def test_arena_is_what_the_kernels_want() -> None:
    assert _arena.tensor is tensor
    for columns in SIZES:
        p, x = _core.Program(3), tensor(3, columns)
        p.activation_forward("relu", x, x)
        p.dense_forward(x, tensor(columns, 5), vector(5), tensor(3, 5))


def test_the_collector_comes_by_while_the_first_of_a_class_is_made() -> None:
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(20):
            kind = type("Mine", (_core.Program,), {})
            assert kind(3).capacity == 3
    finally:
        gc.set_threshold(*before)
