"""Train models side by side: start, resume after a stop, and write a run folder for each."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

from rich.progress import TextColumn

from core.engine import machine
from core.engine.contract import Ensemble, EnsembleStats
from core.engine.memory import check_memory, host_limit
from core.spec.experiment import Experiment, with_class_weights
from core.train.ensemble import EnsembleSession, EnsembleState, evaluate_each, train_together
from core.train.ensemble_folder import EnsembleFolder
from core.train.members import Member
from core.train.prepare_data import read_data
from core.train.record import Run
from core.train.results import predictions_of, result_of
from core.train.run_folder import RunFolder
from core.train.steps import total_steps
from tasks.cli.console import bar, console, errors
from tasks.cli.terminal import literal
from tasks.run.signals import stop_signals
from tasks.run.worker import Worker


def make_members(experiments: dict[str, Experiment]) -> list[Member]:
    """Return the members with their data; members with equal data settings share it.

    Raises UserError if they do not fit into memory.
    """
    made, members = {}, []
    for name, experiment in experiments.items():
        check_memory(experiment, host_limit(), models=len(experiments))
        if experiment.data not in made:
            made[experiment.data] = read_data(experiment, Path())[0]
        data = made[experiment.data]
        members.append(Member(name, with_class_weights(experiment, data.train.labels), data))
    return members


class EnsembleDisplay:
    """Show training (`core.train.ensemble.Observer`): a bar on a terminal, else lines; write metrics to the folder."""

    def __init__(self, title: str, folder: EnsembleFolder | None, total: int, done: int) -> None:
        self.title, self.folder, self.total = title, folder, total
        self._every = max(total // 5, 1)
        self._next = done + self._every
        self._bar = bar(TextColumn("{task.fields[figures]}"))
        self._task = self._bar.add_task(literal(title), total=total, completed=done, figures="")
        self.lines: list[dict] = []
        self.stats: list[EnsembleStats] = []
        """Statistics of every step, kept only if there is no folder."""

    def __enter__(self) -> EnsembleDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def on_steps(self, first: int, stats: list[EnsembleStats]) -> None:
        self._bar.update(self._task, completed=first + len(stats) - 1)
        if self.folder is None:
            self.stats += stats

    def on_evaluation(self, step: int, lines: list[dict]) -> None:
        if self.folder is None:
            self.lines += lines
        else:
            self.folder.append_metrics(lines)
        figures = []
        for split, quantity in (("train", "loss"), ("dev", "accuracy")):
            values = [line[quantity] for line in lines if line["split"] == split and line[quantity] is not None]
            mean = sum(values) / len(values) if values else math.nan
            figures.append(f"{split} {quantity} {mean:.3f}")
        self._bar.update(self._task, figures=", ".join(figures) + " (means)")
        if not errors.is_terminal and step >= self._next:
            self._next = step + self._every
            console.print(literal(f"{self.title}  step {step}/{self.total}  {', '.join(figures)} (means)"))


def train_group(name: str, members: list[Member], worker: Worker, folder: EnsembleFolder, classes: tuple[str, ...]):
    """Train the members in `folder` from its last checkpoint to the end, and write the run folder of each.

    Return the results (`result.json`) by member name, or None if stopped; the folder can then be resumed.
    """
    results = {member.name: folder.path / member.name / "result.json" for member in members}
    if all(path.is_file() for path in results.values()):
        return {member.name: RunFolder(folder.path / member.name).read_result() for member in members}
    folder.path.mkdir(exist_ok=True)
    if folder.begun:
        parameters, moments, state = folder.read_state(members)
        ensemble = worker.ensemble(members, parameters)
        ensemble.load(parameters, moments, state.step)
    else:
        ensemble, state = worker.ensemble(members), EnsembleState.new(len(members))
    folder.recover(state.step, state.members[0].metrics)
    record, started = worker.record(), datetime.now().astimezone().isoformat(timespec="seconds")
    segments = folder.add_segment({"from_step": state.step, **record})

    def save(state: EnsembleState) -> None:
        folder.write_state(ensemble.parameters(), ensemble.moments(), state)

    _, total = total_steps(members[0].experiment, members[0].data.train)
    with stop_signals() as should_stop, EnsembleDisplay(name, folder, total, state.step) as display:
        state = train_together(ensemble, EnsembleSession(members, state), display, save, should_stop)
    if not state.finished:
        return None
    ensemble.load(state.best, {}, 0)
    lines: dict[str, list[dict]] = {member.name: [] for member in members}
    for line in folder.read_metrics():
        if line.get("run") in lines:
            lines[line["run"]].append(line)
    found = {}
    tests = evaluate_each(ensemble, members[0].experiment.model.head, [member.data.test for member in members])
    for number, (member, own, test) in enumerate(zip(members, state.members, tests, strict=True)):
        execution = {
            **record,
            "classes": list(classes),
            "data": read_data(member.experiment, Path())[1],
            "machine": machine.description(),
            "started": started,
            "segments": segments,
            "stacked_shape": len(members),
        }
        best = {key: array[number] for key, array in state.best.items()}
        own_folder = folder.write_member(member, execution, best, own, lines[member.name])
        data = member.data.test
        own_folder.write_predictions(predictions_of(data, test))
        run = Run(member.experiment, execution, member.data, own_folder, own)
        found[member.name] = result_of(run, test, lines[member.name])
        own_folder.write_result(found[member.name])
    return found


def train_once(name: str, members: list[Member], worker: Worker) -> tuple[EnsembleDisplay, EnsembleState, Ensemble]:
    """Train the members without a folder, for short runs. Return the display, the state and the ensemble."""
    ensemble, state = worker.ensemble(members), EnsembleState.new(len(members))
    _, total = total_steps(members[0].experiment, members[0].data.train)
    with EnsembleDisplay(name, None, total, 0) as display:
        state = train_together(ensemble, EnsembleSession(members, state), display, lambda state: None)
    return display, state, ensemble
