"""Damaged files of runs, given to every program that reads them: one line, or the same result, or a note.

SEQTWIN_FUZZ sets the number of damaged files; the `slow` tier takes a few per pair of file and program.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.classify
import tasks.compare
import tasks.digit_sum
import tasks.exploding
import tasks.gates
import tasks.imdb
import tasks.port.__main__
from core.data.sources import imdb
from tasks.run import both_frameworks
from tasks.run import ensembles as ensembles_program
from tests.conftest import Done, fresh_rng, run_main, stop_at
from tests.finished_runs import EACH
from tests.tasks.test_both_frameworks import PROGRAMS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(backends.installed, backends.NAMES)), reason="needs both frameworks"),
]

ROUNDS = int(os.environ.get("SEQTWIN_FUZZ", "70"))
LONGEST_ERROR = 900
"""Characters of an error line; paths of temporary folders are long."""
LARGEST = 600
"""Megabytes by which memory may grow in all rounds together."""


@dataclass(frozen=True)
class Command:
    """A program that reads a folder: what it is called with, and the files whose content is its result."""

    main: Callable[[list[str]], int]
    folder: str
    arguments: Callable[[Path, Path], list[object]]
    """From the folder and the cache of the reviews."""
    results: tuple[str, ...] = ()
    files: str = r".*\.(json|jsonl|csv|safetensors)"


SUMS = tuple(f"{cell}/L{length}-seed3/predictions.csv" for cell in ("lstm", "residual_srn") for length in (5, 8))

COMMANDS = {
    "predict": Command(tasks.imdb.main, "run", lambda run, _: ["predict", run, "a wonderful film", "awful"]),
    "explain": Command(tasks.imdb.main, "run", lambda run, _: ["predict", run, "--explain", "a wonderful film"]),
    "evaluate": Command(
        tasks.imdb.main, "run", lambda run, cache: ["evaluate", run, "--cache-dir", cache, "--backend", "numpy"]
    ),
    "gates": Command(
        tasks.gates.main,
        "run",
        lambda run, _: [run, "--text", "a wonderful film", "--out", run / "new.png"],
        ("new.json",),
    ),
    "compare": Command(
        tasks.compare.main,
        "run",
        lambda run, cache: [run, run.parent / "other", "--cache-dir", cache, "--out", run / "new.html"],
        ("new.html",),
    ),
    "port": Command(
        tasks.port.__main__.main,
        "run",
        lambda run, _: [run / "best.safetensors", "--to", "torch", "--out", run / "new.pt"],
        files=r"(best\.safetensors|experiment\.json)",
    ),
    "resume": Command(
        tasks.imdb.main,
        "stopped",
        lambda run, cache: ["--resume", run, "--cache-dir", cache],
        ("predictions.csv", "best.safetensors"),
    ),
    "digit sums": Command(tasks.digit_sum.main, "sums", lambda run, _: ["--resume", run], SUMS),
    "digit_sum page": Command(tasks.digit_sum.main, "both sums", lambda run, _: ["--resume", run], ("report.html",)),
    "exploding page": Command(tasks.exploding.main, "both", lambda run, _: ["--resume", run], ("report.html",)),
}


@pytest.fixture(scope="module")
def sound(finished_runs, tmp_path_factory) -> Path:
    """A folder with every kind of run, none of which is changed."""
    root = tmp_path_factory.mktemp("sound")
    shutil.copytree(finished_runs.runs["torch"], root / "run")
    shutil.copytree(finished_runs.runs["paddle"], root / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        with stop_at(8):
            assert finished_runs.train("--backend", "torch", "--out", root / "stopped").code == 130
        own = lambda task, argv, main: (run_main(main, *argv).code, False)  # noqa: E731
        for folder, name in (("both sums", "digit_sum"), ("both", "exploding")):
            program, options = PROGRAMS[name]
            patch.setattr(both_frameworks, "_run_child", lambda task, argv, main=program.main: own(task, argv, main))
            assert run_main(program.main, "--backend", "both", *options, "--out", root / folder).code == 0
            (root / folder / "report.html").unlink()
        with stop_at(60, ensembles_program):
            stopped = ("--backend", "torch", *PROGRAMS["digit_sum"][1], "--eval-interval", 8, "--out", root / "sums")
            assert run_main(tasks.digit_sum.main, *stopped).code == 130
    return root


# Damage


def flip_bits(rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, 8 * len(data), size=rng.integers(1, 4)):
        changed[place // 8] ^= 1 << (place % 8)
    return bytes(changed)


def cut(rng, data: bytes) -> bytes:
    return data[: rng.integers(0, len(data))]


def splice(rng, data: bytes) -> bytes:
    """Remove, repeat or overwrite a stretch."""
    start, size = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    middle = [b"", 2 * data[start : start + size], bytes(size), rng.bytes(size)][rng.integers(4)]
    return data[:start] + middle + data[start + size :]


VALUES = (None, True, -1, 0, 10**30, 0.5, -0.5, 1e308, "", "x" * 5000, "\x1b[2J\u202e", [], {}, [1, "2"], {"a": {}})


def _places(tree: object, path: tuple = ()) -> list[tuple]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path + (key,) for key, _ in items] + [p for key, own in items for p in _places(own, (*path, key))]


def edit_json(rng, data: bytes) -> bytes:
    """Replace or remove a value, keeping the digest or setting it to null."""
    *before, line = [data] if data[:2] == b"{\n" else data.splitlines(keepends=True)[: rng.integers(1, 99)]
    rest = data[sum(map(len, before)) + len(line) :]
    tree = json.loads(line)
    places = [place for place in _places(tree) if place[0] not in ("tokens", "counts")] or [("tokens",)]
    *above, last = places[rng.integers(len(places))]
    holder = tree
    for key in above:
        holder = holder[key]
    if rng.random() < 0.3:
        del holder[last]
    else:
        holder[last] = VALUES[rng.integers(len(VALUES))]
    if "digest" in tree and rng.random() < 0.5:
        tree["digest"] = None
    return b"".join(before) + json.dumps(tree).encode() + (b"\n" if line.endswith(b"\n") else b"") + rest


def deepen(rng, data: bytes) -> bytes:
    return [b"[" * 100_000, b'{"a":' * 50_000, b'{"step": ' + b"9" * 100_000 + b"}", b"\xef\xbb\xbf{}"][rng.integers(4)]


def edit_header(rng, data: bytes) -> bytes:
    """Change the header of a safetensors file, and its length with it."""
    size = int.from_bytes(data[:8], "little")
    header = edit_json(rng, data[8 : 8 + size].strip())
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def edit_csv(rng, data: bytes) -> bytes:
    rows = [line.split(b",") for line in data.splitlines()]
    row = rows[rng.integers(len(rows))]
    row[rng.integers(len(row))] = [b"", b"nan", b"-1", b"9e999", b"positive", b'"', b"=1+1"][rng.integers(7)]
    return b"\n".join(b",".join(cells) for cells in rows) + b"\n"


def damaged(rng, path: Path) -> tuple[bytes, str, bool]:
    """Return changed content, how it was changed, and whether the file says that it was edited on purpose."""
    own = {".json": [edit_json] * 4 + [deepen], ".jsonl": [edit_json] * 3 + [deepen], ".csv": [edit_csv] * 3}
    ways = [flip_bits, cut, splice, *own.get(path.suffix, [edit_header] * 3)]
    way, data = ways[rng.integers(len(ways))], path.read_bytes()
    changed = way(rng, data) if data else b"x"
    return changed, way.__name__, path.suffix == ".json" and b'"digest": null' in changed


# Programs


def result_of(command: Command, done: Done, folder: Path) -> list[object]:
    """Everything that a program gave back, but for names, times and speeds."""
    said = re.sub(r"\d[\d.,]* ?(s|MB|tokens/s|%)\b", "", done.out.replace(str(folder.parent), ""))
    if command.main is tasks.port.__main__.main:  # it compares on random texts
        said = re.sub(r"[\d.,]+(e[-+]\d+)?", "", said)
    said = "\n".join(line for line in said.splitlines() if not line.startswith(("trained in", "epoch", "machine")))
    files = [(folder / name).read_bytes() if (folder / name).exists() else None for name in command.results]
    return [done.code, said, *(re.sub(rb"[\d-]+ \d\d:\d\d UTC", b"", own or b"") for own in files)]


def warnings_in(result: list[object]) -> int:
    """Return how often a result says that something is wrong."""
    text = "".join(own.decode("utf-8", "replace") if isinstance(own, bytes) else str(own) for own in result)
    return sum(text.count(word) for word in ("damaged", "changed since", "missing", "not compared", "cannot be read"))


def differences(found: list[object], expected: list[object]) -> list[str]:
    """Return the first lines that differ."""
    one, other = ([str(own).replace("\\n", "\n").splitlines() for own in result] for result in (found, expected))
    pairs = [pair for lines in zip(one, other, strict=True) for pair in zip(*lines, strict=False)]
    return [f"{a[:200]!r} instead of {b[:200]!r}" for a, b in pairs if a != b][:3]


def call(command: Command, folder: Path, cache: Path) -> Done:
    return run_main(command.main, *command.arguments(folder, cache))


def test_damaged_files_never_end_in_a_traceback_nor_change_a_result_silently(
    sound, finished_runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    monkeypatch.chdir(tmp_path)
    cache, rng, expected = finished_runs.cache, fresh_rng(), {}
    pairs = []
    for name, command in COMMANDS.items():
        copy = Path(shutil.copytree(sound, tmp_path / "sound")) / command.folder
        done = call(command, copy, cache)
        assert done.code == 0, (name, done.err)
        expected[name] = result_of(command, done, copy)
        shutil.rmtree(tmp_path / "sound")
        found = sorted(path.relative_to(sound) for path in (sound / command.folder).rglob("*") if path.is_file())
        pairs += [(name, file) for file in found if re.fullmatch(command.files, file.name)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: dict[str, int] = {}
    for number in range(ROUNDS):
        name, file = pairs[rng.integers(len(pairs)) if number >= len(pairs) else number]
        command = COMMANDS[name]
        copy = Path(shutil.copytree(sound, tmp_path / "sound"))
        content, way, declared = damaged(rng, copy / file)
        (copy / file).write_bytes(content)
        what = f"{name}, {file}, {way}, round {number}"
        try:
            done = call(command, copy / command.folder, cache)
        except BaseException as error:
            (tmp_path / "culprit").write_bytes(content)
            raise AssertionError(f"{what}: {error!r}; the file is kept as {tmp_path / 'culprit'}") from error
        lines = done.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert done.code in (0, 2) and len(errors) == (done.code == 2), (what, done)
        assert all(len(line) <= LONGEST_ERROR and line.isprintable() for line in lines), (what, done.err)
        found = result_of(command, done, copy / command.folder)
        told = "note: " in done.err or warnings_in(found) > warnings_in(expected[name])
        answered = "same" if found == expected[name] else "declared" if declared else "told" if told else "silent"
        outcome = "refused" if done.code else answered
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome == "silent":
            (tmp_path / "culprit").write_bytes(content)
        assert outcome != "silent", (what, done, *differences(found, expected[name]), tmp_path / "culprit")
        shutil.rmtree(copy)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{ROUNDS} damaged files for {len(pairs)} pairs of program and file: {counts}; memory grew by {grown:.0f} MB")
    assert grown < LARGEST and counts.get("refused", 0) > ROUNDS / 4 and np.isfinite(grown)
