"""Files that vectors are scored on: pairs of words with a similarity, and questions of analogy.

Pairs are WordSim353 (Finkelstein et al. 2002) and SimLex-999 (Hill, Reichart and Korhonen 2015) as gensim ships them.
Questions are those of word2vec (Mikolov, Chen, Corrado and Dean 2013), `questions-words.txt`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.strings import shorten

PAIR_LAYOUT = "expected a word, a tab, a word, a tab and a number, or # and a comment"
QUESTION_LAYOUT = "expected four words, or a line `: SECTION` before the questions of a section"
SHOWN = 40
"""Maximum number of characters of a line in an error."""


@dataclass(frozen=True)
class Pair:
    """Two words, and how similar people find them."""

    first: str
    second: str
    similarity: float


@dataclass(frozen=True)
class Question:
    """`a` is to `b` as `c` is to `expected`."""

    a: str
    b: str
    c: str
    expected: str


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs, in the order of the file.

    Raises UserError: unreadable, not UTF-8, a line of another layout, or no pairs.
    """
    pairs = []
    for number, line in _lines(path):
        if line.startswith("#") or not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        try:
            first, second, similarity = fields[0], fields[1], float(fields[2])
        except (IndexError, ValueError):
            raise _wrong(path, number, line, PAIR_LAYOUT) from None
        if len(fields) != 3 or not first or not second or not math.isfinite(similarity):
            raise _wrong(path, number, line, PAIR_LAYOUT)
        pairs.append(Pair(first, second, similarity))
    if not pairs:
        raise UserError(f"{path}: no pairs of words: give a file of WordSim353's or SimLex-999's layout")
    return pairs


def read_questions(path: Path) -> dict[str, list[Question]]:
    """Read questions by section, in the order of the file.

    Raises UserError: unreadable, not UTF-8, a line of another layout, or no questions.
    """
    sections: dict[str, list[Question]] = {}
    section: list[Question] | None = None
    for number, line in _lines(path):
        words = line.split()
        if line.startswith(":"):
            section = sections.setdefault(line[1:].strip(), [])
        elif words:
            if section is None or len(words) != 4:
                raise _wrong(path, number, line, QUESTION_LAYOUT)
            section.append(Question(*words))
    if not any(sections.values()):
        raise UserError(f"{path}: no questions: give a file of the layout of questions-words.txt")
    return sections


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers. Raises UserError if the file cannot be read, or is not UTF-8."""
    if not path.is_file():
        raise UserError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}: give a file of word scores")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): check its permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}: convert the file, or give a text file") from None
    yield from enumerate(text.replace("\r\n", "\n").split("\n"), 1)


def _wrong(path: Path, number: int, line: str, expected: str) -> UserError:
    return UserError(f"{path}: line {number}: got {shorten(line, SHOWN)!r}, {expected}")
