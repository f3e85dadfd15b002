"""datasets: the bundled data, the search of places, the download, hostile files."""

from __future__ import annotations

import dataclasses
import doctest
import gzip
import hashlib
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from evengrad import datasets
from evengrad.datasets import _idx, digits, fashion_mnist, mnist

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SYSTEM_FOLDER = fashion_mnist.SOURCE.system  # read before the fixture below hides it
BOTH = pytest.mark.parametrize("module", [mnist, fashion_mnist], ids=lambda m: m.SOURCE.name)
Tree = dict[str, bytes]


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def tiny(seed: int, n_train: int = 5, n_test: int = 3) -> tuple[Tree, _idx.Data]:
    """Make a small data set of its own for each seed: the four files, unpacked, and the arrays."""
    rng = np.random.default_rng(seed)
    splits = []
    for n in (n_train, n_test):
        x = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        splits.append((x, rng.integers(0, 10, n, dtype=np.uint8)))
    (x_train, y_train), (x_test, y_test) = splits
    files = dict(zip(_idx.FILES, map(idx, (x_train, y_train, x_test, y_test)), strict=True))
    return files, (splits[0], splits[1])


def write(folder: Path, files: Tree, gz: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if gz else name)
        path.write_bytes(gzip.compress(content) if gz else content)
    return folder


def assert_same(got: _idx.Data, want: _idx.Data) -> None:
    for got_split, want_split in zip(got, want, strict=True):
        for a, b in zip(got_split, want_split, strict=True):
            assert a.dtype == b.dtype == np.uint8
            np.testing.assert_array_equal(a, b)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the real homes, proxies and system folders; the network is a closed local port."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("EVENGRAD_DATA", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("EVENGRAD_DATA_URL", "http://127.0.0.1:9")
    system = str(tmp_path / "system")
    for module in (mnist, fashion_mnist):
        source = dataclasses.replace(module.SOURCE, system=module.SOURCE.system and system)
        monkeypatch.setattr(module, "SOURCE", source)
    return home


def accept(monkeypatch: pytest.MonkeyPatch, module: ModuleType, files: Tree) -> None:
    """Make ``files`` the originals of the module."""
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(module, "SOURCE", dataclasses.replace(module.SOURCE, sha256=sha256))


# ---- the bundled data


def test_digits_are_uci_s_test_part() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.digits.load_data()
    assert (x_train.shape, x_test.shape) == ((1437, 8, 8), (360, 8, 8))
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert x.dtype == y.dtype == np.uint8
    assert (x.min(), x.max()) == (0, 16)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(x.sum(dtype=np.int64)) == 561718
    assert set(y_test.tolist()) == set(range(10))


def test_digits_order_is_the_documented_one_and_never_changes() -> None:
    # Counted from the definition with numpy 2.4; a change here changes everyone's test set.
    (_, y_train), (_, y_test) = digits.load_data()
    assert y_train[:12].tolist() == [9, 5, 0, 9, 0, 0, 9, 0, 5, 3, 5, 3]
    assert y_test[-12:].tolist() == [6, 1, 2, 0, 8, 6, 1, 5, 0, 1, 5, 3]


def test_digits_seed_and_split() -> None:
    a, b, c = digits.load_data(), digits.load_data(seed=113), digits.load_data(seed=1)
    assert_same(a, b)
    assert not np.array_equal(a[0][1], c[0][1])
    (x_train, _), (x_test, y_test) = digits.load_data(test_split=0)
    assert (len(x_train), len(x_test), len(y_test)) == (1797, 0, 0)
    (x_train, _), (x_test, _) = digits.load_data(test_split=0.5, seed=7)
    assert (len(x_train), len(x_test)) == (898, 899)


def test_digits_images_keep_their_labels() -> None:
    rows = [
        np.concatenate([x.reshape(len(x), 64), y[:, None]], axis=1)
        for x, y in (*digits.load_data(), *digits.load_data(seed=5))
    ]
    first, second = np.concatenate(rows[:2]), np.concatenate(rows[2:])
    assert sorted(map(bytes, first)) == sorted(map(bytes, second))


