"""Models as files: all of a model is there again, and training goes on as if never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import evengrad as keras
import models_at_random
import numpy as np
import pytest
from evengrad import _stack, layers, optimizers
from evengrad.optimizers import schedules
from models_at_random import BATCH, data, state, targets

SEEDS = range(20)


def small(**options: Any) -> keras.Sequential:
    made = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dense(5, "elu", kernel_initializer="auto"),
            layers.Dropout(0.2),
            layers.Dense(4, "softmax"),
        ]
    )
    made.compile(options.pop("optimizer", "adam"), "sparse_categorical_crossentropy", **options)
    return made


def train(model: keras.Sequential, begin: int, end: int, *callbacks: Any) -> None:
    model.fit(
        data()[0], targets(model), BATCH, initial_epoch=begin, epochs=end, verbose=0,
        callbacks=list(callbacks),
    )  # fmt: skip


class Checkpoint(keras.callbacks.Callback):
    def __init__(self, path: Path, epoch: int) -> None:
        self.path, self.epoch = path, epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.model.save(self.path)


CHILD = """
import hashlib, sys
from pathlib import Path
import evengrad as keras
from models_at_random import state
from test_saving import train

keras.utils.set_random_seed(12345)
package = keras.initializers.RandomNormal()
for path in sorted(Path(sys.argv[1]).glob("*.evengrad")):
    model = keras.models.load_model(path)
    train(model, 3, 6)
    print(path.stem, hashlib.sha256(repr(state(model)).encode()).hexdigest())
