"""What a run says of itself: its first lines, its result, and its last lines."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape

from backends import implementations
from core.data.dataset import Dataset, Prepared
from core.data.sources.lookup import read_texts, shorten
from core.errors import UserError
from core.models.model import parameter_table
from core.plots.confusion import draw_confusion, numbering
from core.spec.experiment import Experiment
from core.train.metrics import Evaluation
from core.train.run_folder import RunFolder
from tasks.cli.console import DataProgress, console, errors, fact
from tasks.cli.flags import name_flags

CONFUSION = "confusion.png"


MISTAKES, SHOWN, LINE = 100, 5, 90
"""Wrong answers written, printed, and characters printed of each."""


NAME = 40
"""Characters printed of a class's name."""


@dataclass(frozen=True)
class Task:
    """What is particular to one task."""

    program: str
    """As it is typed after `python -m`."""
    example: str
    """A text to try a finished run on; "" where none fits all."""

    @property
    def name(self) -> str:
        return self.program.rpartition(".")[2]


@dataclass(frozen=True)
class Mistake:
    name: str
    label: str
    predicted: str
    probability: float
    """Of what was said."""
    text: str


def describe(experiment: Experiment, execution: dict, prepared: Prepared, folder: RunFolder) -> None:
    """The first lines of a run."""
    model, data = experiment.model, execution["data"]
    encoder, head = model.encoder, model.head
    versions = ", ".join(f"{name} {version}" for name, version in execution["versions"].items() if name != "kernels")
    fact("task", f"{experiment.task}, recipe {experiment.recipe}")
    fact("backend", f"{versions}; device {execution['device']}; recurrent layers: {_layers(execution)}")
    fact("data", data["description"])
    counts = ", ".join(f"{data[part]['documents']:,} {part}" for part in ("train", "dev", "test"))
    fact("", f"{counts}; dev split {data['dev_split']}; vocabulary {len(prepared.vocabulary):,}")
    if data.get("left_out"):
        fact("", "left out: " + ", ".join(f"{number:,} {reason}" for reason, number in data["left_out"].items()))
    if experiment.known_classes is None:
        fact("classes", _classes(execution["classes"], data["train"]["per_class"]))
    if "tokenized_by" in execution:
        fact("words", f"cut by {execution['tokenized_by']}{'' if experiment.text.jieba_hmm else ', HMM off'}")
    size = sum(int(np.prod(row.shape)) for row in parameter_table(model))
    direction = "bidirectional " if encoder.bidirectional else ""
    fact(
        "model",
        f"embedding {model.embedding.vocab_size:,} x {model.embedding.dim}, {encoder.num_layers} x {direction}"
        f"{encoder.cell.upper()} {encoder.hidden_size}, {head.pooling} pooling, {size:,} parameters",
    )
    if "vectors" in execution:
        fact("vectors", _vectors(execution["vectors"], model.embedding.trainable))
    fact("run", str(folder.path))


def _classes(classes: list[str], counts: list[int]) -> str:
    """How many, and the commonest by name."""
    order = sorted(range(len(classes)), key=lambda number: -counts[number])
    named = ", ".join(f"{shorten(classes[number], NAME)} {counts[number]:,}" for number in order[:8])
    more = f", and {len(classes) - 8} more, down to {counts[order[-1]]:,}" if len(classes) > 8 else ""
    return f"{len(classes)}: {named}{more}"


def report(task: Task, folder: RunFolder, result: dict, example: str) -> None:
    """The last lines of a finished run; `example` is a text to try it on where the task has none of its own."""
    test, dev, training = result["test"], result["dev"], result["training"]
    console.print()
    console.print(
        f"[bold]test accuracy {test['accuracy']:.4f}[/] on {test['documents']:,} held-out texts"
        f" (dev {dev['accuracy']:.4f} at step {dev['step']}; macro F1 {test['macro_f1']:.4f})"
    )
    epochs, memory, share = training["epoch_seconds"], result["peak_memory_mb"], training["device_share"]
    console.print(
        f"trained in {training['seconds']:.0f} s ({sum(epochs) / max(len(epochs), 1):.1f} s per epoch,"
        f" {training['tokens_per_second']:,.0f} tokens/s"
        + ("" if share is None else f", {'CPU' if result['device'] == 'cpu' else 'GPU'} busy {share:.0%}")
        + (f", peak memory {memory:,} MB)" if memory else ")")
    )
    fact("curves", str(folder.path / "curves.png"))
    fact("classes", str(folder.path / CONFUSION))
    text = f'"{task.example}"' if task.example else shlex.quote(example or "a text")
    fact("try", f"python -m {task.program} predict {shlex.quote(str(folder.path))} {text}")


