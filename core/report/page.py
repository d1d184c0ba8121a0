"""A comparison as one page of HTML that needs nothing else: no script, no network, no file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from html import escape
from itertools import combinations
from pathlib import Path

from core.report.charts import curve_svg
from core.report.compare import ABSENT, Pair, Run, comparable, compare, differences, order, warnings_of

FEW_CLASSES = 6
"""Up to here a confusion matrix stands open."""
NONE = "\u2013"
"""For a figure that a run does not have."""
STYLE = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load: nothing. It keeps a text from doing more than being read, should one slip through."""


def pairs_of(runs: list[Run]) -> list[Pair]:
    """Every two of the runs, each compared."""
    return [compare(first, second) for first, second in combinations(order(runs), 2)]


def page(runs: list[Run], pairs: list[Pair], texts: dict[str, dict[str, str]], no_texts: dict[str, str]) -> str:
    """The HTML. `texts` holds by a data set's fingerprint the texts by name, and `no_texts` why there are none."""
    runs = order(runs)
    sections = (
        _header(runs, pairs),
        notes(warnings_of(runs)),
        _runs_table(runs),
        _differences(runs),
        _curves(runs),
        _predictions(runs, pairs, texts, no_texts),
        _confusion(runs),
        _records(runs),
    )
    return document(title(runs), sections)


def document(name: str, sections: Iterable[str], policy: str = POLICY) -> str:
    """The whole file of a page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def title(runs: list[Run]) -> str:
    """What is compared, in one line."""
    tasks = " and ".join(dict.fromkeys(run.experiment.task for run in runs))
    if len(runs) > 3:
        return f"{tasks}: {len(runs)} runs compared"
    return f"{tasks}: {', '.join(run.label for run in runs[:-1])} and {runs[-1].label}"


def _header(runs: list[Run], pairs: list[Pair]) -> str:
    best, last = runs[0], runs[-1]
    if not comparable(runs):
        said = f"{len(runs)} finished runs, on different data."
    elif best.figure("test.accuracy") == last.figure("test.accuracy"):
        said = f"{len(runs)} finished runs, all with test accuracy {best.figure('test.accuracy'):.4f}."
    else:
        said = (
            f"{len(runs)} finished runs. Highest test accuracy: {best.label}, {best.figure('test.accuracy'):.4f};"
            f" lowest: {last.label}, {last.figure('test.accuracy'):.4f}."
        )
    count = len(differences(runs))
    same = f"Their specs differ in {count} field{'s' * (count != 1)}." if count else "Their specs are the same."
    if len(pairs) == 1 and not pairs[0].obstacle:
        same += f" They agree on {pairs[0].agree:,} of {pairs[0].documents:,} predictions."
    return header(title(runs), f"{said} {same}")


def header(name: str, lead: str) -> str:
    """Title, what was found in a sentence or two, and when."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return (
        f'<header>\n<h1>{escape(name)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f'<p class="soft small">Written {escape(now)} from the run folders.</p>\n</header>'
    )


def notes(found: list[str]) -> str:
    """What a reader must know first."""
    return '<div class="note">\n' + "\n".join(f"<p>{escape(line)}</p>" for line in found) + "\n</div>" if found else ""


def run_figures(run: Run) -> dict[str, str]:
    """The row of a run in the table of runs, by column, as it is shown."""
    seconds, memory = run.seconds_per_epoch, run.result.get("peak_memory_mb")
    share = run.result["training"].get("device_share")  # not in runs of before it was measured
    return {
        "test accuracy": f"{run.figure('test.accuracy'):.4f}",
        "dev accuracy": f"{run.figure('dev.accuracy'):.4f}",
        "macro F1": f"{run.figure('test.macro_f1'):.4f}",
        "test loss": f"{run.figure('test.loss'):.4f}",
        "framework": run.framework,
        "model": run.size,
        "recipe": run.experiment.recipe,
        "seed": str(run.experiment.training.seed),
        "s per epoch": NONE if seconds is None else f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}",
        "tokens/s": f"{run.figure('training.tokens_per_second'):,.0f}",
        "device busy": NONE if share is None else f"{share:.0%}",
        "peak memory": NONE if memory is None else f"{memory:,} MB",
        "device": run.execution["device"],
        "layers": run.implementation,
    }


