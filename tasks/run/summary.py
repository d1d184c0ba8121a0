"""Print a run's description, its misclassified texts and its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends import implementations
from core.data.class_checks import untested
from core.data.sources.lookup import read_texts, shorten
from core.errors import UserError
from core.models.embedding import Embedding
from core.models.heads.scores import Evaluation
from core.models.model import parameter_count
from core.plots.confusion import draw_confusion, numbering
from core.strings import count_reasons
from core.train.misclassified import most_confident, with_texts
from core.train.record import Run
from core.train.run_folder import RunFolder
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.paths import quoted
from tasks.cli.terminal import literal, note

CONFUSION = "confusion.png"

WIDTH = 16
"""Width of the label column in the last lines of a run."""


SHOWN, LINE = 5, 90
"""Number of misclassified texts to print, and maximum characters of each."""


NAME = 40
"""Maximum characters of a class name to print."""


LEGEND = 2000
"""Maximum characters of the note with the numbers of classes."""


@dataclass(frozen=True)
class Task:
    """Describe one task."""

    program: str
    """Module name, after `python -m`."""
    example: str
    """Sample text for a finished run; "" if no text suits every data set."""

    @property
    def name(self) -> str:
        return self.program.rpartition(".")[2]


def describe(run: Run) -> None:
    """Print the description of a run, before it trains."""
    experiment, execution = run.experiment, run.execution
    model, data = experiment.model, execution["data"]
    versions = ", ".join(f"{name} {version}" for name, version in execution["versions"].items() if name != "kernels")
    fact("task", f"{experiment.task}, recipe {experiment.recipe}")
    fact("backend", f"{versions}; device {execution['device']}; implementation {_layers(run)}")
    fact("data", data["description"])
    counts = ", ".join(f"{data[part]['documents']:,} {part}" for part in ("train", "dev", "test"))
    fact("", f"{counts}; dev split {data['dev_split']}; vocabulary {len(run.data.vocabulary):,}")
    if data.get("left_out"):
        fact("", f"skipped: {count_reasons(data['left_out'])}")
    if experiment.known_classes is None:
        fact("classes", _classes(execution["classes"], data["train"]["per_class"]))
        for line in _lacking(execution["classes"], data):
            fact("", line)
    if "tokenized_by" in execution:
        fact("text", f"tokenized by {execution['tokenized_by']}{'' if experiment.text.jieba_hmm else ', HMM off'}")
    size = parameter_count(model)
    fact("model", f"{model.describe()}, {size:,} parameters")
    if "vectors" in execution:
        fact("vectors", _vectors(execution["vectors"], model.embedding))
    fact("run", str(run.folder.path))


def _classes(classes: list[str], counts: list[int]) -> str:
    """Return the number of classes and the most frequent ones by name."""
    order = sorted(range(len(classes)), key=lambda number: -counts[number])
    named = ", ".join(f"{shorten(classes[number], NAME)} {counts[number]:,}" for number in order[:8])
    more = f", and {len(classes) - 8} more, down to {counts[order[-1]]:,}" if len(classes) > 8 else ""
    return f"{len(classes)}: {named}{more}"


def _lacking(classes: list[str], data: dict) -> list[str]:
    """Return a line for each set of classes that dev or test, or both, lack."""
    splits: dict[tuple[str, ...], list[str]] = {}
    for split, names in untested(classes, {split: data[split]["per_class"] for split in ("train", "dev", "test")}):
        splits.setdefault(tuple(names), []).append(split)
    lines = []
    for names, lacking in splits.items():
        shown = ", ".join(shorten(name, NAME) for name in names[:8])
        more = f", and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no text of: {shown}{more}")
    return lines


def report(task: Task, folder: RunFolder, result: dict, example: str) -> None:
    """Print the results of a finished run; `example` is the sample text if the task has none."""
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
    fact("curves", str(folder.path / "curves.png"), WIDTH)
    fact("confusion matrix", str(folder.path / CONFUSION), WIDTH)
    text = f'"{task.example}"' if task.example else quoted(example or "a text")
    fact("next", f"python -m {task.program} predict {quoted(folder.path)} {text}", WIDTH, command=True)


def draw_or_note(name: str, draw: Callable[[], None]) -> None:
    """Draw a picture; if that fails, print a note: a picture must not cost the result of a run."""
    try:
        draw()
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {shorten(str(error), LINE)}"
        note(f"{name} was not drawn ({reason})")


def save_confusion(run: Run, found: Evaluation) -> None:
    """Draw the confusion matrix, and print a note if its classes are numbered."""
    legend = draw_confusion(
        found.confusion, run.execution["classes"], f"{run.title}: test", run.folder.path / CONFUSION
    )
    if legend:
        note(numbering(legend, CONFUSION), LEGEND)


def save_mistakes(run: Run, found: Evaluation, cache: Path) -> str:
    """Write `mistakes.csv`, the most confident misclassifications with their texts, and print a few.

    Return the beginning of the first text, "" if there is none.
    """
    wrong = most_confident(run.data.test, found, run.execution["classes"])
    if wrong:
        names, fingerprint = {own.name for own in wrong}, run.execution["data"]["fingerprint"]
        with DataProgress() as progress:
            try:
                wrong = with_texts(wrong, read_texts(run.experiment, fingerprint, names, cache, progress))
            except UserError as error:
                note(f"mistakes.csv has no texts: {error}")
    run.folder.write_mistakes([own.cells for own in wrong])
    if not wrong:
        return ""
    number = int((found.predicted != run.data.test.labels).sum())
    console.print(f"\nmost confident misclassifications ({len(wrong[:SHOWN])} of {number:,}):")
    labels = [f"true: {shorten(own.label, NAME)}, predicted: {shorten(own.predicted, NAME)}" for own in wrong[:SHOWN]]
    width = max(map(len, labels))
    room = min(LINE, max(console.width - width - 12, 20)) if console.is_terminal else LINE
    for own, label in zip(wrong[:SHOWN], labels, strict=True):
        console.print(literal(f"  {label.ljust(width)}  {own.probability:.4f}  {shorten(own.text, room)}"))
    fact("errors", str(run.folder.path / "mistakes.csv"))
    return shorten(wrong[0].text, LINE // 2).removesuffix(" \u2026").lstrip("- ")


MISSING = {"init": "initialized randomly", "zero": "zero", "mean": "their mean"}
"""Initial rows of words without a vector, by `vectors_missing`."""


def _vectors(record: dict, embedding: Embedding) -> str:
    found, words = record["found"], record["found"] + record["missing"]
    scaled = f", scaled by {embedding.vectors_scale:g}" if embedding.vectors_scale != 1.0 else ""
    return (
        f"{record['source']}: {found:,} of {words:,} words found ({100 * found / words:.1f} %),"
        f" the rest {MISSING[embedding.vectors_missing]}{scaled}; {'trainable' if embedding.trainable else 'frozen'}"
    )


def _layers(run: Run) -> str:
    """Return the implementation with its build, or with the reason why `fast` is unavailable."""
    execution = run.execution
    name, reason = execution["implementation"], implementations.why_not_fast(execution["device"])
    if "fast" not in run.experiment.model.encoder.implementations:
        return name
    if name == "fast":
        return f"fast ({execution['versions']['kernels']})"
    return f"{name} (fast unavailable: {reason})" if reason else name
