"""bench/sick: its faults are what they are called, and its figures are what they say."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from evengrad.doctor import DISEASES

from bench.sick import FAULTS, Case, Fault, Setup, data, families, judge, literature, networks
from bench.sick import autotrainer as auto
from bench.sick.baselines import EDITS, random_search, recipe
from bench.sick.lookalikes import LOOKALIKES
from bench.sick.twins import head, is_sick

BASES = [
    Setup(
        name, 0, 5, 6, activation, normalization=normalization, optimizer=optimizer,
        **head(data.SOURCES[name].task, classes),
    )
    for name, classes in (("circle", 2), ("blobs", 3), ("friedman1", 0))
    for activation, normalization, optimizer in (
        ("relu", "none", "momentum"), ("tanh", "none", "adam"), ("elu", "before", "rmsprop"),
    )
]  # fmt: skip
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=[f.name for f in FAULTS])


@pytest.fixture(scope="module")
def family() -> tuple[Case, ...]:
    with families.one_thread():
        return families.family("design", 0)


@pytest.fixture(scope="module")
def sick(family: tuple[Case, ...]) -> Case:
    return next(case for case in family if case.sick)


def changed_fields(a: Setup, b: Setup) -> set[str]:
    names = [f.name for f in dataclasses.fields(Setup)]
    return {n for n in names if getattr(a, n) != getattr(b, n)}


# Faults


def test_every_disease_has_a_fault_and_no_fault_another_name() -> None:
    assert {fault.disease for fault in FAULTS} == set(DISEASES)
    assert {name for fault in FAULTS for name in fault.also} <= set(DISEASES)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@each_fault
def test_a_fault_spoils_one_thing(fault: Fault) -> None:
    fitting = [base for base in BASES if fault.applies(base)]
    assert fitting
    for base in fitting:
        for level in fault.levels:
            spoiled = fault.inject(base, level)
            fields = changed_fields(base, spoiled)
            together = (
                {"activation", "initializer"},
                {"optimizer", "learning_rate", "arguments"},
                {"output", "loss"},
                {"bn_momentum", "bn_debias"},
            )
            assert fields
            assert len(fields) == 1 or any(fields <= those for those in together), fields
            assert spoiled.seed == base.seed
            assert json.dumps(dataclasses.asdict(spoiled))
        networks.built(spoiled, networks.data_of(spoiled))


def test_stale_slots_and_steps_are_in_the_optimizer() -> None:
    base = dataclasses.replace(BASES[1], stale=(("velocity", 1e4),))
    optimizer = networks.built(base, networks.data_of(base)).optimizer
    slots = [np.array(v["velocity"]) for v in optimizer.kept().values()]
    assert optimizer.iterations == 10_000
    assert all((s >= 0.0).all() for s in slots)
    assert np.concatenate([s.ravel() for s in slots]).mean() == pytest.approx(8e3, rel=0.2)


def test_a_look_alike_keeps_the_task() -> None:
    for base in BASES:
        for alike in LOOKALIKES:
            if alike.applies(base):
                setup = alike.change(base)
                assert changed_fields(base, setup)
                assert (setup.data, setup.seed, setup.output) == (base.data, base.seed, base.output)
                networks.built(setup, networks.data_of(setup))


# Data


@pytest.mark.parametrize("name", ["circle", "moons", "blobs", "digits", "friedman1"])
def test_columns_are_standardized_by_the_training_rows(name: str) -> None:
    found = data.load(name, 3)
    assert found.x_train.mean(axis=0) == pytest.approx(0.0, abs=1e-5)
    spread = found.x_train.std(axis=0)
    if name == "digits":
        assert ((spread < 1.0 + 1e-5) & (spread >= 0.0)).all()
    else:
        assert spread == pytest.approx(1.0, abs=1e-5)
    rows = np.concatenate([x for x, _ in found.parts])
    repeated = 2 if name == "digits" else 0  # of the set itself
    assert len(np.unique(rows, axis=0)) >= len(rows) - repeated
    assert (data.load(name, 5).x_train != found.x_train).any()


def changed(name: str, change: str, level: float) -> tuple[data.Data, data.Data]:
    found = data.load(name, 0)
    return found, data.changed(found, ((change, level),), 0)


def test_a_leak_is_the_target_in_training_only() -> None:
    _, leaking = changed("friedman1", "leak", 1.0)
    correlation = [np.corrcoef(x[:, -1], y)[0, 1] for x, y in leaking.parts]
    assert correlation[0] > 0.999
    assert np.abs(correlation[1:]).max() < 0.2


def test_permuted_labels_are_the_same_labels() -> None:
    found, mixed = changed("moons", "permute_labels", 1.0)
    assert mixed.y_train.sum() == found.y_train.sum()
    assert abs(np.corrcoef(mixed.y_train, found.y_train)[0, 1]) < 0.3
    assert (mixed.x_train == found.x_train).all()


def test_constant_columns_are_the_same_in_all_parts() -> None:
    found, more = changed("circle", "constant_columns", 10.0)
    width = found.x_train.shape[1]
    columns = np.concatenate([x[:, width:] for x, _ in more.parts])
    assert columns.shape[1] == 50
    assert (columns == columns[0]).all()
    assert ((np.abs(columns) >= 5.0) & (np.abs(columns) <= 15.0)).all()


@pytest.mark.parametrize(
    ("change", "level"), [("scale_column", 1e4), ("scale_inputs", 1e2), ("shift_inputs", 1e3)]
)
def test_scales_of_inputs(change: str, level: float) -> None:
    found, other = changed("friedman1", change, level)
    mean, spread = other.x_train.mean(axis=0), other.x_train.std(axis=0)
    if change == "scale_column":
        assert sorted(spread)[-2:] == pytest.approx([1.0, level], rel=1e-4)
    elif change == "scale_inputs":
        assert spread == pytest.approx(level, rel=1e-4)
    else:
        assert mean == pytest.approx(level, rel=1e-4)
    assert (other.y_test == found.y_test).all()


def test_halves_share_neither_data_nor_seeds() -> None:
    assert not set(data.HALVES["design"]) & set(data.HALVES["held-out"])
    assert set(literature.DATA["design"]) | set(literature.DATA["held-out"]) == {"circle", "blobs"}
    for half, odd in (("design", 0), ("held-out", 1)):
        with families.one_thread():
            known = [case for n in range(2) for case in literature.literature(half, n)]
            drawn = [case for n in (0, 4) for case in families.family(half, n)]
        assert known
        assert drawn
        assert all(case.setup.seed % 2 == odd for case in known + drawn)
        assert {case.setup.data for case in drawn} <= set(data.HALVES[half])


# Cases


def test_cases_are_the_same_each_time(family: tuple[Case, ...]) -> None:
    with families.one_thread():
        families.family.cache_clear()
        again = families.family("design", 0)
    for a, b in zip(family, again, strict=True):
        assert a.setup == b.setup
        assert a.result[:2] == b.result[:2]


def test_a_case_trained_again_has_its_score(family: tuple[Case, ...]) -> None:
    for case in family:
        with families.one_thread():
            assert networks.result_of(case.trained())[:2] == case.result[:2]


def test_sick_ones_are_worse_and_healthy_ones_are_not(family: tuple[Case, ...]) -> None:
    twin = family[0]
    assert twin.kind == "twin"
    assert min(twin.result[:2]) >= data.SOURCES[twin.setup.data].decent
    assert any(case.sick for case in family)
    for case in family:
        assert is_sick(case.result, case.twin_result) == case.sick
        assert case.cured(case.result.test) or case.sick


def test_scores_are_accuracy_and_r2() -> None:
    class Fixed:
        loss = None

        def __init__(self, outputs: Any) -> None:
            self.outputs = np.asarray(outputs, np.float32)

        def predict(self, x: Any, verbose: int) -> Any:
            return self.outputs

    x, y = np.zeros((4, 1)), np.array([0.0, 1.0, 1.0, 0.0])
    assert networks.score(Fixed([[0.2], [0.9], [0.4], [0.1]]), x, y, "binary") == 0.75
    assert networks.score(Fixed([[2.0, 1.0]] * 4), x, y, "classes") == 0.5
    assert networks.score(Fixed([[0.0], [1.0], [1.0], [1.0]]), x, y, "regression") == 0.0
    assert networks.score(Fixed([[0.0], [1.0], [1.0], [0.5]]), x, y, "regression") == 0.75
    assert networks.score(Fixed([[np.nan]] * 4), x, y, "binary") == 0.0
    logits = Fixed([[-1.0], [0.3], [0.2], [-2.0]])
    logits.loss = type("Loss", (), {"from_logits": True})()
    assert networks.score(logits, x, y, "binary") == 1.0


# Baselines


def test_baselines_stay_within_the_budget_and_keep_what_validation_says(sick: Case) -> None:
    with families.one_thread():
        for method in (random_search, recipe):
            outcome = method(sick, 3.0)
            assert 0.0 < outcome.cost <= 3.0
            assert outcome.val >= sick.result.val
            assert set(outcome.edits) <= set(EDITS)
            assert bool(outcome.edits) == (outcome.val > sick.result.val)


def test_gradients_are_those_of_the_first_batch() -> None:
    setup = dataclasses.replace(BASES[6], depth=0)
    found = networks.data_of(setup)
    model = networks.built(setup, found)
    kernel, bias = (np.float64(w) for w in model.get_weights())
    x, y = np.float64(found.x_train[:32]), np.float64(found.y_train[:32, None])
    error = 2.0 * (x @ kernel + bias - y) / 32.0
    computed = auto.gradients(model, found, 32)
    assert computed[0] == pytest.approx(x.T @ error, rel=1e-5, abs=1e-6)
    assert computed[1] == pytest.approx(error.sum(axis=0), rel=1e-5, abs=1e-6)


def test_symptoms() -> None:
    even, zero = np.full((2, 2), 0.1), np.zeros((2, 2))
    assert auto.of_gradients([even, even]) == ""
    assert auto.of_gradients([even * 1e-5, even]) == "vanishing"
    assert auto.of_gradients([even, even * 1e-2]) == "exploding"
    assert auto.of_gradients([zero, zero, zero, even]) == "dying"
    up = {"loss": [1.0], "val_loss": [1.0], "accuracy": [0.5, 0.7], "val_accuracy": [0.5, 0.7]}
    assert auto.symptom(up, "vanishing", 0.5) == ""
    flat = up | {"accuracy": [0.5, 0.5], "val_accuracy": [0.5, 0.5]}
    assert auto.symptom(flat, "vanishing", 0.5) == "vanishing"
    assert auto.symptom(flat, "", 0.5) == "slow"
    assert auto.symptom(flat, "vanishing", 0.2) == ""
    assert auto.symptom(up | {"val_loss": [1e6]}, "", 0.1) == "exploding"
    assert auto.swings([0.6, 0.9] * 5)
    assert not auto.swings(list(np.linspace(0.5, 0.9, 10)))


# Judging


def row(name: str = "moons-2-slow", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "sick": True, "disease": "saturation", "also": ["vanishing_gradient"],
        "result": [0.5, 0.5, 0.0], "twin_result": [1.0, 1.0, 0.0],
    } | more  # fmt: skip


def test_intervals_draw_families() -> None:
    values = [0.0] * 50 + [1.0] * 50
    alone = judge.interval(values, [str(n) for n in range(100)])
    assert alone[0] == 0.5
    assert alone[1:] == pytest.approx((0.4, 0.6), abs=0.02)  # 1.96 sqrt(.25 / 100)
    together = judge.interval(values, [str(n // 25) for n in range(100)])
    assert together[1:] == pytest.approx((0.0, 1.0), abs=1e-9)
    assert judge.interval([1.0, 1.0], ["a", "b"]) == (1.0, 1.0, 1.0)
    assert np.isnan(judge.interval([], [])).all()
    assert judge.family_of(row("breast_cancer-3-slow")) == "breast_cancer-3"


def test_the_cause_is_among_the_first_two() -> None:
    def found(*names: str) -> dict[str, Any]:
        return row(diagnosis={"verdicts": [{"disease": n} for n in names]})

    assert judge.named(found("oscillation", "saturation"))
    assert not judge.named(found("oscillation", "over_clipped", "saturation"))
    assert judge.named(found("vanishing_gradient"))
    assert not judge.named(found("vanishing_gradient"), strictly=True)
    assert not judge.accused(found())


def test_cured_and_harmed() -> None:
    def after(test: float) -> dict[str, Any]:
        return row(methods={"doctor": {"test": test, "edits": ["output"]}})

    assert judge.cured(after(0.96), "doctor")
    assert not judge.cured(after(0.94), "doctor")
    assert judge.harmed(after(0.47), "doctor")
    assert not judge.harmed(after(0.48), "doctor")
