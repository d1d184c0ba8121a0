"""One process at a time holds a run folder."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from core.errors import UserError
from core.files import remove_unfinished, write_text_atomic
from core.train.run_lock import held
from tests.conftest import one_line

ROOT = Path(__file__).parents[3]

HOLDER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from core.train.run_lock import held
    with held(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
""")


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path` until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(UserError) as error, held(tmp_path):
        pass
    assert one_line(error).startswith(f"{tmp_path}: in use by process {holder.pid} on {os.uname().nodename}: ")
    holder.communicate("")
    with held(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not list(tmp_path.iterdir())


def test_the_lock_ends_with_a_killed_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_within_one_process(tmp_path):
    with held(tmp_path), pytest.raises(UserError, match="in use"), held(tmp_path):
        pass
    with held(tmp_path), pytest.raises(UserError, match="cannot be written"), held(tmp_path / "none"):
        pass


WRITER = textwrap.dedent("""
    import os, sys
    from core.files import incremental_writer
    with incremental_writer(sys.argv[1]) as file:
        file.write("half")
        file.flush()
        print("written", flush=True)
        sys.stdin.read()
""")


def test_only_files_of_ended_processes_are_removed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "a.csv"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    (half,) = tmp_path.iterdir()
    (tmp_path / ".b.x.tmp").touch()
    os.utime(tmp_path / ".b.x.tmp", (1, 1))
    (tmp_path / ".new.x.tmp").touch()
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {half.name, ".new.x.tmp"}
    remove_unfinished(tmp_path, age=0)
    assert list(tmp_path.iterdir()) == [half]
    process.kill()
    process.communicate()
    remove_unfinished(tmp_path, age=0)
    assert not list(tmp_path.iterdir())


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def note(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), {path.name for path in tmp_path.iterdir()}))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_text_atomic(tmp_path / "a", "text")
    (first, _), (last, names) = synced
    assert first.startswith(str(tmp_path / ".a.")) and last == str(tmp_path) and names == {"a"}
