"""The codebase tests itself: what belongs together is there, in one place, documented and light."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import evengrad
import pytest
import reference
from evengrad import _core, activations, losses, metrics

ROOT = Path(__file__).parent.parent
PACKAGE = Path(evengrad.__file__).parent
TESTS = Path(__file__).parent

LONGEST = {".h": 300, ".cpp": 300, ".py": 350}
TOO_LONG: set[str] = set()  # paths from the root of files that may be longer


def names_of_modules() -> list[str]:
    found = pkgutil.walk_packages(evengrad.__path__, "evengrad.", onerror=lambda name: None)
    # What runs when imported is no module to look into.
    return ["evengrad", *(m.name for m in found if not m.name.endswith("__main__"))]


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} needs an extra: {error}")


MODULES = names_of_modules()
each_module = pytest.mark.parametrize("name", MODULES)


def test_the_modules_are_found() -> None:
    for name in ("evengrad.layers.dense", "evengrad.optimizers.adam", "evengrad.datasets.digits"):
        assert name in MODULES


# The activation family has four places


def test_every_activation_is_everywhere() -> None:
    for name in set(_core.activations) - {"relu_general"}:
        function = getattr(activations, name, None)
        assert function is not None, f"{name} is not in evengrad/activations"
        assert inspect.getdoc(function), f"{name} has no docstring"
        parameters = list(inspect.signature(function).parameters.values())[1:]
        missing = {p.name: 0.0 for p in parameters if p.default is p.empty}
        identifier = functools.partial(function, **missing) if missing else name
        assert activations.get(identifier).name == name, f"{name} is no string that layers know"
    for name in _core.activations:
        assert name in reference.ACTIVATIONS, f"{name} is not in tests/reference.py"
    assert set(reference.ACTIVATIONS) == set(_core.activations)


def test_every_activation_has_a_formula_its_arguments_and_an_example() -> None:
    for name, function in activations.FUNCTIONS.items():
        text = inspect.getdoc(function) or ""
        assert "Parameters\n-----" in text, name
        assert f">>> activations.{name}(" in text, name
        for parameter in inspect.signature(function).parameters:
            assert re.search(rf"^(\w+, )*{parameter}(, \w+)* : ", text, re.MULTILINE), name


def test_defaults_of_activations_are_the_kernels() -> None:
    for name, info in _core.activations.items():
        if name == "relu_general":
            continue
        signature = inspect.signature(getattr(activations, name))
        for parameter, default in info.parameters.items():
            python = signature.parameters[parameter].default
            if python is inspect.Parameter.empty:  # Keras has none either: threshold
                continue
            assert python == pytest.approx(default, rel=1e-7), f"{name}({parameter})"


# Losses and metrics have three: the struct, the class, the reference


def test_every_loss_is_everywhere() -> None:
    assert set(reference.LOSSES) == set(_core.losses)
    assert set(reference.METRICS) == set(_core.metrics)
    made = [getattr(losses, name) for name in losses.__all__ if name[0].isupper()]
    used = {k for loss in made if loss is not losses.Loss for k in kernels_of(loss())}
    assert used == set(_core.losses)
    kinds = {getattr(getattr(metrics, name), "kind", "") for name in metrics.__all__}
    assert kinds - {""} == set(_core.metrics)


def kernels_of(loss: losses.Loss) -> set[str]:
    return {loss.kernel(activation)[0] for activation in ("", "softmax", "sigmoid")}


def test_defaults_of_losses_are_the_kernels() -> None:
    for name in losses.__all__:
        loss = getattr(losses, name)
        if inspect.isclass(loss) and loss is not losses.Loss and not loss.sparse:
            for kernel in kernels_of(loss()):
                assert loss().parameters == tuple(_core.losses[kernel].parameters.values()), name


# Micro-benchmarks


def test_every_kernel_has_a_micro_benchmark() -> None:
    header = (ROOT / "csrc" / "kernels.h").read_text()
    kernels = re.findall(r"KernelOf<\w+> (\w+);", header)
    assert {"dense_forward", "adam", "backward"} <= set(kernels)  # of the table, of activations
    rows = "\n".join(p.read_text() for p in (ROOT / "bench" / "micro").glob("*.cpp"))
    missing = [name for name in kernels if not re.search(rf"\b[kf]\.{name}\b", rows)]
    assert missing == [], f"no row in bench/micro for {missing}"


# Documentation


def public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is not None:
        return list(names)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def undocumented(owner: str, value: object) -> Iterator[str]:
    if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
        return
    if not inspect.getdoc(value):
        yield owner
    if not inspect.isclass(value) or not value.__module__.startswith("evengrad"):
        return
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if (inspect.isroutine(function) or isinstance(function, property)) and not function.__doc__:
            yield f"{owner}.{name}"


@each_module
def test_public_names_have_docstrings(name: str) -> None:
    module = load(name)
    if name == "evengrad._core":
        pytest.skip("documented in _core.pyi")
    if (module.__file__ or "").endswith("__init__.py") and not vars(module).get("__all__"):
        assert "." in name
    else:
        assert module.__doc__, f"{name} has no docstring"
    if any(part.startswith("_") for part in name.split(".")):
        return
    missing = [text for n in public(module) for text in undocumented(n, getattr(module, n))]
    assert missing == []


@each_module
def test_all_names_what_is_there(name: str) -> None:
    module = load(name)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for public_name in names:
        assert hasattr(module, public_name), public_name


@each_module
def test_examples_in_docstrings_run(name: str) -> None:
    module = load(name)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "\n".join(said)


# What a docstring holds: a public function or class names its parameters, says where it comes
# from if it comes from somewhere, and has an example that runs.

# The modules that users know; what they show may live in others.
PUBLIC = [
    "evengrad",
    *(f"evengrad.{name}" for name in (
        "activations", "callbacks", "constraints", "datasets", "initializers", "layers", "losses",
        "metrics", "models", "optimizers", "optimizers.clipping", "optimizers.schedules",
        "regularizers", "saving", "utils",
    )),
]  # fmt: skip


def sections(text: str) -> dict[str, str]:
    """The sections of a numpydoc docstring by their titles."""
    found = re.findall(r"(?ms)^([A-Z][a-z]+)\n-{3,}\n(.*?)(?=^[A-Z][a-z]+\n-{3,}\n|\Z)", text)
    return dict(found)


def docstrings(value: object) -> list[str]:
    """Its own and, for a class, those of the classes of the package that it comes from."""
    owners = inspect.getmro(value) if inspect.isclass(value) else [value]
    ours = [owner for owner in owners if owner.__module__.startswith("evengrad")]
    return [inspect.getdoc(owner) or "" for owner in ours]


def documented_parameters(texts: list[str]) -> set[str]:
    lines = [line for t in texts for line in sections(t).get("Parameters", "").splitlines()]
    return {name for line in lines if line[:1].strip() for name in re.findall(r"\w+", line)}


def may_refuse(value: Any) -> bool:
    source = inspect.getsource(value.__init__ if inspect.isclass(value) else value)
    return "_validation." in source or "raise " in source


def shortcomings(value: Any, *, sourced: bool) -> Iterator[str]:
    texts = docstrings(value)
    try:
        parameters = inspect.signature(value).parameters.values()
        refuses = may_refuse(value)
    except (TypeError, ValueError, OSError):  # of a class without a constructor of its own
        parameters, refuses = (), False
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    wanted = {p.name for p in parameters if p.kind not in variable}
    if missing := wanted - documented_parameters(texts):
        yield f"parameters {', '.join(sorted(missing))}"
    if refuses and not any("Raises" in sections(text) for text in texts):
        yield "what it raises"
    if sourced and not any(re.search(r"arXiv|doi|https?:|\[\d\]_", text) for text in texts):
        yield "its source"
    if ">>>" not in sections(texts[0]).get("Examples", ""):
        yield "an example"


# Classes with a formula that somebody published are in these; the others of them need no source.
SOURCED = ("evengrad.initializers", "evengrad.optimizers", "evengrad.optimizers.clipping")
PLAIN = {
    "ByGlobalNorm", "ByNorm", "ByValue", "Clipping", "Constant", "Identity", "Initializer", "Ones",
    "RandomNormal", "RandomUniform", "TruncatedNormal", "Zeros",
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_hold_what_a_user_looks_for(name: str) -> None:
    module = load(name)
    short = []
    for n in public(module):
        value = getattr(module, n)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if value.__module__.startswith("evengrad"):
            sourced = inspect.isclass(value) and name in SOURCED and n not in PLAIN
            short += [f"{name}.{n}: {text}" for text in shortcomings(value, sourced=sourced)]
    assert short == [], "\n".join(short)


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    count = sum(len(t.examples) for name in MODULES for t in finder.find(load(name)))
    assert count > 20


# The stub of the compiled module


def stub() -> ast.Module:
    return ast.parse((PACKAGE / "_core.pyi").read_text())


def stubbed(body: list[ast.stmt]) -> set[str]:
    names = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    variables = (n.target for n in body if isinstance(n, ast.AnnAssign))
    return names | {target.id for target in variables if isinstance(target, ast.Name)}


def body_of(name: str) -> list[ast.stmt]:
    (found,) = [n for n in stub().body if isinstance(n, ast.ClassDef) and n.name == name]
    return found.body


def test_the_stub_names_what_the_core_has() -> None:
    compiled = {name for name in vars(_core) if not name.startswith("_")}
    assert stubbed(stub().body) == compiled


@pytest.mark.parametrize("name", ["Program", "ActivationInfo", "RowFunction"])
def test_the_stub_has_every_method(name: str) -> None:
    special = {"__init__", "__len__"}
    compiled = {n for n in vars(getattr(_core, name)) if not n.startswith("_") or n in special}
    assert stubbed(body_of(name)) | {"__init__"} == compiled | {"__init__"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


# Sources


def sources() -> list[Path]:
    folders = (ROOT / "csrc", ROOT / "bench" / "micro")
    found = [path for folder in folders for path in folder.rglob("*")]
    found += (ROOT / "python" / "evengrad").rglob("*.py")
    return sorted(path for path in found if path.suffix in LONGEST)


def test_files_are_short() -> None:
    files = sources()
    assert len(files) > 40
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := len(path.read_text().splitlines())) > LONGEST[path.suffix]
    }
    assert set(long) == TOO_LONG, long


def test_functions_are_short() -> None:
    long = []
    for path in (ROOT / "python" / "evengrad").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.end_lineno is None:
                continue
            text = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno - len((text or "").splitlines())
            if lines > 60:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def code_of(path: Path) -> str:
    return "\n".join(line.split("#")[0] for line in path.read_text().splitlines())


def test_no_flag_that_breaks_the_users_arithmetic() -> None:
    text = code_of(ROOT / "CMakeLists.txt")
    assert "-fno-math-errno" in text  # flags are where they are looked for
    for flag in ("-ffast-math", "-Ofast", "-fassociative-math", "-funsafe-math-optimizations"):
        assert flag not in text
    for flag in ("-ffinite-math-only", "-march=native", "-mtune=native"):
        assert flag not in text


def test_kernels_include_no_header_of_the_standard_library() -> None:
    allowed = {"<stdint.h>", "<stddef.h>", "<cstdint>", "<cstddef>"}
    kernels = [
        p
        for p in (ROOT / "csrc").glob("*.h")
        if p.name
        not in (
            "pace.h",
            "program.h",
        )
    ]
    for path in [*kernels, ROOT / "csrc" / "kernels.cpp"]:
        included = re.findall(r"#include (<[^>]+>)", path.read_text())
        assert set(included) <= allowed, path.name


def test_the_version_is_in_one_place() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "([^"]+)"$', text, flags=re.MULTILINE)
    assert evengrad.__version__ == version
    for path in [*sources(), ROOT / "CMakeLists.txt"]:
        assert version not in path.read_text(), path
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


# What importing brings along


def run(script: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | {"PYTHONPATH": str(PACKAGE.parent)} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_needs_numpy_alone() -> None:
    script = """
