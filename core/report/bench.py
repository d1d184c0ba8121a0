"""The table of `tasks.bench`: models by rows, means and spreads over seeds; as a page, Markdown and CSV."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from core.files import row_writer
from core.report.compare import Pair, agreement, compare, differences, warnings_of
from core.report.figures import NONE, count, duration, made_with, rows_of
from core.report.html import render
from core.report.runs import Run

CSV_COLUMNS = ("model", "framework", "seeds", "test_accuracy", "test_accuracy_std", "test_accuracy_min")
CSV_COLUMNS += ("test_accuracy_max", "dev_accuracy", "macro_f1", "train_seconds", "tokens_per_second", "parameters")
RUN_COLUMNS = ("model", "framework", "seed", "test_accuracy", "dev_accuracy", "macro_f1", "test_loss", "best_step")
RUN_COLUMNS += ("steps", "train_seconds", "tokens_per_second", "peak_memory_mb", "folder")


@dataclass(frozen=True)
class Entry:
    """The finished runs of a model in one framework, one per seed, in the order of the seeds."""

    model: str
    title: str
    about: str
    backend: str
    runs: tuple[Run, ...]

    def values(self, name: str) -> list[float]:
        """Return a figure of the result of every run, by its dotted name."""
        return [run.figure(name) for run in self.runs]

    @property
    def accuracies(self) -> list[float]:
        return self.values("test.accuracy")

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the test accuracy over seeds; None for a single one."""
        return stdev(self.accuracies) if len(self.runs) > 1 else None

    @property
    def seconds(self) -> float:
        return mean(self.values("training.seconds"))

    @property
    def tokens_per_second(self) -> float:
        return mean(self.values("training.tokens_per_second"))

    @property
    def parameters(self) -> int:
        return self.runs[0].parameters


def cells(entry: Entry, several_frameworks: bool) -> dict[str, str]:
    """Return a row of the table, by column."""
    scores, spread = entry.accuracies, entry.spread
    found = {"framework": entry.backend} if several_frameworks else {}
    return {
        **found,
        "test accuracy": f"{mean(scores):.4f}" + ("" if spread is None else f" ± {spread:.4f}"),
        "lowest, highest": f"{min(scores):.4f}, {max(scores):.4f}" if len(scores) > 1 else NONE,
        "dev accuracy": f"{mean(entry.values('dev.accuracy')):.4f}",
        "macro F1": f"{mean(entry.values('test.macro_f1')):.4f}",
        "training": duration(entry.seconds),
        "tokens/s": f"{entry.tokens_per_second:,.0f}",
        "parameters": f"{entry.parameters:,}",
    }


def table(entries: Sequence[Entry]) -> list[tuple[str, dict[str, str]]]:
    """Return the table: a title and cells by column, per entry."""
    several = len({entry.backend for entry in entries}) > 1
    return [(entry.title, cells(entry, several)) for entry in entries]


def markdown(entries: Sequence[Entry]) -> str:
    """Return the table as Markdown, with its title and what the figures are."""
    rows = table(entries)
    columns = list(rows[0][1])
    lines = [f"# {_title(entries)}", "", _lead(entries), ""]
    lines += ["| model | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {title} | " + " | ".join(own.values()) + " |" for title, own in rows]
    return "\n".join([*lines, "", _caption(entries), ""])


def csv_table(entries: Sequence[Entry]) -> str:
    """Return the table as CSV, with a row per model and framework."""
    rows = []
    for entry in entries:
        scores, spread = entry.accuracies, entry.spread
        figures = (mean(scores), "" if spread is None else spread, min(scores), max(scores))
        figures += (mean(entry.values("dev.accuracy")), mean(entry.values("test.macro_f1")))
        figures += (round(entry.seconds, 3), round(entry.tokens_per_second, 1), entry.parameters)
        rows.append((entry.model, entry.backend, len(entry.runs), *figures))
    return _csv(CSV_COLUMNS, rows)


def csv_runs(entries: Sequence[Entry]) -> str:
    """Return the figures of all runs as CSV, with a row per run."""
    names = ("test.accuracy", "dev.accuracy", "test.macro_f1", "test.loss", "dev.step", "training.steps")
    names += ("training.seconds", "training.tokens_per_second")
    rows = []
    for entry in entries:
        for run in entry.runs:
            figures = [run.figure(name) for name in names]
            memory = run.result.get("peak_memory_mb")
            seed = run.experiment.training.seed
            rows.append((entry.model, entry.backend, seed, *figures, "" if memory is None else memory, run.label))
    return _csv(RUN_COLUMNS, rows)