@pytest.mark.parametrize("test_split", [-0.1, 1, 1.5, float("nan")])
def test_digits_refuses_a_split_outside_its_range(test_split: float) -> None:
    with pytest.raises(ValueError, match=r"test_split must lie in \[0, 1\), got "):
        digits.load_data(test_split=test_split)


def test_fashion_sample() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.fashion_mnist.load_sample()
    assert (x_train.shape, y_train.shape) == ((1500, 28, 28), (1500,))
    assert (x_test.shape, y_test.shape) == ((400, 28, 28), (400,))
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    assert np.bincount(y_train).tolist() == [146, 151, 148, 145, 146, 158, 148, 165, 148, 145]
    assert np.bincount(y_test, minlength=10).min() > 25
    assert y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert x_train.max() == 255


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("digits.npz", ["Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"]),
        ("fashion_mnist_sample.npz", ["MIT License", "Zalando SE", "Permission is hereby granted"]),
    ],
)
def test_bundled_files_carry_their_licence_and_stay_small(file: str, words: list[str]) -> None:
    path = Path(str(digits.__file__)).with_name(file)
    assert path.stat().st_size < 850_000
    with np.load(path, allow_pickle=False) as archive:
        text = str(archive["license"])
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("module", [digits, mnist, fashion_mnist], ids=lambda m: m.__name__)
def test_examples_run_offline(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 2
    assert result.failed == 0


def test_import_is_cheap() -> None:
    import subprocess

    code = (
        "import sys, numpy; before = set(sys.modules)\n"
        "from evengrad.datasets import _idx\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted(new & {'urllib.request', 'gzip', 'zipfile', 'http.client', 'ssl'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == ""


# ---- the search of places


@BOTH
@pytest.mark.parametrize("gz", [True, False])
def test_given_folder(module: ModuleType, gz: bool, tmp_path: Path) -> None:
    files, want = tiny(1)
    folder = write(tmp_path / "given", files, gz)
    assert_same(module.load_data(folder), want)
    assert_same(module.load_data(path=str(folder)), want)


def test_a_name_without_gz_may_hold_gzip_and_the_other_way_round(tmp_path: Path) -> None:
    files, want = tiny(1)
    for name, content in files.items():
        packed = "labels" in name
        (tmp_path / (name if packed else f"{name}.gz")).write_bytes(
            gzip.compress(content) if packed else content
        )
    assert_same(mnist.load_data(tmp_path), want)


def test_arrays_are_writeable_and_contiguous(tmp_path: Path) -> None:
    for x, y in mnist.load_data(write(tmp_path, tiny(1)[0])):
        assert x.flags.writeable
        assert y.flags.writeable
        assert x.flags.c_contiguous


@BOTH
def test_given_path_never_falls_back(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, module, files)
    monkeypatch.setenv("EVENGRAD_DATA", str(write(tmp_path / "data", files)))
    monkeypatch.setattr(_idx, "_fetch", lambda *_: pytest.fail("tried to download"))
    folder = write(tmp_path / "given", {k: v for k, v in files.items() if "train" in k})
    with pytest.raises(FileNotFoundError) as caught:
        module.load_data(folder)
    text = str(caught.value)
    assert all(name in text for name in _idx.FILES)
    assert str(folder) in text
    assert "lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte" in text
    with pytest.raises(FileNotFoundError, match="no such folder"):
        module.load_data(tmp_path / "absent")


def test_fashion_takes_no_npz(tmp_path: Path) -> None:
    (tmp_path / "fashion.npz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="not a folder"):
        fashion_mnist.load_data(tmp_path / "fashion.npz")


def save_npz(path: Path, data: _idx.Data) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (x_train, y_train), (x_test, y_test) = data
    np.savez_compressed(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def test_mnist_takes_keras_npz(tmp_path: Path) -> None:
    _, want = tiny(1)
    assert_same(mnist.load_data(save_npz(tmp_path / "any name.npz", want)), want)


def put(place: Path, files: Tree, data: _idx.Data) -> None:
    if place.suffix == ".npz":
        save_npz(place, data)
    else:
        write(place, files)


@BOTH
def test_places_are_searched_in_the_documented_order(
    module: ModuleType, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, want = tiny(1)
    accept(monkeypatch, module, files)
    data, name = tmp_path / "data", module.SOURCE.name
    monkeypatch.setenv("EVENGRAD_DATA", str(data))
    places = [data / name, data, nowhere / ".keras/datasets" / module.SOURCE.keras]
    if module is fashion_mnist:
        places.insert(2, tmp_path / "system")
    places.append(nowhere / ".cache/evengrad" / name)
    for place in places:
        put(place, files, want)
    opened: list[Path] = []
    for reader in ("read_idx", "read_npz"):
        original = getattr(_idx, reader)

        def spy(path: Path, *rest: int, original: Callable[..., Any] = original) -> Any:
            opened.append(path)
            return original(path, *rest)

        monkeypatch.setattr(_idx, reader, spy)
    for place in places:
        opened.clear()
        assert_same(module.load_data(), want)
        if place.suffix == ".npz":
            assert opened == [place]
            place.unlink()
        else:
            assert {path.parent for path in opened} == {place}
            for path in opened:
                path.unlink()
    with pytest.raises(FileNotFoundError):
        module.load_data()


@BOTH
def test_keras_home_and_xdg_cache_home(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, want = tiny(1)
    accept(monkeypatch, module, files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    write(tmp_path / "xdg/evengrad" / module.SOURCE.name, files)
    assert_same(module.load_data(), want)
    other = tiny(2)
    accept(monkeypatch, module, other[0])
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    put(tmp_path / "keras/datasets" / module.SOURCE.keras, *other)
    assert_same(module.load_data(), other[1])


def test_home_is_expanded(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, want = tiny(1)
    accept(monkeypatch, mnist, files)
    write(nowhere / "data", files)
    assert_same(mnist.load_data("~/data"), want)
    monkeypatch.setenv("EVENGRAD_DATA", "~/data")
    assert_same(mnist.load_data(), want)


def test_one_folder_cannot_give_the_other_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clothes, want = tiny(1)
    accept(monkeypatch, fashion_mnist, clothes)
    monkeypatch.setenv("EVENGRAD_DATA", str(write(tmp_path / "data", clothes)))
    assert_same(fashion_mnist.load_data(), want)
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte is not that of MNIST"):
        mnist.load_data()


@BOTH
def test_error_lists_every_place_and_the_way_out(
    module: ModuleType, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, name = tmp_path / "data", module.SOURCE.name
    monkeypatch.setenv("EVENGRAD_DATA", str(data))
    write(data, {_idx.FILES[0]: b""})
    with pytest.raises(FileNotFoundError) as caught:
        module.load_data()
    text = str(caught.value)
    assert text.startswith(f"{module.SOURCE.module}.load_data: {module.SOURCE.title} is in none")
    expected = [
        f"{data / name}: no such folder",
        f"{data}: lacks {', '.join(_idx.FILES[1:])}",
        str(nowhere / ".keras/datasets" / module.SOURCE.keras) + ": no such",
        f"{nowhere / '.cache/evengrad' / name}: no such folder",
        f"fetching it from http://127.0.0.1:9/{name} to {data / name} failed: URLError",
        "fashion_mnist.load_sample()",
        "digits.load_data()",
    ]
    if module is fashion_mnist:
        expected.append(f"{tmp_path / 'system'}: no such folder")
    assert [line for line in expected if line not in text] == []


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"no {DEBIAN}: apt install dataset-fashion-mnist")
def test_debian_s_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    source = dataclasses.replace(fashion_mnist.SOURCE, system=str(DEBIAN))
    monkeypatch.setattr(fashion_mnist, "SOURCE", source)
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    sample = fashion_mnist.load_sample()
    assert_same(sample, ((x_train[:1500], y_train[:1500]), (x_test[:400], y_test[:400])))
    for name, path in _idx._find(DEBIAN).items():
        assert _idx._sha256(path) == source.sha256[name]


def test_system_folder_is_debian_s() -> None:
    assert str(DEBIAN) == SYSTEM_FOLDER


# ---- the download


class Handler(BaseHTTPRequestHandler):
    """Serve a dict of path to bytes; a path in ``cut`` promises one byte more than it sends."""

    def __init__(self, *args: Any, served: Tree, asked: list[str], cut: set[str]) -> None:
        self.served, self.asked, self.cut = served, asked, cut
        super().__init__(*args)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = self.served.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + (self.path in self.cut)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclasses.dataclass
class Server:
    url: str
    served: Tree
    asked: list[str]
    cut: set[str]

    def offer(self, name: str, files: Tree) -> None:
        for file, content in files.items():
            self.served[f"/{name}/{file}.gz"] = gzip.compress(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served: Tree = {}
    asked: list[str] = []
    cut: set[str] = set()
    handler = partial(Handler, served=served, asked=asked, cut=cut)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        monkeypatch.setenv("EVENGRAD_DATA_URL", url)
        yield Server(url, served, asked, cut)
        httpd.shutdown()
        thread.join()


@BOTH
@pytest.mark.parametrize("own", [True, False])
def test_download_into_the_cache(
    *,
    module: ModuleType,
    own: bool,
    server: Server,
    nowhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, want = tiny(1)
    accept(monkeypatch, module, files)
    name = module.SOURCE.name
    server.offer(name, files)
    cache = nowhere / ".cache/evengrad" / name
    if own:
        monkeypatch.setenv("EVENGRAD_DATA", str(tmp_path / "data"))
        cache = tmp_path / "data" / name
    assert_same(module.load_data(), want)
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{f}.gz" for f in _idx.FILES)
    assert server.asked == [f"/{name}/{file}.gz" for file in _idx.FILES]
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(".gz: ")[0] for line in err.splitlines()] == list(_idx.FILES)
    assert err.count(" MB") == 4, "no terminal: each file is reported once, when it is there"
    assert_same(module.load_data(), want)
    assert len(server.asked) == 4, "the second call must read the cache"


def test_progress_is_one_line_a_file_on_a_terminal(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, mnist, files)
    server.offer("mnist", files)
    monkeypatch.setattr(_idx, "CHUNK", 1000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    mnist.load_data()
    err = capsys.readouterr().err
    assert err.count("\n") == 4
    assert err.count("\r") > 8


def test_download_without_stderr(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    files, want = tiny(1)
    accept(monkeypatch, mnist, files)
    server.offer("mnist", files)
    monkeypatch.setattr(sys, "stderr", None)
    assert_same(mnist.load_data(), want)


@BOTH
def test_wrong_checksum_leaves_nothing_behind(
    module: ModuleType, server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, module, files)
    name, bad = module.SOURCE.name, _idx.FILES[1]
    changed = files | {bad: files[bad][:-1] + b"\x0a"}
    server.offer(name, changed)
    with pytest.raises(ValueError, match="sha256") as caught:
        module.load_data()
    text = str(caught.value)
    assert f"{server.url}/{name}/{bad}.gz" in text
    assert f"must be {hashlib.sha256(files[bad]).hexdigest()}" in text
    assert f"received {hashlib.sha256(changed[bad]).hexdigest()}" in text
    cache = nowhere / ".cache/evengrad" / name
    assert [path.name for path in cache.iterdir()] == [f"{_idx.FILES[0]}.gz"]


def test_a_later_call_fetches_only_what_is_missing_or_wrong(
    server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, want = tiny(1)
    accept(monkeypatch, mnist, files)
    server.offer("mnist", files)
    kept, wrong, *_ = _idx.FILES
    cache = write(nowhere / ".cache/evengrad/mnist", {kept: files[kept]})
    (cache / wrong).write_bytes(files[wrong][:-1])
    assert_same(mnist.load_data(), want)
    assert server.asked == [f"/mnist/{file}.gz" for file in _idx.FILES if file != kept]
    assert_same(mnist.load_data(), want)
    assert len(server.asked) == 3, "what was fetched must win over the wrong file beside it"


@pytest.mark.parametrize(
    "content", [b"", b"<html>log in first</html>", gzip.compress(b"x" * 99)[:-9], b"\x1f\x8b\x08"]
)
def test_whatever_a_server_sends_is_checked(
    content: bytes, server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, mnist, files)
    server.offer("mnist", files)
    server.served[f"/mnist/{_idx.FILES[0]}.gz"] = content
    with pytest.raises(ValueError, match=f"{_idx.FILES[0]}.gz from http.* sha256"):
        mnist.load_data()
    assert list((nowhere / ".cache/evengrad/mnist").iterdir()) == []


def test_endless_and_bursting_downloads_stop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, mnist, files)
    monkeypatch.setattr(_idx, "MAX_BYTES", 10_000)
    first = f"/mnist/{_idx.FILES[0]}.gz"
    server.served[first] = os.urandom(20_000)
    with pytest.raises(FileNotFoundError, match="sent more than 10,000 bytes"):
        mnist.load_data()
    server.served[first] = gzip.compress(bytes(1_000_000))
    with pytest.raises(ValueError, match=r"received .* must unpack to at most 10,000 bytes"):
        mnist.load_data()


def test_a_connection_that_breaks_and_a_missing_page_are_download_failures(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = tiny(1)
    accept(monkeypatch, mnist, files)
    with pytest.raises(FileNotFoundError, match="failed: HTTPError: HTTP Error 404"):
        mnist.load_data()
    server.offer("mnist", files)
    server.cut.add(f"/mnist/{_idx.FILES[0]}.gz")
    with pytest.raises(FileNotFoundError, match=r"connection ended after|IncompleteRead"):
        mnist.load_data()


def test_a_cache_that_cannot_be_written_is_a_download_failure(
    server: Server, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere.mkdir()
    (nowhere / ".cache").write_bytes(b"a file where a folder is needed")
    with pytest.raises(FileNotFoundError, match="load_sample"):
        mnist.load_data()


def test_mirror_must_be_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENGRAD_DATA_URL", "file:///etc")
    with pytest.raises(ValueError, match="EVENGRAD_DATA_URL must begin with http"):
        mnist.load_data()


@BOTH
def test_without_a_mirror_the_module_s_url_is_used(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENGRAD_DATA_URL")
    urls: list[str] = []

    def refuse(url: str, *_: object) -> Path:
        urls.append(url)
        raise OSError("no network in tests")

    monkeypatch.setattr(_idx, "_fetch", refuse)
    with pytest.raises(FileNotFoundError, match="no network in tests"):
        module.load_data()
    assert urls == [f"{module.SOURCE.url}/{_idx.FILES[0]}.gz"]


@BOTH
def test_checksum_table_is_complete(module: ModuleType) -> None:
    assert tuple(module.SOURCE.sha256) == _idx.FILES
    assert all(len(bytes.fromhex(digest)) == 32 for digest in module.SOURCE.sha256.values())


# ---- hostile files


LABELS = idx(np.arange(5))
IMAGES = idx(np.zeros((5, 28, 28)))


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize(
    ("content", "ndim", "message"),
    [
        (b"", 1, "begins with 00 00 08 01, received an empty file"),
        (b"\0\0\x08", 1, "begins with 00 00 08 01, received 00 00 08"),
        (b"PK\3\4" + LABELS[4:], 1, "begins with 00 00 08 01, received 50 4b 03 04"),
        (b"\0\0\x0d\1" + LABELS[4:], 1, "begins with 00 00 08 01, received 00 00 0d 01"),
        (LABELS, 3, r"in 3 dimension\(s\) begins with 00 00 08 03, received 00 00 08 01"),
        (IMAGES, 1, "begins with 00 00 08 01, received 00 00 08 03"),
        (LABELS[:6], 1, "header has 8 bytes, received 6"),
        (IMAGES[:15], 3, "header has 16 bytes, received 15"),
        (LABELS[:-1], 1, r"dimensions \(5,\) need exactly 5 bytes .*received 4"),
        (LABELS + b"\0", 1, r"dimensions \(5,\) need exactly 5 bytes .*received more"),
        (IMAGES[:16], 3, r"\(5, 28, 28\) need exactly 3,920 bytes .*received 0"),
        (b"\0\0\x08\3" + b"\xff" * 12, 3, r"need exactly 79,228,162,\d+,\d+,\d+.*received 0"),
        (b"\0\0\x08\3" + b"\xff" * 12 + bytes(7), 3, r"received 7"),
        (b"\0\0\x08\1" + b"\xff" * 4 + bytes(3_000_000), 1, "received 3,000,000"),
    ],
)
def test_hostile_idx(content: bytes, ndim: int, message: str, gz: bool, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(content) if gz else content)
    with pytest.raises(ValueError, match=message) as caught:
        _idx.read_idx(path, ndim)
    assert str(path) in str(caught.value)


def test_every_truncation_and_every_header_bit_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    for packed in (False, True):
        whole = gzip.compress(LABELS) if packed else LABELS
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            with pytest.raises(ValueError, match=r"labels: "):
                _idx.read_idx(path, 1)
    for bit in range(64):
        broken = bytearray(LABELS)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"labels: "):
            _idx.read_idx(path, 1)


@pytest.mark.parametrize("at", [12, -5])
def test_damaged_gzip(at: int, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(IMAGES))
    packed[at] ^= 0xFF
    (tmp_path / "images.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"images.gz: must be whole, received damaged gzip: "):
        _idx.read_idx(tmp_path / "images.gz", 3)


def test_memory_follows_the_bytes_not_the_header(tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "liar").write_bytes(b"\0\0\x08\1" + struct.pack(">I", 2**31) + bytes(10))
    (tmp_path / "bomb").write_bytes(gzip.compress(LABELS + bytes(60_000_000)))
    for name in ("liar", "bomb"):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=name):
                _idx.read_idx(tmp_path / name, 1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 6_000_000, name


def test_a_bomb_with_a_matching_header_stops_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_idx, "MAX_BYTES", 100_000)
    (tmp_path / "bomb").write_bytes(gzip.compress(idx(np.zeros(100_000))))
    with pytest.raises(ValueError, match="bomb: must unpack to at most 100,000 bytes"):
        _idx.read_idx(tmp_path / "bomb", 1)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        (0, np.zeros((5, 8, 8)), r"must be uint8 images \(n, 28, 28\).*received uint8 \(5, 8, 8\)"),
        (0, np.zeros((0, 28, 28)), r"with n > 0, received uint8 \(0, 28, 28\)"),
        (1, np.zeros(4), r"must be uint8 labels \(5,\), one for each image, .*\(4,\)"),
        (1, np.array([0, 1, 2, 3, 10]), r"labels must lie in 0\.\.9, received 10"),
        (3, np.zeros(5), r"must be uint8 labels \(3,\)"),
    ],
)
def test_files_that_do_not_fit_together(
    file: int, array: np.ndarray[Any, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, tiny(1)[0] | {_idx.FILES[file]: idx(array)})
    with pytest.raises(ValueError, match=message) as caught:
        mnist.load_data(tmp_path)
    assert _idx.FILES[file] in str(caught.value)


def test_an_npz_with_a_wrong_byte_is_refused_or_reads_right(tmp_path: Path) -> None:
    _, want = tiny(1, n_train=1, n_test=1)
    whole = save_npz(tmp_path / "mnist.npz", want).read_bytes()
    refusals = []
    for at in [*range(0, 300), *range(len(whole) - 400, len(whole))]:
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        (tmp_path / "mnist.npz").write_bytes(broken)
        try:
            assert_same(mnist.load_data(tmp_path / "mnist.npz"), want)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 200
    assert [text for text in refusals if "mnist.npz: " not in text] == []


def test_hostile_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    _, data = tiny(1)
    path = save_npz(tmp_path / "mnist.npz", data)
    whole = path.read_bytes()
    (x_train, y_train), (x_test, y_test) = data
    for content in (b"", b"PK\3\4", whole[:-30], whole[: len(whole) // 2], pickle.dumps(data)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist.npz: must be an .npz archive"):
            mnist.load_data(path)
    np.save(tmp_path / "array.npy", x_train)
    with pytest.raises(ValueError, match=r"array.npy: must be an .npz archive"):
        mnist.load_data(tmp_path / "array.npy")
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test)
    with pytest.raises(ValueError, match=r"received KeyError: .*y_test"):
        mnist.load_data(path)
    objects = np.array([object()] * 3)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=objects)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        mnist.load_data(path)
    np.savez(path, x_train=x_train / 255, y_train=y_train, x_test=x_test, y_test=y_test)
    with pytest.raises(ValueError, match=r"mnist.npz: x_train: must be uint8 .*received float64"):
        mnist.load_data(path)
    save_npz(path, data)
    monkeypatch.setattr(_idx, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="unpacks to more than 1,000 bytes"):
        mnist.load_data(path)
