"""Tables of the page of one run: its settings, data, figures, classes, and what made it."""

from __future__ import annotations

from typing import Any

from core.report.baselines import class_rows
from core.report.figures import NONE, count, duration, made_with, memory
from core.report.runs import Run
from core.statistics import wilson_interval
from core.strings import count_reasons

SPLITS = ("train", "dev", "test")
FIGURES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "exact match",
    "micro_f1": "micro F1",
    "bleu": "BLEU",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "loss": "loss",
}
"""Names of figures by key, in the order of the page."""


def settings_rows(run: Run) -> dict[str, list[str]]:
    """Return the settings in words, by name."""
    experiment = run.experiment
    model, text, training = experiment.model, experiment.text, experiment.training
    rows = {"task": experiment.task, "recipe": experiment.recipe, "model": model.describe()}
    if not model.is_linear:
        rows["parameters"] = f"{run.parameters:,}"
    if experiment.data.kind != "digits":
        lower, half = ", lower-cased" if text.lowercase else "", ", full-width as ASCII" if text.half_width else ""
        rows["tokenizer"] = f"{text.tokenizer}{lower}{half}"
    if experiment.data.kind != "digits" and not model.is_linear:
        rows["vocabulary"] = f"at most {text.vocab_size:,} tokens that occur at least {count(text.min_count, 'time')}"
        kept = {"head": "its head", "tail": "its tail", "both": "both ends"}[text.truncate]
        rows["longest text"] = f"{text.max_length:,} tokens; of a longer one {kept}"
    vectors = run.execution.get("vectors")
    if vectors:
        words = vectors["found"] + vectors["missing"]
        rows["word vectors"] = f"{vectors['source']}: {vectors['found']:,} of {words:,} words found"
    if run.execution.get("start"):
        rows["start"] = f"values of {run.execution['start']['source']}"
    if not model.is_linear:
        optimizer = training.optimizer
        rows["optimizer"] = f"{optimizer.kind}, learning rate {optimizer.learning_rate:g}, {training.schedule.kind}"
        rows["training"] = f"{count(training.epochs, 'epoch')}, batches of {training.batch_size}, seed {training.seed}"
        rows["number format"] = training.dtype
    return {name: [value] for name, value in rows.items()}


def data_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the figures of each split, by column."""
    data, rows = run.execution["data"], []
    for split in SPLITS:
        own = data.get(split) or {}
        documents = own.get("documents")
        row = {
            "texts": _number(documents),
            "tokens": _number(own.get("tokens")),
            "mean length": _number(own.get("mean_length"), "{:,.1f}"),
            "longest": _number(own.get("max_length")),
            "truncated": _share(own.get("truncated"), documents),
            "out of vocabulary": NONE if own.get("unknown_share") is None else f"{own['unknown_share']:.1%}",
        }
        if run.experiment.model.is_linear:
            row = {name: value for name, value in row.items() if name not in ("truncated", "out of vocabulary")}
        rows.append((split, row))
    used = [name for name in rows[0][1] if any(row[name] != NONE for _, row in rows)]
    return [(split, {name: row[name] for name in used}) for split, row in rows if row["texts"] != NONE]


def label_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the number and share of texts, or of tokens for a tagger, of each class, by split."""
    data, classes = run.execution["data"], run.execution["classes"]
    counts = {split: (data.get(split) or {}).get("per_class") for split in SPLITS}
    known = {split: own for split, own in counts.items() if own and len(own) == len(classes)}
    return [
        (name, {split: f"{own[number]:,} ({own[number] / max(sum(own), 1):.1%})" for split, own in known.items()})
        for number, name in enumerate(classes)
        if known
    ]


def source_rows(run: Run) -> dict[str, list[str]]:
    """Return where the data is from, how it was split and what was skipped."""
    data = run.execution["data"]
    rows = {"source": data["description"]}
    for split in ("dev", "test"):
        if f"{split}_split" in data:
            rows[f"{split} split"] = str(data[f"{split}_split"])
    if data.get("left_out"):
        rows["skipped"] = count_reasons(data["left_out"])
    rows["fingerprint"] = data["fingerprint"]
    return {name: [value] for name, value in rows.items()}


