"""Tables of JSON objects: one per line (JSON Lines), or all in one array."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from core.data.sources.formats.rows import Pairs, Row, cell_text, shown_names
from core.data.text_files import TextLines
from core.errors import UserError

LARGEST = 20_000_000
"""Maximum characters of one object of an array."""

BLANK = re.compile(r"\s*")


def read_rows(
    path: Path, values: Iterator[tuple[int, object]], columns: list[str], listed: Collection[str] = ()
) -> Iterator[Row]:
    """Yield rows from `values`: the line of each, and the decoded value, in which objects are `Pairs`.

    The columns `listed` may hold lists, which are written as JSON.

    Raises UserError: no object, a field missing, repeated or with several values, no values at all.
    """
    number = 0
    for number, (line, pairs) in enumerate(values, 1):
        where = f"{path}: row {number} (line {line})"
        if not isinstance(pairs, Pairs):
            raise UserError(f"{where}: not an object with {' and '.join(columns)}: write one object per row")
        cells = []
        for column in columns:
            found = [value for name, value in pairs if name == column]
            if len(found) > 1:
                raise UserError(f"{where}: {column!r} occurs {len(found)} times: keep one")
            if not found:
                fields = ", or set `data.text_column` and `data.label_column`" if number == 1 else ""
                raise UserError(f"{where}: no field {column!r} (fields: {shown_names(pairs.names)}): add it{fields}")
            cells.append(cell_text(found[0], where, column, column in listed))
        yield Row(number, cells, [name for name, _ in pairs], [value for _, value in pairs])
    if not number:
        raise UserError(f"{path}: empty: write one object per row")


def values_of_lines(path: Path, lines: TextLines) -> Iterator[tuple[int, object]]:
    """Yield the values of JSON Lines, with their lines. Raises UserError for a line that is not JSON."""
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        try:
            yield lines.number, json.loads(line, object_pairs_hook=Pairs)
        except (ValueError, RecursionError) as error:
            raise _not_json(path, number, lines.number, str(error), "write one object per line") from None


def values_of_array(path: Path, lines: TextLines) -> Iterator[tuple[int, object]]:
    """Yield the values of a JSON array, with the lines in which they begin, block by block.

    Raises UserError for what is not JSON, for a value of more than `LARGEST` characters, and for text after the array.
    """
    decode = json.JSONDecoder(object_pairs_hook=Pairs).raw_decode
    buffer = _Buffer(lines)
    buffer.skip_blanks()
    buffer.take(1)  # the bracket
    number = 0
    while (character := buffer.skip_blanks()) != "]" or number:
        number += 1
        line, fault = buffer.line, ""
        while True:
            try:
                value, end = decode(buffer.text, buffer.place)
                # A number at the end of a block may continue in the next one.
                if end < len(buffer.text) or not buffer.grow():
                    break
            except (ValueError, RecursionError) as error:
                fault = getattr(error, "msg", str(error))
                if isinstance(error, RecursionError) or len(buffer.text) - buffer.place > LARGEST or not buffer.grow():
                    raise _not_json(path, number, line, fault, "correct that object") from None
        buffer.take(end - buffer.place)
        yield line, value
        character = buffer.skip_blanks()
        if character == "]":
            break
        if character != ",":
            what = f"got {character!r}" if character else "the file ends"
            raise _not_json(path, number, buffer.line, f"{what} after it, expected ',' or ']'", "complete the array")
        buffer.take(1)
    buffer.take(1)
    if buffer.skip_blanks():
        raise UserError(f"{path}: line {buffer.line}: text after the JSON array: remove it, or write one object a line")


def _not_json(path: Path, number: int, line: int, fault: str, advice: str) -> UserError:
    return UserError(f"{path}: row {number} (line {line}): not JSON ({fault}): {advice}")


class _Buffer:
    """The part of a text that is being decoded, and its line number."""

    def __init__(self, lines: TextLines) -> None:
        self.text, self.place, self.line = "", 0, 1
        self._blocks = lines.blocks()

    def grow(self) -> bool:
        """Append at least as much as there is, so that decoding a long value again costs little. False at the end."""
        parts, size = [self.text[self.place :]], 0
        while size <= len(parts[0]) and (block := next(self._blocks, "")):
            parts.append(block)
            size += len(block)
        self.text, self.place = "".join(parts), 0
        return size > 0

    def take(self, count: int) -> None:
        """Move on by `count` characters."""
        self.line += self.text.count("\n", self.place, self.place + count)
        self.place += count

    def skip_blanks(self) -> str:
        """Move to the next character that is not blank, and return it, "" at the end."""
        while True:
            match = BLANK.match(self.text, self.place)
            self.take(match.end() - self.place if match else 0)
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.grow():
                return ""
