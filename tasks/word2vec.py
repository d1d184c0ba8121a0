"""Train word vectors: skip-gram or CBOW with negative sampling, on reviews or your own texts.

python -m tasks.word2vec --backend torch
python -m tasks.word2vec --data official --kind cbow --backend paddle
python -m tasks.word2vec texts.txt more.txt.gz --dim 100 --probes river,bank
python -m tasks.word2vec table.csv --column text
python -m tasks.word2vec resume runs/word2vec-torch-... --backend paddle
python -m tasks.word2vec export runs/word2vec-torch-... sum.txt --which sum
"""

from __future__ import annotations

import argparse
import shlex
from itertools import islice
from pathlib import Path

import numpy as np

import backends
from core.data.sources.table import is_table
from core.data.sources.table_columns import infer_columns
from core.data.sources.unlabeled import open_texts
from core.data.tokenizers import infer_tokenizer
from core.errors import UserError, forget_notes
from core.files import user_path
from core.report.run_list import WORD2VEC
from core.spec.data import Table
from core.spec.words import IN, OUT, TextFiles, WordExperiment, replace_words
from core.words.engine import IMPLEMENTATIONS
from core.words.run_folder import WordRunFolder
from core.words.vector_text import write_vectors
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, fact, launch
from tasks.cli.options import DEVICE_HELP
from tasks.cli.paths import cache_folder
from tasks.cli.streams import keep_working
from tasks.cli.word_options import add_word_options, apply_word_options
from tasks.run.latest import named_run
from tasks.run.word_display import PROGRAM
from tasks.run.word_training import WordOptions, resume, start
from tasks.run.worker import Request

COMMANDS = ("train", "resume", "export")
SAMPLE = 1000
"""Number of texts from which the tokenizer is inferred."""
WHICH = ("in", "out", "sum")


def main(argv: list[str]) -> int:
    forget_notes()
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("train", argv)
    if command == "train" and "--resume" in argv:  # as other programs spell it
        command, rest = "resume", [own for own in argv if own != "--resume"]
    return {"train": _train, "resume": _resume, "export": _export}[command](rest)


def _train(argv: list[str]) -> int:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Train word vectors by skip-gram or CBOW with negative sampling, and save them in a run folder.",
        epilog="Other commands: resume RUN (also: --resume RUN), export RUN FILE; each has --help. Defaults are in"
        " [brackets].",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="text files, one text per line, or tables")
    parser.add_argument("--data", metavar="S", help="reviews: packaged, official, or PATH of aclImdb [packaged]")
    parser.add_argument("--column", metavar="NAME", help="text column of tables [inferred]")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the files, e.g. gb18030 [utf-8]")
    parser.add_argument("--probes", metavar="W,W", help="show the nearest words of these [usual ones]")
    parser.add_argument("--probe-interval", metavar="N", type=int, default=0, help="also every N chunks [0: never]")
    parser.add_argument("--out", metavar="DIR", help="run folder to create [runs/word2vec-BACKEND-DATE-TIME]")
    _computing(parser, "the first installed")
    add_word_options(parser)
    # Files may follow options, which plain argparse rejects.
    arguments = parser.parse_intermixed_args(argv)
    keep_working()
    if arguments.probe_interval < 0:
        raise UserError(f"--probe-interval {arguments.probe_interval}: expected 0 or more")
    options = _options(arguments)
    experiment = apply_word_options(_with_data(arguments), arguments)
    if isinstance(experiment.data, TextFiles):
        experiment = _inferred(experiment, experiment.data, arguments)
    return start(experiment, options)