NUMBERS = ("seed", "test accuracy", "dev accuracy", "macro F1", "test loss", "s per epoch", "tokens/s")
NUMBERS += ("device busy", "peak memory")


def _runs_table(runs: list[Run]) -> str:
    rows = {run.label: run_figures(run) for run in runs}
    names = next(iter(rows.values())).keys()
    kind = {name: ' class="n"' if name in NUMBERS else "" for name in names}
    head = "".join(f"<th{kind[name]}>{name}</th>" for name in names)
    body = []
    for place, run in enumerate(runs):
        cells = []
        for name, value in rows[run.label].items():
            is_best = comparable(runs) and name == "test accuracy" and value == rows[runs[0].label][name]
            classes = "n best" if is_best else "n"
            mark = f' class="{classes}"' if name in NUMBERS else ""
            cells.append(f'<td{mark} data-name="{name}">{escape(value)}</td>')
        body.append(f"<tr><th>{_run(place, run)}</th>{''.join(cells)}</tr>")
    documents = " and ".join(dict.fromkeys(f"{run.figure('test.documents'):,}" for run in runs))
    return (
        f'<section>\n<h2>Runs</h2>\n<div class="box"><table class="fold runs">\n<thead><tr><th>run</th>{head}</tr>'
        f"</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table></div>\n"
        f'<p class="soft small">Sorted by test accuracy, then dev. Accuracy, macro F1 and loss are of the best epoch on'
        f" dev, on {documents} test texts; times are of training alone. Device busy: for how much of them the device"
        " had a step to work on.</p>\n</section>"
    )


def _differences(runs: list[Run]) -> str:
    found = differences(runs)
    if found:
        rows = {path: [as_text(value) for value in values] for path, values in found.items()}
        table = fields([run.label for run in runs], rows)
    else:
        table = "<p>Nothing: the specs are the same, field for field.</p>"
    trees = [json.dumps(run.experiment.model_dump(mode="json"), indent=2, ensure_ascii=False) for run in runs]
    if found:
        whole = "".join(
            f"<div><h3>{dot(place)}{escape(run.label)}</h3><pre>{escape(tree)}</pre></div>"
            for place, (run, tree) in enumerate(zip(runs, trees, strict=True))
        )
        summary = "The whole specs"
    else:
        whole, summary = f"<div><pre>{escape(trees[0])}</pre></div>", "The whole spec"
    return (
        f"<section>\n<h2>What differs between the specs</h2>\n{table}\n"
        f'<details><summary>{summary}</summary><div class="specs">{whole}</div></details>\n</section>'
    )


def as_text(value: object) -> str:
    if value is ABSENT:
        return "not in this spec"
    return value if isinstance(value, str) else json.dumps(value)


def _curves(runs: list[Run]) -> str:
    if not any(run.metrics for run in runs):
        return ""
    legend = "".join(f"<span>{dot(place)}{escape(run.label)}</span>" for place, run in enumerate(runs))
    legend += '<span class="soft"><span class="line"></span>train, running mean</span>'
    legend += '<span class="soft"><span class="line dashed"></span>dev</span>'
    figures = "".join(
        f"<figure><figcaption>{quantity}</figcaption>{curve_svg(runs, quantity, quantity)}</figure>"
        for quantity in ("loss", "accuracy")
    )
    return (
        f'<section>\n<h2>Training curves</h2>\n<div class="legend">{legend}</div>\n'
        f'<div class="curves">{figures}</div>\n</section>'
    )


