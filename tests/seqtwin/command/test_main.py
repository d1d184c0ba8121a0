"""The command `seqtwin`: its help, versions and programs, and the same commands for a run of any task."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata

import pytest

import tasks.imdb
from seqtwin.command.main import main, start
from seqtwin.command.programs import GROUPS, PROGRAMS, RUN_COMMANDS, help_text, load
from tasks.cli.commands import started_by_seqtwin
from tests.conftest import ROOT, Done, run_main, stop_at

PROGRAM_FILES = [path.stem for path in (ROOT / "tasks").glob("*.py") if path.stem != "__init__"]
PROGRAM_FILES += [path.parent.name for path in (ROOT / "tasks").glob("*/__main__.py")]


def seqtwin(*argv: object) -> Done:
    with started_by_seqtwin():
        return run_main(main, *argv)


def words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def python(code: str, *argv: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, **settings)


def test_help_has_a_line_for_every_program():
    assert sorted(PROGRAMS) == sorted(PROGRAM_FILES)
    assert not set(PROGRAMS) & set(RUN_COMMANDS)
    lines = help_text().splitlines()
    for name, text in {**PROGRAMS, **RUN_COMMANDS}.items():
        assert [line.split(maxsplit=1) for line in lines if line.startswith(f"  {name} ")] == [[name, text]]
    assert max(map(len, lines)) < 80 and [f"{title}:" for title in GROUPS] == [own for own in lines if own[-1:] == ":"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_line_of_a_program_has_the_words_of_its_own_description(name, capsys):
    with started_by_seqtwin(), pytest.raises(SystemExit) as end:
        load(name).main(["--help"])
    shown = capsys.readouterr().out
    assert not end.value.code and shown.startswith(f"usage: seqtwin {name} ")
    left = iter(words(shown.partition("\n\n")[2]))
    missing = [word for word in words(PROGRAMS[name]) if word not in left]
    assert not missing, f"not in this order in the description of {name}: {missing}"


@pytest.mark.parametrize("option", ["", "--help", "--version"])
def test_help_and_versions_import_no_other_package(option):
    code = "import sys; from seqtwin.command.main import start; code = start(); print(code, sorted(sys.modules))"
    done = python(code, *option.split(), check=True)
    *shown, modules = done.stdout.splitlines()
    assert modules.startswith("0 ") and len(shown) > 3
    loaded = {module.partition(".")[0] for module in re.findall(r"'([\w.]+)'", modules)}
    assert "seqtwin" in loaded
    assert not loaded & {"numpy", "torch", "paddle", "rich", "pydantic", "core", "tasks", "backends"}


def test_versions_are_those_of_the_installation(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seqtwin", "--version"])
    assert start() == 0
    shown = dict(line.split() for line in capsys.readouterr().out.replace("not installed", "no").splitlines())
    assert list(shown) == ["seqtwin", "paddle", "torch", "python"]
    try:
        wanted = metadata.version("torch")
    except metadata.PackageNotFoundError:
        wanted = "no"
    assert shown["torch"] == wanted and shown["python"] == sys.version.split()[0]


def test_help_ends_quietly_if_its_reader_has_gone():
    code = "import os, sys; from seqtwin.command.main import start; sys.exit(start())"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait() == 141 and process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("name", "fix"),
    [("imbd", "use imdb"), ("digit-sum", "use digit_sum"), ("evaluates", "use evaluate"), ("x", "see seqtwin --help")],
)
def test_an_unknown_command_names_the_nearest(name, fix):
    done = seqtwin(name)
    assert (done.code, done.out, done.err) == (2, "", f"error: unknown command '{name}': {fix}\n")


def test_the_console_script_starts_the_command():
    found = re.search(r'\[project.scripts\]\nseqtwin = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None and found[1] == f"{start.__module__}:{start.__qualname__}"


def test_run_commands_do_what_the_program_does(finished_runs, tmp_path):
    """The task comes from the record. Options may precede the run."""
    run, texts = finished_runs.any_run, ("a wonderful film", "latest")
    assert seqtwin("predict", run, *texts) == run_main(tasks.imdb.main, "predict", run, *texts)
    explained = run_main(tasks.imdb.main, "predict", run, "--explain", texts[0])
    assert explained.code == 0 and "log-odds" in explained.out
    for argv in (("explain", run, texts[0]), ("predict", "--explain", run, texts[0])):
        assert seqtwin(*argv) == explained
    file = tmp_path / "texts.txt"
    file.write_text("a dull film\n")
    from_file = run_main(tasks.imdb.main, "predict", run, "--file", file)
    assert from_file.code == 0 and seqtwin("predict", "--file", file, run) == from_file
    own = ("evaluate", run, "--data", finished_runs.archive, "--cache-dir", finished_runs.cache, "--backend", "numpy")
    found = seqtwin(*own)
    assert found.code == 0 and found == run_main(tasks.imdb.main, *own)


def test_run_commands_show_the_help_of_the_task(finished_runs, capsys):
    for argv, usage in (
        (("predict", "--help"), "usage: seqtwin predict RUN ..."),
        (("predict", str(finished_runs.any_run), "--help"), "usage: seqtwin predict [-h] [--file FILE]"),
    ):
        with started_by_seqtwin(), pytest.raises(SystemExit):
            main([*argv])
        assert capsys.readouterr().out.startswith(usage)


def test_wrong_runs_are_refused_in_one_line(finished_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = finished_runs.any_run / "experiment.json"
    for name, change in (("sums", {"task": "digit_sum"}), ("new", {"task": "chess"}), ("none", {"task": 3})):
        (tmp_path / name).mkdir()
        tree = json.loads(record.read_text(encoding="utf-8"))
        (tmp_path / name / "experiment.json").write_text(json.dumps({**tree, "experiment": change}), encoding="utf-8")
    (tmp_path / "both" / "torch").mkdir(parents=True)
    plan = {"kind": "both", "experiment": {"task": "imdb"}}
    (tmp_path / "both" / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (tmp_path / "both" / "torch" / "experiment.json").write_bytes(record.read_bytes())
    for argv, says in (
        (("predict",), "predict needs a run folder: seqtwin predict RUN, where RUN may be latest"),
        (("predict", "typo", "a text"), "typo: no such run folder"),
        (("predict", "typo", "both/torch"), "typo: no such run folder"),
        (("predict", "sums", "a text"), "sums: run of task digit_sum, expected one of imdb, "),
        (("evaluate", "new"), "new: run of task chess, which this version does not have: update seqtwin"),
        (("evaluate", "none"), "experiment.json: damaged, it names no task"),
        (("evaluate", "both"), "both: a folder of several runs: give one of them, such as both/torch"),
        (("resume", "both/torch", "--lr", "1"), "--resume takes these settings from the run: omit --lr"),
    ):
        done = seqtwin(*argv)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
        assert done.err.startswith("error: ") and says in done.err, done.err


@pytest.mark.slow
def test_a_stopped_run_is_resumed_by_the_command_that_it_prints(finished_runs, tmp_path):
    path = tmp_path / "run"
    with started_by_seqtwin(), stop_at(3):
        stopped = finished_runs.train("--backend", finished_runs.backend, "--no-baseline", "--out", path)
    assert stopped.code == 130 and stopped.out.endswith(f"Resume with:\n  seqtwin resume {path}\n"), stopped.out
    done = seqtwin("resume", path, "--cache-dir", finished_runs.cache)
    assert done.code == 0, done.err
    assert "resume   from step 3" in done.out and f"seqtwin predict {path} " in done.out
    again = seqtwin("resume", path)
    assert again.err == f"error: {path}: run is already finished; evaluate it with: seqtwin evaluate {path}\n"
