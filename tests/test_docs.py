"""The documentation: commands exist with their options, links lead somewhere, and the README is one page."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import re
import shlex
from pathlib import Path

import pytest

import backends
from backends.implementations import IMPLEMENTATIONS
from core.errors import UserError
from core.parity.faults import FAULTS, WORD_FAULTS
from seqtwin.command.programs import PROGRAMS, RUN_COMMANDS
from tasks.cli.options import apply_options
from tasks.cli.recipes import TASK_RECIPES, recipe
from tasks.run.both_frameworks import BOTH
from tasks.run.evaluators import EVALUATORS
from tests.markdown import PAGES, README, ROOT, anchors, commands, first_difference, links, shown_output

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) *\?=", MAKEFILE, re.MULTILINE))
OTHER_MODULES = {"pytest", "venv"}
MOST_LINES = 150

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


class Parsed(Exception):
    """Raised in the place of everything that a program does after reading its arguments."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments


@pytest.fixture
def parse(monkeypatch, capsys):
    """A function that has a program parse a command line, and returns the arguments, None after `--help`."""

    def stopping(original):
        def parse_and_stop(parser, *argv):
            raise Parsed(original(parser, *argv))

        return parse_and_stop

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, stopping(getattr(argparse.ArgumentParser, name)))

    def run(module: str, argv: list[str]) -> argparse.Namespace | None:
        package = (ROOT / Path(*module.split("."))).is_dir()
        main = importlib.import_module(f"{module}.__main__" if package else module).main
        monkeypatch.setattr("sys.argv", [module, *argv])
        try:
            main(argv) if main.__code__.co_argcount else main()
        except Parsed as found:
            return found.arguments
        except SystemExit as end:
            assert not end.code, capsys.readouterr().err
            return None
        raise AssertionError(f"{module} has read no arguments")

    return run


def check_values(module: str, arguments: argparse.Namespace) -> None:
    """Raise UserError or AssertionError for a value that its option does not have."""
    task, values = module.rpartition(".")[2], vars(arguments)
    if task in TASK_RECIPES and "recipe" in values and not (values["resume"] or values["config"]):
        preset = importlib.import_module(module).PROGRAM.preset
        first = next(iter(TASK_RECIPES[task])) if preset is None else preset(arguments)
        apply_options(recipe(values["recipe"] or first, task), arguments)
    given = {name: [value] if isinstance(value, str) else value or [] for name, value in values.items()}
    assert set(given.get("backend", ())) <= {*backends.NAMES, *EVALUATORS, BOTH}
    assert set(given.get("impl", ())) <= {*IMPLEMENTATIONS, "auto", "padded"}
    assert set(given.get("plant", ())) <= {*FAULTS, *WORD_FAULTS}


def as_module(words: list[str]) -> list[str]:
    """Return the command of Python that a command of seqtwin stands for, [] for its own options and help."""
    name, *argv = words[1:] or ["--help"]
    if name.startswith("-") or name == "COMMAND":
        return []
    if name in RUN_COMMANDS:
        first = {"resume": ["--resume"], "explain": ["predict", "--explain"]}.get(name, [name])
        return ["python", "-m", "tasks.imdb", *first, *argv]
    assert name in PROGRAMS, f"no command {name}"
    return ["python", "-m", f"tasks.{name}", *argv]


def check_command(line: str, parse) -> None:
    """Raise an error unless the program, or the target of make, exists and has these options."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        for word in words[1:]:
            variable, assigned, _ = word.partition("=")
            assert variable in (VARIABLES if assigned else TARGETS), word
        return
    if words[0] == "seqtwin":
        words = as_module(words)
        if not words:
            return
    modules = [word for before, word in itertools.pairwise(words) if before == "-m"]
    assert modules, "no module"
    module, argv = modules[-1], words[len(words) - words[::-1].index(modules[-1]) :]
    if module in OTHER_MODULES:
        return
    assert importlib.util.find_spec(module) is not None, f"no module {module}"
    if module == "tools.differences" and not all(map(backends.installed, backends.NAMES)):
        return
    arguments = parse(module, argv)
    if arguments is not None:
        check_values(module, arguments)


@each_page
def test_commands_exist_with_their_options(page, parse):
    wrong = []
    for line in commands(page.read_text(encoding="utf-8")):
        try:
            check_command(line, parse)
        except (UserError, AssertionError, ImportError) as error:
            wrong.append(f"{line}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "make imbd",
        "make test ARG=1",
        "python -m tasks.imbd",
        "python -m tasks.imdb --hiden 3",
        "python -m tasks.imdb --cell ltsm",
        "python -m tasks.imdb --recipe textbok",
        "python -m tasks.imdb --backend tensorflow",
        "python -m tasks.imdb predict RUN --explian x",
        "python -m tasks.imdb evaluate",
        "python -m tasks.parity --plant clip",
        "python -m tools.gpu_check --writes docs/gpu.md",
        "torchrun --nproc-per-node 2 -m tasks.imdb --bakend torch",
        "seqtwin imbd",
        "seqtwin predict RUN --explian x",
        "seqtwin resume RUN --backend tensorflow",
    ],
)
def test_a_wrong_command_is_found(line, parse):
    (found,) = commands(f"Text.\n\n    {line}    # a comment\n")
    with pytest.raises((UserError, AssertionError, ImportError)):
        check_command(found, parse)


@each_page
def test_links_lead_to_a_file_and_a_heading(page):
    wrong = []
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page if not name else page.parent / name
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            wrong.append(target)
    assert not wrong, wrong


def test_the_readme_is_one_page():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_citation_has_the_version_of_the_project():
    pattern = r"^version *[=:] *['\"]?([\d.]+)"
    found = [
        re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in ("pyproject.toml", "CITATION.cff")
    ]
    assert found[0] and found[0] == found[1]


def test_the_readme_lists_every_page():
    listed = set(links(README.read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md") if "." not in page.stem}
    assert not pages - listed


def test_a_changed_label_in_shown_output_is_found():
    lines = ("$ python -m tasks.imdb", "backend  torch", "...", "epoch 1/2  step 625  dev loss 0.2", "curves   a.png")
    shown = shown_output("".join(f"    {line}\n" for line in lines), "tasks.imdb")
    real = "task  imdb\nbackend  paddle\nepoch 1/6  step 5  dev loss 0.7\ntest accuracy 0.9\ncurves   b.png\n"
    assert first_difference(shown, real) is None
    assert first_difference(shown, real.replace("backend", "engine")) == "backend  torch"
    assert first_difference(shown, real.replace("dev loss", "loss")) == "epoch 1/2  step 625  dev loss 0.2"
    assert first_difference(shown, "\n".join(reversed(real.splitlines()))) is not None