def _predictions(runs: list[Run], pairs: list[Pair], texts: dict, no_texts: dict) -> str:
    compared = [pair for pair in pairs if not pair.obstacle]
    parts = ["<section>\n<h2>Predictions on the test texts</h2>"]
    if compared:
        names = ("agree", "differ", "only first right", "only second right", "by chance", "largest difference")
        rows = []
        for pair in compared:
            found = (
                *(f"{pair.agree:,}", f"{pair.differ:,}", f"{pair.only_first_right:,}", f"{pair.only_second_right:,}"),
                *(f"{pair.chance:.2g}" if pair.chance >= 0.001 else "< 0.001", f"{pair.largest_difference:.2g}"),
            )
            cells = "".join(
                f'<td class="n" data-name="{name}">{escape(value)}</td>'
                for name, value in zip(names, found, strict=True)
            )
            rows.append(f"<tr><th>{_named(pair, runs)}</th>{cells}</tr>")
        head = "".join(f'<th class="n">{name}</th>' for name in names)
        parts.append(
            f'<div class="box"><table class="fold pairs">\n<thead><tr><th>first and second</th>{head}</tr></thead>\n'
            f"<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table></div>\n"
            '<p class="soft small">By chance: how likely the texts that only one has right would fall so unevenly, or'
            " more so, if neither run were better (McNemar\u2019s exact test). Largest difference: of the probability"
            " of any class of any text.</p>"
        )
    for pair in pairs:
        if pair.obstacle:
            names = f"{escape(pair.first.label)} and {escape(pair.second.label)}"
            parts.append(f"<p>{names}: not compared, {escape(pair.obstacle)}.</p>")
    parts += [_texts(pair, runs, texts, no_texts, len(compared) == 1) for pair in compared if pair.differ]
    return "\n".join(parts) + "\n</section>"


def _texts(pair: Pair, runs: list[Run], texts: dict, no_texts: dict, open_: bool) -> str:
    fingerprint = pair.first.execution["data"]["fingerprint"]
    known, reason = texts.get(fingerprint, {}), no_texts.get(fingerprint, "")
    places = [runs.index(pair.first), runs.index(pair.second)]
    articles = []
    for own in pair.shown:
        answers = ""
        for place, answer, probability in zip(places, own.answers, own.probabilities, strict=True):
            verdict = "right" if answer == own.label else "wrong"
            said = f'<span class="{verdict}">{escape(answer)}, {verdict}</span> ({probability:.3f})'
            answers += f"<span>{dot(place)}{escape(runs[place].label)}: {said}</span>"
        text = f'<p class="text" dir="auto">{escape(known[own.name])}</p>' if own.name in known else ""
        articles.append(
            f'<article><div><span class="id">{escape(own.name)}</span> <span class="soft">is</span> {escape(own.label)}'
            f'</div>{text}<div class="answers">{answers}</div></article>'
        )
    few = f"the {pair.differ}" if len(pair.shown) == pair.differ else f"{len(pair.shown)} of the {pair.differ:,}"
    few = few if pair.differ > 1 else "the one"
    summary = f"{_named(pair, runs)}: {few} on which they differ"
    lead = "Those first on which even the less sure of the two is surest. " if pair.differ > 1 else ""
    lead += f"The texts cannot be shown: {reason}." if reason else ""
    lead = f'<p class="soft small">{escape(lead)}</p>' if lead else ""
    return (
        f'<details class="pair"{" open" if open_ else ""}><summary>{summary}</summary>\n<div class="inside">{lead}\n'
        + "\n".join(articles)
        + "\n</div></details>"
    )


def _confusion(runs: list[Run]) -> str:
    parts = []
    for place, run in enumerate(runs):
        matrix, classes = run.result["test"].get("confusion"), run.execution["classes"]
        if not _is_square(matrix, len(classes)):
            parts.append(f'<p class="soft">{escape(run.label)}: result.json holds no confusion matrix.</p>')
            continue
        many = len(classes) > FEW_CLASSES
        head = "".join(f'<th class="n">{escape(name)}</th>' for name in classes)
        rows = "".join(
            f"<tr><th>{escape(name)}</th>"
            + "".join(f'<td style="--share:{n / max(sum(row), 1):.3f}">{n:,}</td>' if n else "<td>0</td>" for n in row)
            + "</tr>"
            for name, row in zip(classes, matrix, strict=True)
        )
        table = f"<table>\n<thead><tr><th>is \\ said</th>{head}</tr></thead>\n<tbody>{rows}</tbody>\n</table>"
        name = f"{dot(place)}{escape(run.label)}"
        if many:
            inside = f'<div class="box"><div class="matrix many">{table}</div></div>'
            parts.append(f"<details><summary>{name}</summary>{inside}</details>")
        else:
            parts.append(f'<div class="box matrix"><h3>{name}</h3>{table}</div>')
    kind = "" if any("<details" in part for part in parts) else ' class="matrices"'
    return (
        f'<section>\n<h2>Confusion matrices</h2>\n<p class="soft small">Counts of test texts: a row per true class, a'
        f" column per predicted one.</p>\n<div{kind}>" + "\n".join(parts) + "</div>\n</section>"
    )


