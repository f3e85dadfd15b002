"""Programs as people write them for Keras, run as they stand with Keras and with evengrad.

Each is a text that imports keras; for evengrad the import line is another. `seen` is what is
compared: shapes, names, numbers, arrays. `start` gives both the same weights.
"""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest

from parity import errors, helpers
from parity.helpers import keras

pytestmark = [
    helpers.quiet,
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
    pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed:UserWarning"),
]

CLASSIFICATION = """
import numpy as np
import keras
from keras import layers
from keras.callbacks import EarlyStopping, ReduceLROnPlateau

num_classes = 4
rng = np.random.default_rng(1)
x = rng.standard_normal((96, 8)).astype("float32")
y = np.argmax(x[:, :num_classes], axis=1)
y = keras.utils.to_categorical(y, num_classes)

model = keras.Sequential(
    [
        keras.Input(shape=(8,)),
        layers.Dense(16, activation="relu", kernel_initializer="he_normal"),
        layers.Dropout(0.0),
        layers.Dense(num_classes, activation="softmax"),
    ],
    name="classifier",
)
start(model)
model.summary(print_fn=lambda text: None)
model.compile(
    loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(learning_rate=0.01),
    metrics=["accuracy"],
)
callbacks = [
    EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True),
    ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=1),
]
history = model.fit(
    x, y, batch_size=32, epochs=5, validation_split=0.25, callbacks=callbacks, shuffle=False,
    verbose=0,
)
score = model.evaluate(x, y, verbose=0)
predicted = model.predict(x[:5], verbose=0)
seen(sorted(history.history), len(history.epoch), history.history["loss"], score, predicted)
seen(np.argmax(predicted, axis=1), predicted.shape, predicted.dtype.name)
seen(max(history.history["val_accuracy"]), float(model.optimizer.learning_rate))
"""

REGRESSION = """
import numpy as np
from keras.models import Sequential
from keras.layers import Dense, Normalization
from keras.optimizers import RMSprop
import keras

rng = np.random.default_rng(2)
features = rng.uniform(0.0, 100.0, (120, 3)).astype("float32")
labels = features @ [0.5, -0.2, 0.1] + 3.0

normalizer = Normalization(axis=-1)
normalizer.adapt(features)

def build_and_compile_model(norm, units=12, lr=0.01):
    model = keras.Sequential([
        norm,
        Dense(units, activation="relu"),
        Dense(units, activation="relu"),
        Dense(1)
    ])
    model.compile(loss="mean_absolute_error", optimizer=RMSprop(lr), metrics=["mse"])
    return model

model = build_and_compile_model(normalizer)
model.predict(features[:10], verbose=0)
start(model)
history = model.fit(features, labels, epochs=4, verbose=0, validation_split=0.2, shuffle=False)
test_results = {"model": model.evaluate(features, labels, verbose=0)}
test_predictions = model.predict(features, verbose=0).flatten()
seen(history.epoch, history.history, test_results["model"], test_predictions.shape)
seen(test_predictions - labels)
"""

IMBALANCED = """
import numpy as np
import keras
from keras import layers, metrics

rng = np.random.default_rng(3)
x = rng.standard_normal((200, 6))
y = (x[:, 0] + x[:, 1] > 1.8).astype(int)
neg, pos = np.bincount(y)
total = neg + pos
class_weight = {0: (1 / neg) * (total / 2.0), 1: (1 / pos) * (total / 2.0)}
METRICS = [
    metrics.BinaryAccuracy(name="accuracy"),
    metrics.Precision(name="precision"),
    metrics.Recall(name="recall"),
    metrics.AUC(name="auc"),
]

def make_model(metrics=METRICS, output_bias=None):
    if output_bias is not None:
        output_bias = keras.initializers.Constant(output_bias)
    model = keras.Sequential([
        layers.Dense(8, activation="relu", input_shape=(x.shape[-1],)),
        layers.Dense(1, activation="sigmoid", bias_initializer=output_bias),
    ])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-2),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=metrics,
    )
    return model

model = make_model(output_bias=np.log(pos / neg))
start(model)
history = model.fit(
    x, y, batch_size=50, epochs=3, class_weight=class_weight, validation_data=(x, y),
    shuffle=False, verbose=0,
)
results = model.evaluate(x, y, batch_size=50, verbose=0)
for name, value in zip(["loss", "accuracy", "precision", "recall", "auc"], results):
    seen(name, value)
seen(sorted(history.history), history.history["loss"], history.history["val_auc"])
seen((model.predict(x, verbose=0) > 0.5).astype(int).ravel())
named = model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)
seen(sorted(named))
"""

