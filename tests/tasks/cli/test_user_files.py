"""Files of the user: run once, with their own neighbors, and shown in tracebacks."""

from __future__ import annotations

import sys

import pytest

from core.errors import UserError
from tasks.cli.user_files import UserFiles


def write(folder, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_a_file_runs_once(tmp_path):
    write(tmp_path, mine="made = object()")
    files = UserFiles()
    assert files.load(tmp_path / "mine.py") is files.load(tmp_path / "../" / tmp_path.name / "mine.py")
    assert UserFiles().load(tmp_path / "mine.py") is not files.load(tmp_path / "mine.py")


def test_each_file_imports_its_own_neighbors(tmp_path):
    for name in ("one", "two"):
        write(
            tmp_path / name,
            model="import layers_of_mine\nfound = layers_of_mine.name",
            layers_of_mine=f"name = {name!r}",
        )
    files = UserFiles()
    assert [files.load(tmp_path / name / "model.py").found for name in ("one", "two")] == ["one", "two"]
    assert not [path for path in sys.path if path.startswith(str(tmp_path))]


def test_traceback_begins_in_the_file(tmp_path):
    write(tmp_path, mine="def build():\n    raise ValueError('mine')", broken="def build(:\n", failing="1 / 0")
    files = UserFiles()
    with pytest.raises(ValueError, match="mine") as found:
        files.load(tmp_path / "mine.py").build()
    lines = files.trace(found.value).splitlines()
    assert "mine.py" in lines[1] and lines[-1] == "ValueError: mine" and "test_user_files" not in "".join(lines)
    for name in ("broken", "failing"):
        with pytest.raises((SyntaxError, ZeroDivisionError)) as found:
            files.load(tmp_path / f"{name}.py")
        assert f"{name}.py" in files.trace(found.value)
    assert files.trace(ValueError("not theirs")) == ""


def test_another_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="Python file"):
        UserFiles().load(tmp_path / "notes.txt")
