"""Weights alone as files."""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers

KINDS = ["npz", "evengrad"]
try:
    import safetensors.numpy

    KINDS.append("safetensors")
except ImportError:
    pass
each = pytest.mark.parametrize("kind", KINDS)


def build(outputs: int = 3, **names: str) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(),
            layers.Residual([layers.Dense(17, "elu", **names)]),
            layers.Dense(outputs),
        ]
    )


def filled(model: keras.Sequential) -> keras.Sequential:
    rng = np.random.Generator(np.random.PCG64(0))
    for variable in model.variables:
        variable.value[...] = rng.standard_normal(variable.shape)
    return model


def write(model: keras.Sequential, path: Path) -> Path:
    (model.save if path.suffix == ".evengrad" else model.save_weights)(path)
    return path


def stored(model: keras.Sequential) -> list[bytes]:
    return [v.storage.tobytes() for v in model.variables]


@each
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    model, twin = filled(build()), build()
    twin.load_weights(write(model, tmp_path / f"w.{kind}"))
    assert stored(twin) == stored(model)  # moving statistics in float64
    assert twin.layers[0]._batches[0] > 1 << 30  # and they count as old, as after set_weights
    assert [path.name for path in tmp_path.iterdir()] == [f"w.{kind}"]


def test_keys_are_paths(tmp_path: Path) -> None:
    model = filled(build())
    with np.load(write(model, tmp_path / "w.npz")) as file:
        assert file.files == [v.path for v in model.variables]
        for variable in model.variables:
            np.testing.assert_array_equal(file[variable.path], variable.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(save: Callable[..., None], tmp_path: Path) -> None:
    model = filled(build())
    arrays = {v.path: np.asfortranarray(v.value, np.float64) for v in model.variables}
    save(tmp_path / "w.npz", **dict(reversed(arrays.items())))
    twin = keras.Sequential.from_config(model.get_config())
    twin.load_weights(tmp_path / "w.npz")
    assert stored(twin) == stored(model)
    save(tmp_path / "w.npz", *model.get_weights())  # arr_0, arr_1, ...: by order
    twin = build()
    twin.load_weights(tmp_path / "w.npz")
    for mine, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.skipif("safetensors" not in KINDS, reason="needs safetensors")
def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    model = filled(build())
    arrays = safetensors.numpy.load_file(write(model, tmp_path / "w.safetensors"))
    assert set(arrays) == {v.path for v in model.variables}
    for variable in model.variables:
        np.testing.assert_array_equal(arrays[variable.path], variable.value)
    halves = {k: v.astype(np.float16) for k, v in arrays.items()}
    safetensors.numpy.save_file(halves, tmp_path / "h.safetensors")
    model.load_weights(tmp_path / "h.safetensors")


@each
def test_what_does_not_fit_changes_nothing(kind: str, tmp_path: Path) -> None:
    path = write(filled(build()), tmp_path / f"w.{kind}")
    for other, text in (
        (build(5), r"expected \S*dense\S*/kernel of shape \(17, 5\), it has .* of shape \(17, 3\)"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(3)]), "expected 2 weights .* it has 9"),
    ):
        before = stored(filled(other))
        with pytest.raises(keras.ModelFileError, match=text) as error:
            other.load_weights(path)
        assert error.value.path == str(path)
        assert stored(other) == before


def test_some_of_the_names(tmp_path: Path) -> None:
    model = build(name="inner")
    config = model.get_config()
    config["layers"][2]["config"]["layers"][0]["config"]["name"] = "changed"
    other = keras.Sequential.from_config(config)
    model.save_weights(tmp_path / "w.npz")
    with pytest.raises(keras.ModelFileError, match=r"missing .*changed/kernel.*, unknown .*inner/"):
        other.load_weights(tmp_path / "w.npz")


@each
def test_skipping_what_does_not_fit(kind: str, tmp_path: Path) -> None:
    model = filled(build())
    path = write(model, tmp_path / f"w.{kind}")
    same_names = model.get_config()
    same_names["layers"][-1]["config"]["units"] = 5
    for other in (build(5), keras.Sequential.from_config(same_names)):
        last = stored(other)[-2:]
        with pytest.warns(
            UserWarning, match=r"no weights that fit Dense \"dense\S*\", which stays"
        ):
            other.load_weights(path, skip_mismatch=True)
        assert stored(other)[:-2] == stored(model)[:-2]
        assert stored(other)[-2:] == last
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = build()
        twin.load_weights(path, skip_mismatch=True)
    assert stored(twin) == stored(model)