AUTOENCODER = """
import numpy as np
import keras
from keras import layers

rng = np.random.default_rng(4)
x_train = rng.uniform(size=(64, 4, 5)).astype("float32")

encoder = keras.Sequential(name="encoder")
encoder.add(keras.Input(shape=(4, 5)))
encoder.add(layers.Flatten())
encoder.add(layers.Dense(3, activation="relu"))

decoder = keras.Sequential(name="decoder")
decoder.add(keras.Input(shape=(3,)))
decoder.add(layers.Dense(20, activation="sigmoid"))
decoder.add(layers.Reshape((4, 5)))

autoencoder = keras.Sequential([encoder, decoder], name="autoencoder")
autoencoder.compile(optimizer="adam", loss="mse")
start(autoencoder)
history = autoencoder.fit(x_train, x_train, epochs=3, batch_size=16, shuffle=False, verbose=0)
encoded = encoder.predict(x_train, verbose=0)
decoded = decoder.predict(encoded, verbose=0)
seen(encoded.shape, decoded.shape, history.history["loss"], encoded, decoded)
seen(np.allclose(decoded, autoencoder.predict(x_train, verbose=0), atol=1e-6))
seen([layer.name for layer in autoencoder.layers], autoencoder.get_layer("encoder").count_params())
seen(np.mean(np.square(decoded - x_train), axis=(1, 2)))
"""

STAGES = """
import numpy as np
import keras

rng = np.random.default_rng(5)
x = rng.standard_normal((64, 6)).astype("float32")
y = np.argmax(x[:, :3], axis=1)

def create_model(hidden=(8, 8), activation="tanh", **compile_options):
    model = keras.models.Sequential()
    model.add(keras.layers.Input(shape=(6,)))
    for i, units in enumerate(hidden):
        model.add(keras.layers.Dense(units, activation=activation, name=f"hidden_{i}"))
    model.add(keras.layers.Dense(3, name="logits"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, **compile_options)
    return model

options = dict(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
model = create_model(hidden=[10, 8], **options)
start(model)
first = model.fit(x, y, epochs=2, verbose=0, shuffle=False)
for layer in model.layers[:-1]:
    layer.trainable = False
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=model.loss, metrics=["accuracy"])
seen(len(model.trainable_weights), len(model.non_trainable_weights))
second = model.fit(x, y, initial_epoch=2, epochs=4, verbose=0, shuffle=False)
for layer in model.layers:
    layer.trainable = True
schedule = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=4, decay_rate=0.5)
model.compile(optimizer=keras.optimizers.SGD(schedule), loss=model.loss, metrics=["accuracy"])
third = model.fit(x, y, initial_epoch=4, epochs=6, verbose=0, shuffle=False)
losses = first.history["loss"] + second.history["loss"] + third.history["loss"]
seen(losses, first.epoch + second.epoch + third.epoch, second.params)
seen([w.shape for w in model.get_weights()], model.get_layer("logits").get_weights()[0])
best = max(third.history["accuracy"])
seen(f"{best:.3f}", int(model.optimizer.iterations))
"""

TRANSFER = """
import numpy as np
import keras
from keras import Sequential, layers, regularizers

rng = np.random.default_rng(6)
x = rng.standard_normal((48, 5)).astype("float32")
old_y, new_y = x[:, :2] ** 2, (x[:, :1] > 0).astype("float32")

base = Sequential([layers.Input((5,)), layers.Dense(8, "elu"), layers.Dense(6, "elu")], name="base")
teacher = Sequential([base, layers.Dense(2)])
start(teacher)
teacher.compile("rmsprop", loss="mse")
teacher.fit(x, old_y, epochs=2, verbose=0, shuffle=False)

base.trainable = False
student = Sequential([base, layers.Dense(1, "sigmoid", kernel_regularizer=regularizers.l2(0.01))])
student.layers[-1].set_weights([np.full((6, 1), 0.1), np.zeros(1)])
student.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])
before = [w.copy() for w in base.get_weights()]
frozen = student.fit(x, new_y, epochs=2, verbose=0, shuffle=False)
seen(all(np.array_equal(a, b) for a, b in zip(before, base.get_weights())))

base.trainable = True
student.compile(keras.optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["accuracy"])
tuned = student.fit(x, new_y, epochs=2, verbose=0, shuffle=False)
seen(frozen.history, tuned.history, len(student.losses), [float(v) for v in student.losses])

copy = Sequential([layers.Input((5,)), layers.Dense(8, "elu"), layers.Dense(6, "elu"),
                   layers.Dense(1, "sigmoid")])
copy.set_weights(student.get_weights())
seen(np.abs(copy.predict(x, verbose=0) - student.predict(x, verbose=0)).max() < 1e-6)
seen(copy(x[:3]).shape, student.predict_on_batch(x), copy.output_shape)
"""

