"""The floor plan holds: core and tasks know no framework, and the two backends mirror each other."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from core.engine.contract import PUBLIC_NAMES

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {"torch": ROOT / "backends" / "torch", "paddle": ROOT / "backends" / "paddle"}


def modules(folder: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def sources() -> list[Path]:
    return [path for room in ("core", "backends", "tasks", "seqtwin") for path in sorted((ROOT / room).rglob("*.py"))]


def relative(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]


MAY_IMPORT = {
    "core": (),
    "core.models": ("core",),
    "core.spec": ("core", "core.models"),
    "core.data": ("core", "core.models", "core.spec"),
    "core.weights": ("core", "core.models", "core.spec"),
    "core.engine": ("core", "core.models", "core.spec"),
    "core.train": ("core", "core.models", "core.spec", "core.data", "core.weights", "core.engine"),
    "core.words": ("core", "core.models", "core.spec", "core.data", "core.weights", "core.engine", "core.train"),
    "core.parity": (
        *("core", "core.models", "core.spec", "core.data", "core.engine", "core.train", "core.words", "core.weights"),
    ),
    "core.twin": ("core",),
    "core.analysis": ("core", "core.models", "core.spec", "core.data", "core.engine", "core.train"),
    "core.export": ("core", "core.models", "core.spec", "core.data"),
    "core.benchmark": ("core", "core.models", "core.spec", "core.engine"),
    "core.plots": ("core", "core.analysis", "core.benchmark", "core.words"),
    "core.report": (
        *("core", "core.models", "core.spec", "core.data", "core.weights", "core.train", "core.words", "core.plots"),
        "core.twin",
    ),
    "backends": ("core", "core.models", "core.spec", "core.engine", "core.weights", "core.words", "core.twin"),
    "tasks.cli": ("core", "core.models", "core.spec", "core.data", "core.engine", "core.train", "backends"),
    "tasks.run": ("tasks.cli", "core", "backends"),
    "seqtwin": ("core", "seqtwin.command", "seqtwin.api"),
    "seqtwin.api": (
        *("core", "core.models", "core.spec", "core.data", "core.train", "core.words", "core.plots", "core.report"),
        *("backends", "tasks.cli", "tasks.run", "seqtwin.command"),
    ),
    "seqtwin.command": ("core", "core.train", "core.report", "tasks.cli", "tasks.run"),
}
"""Who may import whom; a room is a folder of `core` or `tasks`, and `core` alone its files that no room holds.

`backends/*/weight_files.py` alone reach into `core.weights`. The programs, `tasks/*.py` and the packages of
`PROGRAMS`, may import everything but one another's `main`.
"""


PROGRAMS = tuple(f"tasks.{name}" for name in ("bench", "export", "parity", "port", "serve", "speed", "twin"))
"""Programs that are packages."""


def room(module: str) -> str:
    top, _, rest = module.partition(".")
    inner = rest.partition(".")[0]
    return f"{top}.{inner}" if top != "backends" and inner and (ROOT / top / inner).is_dir() else top


def imports() -> dict[str, set[str]]:
    """Of every module of the product those that it imports, at any place in the file."""
    known = {name(path) for path in sources()}
    found: dict[str, set[str]] = {}
    for path in sources():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports by their whole names only"
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= (inner & known) or {node.module}
        found[name(path)] = {module for module in wanted if module in known}
    return found


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_arrows_point_down():
    for module, wanted in imports().items():
        own = room(module)
        if own not in MAY_IMPORT:
            assert own in ("tasks", *PROGRAMS), f"{own}: a new room; say in MAY_IMPORT what it may import"
            assert not {other for other in wanted if other.endswith("__main__")}, f"{module}: imports a program"
            continue
        allowed = {own, *MAY_IMPORT[own]}
        if own == "tasks.run":
            allowed |= {other for other in MAY_IMPORT if other.startswith("core")}
        for other in wanted:
            assert room(other) in allowed, f"{module} imports {other}"
            if own == "backends" and room(other) == "core.weights":
                assert module.endswith("weight_files"), f"{module} imports {other}"


def test_programs_import_no_other_program():
    programs = {name(path) for path in (ROOT / "tasks").glob("*.py") if path.name != "__init__.py"}
    for module, wanted in imports().items():
        assert not wanted & (programs - {module}), module


def test_no_circles():
    left = imports()
    while left:
        free = {module for module, wanted in left.items() if not (wanted - {module}) & left.keys()}
        assert free, f"these import one another: {', '.join(sorted(left))}"
        left = {module: wanted for module, wanted in left.items() if module not in free}


def test_core_and_tasks_import_no_framework():
    names = [*modules("core"), *modules("tasks"), *modules("seqtwin"), "backends"]
    assert len(names) > 15
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'paddle') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("name", backends.NAMES)
def test_a_backend_imports_no_other_framework(name):
    if not backends.installed(name):
        pytest.skip(f"{name} is not installed")
    other = next(entry for entry in backends.NAMES if entry != name)
    code = f"import sys, backends; backends.load({name!r}); print({other!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def definitions(path: Path) -> dict[str, str]:
    """Every function and class of a file, methods too, with its parameters' names, kinds and defaults.

    Annotations are left out: there the frameworks' own types stand.
    """
    found = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[prefix + node.name] = "class"
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                for argument in [*node.args.args, *node.args.posonlyargs, *node.args.kwonlyargs, node.args.vararg]:
                    if argument is not None:
                        argument.annotation = None
                found[prefix + node.name] = ast.unparse(node.args)

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def test_the_backends_have_the_same_files():
    names = [sorted(relative(folder)) for folder in FRAMEWORKS.values()]
    assert names[0] == names[1]


@pytest.mark.parametrize("file", sorted(relative(FRAMEWORKS["torch"])))
def test_the_backends_have_the_same_names_and_signatures(file):
    """But for `framework.py`, which sets up a process and has no public name."""
    torch, paddle = (definitions(folder / file) for folder in FRAMEWORKS.values())
    if file == "framework.py":
        assert not [name for name in (*torch, *paddle) if not name.startswith("_")]
        return
    assert torch == paddle


def test_the_contract_is_kept():
    from core.engine import contract

    members = {
        (protocol.__name__, name): inspect.signature(member)
        for protocol in (contract.Engine, contract.Ensemble, contract.LayerProbe)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member)
        and (not name.startswith("_") or name == "__init__")
        and member.__module__ == "core.engine.contract"
    }
    assert ("Engine", "train_step") in members and ("Ensemble", "train_step") in members
    for name in backends.NAMES:
        if not backends.installed(name):
            continue
        package = backends.load(name)
        assert tuple(package.__all__) == PUBLIC_NAMES
        for public in PUBLIC_NAMES:
            assert hasattr(package, public)
        for (protocol, member), signature in members.items():
            assert inspect.signature(getattr(getattr(package, protocol), member)) == signature, (name, protocol, member)


def test_nothing_decides_by_a_backend_s_name():
    """Outside `backends/__init__.py`, which maps names to packages."""
    pattern = re.compile(r"backend\w*\s*(==|!=|in)\s*[\[({]?\s*['\"]")
    for path in [path for path in sources() if path != ROOT / "backends" / "__init__.py"]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("folder", ["core", "backends", "tasks", "seqtwin"])
def test_modules_are_small(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
