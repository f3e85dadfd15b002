"""Files of models that are damaged, hostile, or of another kind."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad as keras
import fuzz_model_file
import numpy as np
import pytest
from evengrad import layers, optimizers
from evengrad.optimizers import clipping
from fuzz_model_file import members_of, outcome, zipped

Change = Callable[[dict[str, Any]], Any]


def model() -> keras.Sequential:
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, "elu", name="hidden"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(2, name="last"),
        ],
        name="net",
    )
    made.compile(optimizers.Adam(clipping=clipping.AutoClip()), "mse", ["mae"])
    made.fit(np.ones((9, 4)), np.ones((9, 2)), verbose=0)
    return made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m.evengrad"
    model().save(path)
    return path.read_bytes()


def refused(content: bytes, folder: Path) -> str:
    path = folder / "m.evengrad"
    path.write_bytes(content)
    reason = outcome(path)
    assert isinstance(reason, str)
    return reason


def changed(content: bytes, change: Change) -> bytes:
    members = members_of(content)
    description = json.loads(members["model.json"])
    change(description)
    members["model.json"] = json.dumps(description).encode()
    return zipped(list(members.items()))


def test_a_few_hundred_damaged_files(tmp_path: Path) -> None:
    counts = fuzz_model_file.run(tmp_path, seed=0, files=220, seconds=60.0)
    assert counts.total() == 220
    assert sum(count for name, count in counts.items() if name.endswith("refused")) > 150
    assert {name.partition(":")[0] for name in counts} == {
        kind.__name__ for kind in fuzz_model_file.KINDS
    }


def test_a_killed_process_leaves_the_last_whole_file(tmp_path: Path) -> None:
    assert fuzz_model_file.kill_saves(tmp_path, 5) > 0


def test_every_byte_counts(good: bytes, tmp_path: Path) -> None:
    """Each byte of each array and of the description, one bit of it changed."""
    path = tmp_path / "m.evengrad"
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        places = {i.filename: (i.header_offset, i.file_size) for i in archive.infolist()}
    rng = np.random.Generator(np.random.PCG64(0))
    for name, (offset, size) in places.items():
        begin = offset + 30 + sum(struct.unpack_from("<HH", good, offset + 26))
        for at in {begin, begin + size - 1, *(begin + rng.integers(size, size=4)).tolist()}:
            made = bytearray(good)
            made[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(made)
            with pytest.raises(keras.ModelFileError, match="damaged"):
                keras.models.load_model(path)
            assert good[begin : begin + 1], name


# Other files


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a zip archive"),
        (b"something else", "expected a zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, as Keras writes"),
        (b"PK\3\4" + bytes(99), "damaged"),
        (pickle.dumps({"a": 1}), "expected a zip archive"),
        (zipped([]), "no member 'model.json'"),
        (zipped([("config.json", b"{}"), ("model.weights.h5", b"")]), "a file of Keras"),
        (zipped([("model.json", b"{}")]), "no model of evengrad"),
        (zipped([("model.json", b"[]")]), "no model of evengrad"),
        (zipped([("model.json", b"")]), "no JSON"),
        (zipped([("model.json", b"\xff\xfe")]), "no JSON"),
        (zipped([("model.json", b'{"a": 1, "a": 2}')]), "it has 'a' twice"),
        (zipped([("model.json", b'{"a": NaN}')]), "NaN is not JSON"),
        (zipped([("model.json", b"[" * 10**6)]), "nested too deeply"),
        (zipped([("model.json", b"[" * 150 + b"]" * 150)]), "more than 100 levels"),
        (zipped([("model.json", b"9" * 10**6)]), "no JSON"),
        (zipped([("model.json", b" " * (1 << 27))], zipfile.ZIP_DEFLATED), "is compressed"),
        (zipped([("../model.json", b"")]), "none that model.save writes"),
    ],
)
def test_other_files(content: bytes, text: str, tmp_path: Path) -> None:
    assert text in refused(content, tmp_path)


def test_other_things_than_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="expected a file"):
            keras.models.load_model(path)
    with pytest.raises(TypeError, match="name of a file"):
        keras.models.load_model(io.BytesIO())  # type: ignore[arg-type]


def test_a_newer_version(good: bytes, tmp_path: Path) -> None:
    def newer(content: dict[str, Any]) -> None:
        content |= {"version": 2, "written_by": "evengrad 9.9", "something": "new"}

    reason = refused(changed(good, newer), tmp_path)
    assert "format version 2, written by 'evengrad 9.9'" in reason
    assert "upgrade" in reason
    for bad in (0, -1, True, 1.5, "1", None):
        assert "version" in refused(changed(good, lambda c, b=bad: c.update(version=b)), tmp_path)


# Members


def test_members_that_nothing_refers_to(good: bytes, tmp_path: Path) -> None:
    members = list(members_of(good).items())
    extra = zipped([*members, ("extra.npy", b"")])
    assert "nothing refers to, 'extra'" in refused(extra, tmp_path)
    assert "none that model.save" in refused(zipped([*members, ("../a.npy", b"")]), tmp_path)
    assert "none that model.save" in refused(zipped([*members, ("/a.npy", b"")]), tmp_path)
    assert "none that model.save" in refused(zipped([*members, ("a\\..\\b.npy", b"")]), tmp_path)
    twice = zipped([*members, members[0]])
    assert "two members named" in refused(twice, tmp_path)
    lost = zipped(members[1:])
    assert "no member 'variables/net/norm/gamma.npy'" in refused(lost, tmp_path)


def test_two_variables_of_one_array(good: bytes, tmp_path: Path) -> None:
    def share(content: dict[str, Any]) -> None:
        content["variables"][1]["array"] = content["variables"][0]["array"]

    assert "of something else, too" in refused(changed(good, share), tmp_path)


def test_members_that_lie_over_each_other(good: bytes, tmp_path: Path) -> None:
    """A directory whose members share bytes makes much of little."""
    directory = good.index(b"PK\1\2")
    made = bytearray(good)
    size = struct.unpack_from("<I", good, directory + 24)[0] + 500
    made[directory + 20 : directory + 28] = struct.pack("<II", size, size)
    assert "runs into what comes next" in refused(bytes(made), tmp_path)
    made = bytearray(good)
    second = made.index(b"PK\1\2", directory + 1)
    made[second + 42 : second + 46] = made[directory + 42 : directory + 46]
    assert "damaged" in refused(bytes(made), tmp_path)


def test_many_layers_of_one_array(tmp_path: Path) -> None:
    made = keras.Sequential([keras.Input((1000,)), layers.Dense(1000, use_bias=False, name="a")])
    made.save(tmp_path / "m.evengrad")

    def many(content: dict[str, Any]) -> None:
        parts = content["model"]["config"]["layers"]
        for i in range(50):
            parts.append(copy.deepcopy(parts[-1]))
            parts[-1]["config"]["name"] = f"a{i}"

    content = changed((tmp_path / "m.evengrad").read_bytes(), many)
    assert "(1000, 1000) for kernel, there is none" in refused(content, tmp_path)


def with_array(content: bytes, data: bytes) -> bytes:
    members = members_of(content)
    members["variables/net/hidden/kernel.npy"] = data
    return zipped(list(members.items()))


def test_headers_of_arrays(good: bytes, tmp_path: Path) -> None:
    right = members_of(good)["variables/net/hidden/kernel.npy"]
    assert right[:128] == b"\x93NUMPY\x01\x00\x76\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }".ljust(117) + b"\n"
    )
    np.testing.assert_array_equal(np.load(io.BytesIO(right)).shape, (4, 3))
    for old, new in (
        (b"\x01\x00", b"\x02\x00"), (b"False", b"True "), (b"(4, 3)", b"(3, 4)"),
        (b"'<f4'", b"'>f4'"), (b"'<f4'", b"'|O' "), (b"(4, 3)", b"(-4,3)"), (b" }", b"  "),
    ):  # fmt: skip
        reason = refused(with_array(good, right.replace(old, new, 1)), tmp_path)
        assert "net/hidden/kernel does not begin as a .npy file" in reason
    for data in (right[:-1], right + b"\0", b"", right[:5]):
        assert "net/hidden/kernel has " in refused(with_array(good, data), tmp_path)


def test_numbers_that_are_not_finite(good: bytes, tmp_path: Path) -> None:
    import hashlib

    members = members_of(good)
    for name, where in (
        ("variables/net/hidden/kernel", "variables"), ("optimizer/velocity/net/last/bias", "slots"),
    ):  # fmt: skip
        data = bytearray(members[f"{name}.npy"])
        data[-4:] = np.float32(np.nan).tobytes()

        def fits(content: dict[str, Any], data: bytes = bytes(data), name: str = name) -> None:
            arrays = [entry["array"] for entry in content["variables"]]
            arrays += [
                entry
                for slot in content["training"]["optimizer"]["slots"]
                for entry in slot["arrays"].values()
            ]
            (entry,) = [entry for entry in arrays if entry["member"] == name]
            entry["sha256"] = hashlib.sha256(data[128:]).hexdigest()

        changed_members = dict(members) | {f"{name}.npy": bytes(data)}
        content = changed(zipped(list(changed_members.items())), fits)
        reason = refused(content, tmp_path)
        assert "expected finite numbers" in reason, where
        assert name.rpartition("net/")[2].replace("/", "_") in reason.replace("/", "_")


# The description


def config_of(content: dict[str, Any], layer: str) -> dict[str, Any]:
    layers = content["model"]["config"]["layers"]
    return next(one["config"] for one in layers if one["config"]["name"] == layer)


def deep(content: dict[str, Any], models: int) -> None:
    inner = content["model"]
    for i in range(models):
        config = {"name": f"s{i}", "layers": [inner]}
        inner = {"class_name": "Sequential", "config": config}
    content["model"] = inner


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: config_of(c, "hidden").update(units=10**12), "expected an array of shape"),
        (lambda c: config_of(c, "hidden").update(units=10**30), "expected an array of shape"),
        (lambda c: config_of(c, "hidden").update(units=4), "expected an array of shape (4, 4)"),
        (lambda c: config_of(c, "input_layer").update(shape=[10**12]), "expected an array"),
        (lambda c: config_of(c, "hidden").update(name="a/../b"), "without '/'"),
        (lambda c: config_of(c, "hidden").update(units="3"), "units"),
        (lambda c: config_of(c, "hidden").update(activation="os.system"), "activation"),
        (lambda c: config_of(c, "hidden").update(kernel_initializer="os.system"), "initializer"),
        (lambda c: c["model"].update(class_name="Dense"), "Dense"),
        (lambda c: c["model"].update(class_name="os.system"), "expected one of"),
        (lambda c: c["model"].update(class_name="Custom>x"), "'Custom>x' is not known"),
        (lambda c: c["model"]["config"].update(layers=None), "not iterable"),
        (lambda c: c["model"]["config"]["layers"].pop(), "it describes 4 layers"),
        (lambda c: c["model"]["config"]["layers"].extend(c["model"]["config"]["layers"]), "Input"),
        (lambda c: deep(c, 20), "expected layer 's18', got 'norm'"),
        (lambda c: deep(c, 200), "nested more than 100 levels"),
        (lambda c: c.update(variables=c["variables"][:-1]), "nothing refers to"),
        (lambda c: c.update(extra=1), "expected model.json to have"),
        (lambda c: c.pop("random"), "expected model.json to have"),
        (lambda c: c.update(layers={}), "expected layers of model.json to be list"),
        (lambda c: c["layers"][1].update(input_shape=[5]), "built for [4], got [5]"),
        (lambda c: c["layers"][1].update(trainable=1), "to be bool or NoneType, got 1"),
        (lambda c: c["layers"][1].update(trainable=None), "whether layer 'hidden' is trainable"),
        (lambda c: c["layers"][1].update(state={"gain": 2.0}), "expected the gain"),
        (lambda c: c["layers"][0].update(state={"batches": -1}), "batches"),
        (lambda c: c["layers"][0].update(state={"batches": 2**70}), "not that of a model"),
        (lambda c: c["layers"][2].update(state={"a": 1}), "no state but variables"),
        (lambda c: c["random"].update(seed=-1), "expected a seed"),
        (lambda c: c["random"].update(state="x"), "state of PCG64"),
        (lambda c: c["random"].update(increment=str(2**128)), "state of PCG64"),
        (lambda c: c["training"].update(skipped_steps="1"), "skipped_steps"),
        (lambda c: c["training"]["optimizer"].update(steps=2**63), "number of steps"),
        (lambda c: c["training"]["optimizer"].update(steps=True), "to be int, got True"),
        (lambda c: c["training"]["optimizer"]["slots"].pop(), "nothing refers to"),
        (lambda c: c["training"]["optimizer"]["slots"][0].update(variable=99), "below 8, got 99"),
        (lambda c: c["training"]["optimizer"]["slots"][0].update(variable=1), "twice"),
        (lambda c: c["training"]["optimizer"]["no_decay"].update(names="(a+)+$"), "weight decay"),
        (lambda c: c["training"]["config"].update(loss="os.system"), "loss"),
        (lambda c: c["training"]["config"].update(loss=None, optimizer="sgd"), "expected the s"),
        (lambda c: c["training"]["config"].update(metrics=[{"class_name": "x"}]), "metric"),
        (lambda c: c["training"]["config"].update(more=1), "more"),
        (lambda c: c["training"]["config"]["optimizer"]["config"].update(beta_1=2.0), "beta_1"),
        (
            lambda c: c["training"]["config"]["optimizer"]["config"]["clipping"]["config"].update(
                history=10**13
            ),
            "history of at most",
        ),
        (
            lambda c: c["training"]["config"].update(
                metrics=[{"class_name": "AUC", "config": {"num_thresholds": 10**10}}]
            ),
            "num_thresholds of at most",
        ),
    ],
)  # fmt: skip
def test_descriptions(change: Change, text: str, good: bytes, tmp_path: Path) -> None:
    assert text in refused(changed(good, change), tmp_path)


def test_layers_without_arrays_take_no_memory_either(tmp_path: Path) -> None:
    made = keras.Sequential(
        [keras.Input((3,)), layers.Rescaling(2.0), layers.Normalization(mean=0.0, variance=1.0)]
    )
    made.save(tmp_path / "m.evengrad")
    content = (tmp_path / "m.evengrad").read_bytes()

    def larger(description: dict[str, Any]) -> None:
        config_of(description, "input_layer").update(shape=[10**12])
        for layer in description["layers"]:
            layer["input_shape"] = [10**12]

    (tmp_path / "m.evengrad").write_bytes(changed(content, larger))
    loaded = outcome(tmp_path / "m.evengrad")
    assert isinstance(loaded, keras.Sequential)
    assert loaded.input_shape == (None, 10**12)


def test_nothing_is_left_of_a_file_that_cannot_be_loaded(good: bytes, tmp_path: Path) -> None:
    before = copy.deepcopy(np.random.get_state()[1]), keras.layers.Dense(1).name
    refused(changed(good, lambda c: c["training"]["config"].update(more=1)), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.evengrad"]
    assert (np.random.get_state()[1] == before[0]).all()
    assert int(keras.layers.Dense(1).name.rpartition("_")[2]) == int(before[1].split("_")[1]) + 1


def test_the_error() -> None:
    error = keras.ModelFileError("m.evengrad", "reason")
    assert isinstance(error, ValueError)
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.path, twin.reason, str(twin)) == ("m.evengrad", "reason", "m.evengrad: reason")
