"""Sentences with a tag per token: one token per line in columns, or `word/tag word/tag` with one sentence per line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path

from core.data.download import Progress, no_progress
from core.data.sources.formats.detect import check_file
from core.data.text_files import TextLines
from core.errors import UserError

DOCUMENT = "-DOCSTART-"
"""First column of the lines of CoNLL files that separate documents."""

BLANKS = re.compile(r"[ \t]+")

PEEKED = 200
"""Number of lines by which the format is detected."""

SHARE = 0.5
"""Share of cells with an inner slash above which lines are `word/tag` lines, and of lines with several columns."""


class Layout(Enum):
    """Layouts of a file of tagged tokens."""

    COLUMNS = "a token and a tag per line"
    SLASHES = "word/tag lines"


@dataclass(frozen=True, slots=True)
class Sentence:
    """The tokens and tags of a sentence, both [L]; `line` is the number of its first line, from 1."""

    line: int
    tokens: list[str]
    tags: list[str]


def detect_layout(path: Path, encoding: str) -> Layout:
    """Return the layout of a file of tagged tokens, by its first lines.

    Raises UserError: not a regular file, without text, or of another format.
    """
    check_file(path)
    start = [line.strip() for line in islice(TextLines(path, encoding), PEEKED)]
    lines = [line for line in start if line and not line.startswith(("#", DOCUMENT))]
    if not lines:
        raise UserError(f"{path}: no tagged sentence: give lines of a token and a tag, or of word/tag")
    cells = [cell for line in lines for cell in BLANKS.split(line)]
    if sum(bool(_word_and_tag(cell)) for cell in cells) > SHARE * len(cells):
        return Layout.SLASHES
    if sum(len(BLANKS.split(line)) > 1 for line in lines) > SHARE * len(lines):
        return Layout.COLUMNS
    raise UserError(
        f"{path}: neither a token and a tag per line (as in CoNLL files) nor word/tag lines: convert it to one of these"
    )


def read_sentences(
    path: Path, columns: tuple[int, int], encoding: str, progress: Progress = no_progress
) -> Iterator[Sentence]:
    """Yield the sentences of a file in either layout.

    `columns` are those of token and tag, counted from 1, or from -1 backwards. Raises UserError: a token without a tag,
    a line with more or fewer columns than the first one, and like `detect_layout` and `TextLines`.
    """
    layout = detect_layout(path, encoding)
    lines = TextLines(path, encoding, progress)
    return _of_slashes(lines) if layout is Layout.SLASHES else _of_columns(lines, columns)


def _word_and_tag(cell: str) -> tuple[str, str] | None:
    word, _, tag = cell.rpartition("/")
    return (word, tag) if word and tag else None


def _of_slashes(lines: TextLines) -> Iterator[Sentence]:
    for line in lines:
        stripped = line.strip(" \t\r\n")
        if not stripped:
            continue
        tokens, tags = [], []
        for cell in BLANKS.split(stripped):
            pair = _word_and_tag(cell)
            if pair is None:
                raise UserError(f"{lines.where}: {cell!r} is not word/tag: give every word a tag after its last slash")
            tokens.append(pair[0])
            tags.append(pair[1])
        yield Sentence(lines.number, tokens, tags)


def _of_columns(lines: TextLines, columns: tuple[int, int]) -> Iterator[Sentence]:
    tokens: list[str] = []
    tags: list[str] = []
    first, width, width_at = 0, 0, 0
    for line in lines:
        stripped = line.strip(" \r\n") if "\t" in line else line.strip(" \t\r\n")
        if not stripped.strip() or stripped.startswith(DOCUMENT) or (not tokens and _is_comment(stripped)):
            if tokens:
                yield Sentence(first, tokens, tags)
                tokens, tags = [], []
            continue
        cells = stripped.split("\t") if "\t" in stripped else BLANKS.split(stripped)
        if len(cells) < 2:
            raise UserError(f"{lines.where}: {cells[0]!r} has no tag: give every token a tag, in columns")
        if width and len(cells) != width:
            raise UserError(
                f"{lines.where}: got {len(cells)} columns, expected {width} as in line {width_at}: correct the line"
            )
        if not width:
            width, width_at = len(cells), lines.number
            _check_columns(lines, columns, width)
        token, tag = (cells[column - 1 if column > 0 else column].strip() for column in columns)
        if not token or not tag:
            raise UserError(f"{lines.where}: a {'tag' if token else 'token'} is empty: give every token a tag")
        if not tokens:
            first = lines.number
        tokens.append(token)
        tags.append(tag)
    if tokens:
        yield Sentence(first, tokens, tags)


def _is_comment(line: str) -> bool:
    """Return whether a line before a sentence is a comment, not a token `#` with its tag."""
    return line.startswith("#") and not line.startswith("#\t")


def _check_columns(lines: TextLines, columns: tuple[int, int], width: int) -> None:
    for column in columns:
        if not 1 <= abs(column) <= width:
            raise UserError(
                f"{lines.where}: no column {column}, the file has {width}: set `data.columns` to those of token and tag"
            )