def test_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    (tmp_path / "w.weights.h5").touch()
    for use in (model.save_weights, model.load_weights):
        with pytest.raises(ValueError, match=r"HDF5 is not here: use 'w.weights.npz'"):
            use(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match=r"got 'w': use 'w.npz'"):
        model.save_weights(tmp_path / "w")
    with pytest.raises(ValueError, match="max_shard_size"):
        model.save_weights(tmp_path / "w.npz", max_shard_size=1.0)
    with pytest.raises(FileNotFoundError, match="no file"):
        model.load_weights(tmp_path / "w.npz")
    with pytest.raises(ValueError, match="no weights yet"):
        keras.Sequential([layers.Dense(2)]).save_weights(tmp_path / "w.npz")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    (tmp_path / "w.safetensors").touch()
    for use in (model.save_weights, model.load_weights):
        with pytest.raises(ImportError, match=r"pip install evengrad\[safetensors\]"):
            use(tmp_path / "w.safetensors")


@each
def test_numbers_that_are_not_finite(kind: str, tmp_path: Path) -> None:
    model = filled(build())
    path = write(model, tmp_path / f"w.{kind}")
    before = path.read_bytes()
    kernel = model.layers[1].layers[0].kernel
    kernel.value[3, 16] = np.inf
    with pytest.raises(ValueError, match=f"{kernel.path}: not all of its numbers are finite"):
        write(model, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if kind == "evengrad":
        return
    kernel.value[3, 16] = 0.0
    arrays = {v.path: v.numpy() for v in model.variables}
    arrays[kernel.path][3, 16] = np.nan
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    weights = stored(model)
    with pytest.raises(keras.ModelFileError, match=f"not so in '{kernel.path}'"):
        model.load_weights(path)
    assert stored(model) == weights


def header(shape: str, dtype: str = "<f4", order: str = "False") -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


def npy(top: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(top).to_bytes(2, "little") + top + data


def npz(kernel: bytes) -> bytes:
    """A file of weights whose bias is as it should be."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/kernel.npy", kernel)
        archive.writestr("d/bias.npy", npy(header("(2,)"), bytes(8)))
    return file.getvalue()


def changed(content: bytes) -> bytes:
    """With another number than the one that the archive's checksum is of."""
    made = npz(npy(header("(4, 2)"), bytes(32)))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():  # not compressed
            new.writestr(name, content if name == "d/kernel.npy" else old.read(name))
    found = bytearray(file.getvalue())
    found[found.index(b"\x93NUMPY") + len(content) - 1] ^= 1
    return bytes(found)


GOOD = npy(header("(4, 2)"), bytes(32))


def test_an_npz_made_by_hand(tmp_path: Path) -> None:
    """So that what follows is refused for what is wrong with it."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")])
    (tmp_path / "w.npz").write_bytes(npz(GOOD))
    model.load_weights(tmp_path / "w.npz")
    assert not model.get_weights()[0].any()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "zip"), (b"PK\3\4", "zip"), (b"PK\5\6" + bytes(18), "expected 2 weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "zip"), (bytes(1000), "zip"),
        (npz(npy(b"")), "header"),
        (npz(npy(header("(1000000000000,)"))), "of shape"),
        (npz(npy(header("(4, 2)"))), "does not have the 32 bytes"),
        (npz(npy(header("(4, -2)"))), "of shape"),
        (npz(npy(header("(4, 2)", "|O"), bytes(64))), "expected numbers"),
        (npz(npy(header("(4, 2)", "<c8"), bytes(64))), "expected numbers"),
        (npz(npy(header("(4, 2)", order="3"), bytes(32))), "fortran_order"),
        (npz(npy(b"__import__('os')\n")), "header"),
        (npz(npy(b"(" * 9_000)), "parse|nested|parenthes|[Hh]eader"),
        (npz(npy(b"9" * 60_000)), "[Hh]eader"),
        (npz(npy(header("(4, 2)") + b" " * 20_000, bytes(32))), "[Hh]eader"),
        (npz(npy(b"x", version=b"\x02\x00")), "version 1.0 of .npy"),
        (npz(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(10**7)), "version 1.0 of .npy"),
        (npz(npy(b"x", version=b"\x03\x00")), "version 1.0 of .npy"),
        (npz(npy(b"x", version=b"\x09\x00")), "version"),
        (npz(GOOD + b"\0"), "does not have the 32 bytes"),
        (npz(npy(header("(4, 2)"), bytes(10**7))), "does not have the 32 bytes"),
        (npz(npy(header("(4, 2)"), b"\0\0\xc0\x7f" + bytes(28))), "finite"),
        (changed(GOOD), "CRC"),
    ],
)  # fmt: skip
def test_bad_npz(content: bytes, words: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")])
    before = stored(model)
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(keras.ModelFileError, match=words):
        model.load_weights(tmp_path / "w.npz")
    assert stored(model) == before
    with pytest.raises((keras.ModelFileError, UserWarning)):
        model.load_weights(tmp_path / "w.npz", skip_mismatch=True)
    assert stored(model) == before


@pytest.mark.parametrize("skip_mismatch", [False, True])
def test_paths_count_more_than_order(skip_mismatch: bool, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,))])
    for name in ("block_2", "block_10"):
        model.add(layers.Dense(3, use_bias=False, name=name))
    first, second = model.get_weights()
    paths = [variable.path for variable in model.variables]
    np.savez(tmp_path / "w.npz", **{paths[1]: second, paths[0]: first})
    model.set_weights([first + 1.0, second + 1.0])
    model.load_weights(tmp_path / "w.npz", skip_mismatch=skip_mismatch)
    np.testing.assert_array_equal(model.get_weights()[0], first)
    np.testing.assert_array_equal(model.get_weights()[1], second)


@pytest.mark.skipif("safetensors" not in KINDS, reason="needs safetensors")
def test_bad_safetensors(tmp_path: Path) -> None:
    model = filled(build())
    path = write(model, tmp_path / "w.safetensors")
    good, before = path.read_bytes(), stored(model)
    for content in (b"", good[:5], good[:200], good[:-1], b"\xff" * 8 + good[8:], bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(keras.ModelFileError):
            model.load_weights(path)
        assert stored(model) == before


def test_metadata_of_others_is_not_the_order(tmp_path: Path) -> None:
    library: Any = pytest.importorskip("safetensors.numpy")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")], name="m")
    arrays = {v.path: v.numpy() + 1 for v in model.variables}
    for order in ("[3]", '["m/d/kernel", "m/d/kernel"]', "{}"):
        library.save_file(arrays, tmp_path / "w.safetensors", {"order": order})
        model.load_weights(tmp_path / "w.safetensors")
        for variable in model.variables:
            np.testing.assert_array_equal(variable.value, arrays[variable.path])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".evengrad"])
@pytest.mark.parametrize("names", [("W", "w"), ("a:b", "c"), ("..", "d"), ("x\n", "\U0001f642")])
def test_names_that_no_file_system_would_like(
    names: tuple[str, str], suffix: str, tmp_path: Path
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")

    def made() -> keras.Sequential:
        first, second = names
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(4, name=first), layers.Dense(1, name=second)],
            name="net",
        )

    one, other = made(), made()
    path = tmp_path / f"w{suffix}"
    (one.save if suffix == ".evengrad" else one.save_weights)(path)
    other.load_weights(path)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("skip_mismatch", [False, True])
def test_automatic_names_that_overlap_in_part(skip_mismatch: bool, tmp_path: Path) -> None:
    """Another process has made another number of layers before."""

    def made(before: int) -> keras.Sequential:
        keras.utils.clear_session()
        for _ in range(before):
            layers.Dense(1)
        return keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)])

    one, other = made(1), made(0)
    one.save_weights(tmp_path / "w.npz")
    other.load_weights(tmp_path / "w.npz", skip_mismatch=skip_mismatch)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
