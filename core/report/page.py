"""Content of the page that compares finished runs; its layout is templates/comparison.html."""

from __future__ import annotations

from itertools import combinations

from core.report.baselines import baseline_row, class_rows
from core.report.charts import curve_svg
from core.report.compare import Pair, agreement_of, comparable, compare, differences, order, warnings_of
from core.report.figures import NONE, count, duration, made_with, memory, rows_of, spec_trees
from core.report.html import render
from core.report.runs import Run

FEW_CLASSES = 6
"""Confusion matrices with more classes are collapsed."""
SCORES = {"micro F1": "micro_f1", "macro F1": "macro_f1", "F1": "f1", "exact match": "exact_match", "BLEU": "bleu"}
"""Figures of the test split other than accuracy and loss, which depend on the kind of model, by column."""
WORDS = ("framework", "model", "recipe", "device", "implementation")
"""Text columns of the table of runs."""


def pairs_of(runs: list[Run]) -> list[Pair]:
    """Compare all pairs of runs."""
    return [compare(first, second) for first, second in combinations(order(runs), 2)]


def page(runs: list[Run], pairs: list[Pair], texts: dict[str, dict[str, str]], no_texts: dict[str, str]) -> str:
    """Return the HTML.

    By fingerprint of the data set, `texts` holds its texts by name, and `no_texts` the reason if there are none.
    """
    runs = order(runs)
    experiments = [run.experiment for run in runs]
    differing = differences(experiments)
    quantities = ("loss", "accuracy") if any(run.metrics for run in runs) else ()
    named = [[(runs.index(run), run.label) for run in pair.runs] for pair in pairs]
    named_pairs = list(zip(pairs, named, strict=True))
    return render(
        "comparison.html",
        title=title(runs),
        lead=_lead(runs, pairs, len(differing)),
        notes=warnings_of(runs),
        runs=runs,
        labels=[run.label for run in runs],
        rows=[([(place, run.label)], run_figures(run, scores_of(runs))) for place, run in enumerate(runs)],
        words=WORDS,
        best=("test accuracy", run_figures(runs[0], [])["test accuracy"]) if comparable(runs) else None,
        documents=" and ".join(dict.fromkeys(f"{run.figure('test.documents'):,}" for run in runs)),
        baselines=[([(place, run.label)], row) for place, run in enumerate(runs) if (row := baseline_row(run))],
        by_class=[(run.label, rows) for run in runs if (rows := class_rows(run))],
        differing=differing,
        trees=spec_trees(experiments),
        curves=[(quantity, curve_svg(runs, quantity, quantity)) for quantity in quantities],
        pairs=named_pairs,
        agreement=[
            (own, agreement_of(pair, ("first", "second"))) for pair, own in named_pairs if not pair.incomparable
        ],
        texts=texts,
        no_texts=no_texts,
        few_classes=FEW_CLASSES,
        records=rows_of(*map(_record, runs)),
    )


def title(runs: list[Run]) -> str:
    """Return a one-line title."""
    tasks = " and ".join(dict.fromkeys(run.experiment.task for run in runs))
    if len(runs) > 3:
        return f"{tasks}: {len(runs)} runs compared"
    return f"{tasks}: {', '.join(run.label for run in runs[:-1])} and {runs[-1].label}"


def _lead(runs: list[Run], pairs: list[Pair], differing: int) -> str:
    best, last = runs[0], runs[-1]
    found = f"{len(runs)} finished runs"
    if not comparable(runs):
        found += ", on different data."
    elif best.figure("test.accuracy") == last.figure("test.accuracy"):
        found += f", all with test accuracy {best.figure('test.accuracy'):.4f}."
    else:
        found += f". Highest test accuracy: {best.label}, {best.figure('test.accuracy'):.4f};"
        found += f" lowest: {last.label}, {last.figure('test.accuracy'):.4f}."
    same = f"Their specs differ in {count(differing, 'field')}." if differing else "Their specs are identical."
    if len(pairs) == 1 and not pairs[0].incomparable:
        same += f" They agree on {pairs[0].agree:,} of {pairs[0].documents:,} predictions."
    return f"{found} {same}"


def scores_of(runs: list[Run]) -> list[str]:
    """Return the columns of `SCORES` that any of the runs has."""
    return [name for name, key in SCORES.items() if any(run.figure(f"test.{key}") is not None for run in runs)]


def run_figures(run: Run, scores: list[str]) -> dict[str, str]:
    """Return the row of a run in the table of runs, by column, with these columns of `SCORES`."""
    own = {name: run.figure(f"test.{SCORES[name]}") for name in scores}
    seconds = run.seconds_per_epoch
    share = run.result["training"].get("device_share")  # missing in older runs
    return {
        "test accuracy": f"{run.figure('test.accuracy'):.4f}",
        "dev accuracy": f"{run.figure('dev.accuracy'):.4f}",
        **{name: NONE if value is None else f"{value:.4f}" for name, value in own.items()},
        "test loss": f"{run.figure('test.loss'):.4f}",
        "framework": run.framework,
        "model": run.experiment.model.label,
        "recipe": run.experiment.recipe,
        "seed": str(run.experiment.training.seed),
        "s per epoch": NONE if seconds is None else f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}",
        "tokens/s": f"{run.figure('training.tokens_per_second'):,.0f}",
        "device busy": NONE if share is None else f"{share:.0%}",
        "peak memory": memory(run.result),
        "device": run.execution["device"],
        "implementation": run.implementation,
    }


def _record(run: Run) -> list[dict[str, object]]:
    """Return versions, machine, data and dates of a run."""
    data, vectors = run.execution["data"], run.execution.get("vectors")
    own: dict[str, object] = {
        "parameters": f"{run.parameters:,}",
        "data": data["description"],
        "fingerprint": _short(data["fingerprint"]),
        "texts: train, dev, test": ", ".join(_documents(data, split) for split in ("train", "dev", "test")),
        "split: dev, test": f"{data.get('dev_split', NONE)}, {data.get('test_split', NONE)}",
        "steps": f"{run.figure('training.steps'):,}, best on dev at {run.figure('dev.step'):,}",
        "training": duration(run.figure("training.seconds")),
        "started": run.started,
        "folder": run.path,
    }
    if vectors:
        own["word vectors"] = f"{vectors['source']}: {vectors['found']:,} words found, {vectors['missing']:,} not"
    return [*made_with(run.execution, run.implementation), own]


def _documents(data: dict, split: str) -> str:
    number = data.get(split, {}).get("documents")
    return NONE if number is None else f"{number:,}"


def _short(fingerprint: str) -> str:
    return fingerprint if len(fingerprint) <= 70 else fingerprint[:24] + "\u2026"
