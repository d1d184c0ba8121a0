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
from core.contract import PUBLIC_NAMES

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {"torch": ROOT / "backends" / "torch", "paddle": ROOT / "backends" / "paddle"}


def modules(folder: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_core_and_tasks_import_no_framework():
    names = [*modules("core"), *modules("tasks"), "backends"]
    assert len(names) > 15
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'paddle') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
    names = [sorted(path.name for path in folder.glob("*.py")) for folder in FRAMEWORKS.values()]
    assert names[0] == names[1]


@pytest.mark.parametrize("file", sorted(path.name for path in FRAMEWORKS["torch"].glob("*.py")))
def test_the_backends_have_the_same_names_and_signatures(file):
    """But for `framework.py`, which sets up a process and has no public name."""
    torch, paddle = (definitions(folder / file) for folder in FRAMEWORKS.values())
    if file == "framework.py":
        assert not [name for name in (*torch, *paddle) if not name.startswith("_")]
        return
    assert torch == paddle


def test_the_contract_is_kept():
    from core import contract

    members = {
        (protocol.__name__, name): inspect.signature(member)
        for protocol in (contract.Engine, contract.Ensemble, contract.LayerProbe)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member)
        and (not name.startswith("_") or name == "__init__")
        and member.__module__ == "core.contract"
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
    for path in [*ROOT.glob("core/*.py"), *ROOT.glob("tasks/*.py"), *ROOT.glob("backends/*/*.py")]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("folder", ["core", "backends", "tasks"])
def test_modules_are_small(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
