"""Write output sequences for new texts with a finished run of an encoder-decoder, and show its attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.batch import UNK, pad
from core.data.download import no_progress
from core.data.sources.pairs import source_tokens
from core.decoding import Decoded, decode
from core.errors import UserError
from core.files import as_spreadsheet_text, incremental_writer, row_writer
from core.models.heads.decoder import DecoderHead
from core.plots.attention import AttentionMap, draw_attention
from core.schema import of_kind
from core.spec.data import Pairs
from core.strings import CONTROL
from core.target_sequences import join_tokens
from core.train.metrics import EVALUATION_BATCH
from core.train.run_folder import RunFolder
from tasks.cli.commands import run_command
from tasks.cli.console import DataProgress, Parser, fact
from tasks.cli.terminal import note
from tasks.run.command_options import backend_option
from tasks.run.evaluators import EVALUATORS, evaluator
from tasks.run.explain import check_page
from tasks.run.latest import named_run
from tasks.run.predict import given_texts, predict_interactively
from tasks.run.predict_file import Text, Texts, chunks_of, result_columns
from tasks.run.predict_options import Counts, PredictOptions, check_together
from tasks.run.worker import Request

TASKS = ("translate",)
"""Tasks of such runs."""
MOST = 3
"""Number of source tokens that an explanation shows per output token."""
LEAST = 0.05
"""Smallest attention that it shows."""
DRAWN = 6
"""Maximum number of attention maps in a picture."""


@dataclass(frozen=True)
class Output:
    """The output of a text: tokens and string, its probability, attention [T, S] over the `source` tokens or None."""

    source: list[str]
    tokens: list[str]
    string: str
    probability: float
    attention: np.ndarray | None


class OutputPredictor:
    """A run's outputs: output, probability and text. A text without tokens has an empty output."""

    def __init__(self, run: str, request: Request, wanted: PredictOptions, beam: int = 1) -> None:
        self.run, self.wanted, self.beam = run, wanted, beam
        folder = RunFolder.open(Path(run))
        self.experiment, _ = folder.read_record()
        if not isinstance(self.experiment.model.head, DecoderHead):
            task = self.experiment.task
            raise UserError(f"{run}: run of task {task}: use {run_command(f'tasks.{task}', 'predict')}")
        self.head = self.experiment.model.head
        if wanted.explain and self.head.attention == "none":
            raise UserError("--explain shows attention, and this run has none: train with --attention additive")
        self.vocabulary = folder.read_vocabulary(self.experiment.model)
        self.targets = folder.read_target_vocabulary(self.experiment.model).tokens
        self.tokens_of = source_tokens(of_kind(self.experiment.data, Pairs), self.experiment.text)
        chosen = evaluator(folder, self.experiment, request)
        self.engine, self.computed_by = chosen.engine, chosen.computed_by
        self.counts = Counts()

    def predict(self, texts: Texts) -> None:
        """Print output, probability and text, tab-separated."""
        for row, output in self._outputs(texts):
            self._print(row, output)
        self._note_empty(texts)

    def explain(self, texts: Texts) -> list[AttentionMap]:
        """Print the outputs with the most attended source tokens of every output token; return the attention."""
        maps = []
        for row, output in self._outputs(texts):
            self._print(row, output)
            if output is not None and output.attention is not None and output.tokens:
                for token, weights in zip(output.tokens, output.attention, strict=True):
                    order = np.argsort(-weights, kind="stable")[:MOST]
                    shown = [f"{output.source[s]} {weights[s]:.2f}" for s in order if weights[s] >= LEAST]
                    print(_clean(f"  {token}\t{', '.join(shown)}"), flush=self.wanted.interactive)
                maps.append(AttentionMap(output.source, output.tokens, output.attention))
        self._note_empty(texts)
        return maps

    def write(self, texts: Texts, out: Path) -> None:
        """Write a CSV with the columns of the texts, `predicted` and `p_predicted`, its probability."""
        own = (lambda cell: cell) if self.wanted.raw else as_spreadsheet_text
        names = result_columns(texts.columns, ["predicted"])
        with incremental_writer(out) as file:
            file.write("\ufeff")
            write = row_writer(file)
            write([own(name) for name in (*texts.columns, *names.values())])
            for row, output in self._outputs(texts):
                cells = ["", ""] if output is None else [own(output.string), f"{output.probability:.6f}"]
                write([*map(own, row.cells), *cells])
        fact("written", f"{out}: outputs for {self.counts.texts:,} texts ({self.computed_by})")
        self._note_empty(texts)

    def _outputs(self, texts: Texts) -> Iterator[tuple[Text, Output | None]]:
        for chunk in chunks_of(texts.rows):
            for start in range(0, len(chunk), EVALUATION_BATCH):
                rows = chunk[start : start + EVALUATION_BATCH]
                sources = [self.tokens_of(row.text) for row in rows]
                yield from zip(rows, self._decoded(rows, sources), strict=True)

    def _decoded(self, rows: list[Text], sources: list[list[str]]) -> list[Output | None]:
        worded = [place for place, source in enumerate(sources) if source]
        for row, source in zip(rows, sources, strict=True):
            self.counts.add(row.number, not source)
        found: list[Output | None] = [None] * len(rows)
        if worded:
            ids = [self.vocabulary.encode(sources[place]) for place in worded]
            decoded = decode(self.engine, pad(ids, {}), self.head.max_output, self.beam)
            for number, place in enumerate(worded):
                found[place] = self._output(sources[place], ids[number], decoded, number)
        return found

    def _output(self, source: list[str], ids: np.ndarray, decoded: Decoded, number: int) -> Output:
        row = decoded.row(number)
        shown = [f"[{token}]" if own == UNK else token for token, own in zip(source, ids, strict=True)]
        attention = None if decoded.attention is None else decoded.attention[number, : len(row), : len(source)]
        tokens = [self.targets[own] for own in row]
        probability = float(np.exp(decoded.log_probabilities[number]))
        return Output(shown, tokens, join_tokens(row, self.targets), probability, attention)

    def _print(self, row: Text, output: Output | None) -> None:
        cells = ["", ""] if output is None else [output.string, f"{output.probability:.4f}"]
        print("\t".join(map(_clean, [*cells, " ".join(row.text.split())])), flush=self.wanted.interactive)

    def _note_empty(self, texts: Texts) -> None:
        if self.counts.empty:
            note(self.counts.describe(texts.unit))


