"""Files of a user whose names are those of packages of seqtwin: the command works, a program says what hides them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks.cli.commands import started_by_seqtwin
from tasks.run.child import command
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

START = f"import sys; sys.path.append({str(ROOT)!r}); from seqtwin.command.main import start; sys.exit(start())"
"""What a console script does, but that the user's folder comes before the installed packages."""


@pytest.fixture
def folder(tmp_path):
    """A user's folder, with a module and a package."""
    for name in ("core.py", "tasks.py"):
        (tmp_path / name).write_text("raise ValueError('of the user')\n")
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "__init__.py").write_text("raise ValueError('of the user')\n")
    return tmp_path


def run(argv, folder, path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("by_path", [False, True])
def test_the_command_works_where_a_user_has_such_names(folder, tmp_path_factory, by_path):
    """In the working directory, and on PYTHONPATH."""
    place = tmp_path_factory.mktemp("other") if by_path else folder
    done = run([sys.executable, "-c", START, "runs", "."], place, [folder] if by_path else [])
    assert (done.returncode, done.stdout) == (0, "no runs in .\n"), done.stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs the option -P of Python")
def test_a_child_process_works_where_a_user_has_such_names(folder):
    with started_by_seqtwin():
        argv = command("tasks.runs", ["."])
    for own in (argv, command("tasks.runs", ["."])):
        done = run(own, folder, [ROOT])
        assert (done.returncode, done.stdout) == (0, "no runs in .\n"), done.stderr


@pytest.mark.parametrize("name", ["core.py", "backends"])
def test_a_program_names_what_hides_a_package(folder, name):
    for own in list(folder.iterdir()):
        if own.name != name:
            own.rename(own.with_name(f"my_{own.name}"))
    done = run([sys.executable, "-m", "tasks.runs"], folder, [ROOT])
    file = folder / name / "__init__.py" if name == "backends" else folder / name
    says = f"error: {file} hides the package {name.removesuffix('.py')} of seqtwin: rename it, or use the command"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{says} seqtwin\n")