def keep_confusion(folder: RunFolder, found: Evaluation, classes: list[str], title: str) -> None:
    """Draw the confusion matrix, and say where its classes had to be numbered."""
    legend = draw_confusion(found.confusion, classes, f"{title}: test", folder.path / CONFUSION)
    if legend:
        errors.print(f"[yellow]note:[/] {escape(numbering(legend, CONFUSION))}")


def keep_mistakes(
    folder: RunFolder, experiment: Experiment, execution: dict, test: Dataset, found: Evaluation, cache: Path
) -> str:
    """Write `mistakes.csv`, the wrong answers of which the model was surest, with their texts; and show a few.

    Returns the beginning of one of them, "" where there is none.
    """
    classes = execution["classes"]
    sureness = found.probabilities[np.arange(len(test)), test.labels]
    wrong = np.flatnonzero(found.predicted != test.labels)
    wrong = wrong[np.argsort(sureness[wrong], kind="stable")][:MISTAKES]
    texts = {}
    if len(wrong):
        with DataProgress() as progress:
            try:
                names = {test.names[row] for row in wrong}
                texts = read_texts(experiment, execution["data"]["fingerprint"], names, cache, progress)
            except UserError as error:
                errors.print(f"[yellow]note:[/] mistakes.csv has no texts: {escape(name_flags(str(error)))}")
    rows = [
        Mistake(
            test.names[row],
            classes[test.labels[row]],
            classes[found.predicted[row]],
            float(found.probabilities[row].max()),
            texts.get(test.names[row], ""),
        )
        for row in wrong
    ]
    folder.write_mistakes([(own.name, own.label, own.predicted, f"{own.probability:.6f}", own.text) for own in rows])
    if not rows:
        return ""
    console.print(f"\nmost wrong on test, of {int((found.predicted != test.labels).sum()):,} mistakes:")
    answers = [f"{shorten(own.label, NAME)}, said {shorten(own.predicted, NAME)}" for own in rows[:SHOWN]]
    width = max(map(len, answers))
    for own, answer in zip(rows[:SHOWN], answers, strict=True):
        said = answer.ljust(width)
        console.print(escape(f"  {said}  {own.probability:.4f}  {shorten(own.text, LINE)}"))
    fact("more", str(folder.path / "mistakes.csv"))
    return shorten(rows[0].text, LINE // 2).removesuffix(" \u2026").lstrip("- ")


def _vectors(record: dict, trainable: bool) -> str:
    found, words = record["found"], record["found"] + record["missing"]
    return (
        f"{record['source']}: {found:,} of {words:,} words found ({100 * found / words:.1f} %),"
        f" the rest as the spec says; {'trained' if trainable else 'frozen'}"
    )


def _layers(execution: dict) -> str:
    """The implementation, and what there is to say about it: its build, or why it is not ours."""
    name, obstacle = execution["implementation"], implementations.why_not_fast(execution["device"])
    if name == "fast":
        return f"fast (ours, {execution['versions']['kernels']})"
    return f"{name} (not fast: {obstacle})" if obstacle else name


def title_of(experiment: Experiment, execution: dict) -> str:
    versions = execution["versions"]
    name = f"{execution['backend']} {versions[execution['backend']]}"
    kind = execution["data"]["kind"]
    where = f"{name} on {execution['device']}, {'local' if kind == 'path' else kind} data"
    return f"{experiment.task}, recipe {experiment.recipe}, {where}"