BY_HAND = """
import numpy as np
import keras
from keras import layers

class LossAndErrorPrinting(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        seen(epoch, sorted(logs), float(logs["loss"]))

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0 and self.model.stop_training is False:
            seen(batch, float(logs["mean_absolute_error"]))

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs.get("loss") < 1e9 and epoch == 1:
            self.model.stop_training = True

rng = np.random.default_rng(7)
x = rng.standard_normal((60, 1))
y = 2.0 * x[:, 0] - 1.0

model = keras.Sequential()
model.add(layers.Dense(units=4, activation="relu", input_dim=1))
model.add(layers.BatchNormalization(**debias))
model.add(layers.Dense(1))
model.compile(optimizer="sgd", loss="mean_squared_error", metrics=["mean_absolute_error"])
start(model)
h = model.fit(x, y, batch_size=20, epochs=5, verbose=0, shuffle=False,
              callbacks=[LossAndErrorPrinting(), Stop()])
seen(h.epoch, len(h.history["loss"]))
for epoch in range(2):
    for begin in range(0, 60, 20):
        loss = model.train_on_batch(x[begin:begin + 20], y[begin:begin + 20])
        seen(loss)
results = model.test_on_batch(x, y, return_dict=True)
seen(sorted(results), results["loss"], model.predict_on_batch(x[:2]))
w, b = model.layers[0].get_weights()
seen(w.shape, b.shape, model.layers[0].kernel.shape, [v.name for v in model.layers[1].weights])
"""

SCRIPTS = {
    "classification": CLASSIFICATION,
    "regression": REGRESSION,
    "imbalanced": IMBALANCED,
    "autoencoder": AUTOENCODER,
    "stages": STAGES,
    "transfer": TRANSFER,
    "by hand": BY_HAND,
}


def in_words_of_evengrad(script: str) -> str:
    """What a user changes: the lines that import."""
    changed = script.replace("import keras\n", "import evengrad as keras\n")
    return changed.replace("from keras", "from evengrad")


class Run:
    """A script with weights that depend on their shapes alone; what it shows is kept."""

    def __init__(self, script: str, debias: dict[str, Any]) -> None:
        self.shown: list[Any] = []
        names = {"start": self.start, "seen": self.seen, "debias": debias}
        exec(compile(script, "script", "exec"), names)

    def start(self, model: Any) -> None:
        rng = np.random.default_rng(0)
        for variable in model.trainable_variables:
            value = rng.standard_normal(tuple(variable.shape)) / (1 + len(variable.shape))
            variable.assign(value.astype(np.float32))

    def seen(self, *values: Any) -> None:
        self.shown += values


def _holds_words(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(v, str | tuple | list) for v in value)


def compare(name: str, ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs)
        for key, value in theirs.items():
            compare(name, ours[key], value)
    elif isinstance(theirs, str | bool | tuple | None) or _holds_words(theirs):
        assert ours == theirs
    else:
        errors.compare(f"script: {name}", ours, np.asarray(theirs), allowed=1e-5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str) -> None:
    for library in (evengrad, keras):
        library.utils.clear_session()
    theirs = Run(SCRIPTS[name], {})
    ours = Run(in_words_of_evengrad(SCRIPTS[name]), {"debias": False})
    assert len(ours.shown) == len(theirs.shown) > 4
    for a, b in zip(ours.shown, theirs.shown, strict=True):
        compare(name, a, b)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("keras.backend.clear_session()", "numpy"),
        ("keras.ops.mean([1.0])", "numpy"),
        ("keras.Model(None, None)", "Sequential"),
        ("keras.layers.Conv2D(3, 3)", "Flatten"),
        ("keras.layers.LSTM(3)", "Flatten"),
        ("keras.applications.ResNet50()", "pretrained"),
        ("keras.layers.Lambda(abs)", "layers.Layer"),
        ("keras.layers.concatenate([])", "Residual"),
    ],
)
def test_what_is_not_here_says_what_to_use(line: str, word: str) -> None:
    with pytest.raises(AttributeError, match=word) as caught:
        exec(line, {"keras": evengrad})
    assert "\n" not in str(caught.value)
