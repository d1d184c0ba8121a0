"""Time the evaluators that predict with a finished run: the kernels, NumPy, both frameworks, and ONNX Runtime.

Clock rates and other processes change within seconds. Therefore all evaluators take turns in every round, in random
order, and are compared by the ratios within a round.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends import kernels
from core.batch import Batch, pad
from core.benchmark.load import OtherWork
from core.benchmark.timing import Summary
from core.data.dataset import Dataset, evaluation_batches
from core.data.encode import encode_worded
from core.data.text_files import open_lines
from core.engine.machine import description, processor
from core.errors import UserError
from core.files import write_json_atomic
from core.models.heads import PooledHead
from core.rng import generator
from core.spec.experiment import Experiment
from core.train.run_folder import RunFolder
from tasks.bench.onnx_engine import OnnxEngine
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.evaluators import EVALUATORS, FAST, choose, evaluator
from tasks.run.latest import named_run
from tasks.run.predict_file import encoding_of
from tasks.run.worker import Request

ONNX = "onnxruntime"
PAUSE = 0.05
"""Seconds between two timings, in which the threads of the last evaluator fall asleep."""
LEAST_BATCHES = 4
"""Batches per timing; of single texts, `SINGLE`."""
SINGLE = 32


@dataclass(frozen=True)
class Case:
    """Texts of one kind in batches of one size, of which a round times `count`."""

    name: str
    size: int
    batches: list[Batch]
    count: int

    def of(self, number: int) -> list[Batch]:
        """Return the batches of a round, other ones in each."""
        return [self.batches[(number * self.count + own) % len(self.batches)] for own in range(self.count)]


@dataclass
class Measured:
    """The timings of an evaluator in a case, one per round."""

    wall: list[float] = field(default_factory=list)
    """Texts per second."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds of this process per 1,000 texts, over all threads."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    folder = RunFolder.open(Path(named_run(arguments.run)))
    experiment, _ = folder.read_record()
    if not isinstance(experiment.model.head, PooledHead) or experiment.model.ngrams is not None:
        raise UserError(f"{arguments.run}: expected a run of a classifier without n-grams")
    for name, value in (("--rounds", arguments.rounds), ("--length", arguments.length)):
        if value < 1:
            raise UserError(f"{name} {value}: expected at least 1")
    with DataProgress() as progress:
        encoding = encoding_of(experiment, arguments.encoding)
        lines = [line for line in open_lines(Path(arguments.file), encoding, progress) if line.strip()]
    dataset, _ = encode_worded(lines, folder.read_vocabulary(experiment.model), experiment.text)
    if len(dataset) == 0:
        raise UserError(f"{arguments.file}: no text has a token: give texts of the language of the run")
    cases = list(cases_of(dataset, arguments.batch_sizes, arguments.length))
    engines = engines_of(folder, experiment, arguments.evaluators)
    fact("texts", f"{len(dataset):,} of {arguments.file}, {kernels.threads()} threads", 12)
    found, differences, others = measure(engines, cases, arguments.rounds)
    _print(found, cases, differences, others)
    if arguments.out is not None:
        write_json_atomic(arguments.out, record(found, cases, differences, others))
        fact("written", arguments.out, 12)
    return 0


