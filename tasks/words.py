"""Show what word vectors know: nearest words, analogies, scores on word similarity and analogies, and maps.

python -m tasks.words nearest glove-6b-50d chip baby beautiful
python -m tasks.words analogy glove-6b-50d man woman son
python -m tasks.words score glove-6b-50d --similarity wordsim353.tsv --analogies questions-words.txt
python -m tasks.words map glove-6b-50d king queen man woman --neighbors 5 --out map.png

VECTORS is a text file of GloVe, word2vec or fastText, an installed package, or a run folder. No framework is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from core.data.pretrained_vectors import is_word_run
from core.errors import UserError
from core.files import user_path, write_json_atomic
from core.report.run_list import WORD2VEC
from core.train.run_folder import RunFolder
from core.words.analogies import score_questions, summaries
from core.words.caseless import CaselessRows
from core.words.nearest import Neighbor, analogy, nearest
from core.words.queries import known_rows
from core.words.run_vectors import run_table
from core.words.score_files import read_pairs, read_questions
from core.words.similarity import score_pairs
from core.words.vector_cache import open_table
from core.words.vector_table import VectorTable
from core.words.word_map import WordMap, map_rows
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, fact, launch
from tasks.cli.paths import cache_folder
from tasks.cli.recipes import TASK_RECIPES
from tasks.run.latest import named_run

PROGRAM = "tasks.words"
RUN_VECTORS = "vectors.txt"
"""Vectors in word2vec's text format, in the run folder of a program that trains them."""
MOST = 1000
"""Largest `--count` and `--neighbors`."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    for name, least, most in (("count", 1, MOST), ("neighbors", 0, MOST), ("restrict", 1, None)):
        value = getattr(arguments, name, least)
        if value < least or (most is not None and value > most):
            raise UserError(f"--{name} {value}: expected at least {least}{f', at most {most}' if most else ''}")
    for name, suffix in (("map", ".png"), ("out", ".png"), ("json", ".json")):
        _check_new(name, getattr(arguments, name, None), suffix)
    results = arguments.run(arguments)
    if arguments.json is not None:
        write_json_atomic(user_path(arguments.json), results)
        fact("values", arguments.json)
    return 0


def _nearest(arguments: argparse.Namespace) -> dict:
    table = _open(arguments)
    rows = known_rows(table, arguments.words)
    _describe(table, len(table))
    queries = [rows] if arguments.together else [[row] for row in rows]
    names = [" + ".join(table.words[row] for row in query) for query in queries]
    found = [nearest(table, query, arguments.count) for query in queries]
    for name, near in zip(names, found, strict=True):
        _show(name, near)
    results = _results(table, queries=[_query(table, *pair) for pair in zip(queries, found, strict=True)])
    if arguments.map is not None:
        plan = map_rows(table, _groups(queries, found), rows)
        results["map"] = _draw(plan, f"{table.name}: nearest to {', '.join(names)}", arguments.map)
    return results


def _analogy(arguments: argparse.Namespace) -> dict:
    table = _open(arguments)
    given = known_rows(table, [arguments.a, arguments.b, arguments.c], every=True)
    _describe(table, len(table))
    a, b, c = given
    answers = analogy(table, a, b, c, arguments.count)
    title = f"{table.words[a]} is to {table.words[b]} as {table.words[c]} is to"
    _show(title, answers)
    results = _results(table, **_query(table, given, answers))
    if arguments.map is not None:
        rows = [answer.row for answer in answers]
        groups = dict.fromkeys(given, 0) | dict.fromkeys(rows, 1)
        arrows = [(a, b), (c, rows[0])] if rows else []
        plan = map_rows(table, groups, [*given, *rows[:1]], arrows)
        results["map"] = _draw(plan, f"{table.name}: {title} {answers[0].word if answers else ''}", arguments.map)
    return results


def _map(arguments: argparse.Namespace) -> dict:
    table = _open(arguments)
    rows = known_rows(table, arguments.words)
    _describe(table, len(table))
    found = [nearest(table, [row], arguments.neighbors) for row in rows]
    plan = map_rows(table, _groups([[row] for row in rows], found), rows)
    return _results(table, map=_draw(plan, f"{table.name}: {len(plan.words)} words", arguments.out))


def _score(arguments: argparse.Namespace) -> dict:
    pairs = {path: read_pairs(user_path(path)) for path in arguments.similarity}
    questions = {path: read_questions(user_path(path)) for path in arguments.analogies}
    if not pairs and not questions:
        raise UserError("nothing to score on: give --similarity FILE or --analogies FILE")
    whole = _open(arguments)
    rows = CaselessRows(whole.head(arguments.restrict))
    _describe(whole, len(rows.table))
    similarity, analogies = {}, {}
    for path, own in pairs.items():
        score = score_pairs(rows, own)
        _check_coverage(path, score.used, score.total, "pairs", rows.table)
        figure = "undefined, as all are equal" if score.spearman is None else f"{score.spearman:.4f}"
        fact("pairs", f"{Path(path).name}: Spearman {figure}, {score.used:,} of {score.total:,} pairs")
        similarity[path] = vars(score)
    for path, own in questions.items():
        name = Path(path).name
        with DataProgress() as progress:
            sections = score_questions(rows, own, lambda done, total, name=name: progress(name, done, total))
        *parts, overall = summaries(sections)
        _check_coverage(path, overall.used, overall.total, "questions", rows.table)
        fact("analogy", f"{name}: accuracy {overall.accuracy:.4f}, {overall.used:,} of {overall.total:,} questions")
        for one in [*sections, *parts]:
            figure = f"{'-':>6}" if one.accuracy is None else f"{one.accuracy:.4f}"
            fact("", f"{figure}  {one.name}: {one.right:,} of {one.used:,}")
        tree = [{"accuracy": one.accuracy, **vars(one)} for one in (*sections, *parts, overall)]
        analogies[path] = {"sections": tree[: len(sections)], "summary": tree[len(sections) :]}
    return _results(whole, scored=len(rows.table), similarity=similarity, analogies=analogies)


def _open(arguments: argparse.Namespace) -> VectorTable:
    source = named_run(arguments.vectors, (*TASK_RECIPES, WORD2VEC))
    with DataProgress() as progress:
        return open_vectors(source, cache_folder(arguments.cache_dir), progress)


def _describe(table: VectorTable, used: int) -> None:
    more = f"; scored on the first {used:,}" if used < len(table) else ""
    fact("vectors", f"{table.name}: {len(table):,} words, {table.dim} dimensions{more}")


def open_vectors(source: str, cache: Path, progress: DataProgress) -> VectorTable:
    """Open a file, a package, or the vectors of a run. Raises UserError like `open_table` and `RunFolder`."""
    path = user_path(source)
    if not path.is_dir():
        return open_table(source, cache, progress)
    if is_word_run(path):
        return open_table(source, cache, progress)
    if (path / RUN_VECTORS).is_file():
        return open_table(str(path / RUN_VECTORS), cache, progress)
    return run_table(RunFolder.open(path))


def _show(title: str, found: list[Neighbor]) -> None:
    fact("query", title)
    for own in found:
        fact("", f"{own.cosine:.4f}  {own.word}")


def _results(table: VectorTable, **found: object) -> dict:
    return {"vectors": table.name, "words": len(table), "dim": table.dim, **found}


def _query(table: VectorTable, rows: Sequence[int], found: list[Neighbor]) -> dict:
    near = [{"word": own.word, "cosine": own.cosine, "rank": own.row + 1} for own in found]
    return {"words": [table.words[row] for row in rows], "nearest": near}


def _groups(queries: Sequence[Sequence[int]], found: Sequence[list[Neighbor]]) -> dict[int, int]:
    """Return the number of the query by row: of the words of queries, then of their neighbors."""
    groups = {row: number for number, query in enumerate(queries) for row in query}
    for number, near in enumerate(found):
        for own in near:
            groups.setdefault(own.row, number)
    return groups


def _draw(plan: WordMap, title: str, path: str) -> dict:
    """Draw a map, and return its coordinates."""
    from core.plots.words import draw_words

    draw_words(plan, title, user_path(path))
    share = " and ".join(f"{own:.1%}" for own in plan.explained)
    fact("map", f"{path}: {len(plan.words)} words, the axes explain {share} of their variance")
    words = [{"word": word, "x": x, "y": y} for word, (x, y) in zip(plan.words, plan.coordinates.tolist(), strict=True)]
    return {"explained": plan.explained, "words": words}


def _check_coverage(path: str, used: int, total: int, what: str, table: VectorTable) -> None:
    if not used:
        raise UserError(
            f"{path}: 0 of {total:,} {what} have all their words among the first {len(table):,} of {table.name}:"
            f" raise --restrict, or give vectors of the language of the file"
        )


def _check_new(name: str, value: str | None, suffix: str) -> None:
    """Raise UserError if the file of an option exists, has another suffix, or no folder."""
    if value is None:
        return
    path = user_path(value)
    if path.suffix.lower() != suffix:
        raise UserError(f"--{name} {path}: expected a name that ends in {suffix}")
    if path.exists():
        raise UserError(f"{path}: exists; choose another name with --{name}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--{name} {path}: no folder {path.parent}: create it, or choose another one")


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Show what word vectors know. VECTORS is a text file of GloVe, word2vec or fastText (plain, .gz or"
        " in a .zip), the installed package glove-6b-50d, or a run folder.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable, text: str, *words: str) -> argparse.ArgumentParser:
        own = commands.add_parser(name, prog=f"{program_command(PROGRAM)} {name}", help=text, description=f"{text}.")
        own.add_argument("vectors", metavar="VECTORS", help="text file, package or run folder")
        for word in words:
            many = "+" if word == "words" else None
            own.add_argument(word, metavar="WORD" if many else word.upper(), nargs=many, help="word, as in VECTORS")
        own.add_argument("--json", metavar="FILE", help="also save the results, .json")
        own.add_argument("--cache-dir", metavar="DIR", help="cache of parsed vectors [~/.cache/seqtwin]")
        own.set_defaults(run=run)
        return own

    near = command("nearest", _nearest, "List the words nearest to each word", "words")
    near.add_argument("--together", action="store_true", help="one query: the mean of all words")
    like = command("analogy", _analogy, "List the words nearest to B - A + C", "a", "b", "c")
    for own in (near, like):
        own.add_argument("--count", metavar="N", type=int, default=10, help="number of words [10]")
        own.add_argument("--map", metavar="FILE", help="also draw a map of them, .png")
    score = command("score", _score, "Score vectors on word similarity and analogies")
    score.add_argument("--similarity", metavar="FILE", nargs="+", default=[], help="files of pairs, as WordSim353")
    score.add_argument("--analogies", metavar="FILE", nargs="+", default=[], help="files of questions, as word2vec's")
    score.add_argument("--restrict", metavar="N", type=int, default=30000, help="most frequent words to use [30000]")
    chart = command("map", _map, "Draw a map of words: two principal components", "words")
    chart.add_argument("--neighbors", metavar="N", type=int, default=0, help="nearest words of each to add [0]")
    chart.add_argument("--out", metavar="FILE", required=True, help="picture to write, .png")
    return parser


if __name__ == "__main__":
    launch(main)
