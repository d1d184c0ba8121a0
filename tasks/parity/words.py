"""Parity check of word2vec: small models, and training runs on real reviews."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import backends
from backends import implementations
from core.data.corpus import load_corpus
from core.data.download import Progress
from core.errors import UserError
from core.parity.faults import FAULTS, WORD_FAULTS
from core.parity.layers import Side, Sides
from core.parity.words.check import check_case, run_word_check
from core.parity.words.instances import WordCase, with_values
from core.parity.words.training import WordComparison
from core.rng import generator
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.experiment import Experiment
from core.spec.words import WordExperiment
from core.words.corpus import WordCorpus, build_corpus
from core.words.engine import IMPLEMENTATIONS
from tasks.cli.console import fact
from tasks.cli.framework import load_backend
from tasks.cli.terminal import literal
from tasks.parity.report import Report
from tasks.parity.table import ParityProgress

DTYPES = ("float64", "float32")

WORD_SPEC = with_values(
    WordExperiment(),
    {
        "model.dim": 100,  # no multiple of a vector of the processor
        "training.epochs": 2,
        "training.batch_size": 256,
        "training.chunk_words": 4096,
        "training.subsample": 1e-3,
        "training.learning_rate": 0.05,
    },
)
"""Spec of the training runs. Small steps and chunks, so that 200 steps have several chunks and the loss falls."""

WORD_RUNS = {"word2vec skip-gram": {"model.kind": "skip_gram"}, "word2vec cbow": {"model.kind": "cbow"}}
"""Training runs, as changes to `WORD_SPEC`."""

WORD_TEXTS = 600
"""Number of texts of the training runs."""

TOKENIZATION = ("tokenizer", "jieba_hmm", "signs", "lowercase", "half_width")
"""Fields of `text` that apply to word2vec."""

LEAST_WORDS = 500
"""Minimum number of words of the training runs."""

WORD_CASES = (
    WordCase("skip_gram", 24, 5, 5),
    WordCase("skip_gram", 7, 1, 1, "start"),
    WordCase("skip_gram", 33, 3, 2, "extreme"),
    WordCase("skip_gram", 1, 17, 2),
    WordCase("cbow", 24, 5, 5),
    WordCase("cbow", 16, 2, 1),
    WordCase("cbow", 7, 5, 3, "start"),
    WordCase("cbow", 10, 4, 2, "extreme"),
)
"""Small models for rungs 1 and 2."""


@dataclass(frozen=True)
class WordCheck:
    """All comparisons of word2vec in one call of the program."""

    cases: tuple[WordCase, ...]
    runs: Mapping[str, WordComparison]
    dtypes: tuple[str, ...]

    def __len__(self) -> int:
        return (len(self.cases) + len(self.runs)) * len(self.dtypes)

    def run(self, report: Report, progress: ParityProgress) -> None:
        """Run all rungs, and collect the findings."""
        for name, comparison in self.runs.items():
            for case in self.cases if name == next(iter(self.runs)) else ():
                for dtype in self.dtypes:
                    progress.rung(str(case), 0, 1)
                    rng = generator(report.seed, str(case), dtype)
                    findings = check_case(case, dtype, comparison.sides, rng)
                    report.experiments[str(case)] = case.experiment(dtype)
                    report.findings[str(case)] = report.findings.get(str(case), []) + findings
                    progress.finished()
            for dtype in self.dtypes:
                _train(name, comparison, dtype, report, progress)


def _train(name: str, comparison: WordComparison, dtype: str, report: Report, progress: ParityProgress) -> None:
    experiment = with_values(comparison.experiment, {"training.dtype": dtype})
    comparison = WordComparison(experiment, comparison.corpus, comparison.sides, comparison.steps)
    title, began = f"{name}, {dtype}", time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="seqtwin-") as workspace:
        findings, trained = run_word_check(
            comparison,
            report.seed,
            Path(workspace),
            lambda what, done, total: progress.rung(f"{title}, {what}", done, total),
        )
    report.experiments[name] = experiment
    report.findings[name] = report.findings.get(name, []) + findings
    report.seconds[title] = time.perf_counter() - began
    report.losses.setdefault(name, {})[dtype] = trained.losses
    report.unmoved += [label for label in (f"{name}: {own}" for own in trained.unmoved) if label not in report.unmoved]
    own = next(iter(trained.losses.values()))
    curve = f"{trained.steps} steps, loss {own[:20].mean():.3g} to {own[-20:].mean():.3g}, difference at most"
    curve += f" {report.differences()[name][dtype].max():.1e}, {report.seconds[title]:.0f} s"
    verdict = "[green]pass[/]" if all(finding.passed for finding in findings) else "[red]FAIL[/]"
    progress.finished(f"{verdict}  {literal(title)}: {curve}")


def word_sides(arguments: argparse.Namespace) -> dict[str, Side]:
    """Return a side per backend and implementation: `loop`, and `fast` where it is built, unless `--impl` names some.

    A planted fault is in framework operations, so only `loop` is compared.
    """
    wanted = arguments.impl
    if arguments.plant:
        if wanted and "loop" not in wanted:
            raise UserError(f"--plant {arguments.plant}: the fault is in framework operations: use --impl loop")
        wanted = wanted or ["loop"]
    if not wanted:
        wanted = [name for name in IMPLEMENTATIONS if name == "loop" or implementations.why_not_fast("cpu") is None]
    if arguments.all:  # which also lists implementations that only encoders have
        wanted = [name for name in wanted if name in ("auto", *IMPLEMENTATIONS)]
    chosen = list(dict.fromkeys(implementations.resolve_word_implementation(name, "cpu") for name in wanted))
    return {
        name if len(chosen) == 1 else f"{name}/{implementation}": Side(load_backend(name), implementation)
        for name in arguments.backends or backends.NAMES
        for implementation in chosen
    }


def check_word_options(arguments: argparse.Namespace, base: Experiment, default: Experiment) -> None:
    """Raise UserError for options that do not apply to `--words`."""
    if arguments.plant in FAULTS:
        raise UserError(f"--plant {arguments.plant}: a fault of sequence models: give it without --words")
    if arguments.config or arguments.recipe:
        raise UserError("--words excludes --config and --recipe, which are for sequence models: omit them")
    training = base.training.model_copy(update={"dtype": default.training.dtype})
    text = base.text.model_copy(update={name: getattr(default.text, name) for name in TOKENIZATION})
    if (base.model, training, text) != (default.model, default.training, default.text):
        raise UserError(
            "--words: options of a sequence model, its text or its training have no effect on word2vec, apart from"
            " --dtype and --tokenizer: omit them"
        )
    if arguments.dtype not in (None, *DTYPES):
        raise UserError(f"--words --dtype {arguments.dtype}: word2vec supports {' and '.join(DTYPES)}")


def word_check(arguments: argparse.Namespace, base: Experiment, sides: Sides, cache: Path, bar: Progress) -> WordCheck:
    """Return the comparisons of word2vec on the texts of `base`; with a planted fault, one training run."""
    dtypes = tuple(name for name in DTYPES if arguments.dtype in (None, name))
    if not sides or not dtypes:
        return WordCheck((), {}, ())
    corpus = read_corpus(base, cache, bar)
    runs, cases = {name: with_values(WORD_SPEC, changes) for name, changes in WORD_RUNS.items()}, WORD_CASES
    if arguments.plant:
        needs, cases = WORD_FAULTS[arguments.plant].needs, ()
        kind = needs.get("model.kind", WORD_SPEC.model.kind)
        runs = {name: experiment for name, experiment in runs.items() if experiment.model.kind == kind}
    # Few words have fewer chunks: rung 4 changes backend between them.
    chunk_words = max(1, min(WORD_SPEC.training.chunk_words, len(corpus.ids) // 4))
    comparisons = {
        name: WordComparison(
            with_values(experiment, {"training.chunk_words": chunk_words}), corpus, sides, arguments.steps
        )
        for name, experiment in runs.items()
    }
    return WordCheck(cases, comparisons, dtypes)


def read_corpus(base: Experiment, cache: Path, bar: Progress) -> WordCorpus:
    """Return the first `WORD_TEXTS` texts of the data of `base`. Raises UserError for other data than texts."""
    if not isinstance(base.data, MovieReviews | PairedFiles | Table):
        raise UserError(f"data.kind {base.data.kind}: word2vec needs texts: use reviews, lines or a table")
    found, _ = load_corpus(base.data, base.text, cache, bar)
    texts = ([found.tokens[number] for number in found.sequence(row)] for row in range(min(WORD_TEXTS, len(found))))
    corpus = build_corpus(texts, WORD_SPEC.text, WORD_SPEC.training)
    if len(corpus.ids) < LEAST_WORDS:
        raise UserError(
            f"{len(corpus.ids):,} words remain of {corpus.texts:,} texts: the check of word2vec needs {LEAST_WORDS:,}"
            f" that occur at least {WORD_SPEC.text.min_count} times: give more texts"
        )
    return corpus


def describe_words(sides: Sides, check: WordCheck) -> None:
    """Print what is compared."""
    versions = (f"{name} {side.versions()[side.NAME]}" for name, side in sides.items())
    fact("compared", f"{', '.join(versions)}, and the NumPy reference; CPU")
    for name, comparison in check.runs.items():
        model, training, corpus = comparison.experiment.model, comparison.experiment.training, comparison.corpus
        fact(
            "words",
            f"{name}: {len(corpus.ids):,} words of {corpus.texts:,} texts, vocabulary {len(corpus.words):,},"
            f" D {model.dim}, {training.batch_size} predictions a step, {len(comparison.sampler())} chunks an epoch",
        )
    if check.cases:
        fact("", f"and {len(check.cases)} small models")
