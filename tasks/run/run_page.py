"""Collect what the page of a finished run shows, and write it."""

from __future__ import annotations

import time
from pathlib import Path

from core.analysis.word_effects import EffectSums, sample_effects
from core.data.ngrams.linear import NgramModel
from core.data.ngrams.strongest import by_class
from core.data.sources.lookup import check_cached
from core.errors import UserError
from core.files import write_bytes_atomic
from core.report.run_page import Extras, WordTable, run_page
from core.report.runs import Run, read_run
from core.spec.experiment import Experiment
from core.strings import shorten
from core.train.misclassified import read_mistakes
from core.train.prepare_data import read_data
from core.train.run_folder import RunFolder
from core.train.setup import check_vocabulary
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import DataProgress
from tasks.cli.flags import name_flags
from tasks.cli.paths import quoted
from tasks.cli.recipes import TASK_RECIPES
from tasks.cli.terminal import note
from tasks.run.evaluators import evaluator
from tasks.run.worker import Request

PAGE = "report.html"
"""The page of a run, in its folder."""
TEXTS = 200
"""Maximum number of test texts whose words are left out one by one."""
SECONDS = 10.0
"""Time after which no further text is begun."""
WORDS = 15
"""Maximum number of words listed for a class."""
CLASSES = 12
"""Maximum number of classes whose words are listed."""
WORD = 40
"""Maximum characters of a word on the page."""


def write_run_page(path: Path, out: Path, cache: Path, with_words: bool) -> Run:
    """Write the page of a finished run. Return the run. Raises UserError if it is not one."""
    run = read_run(path, path.resolve().name)
    folder, lacking, mistakes = RunFolder.open(path), [], []
    try:
        mistakes = read_mistakes(path / "mistakes.csv")
    except UserError as error:
        lacking.append(f"Misclassified texts: {error}.")
    words = _words(run, folder, cache, lacking) if with_words else []
    extras = Extras(mistakes, words, commands_of(run.experiment, path), lacking)
    # A folder name may contain bytes that are not valid text.
    write_bytes_atomic(out, run_page(run, extras).encode("utf-8", "replace"))
    return run


def commands_of(experiment: Experiment, path: Path) -> list[tuple[str, str]]:
    """Return what can be done with a run, and the command of each."""
    program, name, kind = f"tasks.{experiment.task}", quoted(path), experiment.model.head.kind
    if experiment.task not in TASK_RECIPES:
        return [("Compare it with another run", f"{program_command('tasks.compare')} {name} RUN")]
    predict, found = f"{run_command(program, 'predict')} {name}", []
    if kind != "language":
        found.append(("Predict for a text", f'{predict} "a text"'))
        found.append(("Predict for a file: texts in lines, or a table", f"{predict} --file FILE --out predictions.csv"))
    if kind in ("pooled", "multilabel", "tokens"):
        found.append(("Show which words changed a prediction", f'{predict} --explain "a text"'))
    found.append(("Evaluate it again", f"{run_command(program, 'evaluate')} {name}"))
    found.append(("Compare it with another run", f"{program_command('tasks.compare')} {name} RUN"))
    return found


def _words(run: Run, folder: RunFolder, cache: Path, lacking: list[str]) -> list[WordTable]:
    """Return the words and n-grams that matter to a classifier of texts; add to `lacking` why there are none."""
    experiment = run.experiment
    if experiment.model.head.kind != "pooled" or experiment.data.kind == "digits":
        return []
    found = []
    try:
        fitted = folder.read_ngrams(experiment.model)
        if fitted is not None:
            found.append(_ngram_table(fitted.model, run.execution["classes"]))
        if fitted is not None and not experiment.model.is_linear:
            lacking.append("Mean effects of single words: not computed for a network with a model of n-grams.")
        if fitted is None:
            found.append(_effect_table(run, folder, cache))
    except UserError as error:
        reason = name_flags(str(error))
        lacking.append(f"Words that matter: {reason}.")
        note(f"the page has no words that matter: {reason}")
    return found


def _ngram_table(model: NgramModel, classes: list[str]) -> WordTable:
    strongest = list(by_class(model, classes, WORDS).items())[:CLASSES]
    rows = [(name, [(shorten(own.ngram, WORD), f"{own.weight:+.2f}") for own in found]) for name, found in strongest]
    return WordTable("The n-grams with the largest weights in the linear model, as evidence for each class.", rows)


def _effect_table(run: Run, folder: RunFolder, cache: Path) -> WordTable:
    """Return the words with the largest mean effects by occlusion over a sample of the test texts."""
    experiment, classes = run.experiment, run.execution["classes"]
    check_cached(experiment.data, cache)
    wanted = run.execution["data"]["fingerprint"], "the data changed since the run"
    with DataProgress() as progress:
        prepared, _ = read_data(experiment, cache, wanted, progress)
        check_vocabulary(folder, experiment, prepared)
        chosen, test = evaluator(folder, experiment, Request()), prepared.test
        total, sums = min(TEXTS, len(test)), EffectSums()
        began = time.monotonic()
        for sums in sample_effects(chosen.engine.logits, test, len(classes), TEXTS):
            progress("effects of words on test texts", sums.texts, total)
            if time.monotonic() - began > SECONDS:
                break
    tokens, tables = prepared.vocabulary.tokens, []
    for number, name in list(enumerate(classes))[:CLASSES]:
        found = sums.strongest(number, tokens, WORDS)
        tables.append((name, [(shorten(own.word, WORD), f"{own.effect:+.3f} ({own.count})") for own in found]))
    other = "" if len(classes) == 2 else ", where the class is predicted"
    how = (
        f"Mean decrease of a class’s log-odds without the word (occlusion), over {sums.texts:,} of {len(test):,} test"
        f" texts that were drawn at random{other}; in brackets the number of occurrences. Computed by"
        f" {chosen.computed_by}."
    )
    return WordTable(how, [(name, rows) for name, rows in tables if rows])