def _records(runs: list[Run]) -> str:
    """Versions, machine, data, and when."""
    rows: dict[str, list[str]] = {}

    def add(name: str, value_of) -> None:
        rows[name] = [str(value_of(run) or NONE) for run in runs]

    rows |= versions_and_machine([{**run.execution, "implementation": run.implementation} for run in runs])
    add("parameters", lambda run: f"{run.parameters:,}")
    add("data", lambda run: run.execution["data"]["description"])
    add("fingerprint", lambda run: _short(run.execution["data"]["fingerprint"]))
    if any("vectors" in run.execution for run in runs):
        add("word vectors", _vectors)
    add("texts: train, dev, test", lambda run: ", ".join(_documents(run, part) for part in ("train", "dev", "test")))
    add("split: dev, test", lambda run: _split(run))
    add("steps", lambda run: f"{run.figure('training.steps'):,}, best on dev at {run.figure('dev.step'):,}")
    add("training", lambda run: duration(run.figure("training.seconds")))
    add("started", lambda run: run.execution.get("started", "").replace("T", " "))
    add("folder", lambda run: run.path)
    return f"<section>\n<h2>Versions, machine, data</h2>\n{fields([run.label for run in runs], rows)}\n</section>"


def versions_and_machine(records: list[dict]) -> dict[str, list[str]]:
    """Rows of a table: with what and where each was computed."""
    rows = {
        name: [record["versions"].get(name) for record in records]
        for name in dict.fromkeys(name for record in records for name in record["versions"])
    }
    rows["recurrent layers"] = [record["implementation"] for record in records]
    rows["device"] = [record["device"] for record in records]
    machines = [record.get("machine", {}) for record in records]
    for name in dict.fromkeys(name for machine in machines for name in machine):
        rows[name] = [machine.get(name) for machine in machines]
    return {name: [str(value or NONE) for value in values] for name, values in rows.items()}


def fields(labels: list[str], rows: dict[str, list[str]], once: bool = True) -> str:
    """A table of named values with a column per run; with `once`, one that all runs share stands once."""
    head = "".join(f"<th>{dot(place)}{escape(label)}</th>" for place, label in enumerate(labels))
    body = []
    for name, values in rows.items():
        shared = once and len(set(values)) == 1
        cells = (
            f'<td colspan="{len(labels)}">{escape(values[0])}</td>'
            if shared
            else "".join(f"<td>{escape(value)}</td>" for value in values)
        )
        body.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return (
        f'<div class="box"><table class="fields">\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody>\n</table></div>"
    )


def _run(place: int, run: Run) -> str:
    return f'<span class="run">{dot(place)}<span>{escape(run.label)}</span></span>'


def dot(place: int) -> str:
    return f'<span class="dot" style="--own:var(--run{place % 8})"></span>'


def _named(pair: Pair, runs: list[Run]) -> str:
    first, second = (f"{dot(runs.index(run))}{escape(run.label)}" for run in (pair.first, pair.second))
    return f"{first} and {second}"


def _is_square(matrix: object, size: int) -> bool:
    return isinstance(matrix, list) and len(matrix) == size and all(len(row) == size for row in matrix)


def _documents(run: Run, part: str) -> str:
    count = run.execution["data"].get(part, {}).get("documents")
    return NONE if count is None else f"{count:,}"


def _vectors(run: Run) -> str:
    record = run.execution.get("vectors")
    return f"{record['source']}: {record['found']:,} words found, {record['missing']:,} not" if record else ""


def _split(run: Run) -> str:
    data = run.execution["data"]
    return f"{data.get('dev_split', NONE)}, {data.get('test_split', NONE)}"


def _short(fingerprint: str) -> str:
    return fingerprint if len(fingerprint) <= 70 else fingerprint[:24] + "\u2026"


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