def figure_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the figures of dev and test, by name."""
    rows = []
    for split in ("dev", "test"):
        own = run.result[split]
        rows.append((split, {name: _number(own.get(key), "{:.4f}") for key, name in FIGURES.items()}))
    if run.experiment.model.head.kind == "multilabel":
        for _, row in rows:
            row["exact match"] = row.pop("accuracy")
    used = [name for name in FIGURES.values() if rows[1][1].get(name, NONE) != NONE]
    interval = run.figure("test.interval")
    for split, row in rows:
        for name in set(FIGURES.values()) - set(used):
            row.pop(name, None)
        if interval:
            row["95 % interval of accuracy"] = f"{interval[0]:.4f} to {interval[1]:.4f}" if split == "test" else NONE
    return rows


def score_rows(run: Run) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """Return what the rows are (class, type or tag), and precision, recall and F1 of each."""
    rows = class_rows(run)
    if run.experiment.model.head.kind == "multilabel":
        return "label", rows
    matrix = run.confusion
    if rows and matrix is not None:
        for number, (_, row) in enumerate(rows):
            total = sum(matrix[number])
            low, high = wilson_interval(matrix[number][number], total) if total else (0.0, 1.0)
            row["95 % interval of recall"] = f"{low:.4f} to {high:.4f}" if total else NONE
        return "class", rows
    for key, name in (("per_type", "type"), ("per_tag", "tag")):
        found = run.figure(f"test.{key}")
        if found:
            return name, [(own, _scores(scores)) for own, scores in found.items()]
    return "class", rows


def length_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the exact match of an encoder-decoder by length of the target."""
    found = run.figure("test.by_length") or {}
    return [
        (length, {"texts": f"{texts:,}", "exact match": f"{right / texts:.4f}"})
        for length, (right, texts) in found.items()
        if texts
    ]


def coverage_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the share of dev texts that reach a calibrated probability, and the accuracy on these."""
    coverage = run.figure("calibration.coverage") or []
    chosen = [hundredths for hundredths in (50, 60, 70, 80, 90, 95, 99) if hundredths < len(coverage)]
    return [
        (
            f"{hundredths / 100:.2f}",
            {"share of dev texts": f"{share:.1%}", "accuracy": NONE if right is None else f"{right:.4f}"},
        )
        for hundredths in chosen
        for share, right in [coverage[hundredths]]
    ]


def confusions(run: Run, limit: int) -> list[tuple[str, dict[str, str]]]:
    """Return the most frequent confusions of two classes, largest first."""
    matrix, classes = run.confusion or [], run.execution["classes"]
    found = [(texts, a, b) for a, row in enumerate(matrix) for b, texts in enumerate(row) if a != b and texts]
    found.sort(key=lambda own: (-own[0], own[1], own[2]))
    rows = []
    for texts, a, b in found[:limit]:
        share = f"{texts / sum(matrix[a]):.1%}"
        rows.append((classes[a], {"predicted": classes[b], "count": f"{texts:,}", "share of the class": share}))
    return rows


def record_rows(run: Run) -> dict[str, list[str]]:
    """Return versions, device, machine, times and memory, by name."""
    training = run.result["training"]
    rows: dict[str, Any] = {}
    for section in made_with(run.execution, run.implementation):
        rows |= section
    rows |= {
        "started": run.started or NONE,
        "training": duration(training["seconds"]),
        "steps": f"{training['steps']:,}, best on dev at {run.figure('dev.step'):,}",
        "tokens per second": f"{training['tokens_per_second']:,.0f}",
        "peak memory": memory(run.result),
    }
    if run.resumed:
        rows["resumed"] = run.resumed
    return {name: [str(value or NONE)] for name, value in rows.items()}


def _scores(own: dict[str, Any]) -> dict[str, str]:
    return {
        "precision": f"{own['precision']:.4f}",
        "recall": f"{own['recall']:.4f}",
        "F1": f"{own['f1']:.4f}",
        "count": f"{own['count']:,}",
    }


def _number(value: Any, form: str = "{:,}") -> str:
    return NONE if value is None else form.format(value)


def _share(part: int | None, whole: int | None) -> str:
    return NONE if part is None or not whole else f"{part / whole:.1%}"
