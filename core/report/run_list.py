"""List the runs of a folder by their JSON files, without reading arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core.checked_json import read_checked_json, read_json
from core.errors import UserError
from core.spec.word_runs import WORDS_KIND
from core.train.run_folder import CHECKED_SINCE, PLAN, RECORD, RunFolder
from core.train.run_lock import LOCK, is_held
from core.weights.array_file import read_state
from core.words.run_folder import WordRunFolder

FINISHED, RUNNING, STOPPED, DAMAGED = "finished", "running", "stopped", "damaged"
"""States of a run. A running one is locked; a stopped one resumes from its checkpoint."""

FIGURES = ("exact_match", "perplexity", "micro_f1", "f1", "accuracy")
"""Main figure of a run: the first of these that its result has."""

RESULT, CHECKPOINT = "result.json", "last.safetensors"
INNER = {"both": "*", "bench": "*/*", "cross-validation": "fold-*"}
"""Patterns of the runs inside a folder of several, by the kind of its plan."""
OUTCOMES = ("report.html", "results.json")
"""Files that mark a folder of several runs as finished."""
WORD2VEC, DIGIT_SUM = "word2vec", "digit_sum"


@dataclass(frozen=True)
class ListedRun:
    """A run, or a folder of several runs (`runs`), as far as its JSON files tell."""

    path: Path
    state: str
    started: datetime
    """Local time: of its record, else of its oldest file of these."""
    task: str = ""
    recipe: str = ""
    backend: str = ""
    step: int | None = None
    """Step of the checkpoint of a run that is not finished."""
    figure: str = ""
    """Name of its main figure."""
    train: float | None = None
    """Of word vectors, which have no other split: the mean loss of the last epoch."""
    dev: float | None = None
    test: float | None = None
    runs: tuple[int, int] | None = None
    """Finished and all runs inside a folder of several."""
    problem: str = ""
    """What is damaged, in one line."""


def list_runs(folder: Path) -> list[ListedRun]:
    """Return the runs of a folder, newest first; the runs of a folder of several come after it.

    Folders without a record or plan are no runs. Raises UserError if the folder cannot be read.
    """
    groups = []
    for path in _children(folder):
        if own := _group(path):
            groups.append(own)
    groups.sort(key=lambda group: group[0].started, reverse=True)
    return [own for group in groups for own in group]


def newest(folder: Path, accept: Callable[[str], bool], finished: bool = True) -> Path | None:
    """Return the newest run that is finished, or is not and not running, of a task that `accept` takes.

    Without `finished`, folders of several runs count too. Records that cannot be read are skipped.
    """
    found: list[tuple[datetime, Path]] = []
    for path in _children(folder):
        for own in _inner(path) if (path / PLAN).is_file() and finished else [path]:
            try:
                task, started = _peek(own)
            except UserError:
                continue
            if accept(task) and _is_finished(own) == finished and (finished or not is_held(own)):
                found.append((started, own))
    return max(found)[1] if found else None


def task_of(path: Path) -> str:
    """Return the task of a run, or the program of a folder of several. Raises UserError if it is neither."""
    RunFolder.open(path)
    return _peek(path)[0]


def _children(folder: Path) -> list[Path]:
    """Return the folders inside, or the folder itself if it is a run."""
    if (folder / RECORD).is_file() or (folder / PLAN).is_file():
        return [folder]
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / own.name for own in entries if own.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}): give another folder of runs") from None


def _inner(path: Path) -> list[Path]:
    """Return the runs inside a folder of several; none if its plan is damaged or has no runs of their own."""
    try:
        pattern = INNER.get(str(read_json(path / PLAN).get("kind")))
    except UserError:
        return []
    return sorted(own.parent for own in path.glob(f"{pattern}/{RECORD}")) if pattern else []


def _peek(path: Path) -> tuple[str, datetime]:
    """Return task and time of a run, or of a folder of several. Raises UserError unless it is one."""
    plan = not (path / RECORD).is_file() and (path / PLAN).is_file()
    file = path / PLAN if plan else RunFolder(path).file(RECORD)
    tree = read_json(file)
    task = _program_of(tree) if plan else WORD2VEC if tree.get("kind") == WORDS_KIND else _at(tree, "experiment.task")
    if not isinstance(task, str):
        raise UserError(f"{file}: damaged, it names no task: restore the file")
    return task, _time(_at(tree, "execution.started"), file)


def _program_of(plan: dict) -> Any:
    """Return the name of the program that wrote a plan."""
    if plan.get("kind") == "bench":
        return "bench"
    if plan.get("kind") == "cross-validation":
        return _at(plan, "experiment.task")
    if plan.get("kind") == "both":
        program = plan.get("program")
        return program.rpartition(".")[2] if isinstance(program, str) else _at(plan, "experiment.task")
    return DIGIT_SUM


def _is_finished(path: Path) -> bool:
    if (path / RECORD).is_file():
        return (path / RESULT).is_file()
    return any((path / name).is_file() for name in OUTCOMES)


def _group(path: Path) -> list[ListedRun]:
    """Return a run, or a folder of several with its runs; nothing if it is neither."""
    try:
        if (path / RECORD).is_file():
            return [_run(path)]
        if (path / PLAN).is_file():
            inner = [_run(own) for own in _inner(path)]
            return [_several(path, inner), *inner]
        if (path / LOCK).is_file():
            state, problem = (RUNNING, "") if is_held(path) else (DAMAGED, f"{path}: ended before its spec was written")
            return [ListedRun(path, state, _time(None, path / LOCK), problem=problem)]
        return []
    except OSError as error:
        return [_damaged(path, path, f"{path}: cannot be read ({error.strerror})")]


def _several(path: Path, inner: list[ListedRun]) -> ListedRun:
    """Return the row of a folder of several runs."""
    file = path / PLAN
    try:
        plan = read_checked_json(file, CHECKED_SINCE)
        task, started = _peek(path)
    except UserError as error:
        return _damaged(path, file, str(error))
    names = plan.get("backends", [plan.get("backend", "both")])
    backend = str(names[0]) if isinstance(names, list) and len(names) == 1 else "both"
    counts = None
    if plan.get("kind") in INNER:
        sizes = [len(plan[name]) for name in ("models", "seeds", "backends") if isinstance(plan.get(name), list)]
        every = sizes[0] * sizes[1] * sizes[2] if len(sizes) == 3 else _number(plan.get("folds")) or 2
        counts = sum(own.state == FINISHED for own in inner), int(every)
    state = FINISHED if _is_finished(path) else RUNNING if is_held(path) else STOPPED
    return ListedRun(path, state, started, task, backend=backend, runs=counts)


def _run(path: Path) -> ListedRun:
    """Return the row of a run; a damaged one says what is damaged."""
    file = path / RECORD
    try:
        words = read_json(file).get("kind") == WORDS_KIND
        folder, task, recipe, execution = _word_record(path) if words else _record(path)
        started = _time(execution.get("started"), file)
        if not (path / RESULT).is_file():
            step = _checkpoint(path)
            state = RUNNING if is_held(path) else STOPPED
            return ListedRun(path, state, started, task, recipe, execution["backend"], step)
        result = folder.read_result()
    except UserError as error:
        return _damaged(path, file, str(error))
    own = {"state": FINISHED, "started": started, "task": task, "recipe": recipe, "backend": execution["backend"]}
    if words:
        return ListedRun(path, **own, figure="loss", train=_number(result.get("loss")))
    figure = next((name for name in FIGURES if _at(result, f"test.{name}") is not None), "")
    dev, test = (_number(_at(result, f"{split}.{figure}")) for split in ("dev", "test"))
    return ListedRun(path, **own, figure=figure, dev=dev, test=test)


def _record(path: Path) -> tuple[RunFolder, str, str, dict]:
    """Return a run's folder, task, recipe and execution."""
    folder = RunFolder(path)
    experiment, execution = folder.read_record()
    return folder, experiment.task, experiment.recipe, execution


def _word_record(path: Path) -> tuple[WordRunFolder, str, str, dict]:
    """Return the folder of a word2vec run, its task, its kind of model and its execution."""
    folder = WordRunFolder(path)
    experiment, execution = folder.read_record()
    return folder, WORD2VEC, experiment.model.kind, execution


def _checkpoint(path: Path) -> int | None:
    """Return the step of a run's checkpoint, None before the first. Raises UserError if its header is damaged."""
    if not (path / CHECKPOINT).is_file():
        return None
    step = _at(read_state(path / CHECKPOINT), "step")
    return step if type(step) is int else None


def _damaged(path: Path, file: Path, problem: str) -> ListedRun:
    return ListedRun(path, DAMAGED, _time(None, file), problem=problem)


def _time(text: object, file: Path) -> datetime:
    """Return a time in ISO format as local time; that of the file if there is none."""
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            pass
    try:
        return datetime.fromtimestamp(file.stat().st_mtime).astimezone()
    except OSError:
        return datetime.fromtimestamp(0).astimezone()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