"""


def in_a_child(script: str, *arguments: str) -> list[str]:
    package = Path(keras.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{Path(__file__).parent}"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_resumed_run_equals_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    import hashlib

    expected = {}
    for seed in SEEDS:
        straight = models_at_random.model(seed)
        train(straight, 0, 6, Checkpoint(tmp_path / f"{seed:02}-within.evengrad", 2))
        right = hashlib.sha256(repr(state(straight)).encode()).hexdigest()
        expected[f"{seed:02}-within"] = right
        if straight.optimizer.use_ema:  # the end of fit makes variables their averages
            continue
        stopped = models_at_random.model(seed)
        train(stopped, 0, 3)
        stopped.save(tmp_path / f"{seed:02}-after.evengrad")
        expected[f"{seed:02}-after"] = right
    assert len(expected) > len(SEEDS) + 5
    got = dict(line.split() for line in in_a_child(CHILD, str(tmp_path)))
    assert [name for name in expected if got[name] != expected[name]] == []


def test_the_random_models_have_everything() -> None:
    made = [models_at_random.model(seed) for seed in SEEDS]
    kinds = {type(part).__name__ for model in made for part in _stack.every(model.layers)}
    assert kinds >= {
        "Activation", "AlphaDropout", "BatchNormalization", "Dense", "Dropout", "GaussianDropout",
        "GaussianNoise", "LayerNormalization", "Normalization", "PReLU", "Residual", "Sequential",
    }  # fmt: skip
    assert {type(model.optimizer).__name__ for model in made} == set(models_at_random.OPTIMIZERS)
    for flag in ("use_ema", "gradient_accumulation_steps", "weight_decay"):
        assert len({bool(getattr(model.optimizer, flag)) for model in made}) == 2
    assert len({type(model.optimizer.clipping) for model in made}) == 4
    assert len({type(model.optimizer._rate) for model in made}) == 4
    assert any(not part.trainable for model in made for part in model.layers)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_of_a_model_is_there_again(seed: int, tmp_path: Path) -> None:
    model = models_at_random.model(seed)
    train(model, 0, 2)
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert state(twin) == state(model)
    assert twin.get_config() == model.get_config()
    assert twin.get_compile_config() == model.get_compile_config()
    for mine, other in zip(model.variables, twin.variables, strict=True):
        assert (mine.path, mine.name, mine.trainable) == (other.path, other.name, other.trainable)
    names = [[v.path for v in m.optimizer.variables] for m in (model, twin)]
    assert names[0] == names[1]
    x, y = data()[0], targets(model)
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    assert twin.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    twin.save(tmp_path / "again.evengrad")
    assert (tmp_path / "m.evengrad").read_bytes() == (tmp_path / "again.evengrad").read_bytes()


def test_moving_statistics_come_back_in_full(tmp_path: Path) -> None:
    model = small()
    model.layers[0].set_moving(np.full(6, 1e7 + 1 / 3), np.full(6, 1 / 7))
    model.layers[0]._batches[0] = 3
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad").layers[0]
    assert (twin.moving_mean.storage == 1e7 + 1 / 3).all()
    assert (twin.moving_variance.storage == 1 / 7).all()
    assert twin._batches[0] == 3


def test_numpy_reads_the_file(tmp_path: Path) -> None:
    model = small()
    train(model, 0, 1)
    model.save(tmp_path / "m.evengrad")
    with np.load(tmp_path / "m.evengrad") as file:
        for variable in model.variables:
            array = file[f"variables/{variable.path}"]
            assert array.dtype == variable.storage.dtype
            np.testing.assert_array_equal(array, variable.value)
        kernel = model.layers[1].kernel
        momentum = file[f"optimizer/momentum/{kernel.path}"]
        np.testing.assert_array_equal(momentum, model.optimizer.kept()[kernel]["momentum"].value)
    with zipfile.ZipFile(tmp_path / "m.evengrad") as archive:
        assert archive.testzip() is None
        description = json.loads(archive.read("model.json"))
    assert description["model"]["class_name"] == "Sequential"


def test_a_model_of_no_shape_yet(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert not twin.built
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    twin.fit(np.ones((5, 4)), np.ones((5, 2)), verbose=0)


def test_layers_that_were_built_on_their_own(tmp_path: Path) -> None:
    inner = keras.Sequential([layers.Residual([layers.Dense(4, "tanh")])])
    x = models_at_random.data()[0]
    outer = keras.Sequential([layers.Dense(3), inner])
    inner.predict(x)
    inner.save(tmp_path / "inner.evengrad")
    outer.save(tmp_path / "outer.evengrad")
    twin = keras.models.load_model(tmp_path / "outer.evengrad")
    assert (twin.built, twin.layers[0].built, twin.layers[1].built) == (False, False, True)
    np.testing.assert_array_equal(twin.layers[1].predict(x), inner.predict(x))
    alone = layers.Dense(3)
    alone(x)
    model = keras.Sequential([alone])
    assert not model.built
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


def test_flags_of_single_variables_and_projections(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Residual([layers.Dense(3)])])
    block = model.layers[0]
    block.projection.trainable = False
    block.layers[0].bias.trainable = False
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad").layers[0]
    assert (twin.projection.trainable, twin.layers[0].trainable) == (False, True)
    assert [v.trainable for v in twin.layers[0].variables] == [True, False]
    assert [v.path for v in twin.variables] == [v.path for v in block.variables]


def test_fixup_is_not_done_twice(tmp_path: Path) -> None:
    block = layers.Residual([layers.Dense(6, "relu"), layers.Dense(6)], fixup=4)
    model = keras.Sequential([keras.Input((6,)), block])
    model.set_weights([w + 1.0 for w in model.get_weights()])
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert [w.tobytes() for w in twin.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_kernels_that_wait_for_their_activation_still_do(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, kernel_initializer="auto")])
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    for each in (model, twin):
        each.add(layers.ReLU())
    kernels = [each.layers[0].kernel.numpy() for each in (model, twin)]
    np.testing.assert_array_equal(*kernels)
    model.set_weights([w + 1.0 for w in model.get_weights()])  # no longer as they were drawn
    model.save(tmp_path / "m.evengrad")
    assert keras.models.load_model(tmp_path / "m.evengrad").layers[0].get_extra_state() == {}


def test_excluded_from_weight_decay(tmp_path: Path) -> None:
    for names in (["bias", "gamma"], ["^b.*s$", "gam+a"]):
        optimizer = optimizers.AdamW(0.01)
        optimizer.exclude_from_weight_decay(var_names=names)
        model = small(optimizer=optimizer)
        model.save(tmp_path / "m.evengrad")
        twin = keras.models.load_model(tmp_path / "m.evengrad")
        of_both = [m.optimizer._decays(m.variables).tolist() for m in (model, twin)]
        assert of_both[0] == of_both[1]
        assert 0.0 in of_both[0]
    optimizer = optimizers.AdamW(0.01)
    model = small(optimizer=optimizer)
    optimizer.exclude_from_weight_decay(var_list=[model.layers[1].kernel])
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert twin.optimizer.excluded == (frozenset([twin.layers[1].kernel]), "")


# What is not loaded, or not saved


def test_without_compiling(tmp_path: Path) -> None:
    model = small()
    train(model, 0, 1)
    model.save(tmp_path / "m.evengrad")
    model.save(tmp_path / "small.evengrad", include_optimizer=False)
    assert (tmp_path / "small.evengrad").stat().st_size < (tmp_path / "m.evengrad").stat().st_size
    for name, compile in (("m", False), ("small", True)):
        twin = keras.models.load_model(tmp_path / f"{name}.evengrad", compile=compile)
        assert not twin.compiled
        x = data()[0]
        np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="call model"):
        twin.fit(data()[0], data()[1], verbose=0)


def test_loading_leaves_the_packages_draws_alone(tmp_path: Path) -> None:
    model = small()
    train(model, 0, 1)
    model.save(tmp_path / "m.evengrad")
    keras.utils.set_random_seed(4)
    right = keras.initializers.get("he_normal")((3,)).tolist()
    keras.utils.set_random_seed(4)
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert keras.initializers.get("he_normal")((3,)).tolist() == right
    assert twin.drawing() == twin.drawing()
    assert state(twin)[-2:] != state(small())[-2:]


def test_a_seed_set_later_begins_the_draws_anew(tmp_path: Path) -> None:
    def trained(model: keras.Sequential, seed: int | None) -> list[Any]:
        if seed is not None:
            keras.utils.set_random_seed(seed)
        train(model, 0, 1)
        return state(model)[-2:]

    model = small()
    trained(model, 1)
    model.save(tmp_path / "m.evengrad")
    load = keras.models.load_model
    twins = [load(tmp_path / "m.evengrad") for _ in range(4)]
    went_on = [trained(twins[0], None), trained(twins[1], None)]
    anew = [trained(twins[2], 2), trained(twins[3], 2)]
    assert went_on[0] == went_on[1]
    assert anew[0] == anew[1]
    assert went_on[0] != anew[0]
    keras.utils.set_random_seed(3)
    model.save(tmp_path / "m.evengrad")  # its draws are no longer good
    assert load(tmp_path / "m.evengrad").draws is None


# Where it is written


def test_what_is_no_name_for_a_model(tmp_path: Path) -> None:
    model = small()
    for name in ("m.keras", "m.h5", "m", "m.npz"):
        with pytest.raises(ValueError, match=r"\.evengrad, got .*model.save\('m.evengrad'\)"):
            model.save(tmp_path / name)
    (tmp_path / "d.evengrad").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        model.save(tmp_path / "d.evengrad")
    with pytest.raises(FileNotFoundError, match="make it first"):
        model.save(tmp_path / "nowhere" / "m.evengrad")
    for bad in (None, 3, "", b"m.evengrad", "a\0.evengrad"):
        with pytest.raises(TypeError, match="expected filepath"):
            model.save(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zipped=True"):
        model.save(tmp_path / "m.evengrad", zipped=False)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        keras.models.load_model(tmp_path / "nothing.evengrad")
    assert [path.name for path in tmp_path.iterdir()] == ["d.evengrad"]


def test_overwriting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.evengrad"
    model = small()
    model.save(path, overwrite=False)
    before = path.read_bytes()
    train(model, 0, 1)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, overwrite=False)
    for answer, same in (("n", True), ("", True), ("Y", False)):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        model.save(path, overwrite=False)
        assert (path.read_bytes() == before) == same
    assert [file.name for file in tmp_path.iterdir()] == ["m.evengrad"]


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "m.evengrad", tmp_path / "latest.evengrad"
    model = small()
    model.save(path)
    path.chmod(0o640)
    link.symlink_to(path)
    before = path.read_bytes()
    train(model, 0, 1)
    model.save(link)
    assert link.is_symlink()
    assert path.read_bytes() != before
    assert path.stat().st_mode & 0o777 == 0o640


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "m.evengrad"
    model = small()
    train(model, 0, 1)
    model.save(path)
    before = path.read_bytes()
    kernel = model.layers[1].kernel
    slot = model.optimizer.kept()[kernel]["velocity"]
    for array, name in ((kernel.value, kernel.path), (slot.value, "velocity")):
        old, array[2, 3] = array[2, 3], np.nan
        with pytest.raises(ValueError, match=f"{name}.* not all of its numbers are finite"):
            model.save(path)
        array[2, 3] = old
        assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.evengrad"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.evengrad"
    model = small()
    model.save(path)
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.evengrad"]


def test_threads_that_save_to_one_file(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "m.evengrad"
    models = [small() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda model: [model.save(path) for _ in range(5)], models))
    twin = keras.models.load_model(path)
    assert any(twin.get_config() == model.get_config() for model in models)
    assert [file.name for file in tmp_path.iterdir()] == ["m.evengrad"]


def test_names_of_layers_that_are_no_names_of_members(tmp_path: Path) -> None:
    for names in (["..", "a"], ["größe", "Größe"], ["a:b\\c", "tab\t"], ["x" * 2000, "y" * 2000]):
        made = [layers.Dense(2, name=name) for name in names]
        model = keras.Sequential([keras.Input((3,)), *made], name="..")
        model.save(tmp_path / "m.evengrad")
        twin = keras.models.load_model(tmp_path / "m.evengrad")
        assert [layer.name for layer in twin.layers] == names
        assert [v.path for v in twin.variables] == [v.path for v in model.variables]
        with np.load(tmp_path / "m.evengrad") as file:
            assert not any(".." in name.split("/") or "\\" in name for name in file.files)


def test_a_schedule_of_ones_own_needs_a_name(tmp_path: Path) -> None:
    class Halving(schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return 0.5**step

        def get_config(self) -> dict[str, Any]:
            return {}

    model = small(optimizer=optimizers.SGD(Halving()))
    with pytest.raises(TypeError, match="schedule: the class Halving is not registered"):
        model.save(tmp_path / "m.evengrad")
    assert list(tmp_path.iterdir()) == []
    with keras.saving.custom_object_scope({"Halving": Halving}):
        model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad", {"Halving": Halving})
    assert twin.optimizer.rates(3).tolist() == [1.0, 0.5, 0.25]


def test_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    import tracemalloc

    stack = [layers.Dense(1001, kernel_initializer="zeros") for _ in range(6)]
    model = keras.Sequential([keras.Input((1001,)), *stack])  # 24 MB, in rows with a pitch
    path, before = tmp_path / "m.evengrad", keras.get_num_threads()
    peaks = []
    for work in (lambda: model.save(path), lambda: keras.models.load_model(path)):
        tracemalloc.start()
        kept = work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del kept
    size = path.stat().st_size
    assert peaks[0] < 0.4 * size
    assert peaks[1] < 1.5 * size
    assert keras.get_num_threads() == before


def test_damage_is_seen_where_threads_read(tmp_path: Path) -> None:
    stack = [layers.Dense(1000, kernel_initializer="zeros") for _ in range(4)]
    keras.Sequential([keras.Input((1000,)), *stack]).save(tmp_path / "m.evengrad")
    content = bytearray((tmp_path / "m.evengrad").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.evengrad").write_bytes(content)
    with pytest.raises(keras.ModelFileError, match=r"damaged: .*kernel is not what"):
        keras.models.load_model(tmp_path / "m.evengrad")


def test_steps_that_were_left_out_are_counted_on(tmp_path: Path) -> None:
    model = small(on_nonfinite="skip")
    x, y = data()[0][:8].copy(), targets(model)[:8]
    model.train_on_batch(x, y)
    model.layers[1].kernel.value[0, 0] = 3e38
    model.layers[1].kernel.value[1, 0] = -3e38
    model.train_on_batch(x * np.float32(1e30), y)
    assert model.skipped_steps == model.skipped_in_a_row == 1
    model.save(tmp_path / "m.evengrad")
    again = keras.models.load_model(tmp_path / "m.evengrad")
    assert again.skipped_steps == again.skipped_in_a_row == 1


def test_equal_models_make_equal_files_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small()
    model.save(tmp_path / "a.evengrad")
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    model.save(tmp_path / "b.evengrad")
    assert (tmp_path / "a.evengrad").read_bytes() == (tmp_path / "b.evengrad").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be opened there")
def test_the_folder_goes_to_the_disk_after_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def watched_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def watched_replace(*paths: Any) -> None:
        done.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    small().save(tmp_path / "m.evengrad")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("at", [0, 300_000, -1])
def test_one_number_of_many_that_is_not_finite(at: int, tmp_path: Path) -> None:
    """In a file whose checksums are right."""
    model = keras.Sequential([keras.Input((600,)), layers.Dense(1000, use_bias=False, name="d")])
    path = tmp_path / "m.evengrad"
    model.save(path)
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    (member,) = (name for name in content if name.endswith(".npy"))
    top = len(content[member]) - 4 * 600_000
    numbers = np.frombuffer(content[member][top:], np.float32).copy()
    numbers[at] = np.nan
    content[member] = content[member][:top] + numbers.tobytes()
    description = json.loads(content["model.json"])
    description["variables"][0]["array"]["sha256"] = hashlib.sha256(numbers.tobytes()).hexdigest()
    content["model.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    with pytest.raises(keras.ModelFileError, match="finite"):
        keras.models.load_model(path)
