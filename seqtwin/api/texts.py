"""Texts and labels in memory: lists, Series, columns of a DataFrame. They are checked, and written to a run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.data.sources.formats.rows import LONGEST
from core.errors import UserError
from core.files import incremental_writer
from core.spec.data import RUN_TEXTS
from core.strings import shorten

SHOWN = 40
"""Maximum characters of a value in a message."""


def checked_texts(texts: Any) -> list[str]:
    """Return texts as a list. Raises UserError that names the first value that is no text."""
    found = []
    for place, text in enumerate(_values(texts, "texts")):
        if not isinstance(text, str):
            got = f"{shorten(repr(text), SHOWN)} ({type(text).__name__})"
            raise UserError(f"texts[{place}]: got {got}, expected a string: convert or omit it")
        if (fault := _fault(text)) is not None:
            raise UserError(f"texts[{place}]: {fault}")
        found.append(str(text))
    return found


def checked_labels(labels: Any, count: int) -> list[str | int | float | bool]:
    """Return the labels of `count` texts, as Python's values of one type.

    Raises UserError for another number of labels, for one that is missing, and for labels of several types.
    """
    if labels is None:
        raise UserError("labels: got None, expected a label for every text: give y (training requires y to be passed)")
    found = [own.item() if isinstance(own, np.generic) else own for own in _values(labels, "labels")]
    found = [0.0 if type(own) is float and own == 0 else own for own in found]  # -0.0 equals it
    if len(found) != count:
        raise UserError(f"got {count:,} texts and {len(found):,} labels, expected a label for every text")
    for place, label in enumerate(found):
        wrong = _wrong_label(label)
        if not wrong and type(label) is not type(found[0]):
            wrong = f"labels of one type, as labels[0] is {found[0]!r}"
        if wrong:
            raise UserError(f"labels[{place}]: got {shorten(repr(label), SHOWN)}, expected {wrong}")
    return found


def write_texts(run: Path, texts: Sequence[str], labels: Sequence[object]) -> Path:
    """Create the folder of a run with its texts and labels alone, as a table of JSON lines. Return the table's path."""
    try:
        run.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{run}: cannot be created ({error.strerror}): give another folder") from None
    with incremental_writer(run / RUN_TEXTS) as file:
        for text, label in zip(texts, labels, strict=True):
            file.write(json.dumps({"text": text, "label": str(label)}, ensure_ascii=False) + "\n")
    return run / RUN_TEXTS


def remove_texts(run: Path) -> None:
    """Remove the folder of a run that did not begin."""
    (run / RUN_TEXTS).unlink()
    run.rmdir()


def _values(given: Any, what: str) -> list[Any]:
    """Return the values of a sequence with one dimension, or of a table with one column."""
    if isinstance(given, str | bytes):
        raise UserError(f"{what}: got a single string, expected a list: put it in brackets")
    array = given.to_numpy() if hasattr(given, "to_numpy") else given
    if hasattr(array, "toarray"):
        raise UserError(f"{what}: got a sparse matrix, expected a list of strings")
    if isinstance(array, np.ndarray):
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            named = ", ".join(map(str, getattr(given, "columns", [])))
            columns = f" ({shorten(named, 2 * SHOWN)})" if named else ""
            raise UserError(f"{what}: got an array of shape {array.shape}{columns}, expected one column")
        return list(array)
    if isinstance(array, dict) or not hasattr(array, "__iter__"):
        raise UserError(f"{what}: got {type(array).__name__}, expected a list, a Series or a column of a DataFrame")
    return list(array)


def _fault(text: str) -> str | None:
    """Return why a string cannot be a text, None if it can."""
    if "\0" in text:
        return "contains a NUL character: remove it"
    if len(text) > LONGEST:
        return f"has more than {LONGEST:,} characters: shorten it"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "contains half of a surrogate pair, which is no character: decode the text correctly"
    return None


def _wrong_label(label: object) -> str:
    """Return what was expected in place of a label, "" for a label."""
    if isinstance(label, float):
        return "" if label.is_integer() else "a class: a string, a whole number, True or False"
    if not isinstance(label, str | int):
        return "a string, a whole number, True or False"
    if isinstance(label, str) and (" ".join(label.split()) != label or not label or _fault(label)):
        return "a label without control characters, blanks around it, or several blanks in a row"
    return ""