def bench_page(entries: Sequence[Entry], picture: bytes) -> str:
    """Return the HTML. `picture` is a PNG."""
    firsts = list({entry.model: entry for entry in entries}.values())
    specs = differences([entry.runs[0].experiment for entry in firsts])
    runs = [run for entry in entries for run in entry.runs]
    by_backend = {entry.backend: entry for entry in reversed(entries)}
    rows = table(entries)
    best = max(entries, key=lambda entry: mean(entry.accuracies))
    return render(
        "bench.html",
        title=_title(entries),
        lead=_lead(entries),
        notes=warnings_of(runs) if len(runs) > 1 else [],
        caption=_caption(entries),
        rows=rows,
        words=("framework",),
        best=("test accuracy", cells(best, False)["test accuracy"]),
        picture=base64.b64encode(picture).decode(),
        models=[(entry.title, {"what it sees": entry.about, "model": _model(entry)}) for entry in firsts],
        labels=[entry.title for entry in firsts],
        differing=specs,
        agreement=_agreement(entries),
        backends=list(by_backend),
        runs=[(run.label, _run_cells(run)) for run in runs],
        records=rows_of(*(_record(entry.runs[0]) for entry in by_backend.values())),
    )


def _title(entries: Sequence[Entry]) -> str:
    task = entries[0].runs[0].experiment.task
    models = len({entry.model for entry in entries})
    return f"{task}: {count(models, 'model')} compared"


def _lead(entries: Sequence[Entry]) -> str:
    first = entries[0].runs[0]
    data, training = first.execution["data"], first.experiment.training
    counts = {split: data.get(split, {}).get("documents") for split in ("train", "dev", "test")}
    texts = ", ".join(f"{number:,} {split}" for split, number in counts.items() if number is not None)
    best, worst = (own(entries, key=lambda entry: mean(entry.accuracies)) for own in (max, min))
    found = f"{data['description']}: {texts} texts; {count(len(entries[0].runs), 'seed')}."
    if best is not worst:
        found += f" Highest mean test accuracy: {best.title}, {mean(best.accuracies):.4f};"
        found += f" lowest: {worst.title}, {mean(worst.accuracies):.4f}."
    limit = "" if training.patience is None else "at most "  # early stopping
    return (
        f"{found} All models train for {limit}{count(training.epochs, 'epoch')} on the same texts, with one schedule."
    )


def _caption(entries: Sequence[Entry]) -> str:
    spread = "Accuracy: mean over seeds ± sample standard deviation. " if len(entries[0].runs) > 1 else ""
    return (
        f"{spread}Each run’s best checkpoint on dev is evaluated on test. Training: mean seconds of a run, without"
        " reading the texts. The models differ in encoder and pooling only; none is tuned for its own."
    )


def _model(entry: Entry) -> str:
    model = entry.runs[0].experiment.model
    return f"{model.encoder.describe()}; {model.head.describe()}"


def _agreement(entries: Sequence[Entry]) -> list[tuple[str, dict[str, str]]]:
    """Return, per model in two frameworks, how far predictions of the same seeds agree."""
    by_model: dict[str, list[Entry]] = {}
    for entry in entries:
        by_model.setdefault(entry.model, []).append(entry)
    found = []
    for own in by_model.values():
        if len(own) == 2:
            pairs: list[Pair] = [compare(*runs) for runs in zip(own[0].runs, own[1].runs, strict=True)]
            if not any(pair.incomparable for pair in pairs):
                found.append((own[0].title, agreement(pairs, [entry.backend for entry in own])))
    return found


def _run_cells(run: Run) -> dict[str, str]:
    return {
        "test accuracy": f"{run.figure('test.accuracy'):.4f}",
        "dev accuracy": f"{run.figure('dev.accuracy'):.4f}",
        "macro F1": f"{run.figure('test.macro_f1'):.4f}",
        "test loss": f"{run.figure('test.loss'):.4f}",
        "best on dev": f"step {run.figure('dev.step'):,} of {run.figure('training.steps'):,}",
        "training": duration(run.figure("training.seconds")),
    }


def _record(run: Run) -> list[dict[str, object]]:
    data = run.execution["data"]
    own: dict[str, object] = {
        "data": data["description"],
        "split: dev, test": f"{data.get('dev_split', NONE)}, {data.get('test_split', NONE)}",
        "started": run.started,
    }
    return [*made_with(run.execution, run.implementation), own]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    write = row_writer(stream)
    for row in (columns, *rows):
        write(row)
    return stream.getvalue()