def cases_of(dataset: Dataset, sizes: list[int], length: int) -> Iterator[Case]:
    """Yield texts of equal `length`, pieces of the joined texts, and the texts as they are, in batches of `sizes`."""
    tokens = dataset.tokens.astype(np.int64)
    rows = generator(0, "bench predict", "texts").permutation(len(dataset))
    for size in sizes:
        if size < 1:
            raise UserError(f"--batch-sizes {size}: expected at least 1")
        count = SINGLE if size == 1 else LEAST_BATCHES
        least = max(size, count) * length
        joined = np.tile(tokens, -(-least // len(tokens)))
        pieces = joined[: len(joined) // length * length].reshape(-1, length)
        starts = range(0, len(pieces) - size + 1, size)
        yield Case(f"{length} tokens", size, [pad(list(pieces[own : own + size]), {}) for own in starts], count)
        if size == 1:
            batches = [dataset.batch(rows[own : own + 1]) for own in range(len(rows))]
        else:
            batches = [batch for _, batch in evaluation_batches(dataset, size)]
            batches = [batches[own] for own in generator(0, "bench predict", "batches", size).permutation(len(batches))]
        yield Case("lengths of the texts", size, batches, count)


def engines_of(folder: RunFolder, experiment: Experiment, names: list[str] | None) -> dict[str, Any]:
    """Return the named engines, by default all that are installed and know the model. Raises UserError."""
    found, own = {}, experiment.model
    for name in names or [*EVALUATORS, ONNX]:
        if name == ONNX:
            missing = [module for module in (ONNX, "onnx") if importlib.util.find_spec(module) is None]
            reason = f"not installed: pip install {' '.join(missing)}" if missing else None
            if reason is None and experiment.training.dtype != "float32":
                reason = "float32 only"
            if reason is None:
                found[name] = OnnxEngine(own, folder.read_best(own), kernels.threads())
        elif name in backends.NAMES and not backends.installed(name):
            reason = f"not installed: {backends.how_to_install(name)}"
        else:
            reason = None
            if names is None and name == FAST and choose(experiment, Request())[0] != FAST:
                reason = choose(experiment, Request())[1]
            if reason is None:
                found[name] = evaluator(folder, experiment, Request(name, "cpu")).engine
        if reason is not None:
            if names:
                raise UserError(f"--evaluators {name}: {reason}")
            note(f"{name} is not timed: {reason}")
    return found


def measure(
    engines: dict[str, Any], cases: list[Case], rounds: int
) -> tuple[dict[tuple[str, int], dict[str, Measured]], dict[str, float], float | None]:
    """Return timings by case and evaluator, the largest differences to the first, and the cores that others used."""
    found = {(case.name, case.size): {name: Measured() for name in engines} for case in cases}
    differences: dict[str, float] = dict.fromkeys(engines, 0.0)
    load = OtherWork(())
    with DataProgress() as progress:
        for number in range(-1, rounds):  # round -1 is a warm-up, and compares the logits
            for place, case in enumerate(cases):
                progress("timing", (number + 1) * len(cases) + place, (rounds + 1) * len(cases))
                batches, names = case.of(number + 1), list(engines)
                order = generator(0, "bench predict", number + 1, place).permutation(len(names))
                if number < 0:
                    logits = {name: engines[name].logits(batches[0]) for name in names}
                    for name in names:
                        own = float(np.abs(logits[name] - logits[names[0]]).max())
                        differences[name] = max(differences[name], own)
                for name in [names[own] for own in order]:
                    time.sleep(PAUSE)
                    wall, cpu = _timed(engines[name], batches)
                    if number >= 0:
                        texts, own = case.size * len(batches), found[case.name, case.size][name]
                        own.wall.append(texts / wall)
                        own.cpu.append(1000 * cpu / texts)
    return found, differences, load.cores()


def _timed(engine: Any, batches: list[Batch]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of the batches."""
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        engine.logits(batch)
    return time.perf_counter() - wall, time.process_time() - cpu


def ratios(found: dict[str, Measured], name: str) -> Summary:
    """Return how many times as fast the first evaluator is as another, by rounds."""
    first = next(iter(found.values()))
    return Summary.of(mine / other for mine, other in zip(first.wall, found[name].wall, strict=True))


def _print(found: dict, cases: list[Case], differences: dict[str, float], others: float | None) -> None:
    for case in cases:
        own = found[case.name, case.size]
        console.print(literal(f"batches of {case.size}, {case.name}"))
        for name, measured in own.items():
            first = next(iter(own))
            more = "" if name == first else f"  {first} is {ratios(own, name).median:.2f} times as fast"
            speed, cpu = Summary.of(measured.wall).median, Summary.of(measured.cpu).median
            console.print(literal(f"  {name:<12} {speed:>9,.0f} texts/s  {cpu:>7.3f} CPU s / 1,000 texts{more}"))
    largest = max(differences.values())
    console.print(literal(f"largest difference of logits to {next(iter(differences))}: {largest:.1e}"))
    if others is not None:
        console.print(literal(f"cores that other processes used: {others:.1f}"))


def record(found: dict, cases: list[Case], differences: dict[str, float], others: float | None) -> dict:
    """Return all timings as JSON."""
    rows = [
        {
            "case": case.name,
            "batch_size": case.size,
            "evaluator": name,
            "texts_per_second": {**asdict(Summary.of(own.wall)), "rounds": own.wall},
            "cpu_seconds_per_1000_texts": {**asdict(Summary.of(own.cpu)), "rounds": own.cpu},
            "first_is_faster_by": asdict(ratios(found[case.name, case.size], name)),
        }
        for case in cases
        for name, own in found[case.name, case.size].items()
    ]
    machine = {**description(), "processor": processor(), "threads": kernels.threads(), "cores_used_by_others": others}
    return {"machine": machine, "largest_difference_of_logits": differences, "rows": rows}


def _parser() -> Parser:
    parser = Parser(
        prog=f"{program_command('tasks.bench')} predict",
        description="Time predictions of a finished run with every evaluator, in interleaved rounds, on texts of equal"
        " length and on texts as they are. Compare ratios: other processes slow down all evaluators of a round.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder of a classifier")
    add("--file", metavar="FILE", required=True, help="one text per line")
    add("--encoding", metavar="NAME", help="encoding of the file [the run's, or utf-8]")
    add("--evaluators", nargs="+", metavar="E", help=f"{', '.join([*EVALUATORS, ONNX])} [all installed]")
    add("--batch-sizes", nargs="+", type=int, metavar="N", default=[1, 64], help="texts per batch [1 64]")
    add("--length", type=int, metavar="N", default=256, help="tokens of the texts of equal length [256]")
    add("--rounds", type=int, metavar="N", default=7, help="rounds [7]")
    add("--out", metavar="FILE", help="write all timings as JSON")
    return parser