import sys
before = set(sys.modules)
import evengrad
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    loaded = set(run(script).split())
    assert "evengrad" in loaded
    assert loaded - set(sys.stdlib_module_names) == {"evengrad", "numpy"}


def test_training_needs_numpy_alone() -> None:
    script = """
import sys
import numpy.random  # brings along what Cython makes up
before = set(sys.modules)
import evengrad
model = evengrad.Sequential([evengrad.layers.Dense(2)])
model.compile("adam", "mse")
model.fit([[1.0]], [[1.0, 2.0]], verbose=1)
model.summary()
evengrad.datasets.digits.load_data()
names = sorted({name.split(".")[0] for name in set(sys.modules) - before})
print(*names)
"""
    loaded = set(run(script).splitlines()[-1].split())
    assert loaded - set(sys.stdlib_module_names) - {"numpy"} == {"evengrad"}


def test_importing_leaves_the_environment_as_it_was() -> None:
    script = """
import os
before = dict(os.environ)
import evengrad
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
print("GOMP_SPINCOUNT" in os.environ)
"""
    assert run(script) == "False\n"
    assert run(script, GOMP_SPINCOUNT="5") == "True\n"
    assert run(script, OMP_WAIT_POLICY="passive") == "False\n"


def test_importing_prints_nothing() -> None:
    assert run("import evengrad") == ""


# The tests


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def asked_for(tree: ast.AST) -> set[str]:
    """What a test skips itself without: pytest.importorskip("name"), or try: import name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("importorskip", "find_spec") and node.args:
                argument = node.args[0]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    names.add(argument.value.split(".")[0])
        elif isinstance(node, ast.Try):
            names |= imported(ast.Module(node.body, []))
    return names


def test_tests_import_only_what_the_test_extra_installs() -> None:
    installed = {"numpy", "pytest", "hypothesis", "evengrad"} | set(sys.stdlib_module_names)
    files = list(TESTS.rglob("*.py"))
    own = {path.stem for path in files} | {path.parent.name for path in files} | {"bench"}
    optional = {
        name
        for path in (TESTS / "parity").rglob("*.py")
        for name in asked_for(ast.parse(path.read_text()))
    }
    for path in files:
        tree = ast.parse(path.read_text())
        allowed = installed | own | asked_for(tree)
        if path.parent.name == "parity":
            allowed |= optional
        assert imported(tree) <= allowed, path.relative_to(ROOT)