def _resume(argv: list[str]) -> int:
    parser = Parser(
        prog=f"{program_command(PROGRAM)} resume", description="Resume a stopped run, in its backend or the other one."
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    _computing(parser, "the run's")
    arguments = parser.parse_args(argv)
    keep_working()
    return resume(named_run(arguments.run, (WORD2VEC,), finished=False), _options(arguments))


def _export(argv: list[str]) -> int:
    parser = Parser(
        prog=f"{program_command(PROGRAM)} export",
        description="Write the vectors of a run, from its checkpoint, in word2vec's text format.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("file", metavar="FILE", help="file to write")
    parser.add_argument("--which", metavar="T", default="in", help=f"table: {', '.join(WHICH)} of both [in]")
    arguments = parser.parse_args(argv)
    if arguments.which not in WHICH:
        raise UserError(f"--which {arguments.which}: choose one of {', '.join(WHICH)}")
    path = user_path(arguments.file)
    if path.exists():
        raise UserError(f"{path}: exists: give another file")
    folder = WordRunFolder.open(user_path(named_run(arguments.run, (WORD2VEC,))))
    experiment, execution = folder.read_record()
    size = execution["data"]["vocabulary"]
    tables, _ = folder.read_tables(experiment, size)
    words = folder.read_words(size)
    vectors = {"in": tables[IN], "out": tables[OUT]}.get(arguments.which)
    with DataProgress() as progress:
        write_vectors(path, words, np.add(tables[IN], tables[OUT]) if vectors is None else vectors, progress)
    state = "" if folder.finished else "; the run is not finished"
    fact("written", f"{path}: {size:,} vectors of {experiment.model.dim} numbers{state}")
    return 0


def _computing(parser: Parser, backend: str) -> None:
    """Add the options that choose what computes the run, and the cache."""
    known = ", ".join(backends.NAMES)
    parser.add_argument("--backend", metavar="B", help=f"backend: {known} [{backend}]")
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    implementations = ", ".join(IMPLEMENTATIONS)
    parser.add_argument("--impl", metavar="I", default="auto", help=f"auto, {implementations} [auto: fast on the CPU]")
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the compiled kernel [all cores]")
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")


def _options(arguments: argparse.Namespace) -> WordOptions:
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: expected at least 1")
    probes = getattr(arguments, "probes", None)
    return WordOptions(
        Request.read(arguments),
        cache_folder(arguments.cache_dir),
        getattr(arguments, "out", None),
        arguments.threads,
        None if probes is None else tuple(word.strip() for word in probes.split(",") if word.strip()),
        getattr(arguments, "probe_interval", 0),
    )


def _with_data(arguments: argparse.Namespace) -> WordExperiment:
    """Return the default experiment with the given data; paths are absolute."""
    if arguments.files and arguments.data is not None:
        raise UserError("FILE and --data exclude each other: give one")
    if not arguments.files:
        for flag in ("--column", "--encoding"):
            if getattr(arguments, flag[2:]) is not None:
                raise UserError(f"{flag}: applies to FILE: give files, or omit it")
        source = arguments.data or "packaged"
        if source not in ("packaged", "official"):
            source = str(user_path(source).absolute())
        return replace_words(WordExperiment(), {"data": {"kind": "reviews", "source": source}}, "--data")
    paths = [str(user_path(name).absolute()) for name in arguments.files]
    data: dict[str, object] = {"kind": "files", "paths": paths, "column": arguments.column or ""}
    if arguments.encoding is not None:
        data["encoding"] = arguments.encoding
    return replace_words(WordExperiment(), {"data": data}, "FILE")


def _inferred(experiment: WordExperiment, data: TextFiles, arguments: argparse.Namespace) -> WordExperiment:
    """Infer the text column of tables and the tokenizer, unless given."""
    changes: dict[str, object] = {}
    column = data.column
    tables = [path for path in data.paths if is_table(Path(path))]
    if tables and not column:
        if len(tables) < len(data.paths):
            other = next(path for path in data.paths if path not in tables)
            raise UserError(f"{other}: a text file, but {tables[0]} is a table: train on files of one kind")
        column = _column(Table(source=tables[0], encoding=data.encoding))
        changes["data.column"] = column
    with DataProgress() as progress:
        texts = open_texts(data.paths, column, data.encoding, experiment.text.max_texts, progress).documents()
        sample = [document.text for document in islice(texts, SAMPLE)]
    if "data.column" in changes:
        fact("inferred", f"--column {shlex.quote(column)}")
    if arguments.tokenizer is None and not any(own.startswith("text.tokenizer=") for own in arguments.set):
        tokenizer, why = infer_tokenizer(sample)
        changes["text.tokenizer"] = tokenizer
        fact("inferred", f"--tokenizer {tokenizer} ({why})")
    return replace_words(experiment, changes, "FILE")


def _column(table: Table) -> str:
    """Return the text column of a table by the usual names."""
    _, columns = infer_columns(table, {"source", "encoding"})
    found = next((own.value for own in columns if own.field == "text_column"), table.text_column)
    return found if isinstance(found, str) else ",".join(found)


if __name__ == "__main__":
    launch(main)
