"""Losses and metrics of a compiled model: what is recorded, reported, kept when a step fails."""

from __future__ import annotations

from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, metrics

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 4)).astype(np.float32)
Y = RNG.integers(0, 2, (70, 3)).astype(np.float32)
WEIGHT = RNG.uniform(0.0, 2.0, 70).astype(np.float32)

# Every metric of targets between 0 and 1, as compile takes it.
EVERY: list[Any] = [
    *(name for name in metrics._CLASSES if "categorical" not in name),
    "categorical_accuracy",
    "top_k_categorical_accuracy",
    metrics.AUC(multi_label=True, name="by_label"),
    metrics.Precision(thresholds=[0.2, 0.8], name="two"),
    metrics.Recall(top_k=2, class_id=1, name="second"),
    metrics.BinaryCrossentropy(from_logits=True, name="of_logits"),
]


def model(loss: Any = "binary_crossentropy", **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((4,)), layers.Dense(3, "sigmoid")])
    made.compile(keras.optimizers.SGD(0.1), loss, **options)
    return made


def by_hand(made: keras.Sequential, metric: Any, weight: Any = None) -> Any:
    again = metrics.get(metric, outputs=3) if isinstance(metric, str) else metric
    again.reset_state()
    return again(Y, made.predict(X), weight)


def test_every_metric_inside_the_step() -> None:
    """In one region of threads, batch by batch, the same as by hand over all."""
    made = model(metrics=EVERY, weighted_metrics=EVERY)
    logs = made.evaluate(X, Y, batch_size=16, sample_weight=WEIGHT, verbose=0, return_dict=True)
    assert made._step(16, train=True).program.segments == 1
    names = [m if isinstance(m, str) else m.name for m in EVERY]
    assert list(logs) == ["loss", *names, *(f"weighted_{name}" for name in names)]
    for metric, name in zip(EVERY, names, strict=True):
        for prefix, weight in (("", None), ("weighted_", WEIGHT)):
            expected = by_hand(made, metric, weight)
            np.testing.assert_allclose(logs[prefix + name], expected, rtol=2e-6, err_msg=name)


def test_training_does_not_depend_on_the_number_of_threads() -> None:
    results = []
    before = keras.get_num_threads()
    for threads in (1, 2):
        keras.set_num_threads(threads)
        made = model(metrics=EVERY, weighted_metrics=EVERY)
        history = made.fit(X, Y, 32, 3, verbose=0, sample_weight=WEIGHT).history
        results.append({k: np.array(v).tobytes() for k, v in history.items()})
    keras.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse", "log_cosh"])