def _clean(line: str) -> str:
    return "\t".join(CONTROL.sub("\ufffd", cell) for cell in line.split("\t"))


def predict_command(program: str, argv: list[str]) -> int:
    """Run `predict` of a program: outputs for texts of arguments, a file or standard input. Return the exit code."""
    parser = Parser(
        prog=f"{program} predict",
        description="Translate texts: print output, its probability and text, tab-separated, for each.",
        epilog="Without TEXT or --file, lines are read from standard input; blank lines are skipped. --out writes a CSV"
        " with the columns of a table (else row and text), the output and its probability.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="text to translate, in quotes")
    parser.add_argument("--file", metavar="FILE", help="one text per line, or a table of any format")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the input [the run's, or utf-8]")
    parser.add_argument("--out", metavar="FILE", help="write outputs to this CSV file")
    parser.add_argument("--raw", action="store_true", help="with --out: keep cells that begin with = + - @")
    parser.add_argument("--beam", metavar="N", type=int, default=1, help="hypotheses of beam search [1: greedy]")
    parser.add_argument("--explain", action="store_true", help="show the attention of each output token")
    parser.add_argument("--picture", metavar="FILE", help="also draw the attention as a PNG")
    parser.add_argument("--interactive", action="store_true", help="translate texts as you type them")
    backend_option(parser, f"backend: {', '.join(EVALUATORS)} [numpy]")
    # Texts may follow options, which plain argparse rejects.
    arguments = parser.parse_intermixed_args(argv)
    explain = arguments.explain or bool(arguments.picture)
    if arguments.beam < 1:
        raise UserError(f"--beam {arguments.beam}: give at least 1, which is greedy search")
    check_together(arguments, explain, "--picture")
    wanted = PredictOptions(
        file=arguments.file,
        explain=explain,
        interactive=arguments.interactive,
        out=arguments.out,
        raw=arguments.raw,
        encoding=arguments.encoding,
    )
    for flag, path in (("--out", wanted.out), ("--picture", arguments.picture)):
        if path is not None:
            check_page(Path(path), flag)
    predictor = OutputPredictor(named_run(arguments.run, TASKS), Request.read(arguments), wanted, arguments.beam)
    if wanted.interactive:
        return predict_interactively(predictor, wanted.encoding)
    maps = _predict(predictor, arguments.text)
    if arguments.picture and maps:
        draw_attention(maps[:DRAWN], f"attention of {predictor.run}", Path(arguments.picture))
        fact("picture", arguments.picture)
    return 0


def _predict(predictor: OutputPredictor, texts: list[str]) -> list[AttentionMap]:
    """Write, print or explain the outputs; return the attention maps of an explanation."""
    wanted = predictor.wanted
    with DataProgress() if wanted.out is not None else nullcontext(no_progress) as progress:
        given = given_texts(texts, predictor.experiment, wanted, progress)
        if wanted.out is not None:
            predictor.write(given, Path(wanted.out))
        elif wanted.explain:
            return predictor.explain(given)
        else:
            predictor.predict(given)
    return []
