"""Fixtures and helpers that several files of tests use."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests that run beside each other: frameworks with threads of their own would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start many processes, each of which would compile the modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest

import backends
import tasks.run.train
from core.data.dataset import Dataset
from core.data.token_workers import cores
from tasks.cli.console import run_program
from tests import pictures
from tests.pairwise import SAMPLE, SAMPLE_VARIABLE

# Started in the background by a shell, a process ignores Ctrl-C, and so do those that it starts: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

for _name in backends.NAMES:
    if backends.installed(_name):
        backends.load(_name)  # before a program does, which would say so in what a test reads

ROOT = Path(__file__).resolve().parents[1]

SEED_VARIABLE = "SEQTWIN_SEED"
"""Set it to the seed that a failing test printed, to see the same numbers again."""


def fresh_rng() -> np.random.Generator:
    """Other numbers in every run, so that no test comes to lean on one lucky draw."""
    seed = int(os.environ.get(SEED_VARIABLE) or int.from_bytes(os.urandom(4), "little"))
    print(f"to repeat: {SEED_VARIABLE}={seed}")  # pytest shows it when the test fails
    return np.random.default_rng(seed)


@pytest.fixture
def rng() -> np.random.Generator:
    return fresh_rng()


INSTALLED = [name for name in backends.NAMES if backends.installed(name)]
each_backend = pytest.mark.parametrize("name", INSTALLED)
needs_both = pytest.mark.skipif(len(INSTALLED) < 2, reason="compares two frameworks, and one is installed")


def loaded(name: str):
    """The backend package; a test that needs it is skipped where its framework is not installed."""
    if not backends.installed(name):
        pytest.skip(f"{name} is not installed")
    return backends.load(name)


@pytest.fixture(params=backends.NAMES)
def backend(request):
    """Every installed backend in turn."""
    return loaded(request.param)


@dataclass(frozen=True)
class Done:
    """What a program gave back."""

    code: int
    out: str
    err: str


def run_main(main, *argv: object) -> Done:
    """A program in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_program(main, [str(part) for part in argv])
    return Done(code, out.getvalue(), err.getvalue())


def snapshot(folder: Path) -> dict[str, object]:
    """Return the times and contents of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


def check_refused(main, *argv: object, says: tuple[str, ...] | str, folder: Path) -> None:
    """Check that a program ends with exit code 2 and one line that contains `says`, and changes nothing in a folder."""
    before = snapshot(folder)
    done = run_main(main, *argv)
    assert done.code == 2, done.out + done.err
    assert done.err.startswith("error: ") and done.err.endswith("\n") and done.err.count("\n") == 1, done.err
    assert all(line.startswith("inferred ") for line in done.out.splitlines()), done.out
    assert snapshot(folder) == before
    for part in (says,) if isinstance(says, str) else says:
        assert part in done.err, done.err


@contextlib.contextmanager
def stop_at(step: int, program=None):
    """What Ctrl-C after so many steps does, without the signal; in the module `program` of `tasks.run`."""

    @contextlib.contextmanager
    def signals(several=1):
        calls = itertools.count(1)
        yield lambda: next(calls) >= step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program or tasks.run.train, "stop_signals", signals)
        yield


def one_line(error) -> str:
    """The message of a caught exception, which must fit on one line."""
    message = str(error.value)
    assert message and "\n" not in message
    return message


def make_dataset(rng: np.random.Generator, rows: int, vocab_size: int = 20, longest: int = 9) -> Dataset:
    """Random sequences of unequal length, the first of length 1; token 2 + c is commoner in class c: there is something
    to learn, and not everything."""
    lengths = rng.integers(1, longest + 1, size=rows)
    lengths[0], lengths[-1] = 1, longest
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    labels = rng.permutation(np.arange(rows) % 2)
    tokens = rng.integers(1, vocab_size, size=offsets[-1])
    marked = rng.random(len(tokens)) < 0.35
    tokens = np.where(marked, 2 + np.repeat(labels, lengths), tokens)
    return Dataset(
        tokens.astype(np.int32), offsets, {"label": labels.astype(np.int64)}, [f"d/{row}" for row in range(rows)]
    )


def make_reviews(root: Path, rng: np.random.Generator, each: int) -> Path:
    """A data set in the layout of the Large Movie Review Dataset: `each` reviews per part and class, of 1 to 40 words,
    two to a film."""
    words = np.array(["film", "plot", "actor", "scene", "the", "a", "of", "and", "was", "it", "very", "café", "!", "?"])
    telling = {"pos": np.array(["wonderful", "loved", "fine"]), "neg": np.array(["awful", "hated", "dull"])}
    for split in ("train", "test"):
        for kind, rating in (("pos", 9), ("neg", 2)):
            folder = root / "aclImdb" / split / kind
            folder.mkdir(parents=True)
            for number in range(each):
                size = 0 if number == 0 else rng.integers(2, 40)
                said = [rng.choice(telling[kind]), *rng.choice(words, size), *rng.choice(telling[kind], size // 8)]
                (folder / f"{number}_{rating}.txt").write_text(" ".join(said), encoding="utf-8")
            films = [f"http://www.imdb.com/title/tt{number // 2:07d}/usercomments\n" for number in range(each)]
            (folder.parent / f"urls_{kind}.txt").write_text("".join(films))
    return root / "aclImdb"


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory):
    """Small reviews and one finished run of `tasks.imdb` per backend: `tests.finished_runs.FinishedRuns`."""
    from tests.finished_runs import train_all

    yield from train_all(tmp_path_factory.mktemp("finished"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    pictures.begin(item.nodeid)


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than processors, as many tests wait for processes that they start."""
    return cores() + 1


def pytest_sessionfinish(session):
    """One of several test processes hands on what its ladders saw."""
    if hasattr(session.config, "workeroutput"):
        from tests.parity.recorded import PARITY_SPEC

        session.config.workeroutput["ladder"] = [[*key, value] for key, value in PARITY_SPEC.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    from tests.parity.recorded import PARITY_SPEC

    for rung, dtype, value in getattr(node, "workeroutput", {}).get("ladder", ()):
        PARITY_SPEC[rung, dtype] = max(PARITY_SPEC.get((rung, dtype), 0.0), value)


def pytest_terminal_summary(terminalreporter):
    """Print the largest difference of each rung of the ladder, and after a failure how to repeat the sampled cases."""
    from tests.parity.recorded import PARITY_SPEC

    if terminalreporter.stats.keys() & {"failed", "error"}:
        terminalreporter.write_line(f"to repeat the sampled cases: {SAMPLE_VARIABLE}={SAMPLE}")
    if PARITY_SPEC:
        terminalreporter.section("largest differences on the ladder")
        for (rung, dtype), difference in sorted(PARITY_SPEC.items()):
            terminalreporter.write_line(f"{difference:9.1e}  {dtype}  rung {rung}")