def test_a_failed_step_leaves_the_sums_as_they_were(loss: str) -> None:
    names = ["AUC", "f1_score", "r2_score", "accuracy", "mae", "precision"]
    made = model(loss, metrics=names, weighted_metrics=names, on_nonfinite="skip")
    steps = [0, 1, 3, 4]

    class Nan(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            kernel = self.model.layers[0].kernel
            if batch == 2:
                self.kept = kernel.numpy()
                kernel.value[...] = np.nan
            if batch == 3:
                kernel.assign(self.kept)

    history = made.fit(X, Y, 14, verbose=0, shuffle=False, callbacks=[Nan()]).history
    assert made.skipped_steps == 1
    rows = np.concatenate([np.arange(14 * s, 14 * (s + 1)) for s in steps])
    other = model(loss, metrics=names, weighted_metrics=names)
    right = other.fit(X[rows], Y[rows], 14, verbose=0, shuffle=False).history
    for name, values in right.items():
        np.testing.assert_array_equal(history[name], values, err_msg=name)


def test_several_numbers_in_history(capsys: pytest.CaptureFixture[str]) -> None:
    made = model(metrics=["f1_score"], weighted_metrics=[metrics.Precision([0.2, 0.8])])
    history = made.fit(X, Y, 32, 2, verbose=2, validation_data=(X, Y)).history
    assert [np.shape(v) for v in history["val_f1_score"]] == [(3,), (3,)]
    assert np.shape(history["precision"]) == (2, 2)
    assert "f1_score: 0." in capsys.readouterr().out
    made.evaluate(X, Y)
    assert "precision: " in capsys.readouterr().out


def test_names_that_are_taken() -> None:
    made = model(metrics=["mae", "mae", "accuracy"], weighted_metrics=["mae", "mae", "mse"])
    assert made.metrics_names == [
        "loss", "mae", "mae_1", "accuracy", "weighted_mae", "weighted_mae_1", "mse",
    ]  # fmt: skip


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_reductions_in_training(reduction: str) -> None:
    """Each step descends the reduced loss of its batch; fit reports their mean over rows."""
    made = model(losses.MeanSquaredError(reduction))
    before = made.get_weights()
    logged = made.train_on_batch(X, Y, sample_weight=WEIGHT)
    x, w, b = X.astype(np.float64), *(v.astype(np.float64) for v in before)
    p = 1.0 / (1.0 + np.exp(-(x @ w + b)))
    divisor = {"sum": 1.0, "mean": 70.0}.get(reduction, WEIGHT.sum(dtype=np.float64))
    each = ((p - Y) ** 2).mean(axis=1)
    np.testing.assert_allclose(logged, (WEIGHT * each).sum() / divisor, rtol=1e-6)
    slope = 2.0 / 3.0 * (p - Y) * p * (1.0 - p) * WEIGHT[:, None] / divisor
    np.testing.assert_allclose(made.get_weights()[1], b - 0.1 * slope.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_reductions_of_a_loss_in_python(reduction: str) -> None:
    class Own(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return ((y_pred - y_true) ** 2).mean(axis=-1)

        def gradient(self, y_true: Any, y_pred: Any) -> Any:
            return 2.0 * (y_pred - y_true) / y_pred.shape[-1]

    results = []
    for loss in (Own(reduction=reduction), losses.MeanSquaredError(reduction)):
        made = model(loss)
        history = made.fit(X, Y, 32, 3, verbose=0, sample_weight=WEIGHT).history["loss"]
        results.append((history, *made.get_weights()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    each = Own(reduction="none")(Y, made.predict(X), WEIGHT)
    right = losses.MeanSquaredError(None)(Y, made.predict(X), WEIGHT)
    np.testing.assert_allclose(each, right, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", None])
def test_a_loss_that_is_no_number(reduction: Any) -> None:
    with pytest.raises(ValueError, match=r"^compile: expected a loss that is reduced .*use 'sum_"):
        model(losses.Huber(reduction=reduction))


def test_functions_of_losses_by_name_and_as_they_are() -> None:
    for name, cls in losses._CLASSES.items():
        for given in (name, cls.__name__, getattr(losses, name), losses.serialize(cls())):
            assert type(losses.get(given)) is cls
        config = cls(reduction="sum", name="mine").get_config()
        assert cls.from_config(config).get_config() == config
    for alias, name in losses.ALIASES.items():
        assert losses.get(alias.upper()).kernel("") == losses.get(name).kernel("")
    first = model(losses.log_cosh).fit(X, Y, 32, 2, verbose=0).history
    assert first == model("log_cosh").fit(X, Y, 32, 2, verbose=0).history


def test_functions_of_a_vector() -> None:
    """As one row, in the shape of Keras' mean over the last axis."""
    value = losses.mean_squared_error([0.0, 1.0], [2.0, 1.0])
    assert value == np.float32(2.0)
    assert value.shape == ()


def test_every_metric_comes_back_from_its_config() -> None:
    for cls in (*metrics._CLASSES.values(), metrics.Mean, metrics.Sum):
        metric = cls(name="mine")
        again = metrics.deserialize(metrics.serialize(metric))
        assert type(again) is cls
        assert again.get_config() == metric.get_config()
        assert again.result() == cls().result() or cls is metrics.AUC


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: losses.Huber(0.0), "delta"),
        (lambda: losses.Huber(reduction="average"), "reduction"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), "label_smoothing"),
        (lambda: losses.CategoricalCrossentropy(axis=1), "axis -1"),
        (lambda: losses.CategoricalCrossentropy(from_logits="no"), "from_logits"),
        (lambda: losses.MeanSquaredError(dtype="float64"), "float32"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=0), "sample_weight of 0"),
        (lambda: losses.Hinge()([[0.0, -1.0]], [[1.0, 1.0]]), "both 0 and other numbers"),
        (lambda: losses.deserialize({"class_name": "Hubert"}), "expected one of"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k to be at least 1"),
        (lambda: metrics.Precision(thresholds=1.5), "threshold"),
        (lambda: metrics.Precision(thresholds=[]), "at least one"),
        (lambda: metrics.Precision(class_id=3)([[1.0]], [[1.0]]), "class_id below"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds"),
        (lambda: metrics.AUC(curve="ROCK"), "curve"),
        (lambda: metrics.AUC(num_labels=3), "multi_label=True"),
        (lambda: metrics.AUC(multi_label=True, num_labels=3)(Y[:, :2], Y[:, :2]), "3 outputs"),
        (lambda: metrics.F1Score("mean"), "average"),
        (lambda: metrics.FBetaScore(beta=0.0), "beta"),
        (lambda: metrics.F1Score(threshold=0.0), "threshold"),
        (lambda: metrics.R2Score("sum"), "class_aggregation"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors"),
        (lambda: metrics.Mean()([1.0, 2.0], [1.0, 2.0, 3.0]), "sample_weight of shape"),
        (lambda: model(metrics=[metrics.Mean()]), "by hand only"),
        (lambda: metrics.SparseTopKCategoricalAccuracy(from_sorted_ids=True), "from_sorted_ids"),
    ],
)
def test_bad_arguments(make: Any, word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=word) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_other_numbers_of_outputs_are_refused() -> None:
    metric = metrics.F1Score()
    metric.update_state(Y, Y)
    before = metric.result()
    with pytest.raises(ValueError, match=r"f1_score: expected as many outputs as before"):
        metric.update_state(Y[:, :2], Y[:, :2])
    np.testing.assert_array_equal(metric.result(), before)
    metric.reset_state()
    metric.update_state(Y[:, :2], Y[:, :2])


def test_adjusted_r2_of_too_few() -> None:
    metric = metrics.R2Score(num_regressors=9)
    with pytest.warns(UserWarning, match=r"9 regressors need more than 10 targets"):
        assert metric([[1.0], [2.0]], [[1.0], [2.0]]) == 1.0


def test_a_result_of_ones_own() -> None:
    class Root(keras.metrics.MeanSquaredError):
        def result(self) -> Any:
            return np.sqrt(super().result())

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse", metrics=[Root(name="root"), "mse"])
    found = model.evaluate(np.ones((5, 2)), np.arange(5.0), 2, verbose=0, return_dict=True)
    assert found["root"] == pytest.approx(np.sqrt(6.0))
    assert found["mse"] == pytest.approx(6.0)
