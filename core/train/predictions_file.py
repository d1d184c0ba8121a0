"""`predictions.csv`: the predictions of the best checkpoint for the test texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.checked_json import file_digest_of
from core.errors import UserError
from core.files import write_text_atomic
from core.label_sets import split_labels

COLUMNS = ("id", "label", "predicted")
"""The first columns; `p_CLASS` follows for each class, if a text has one."""
SEVERAL = ("id", "labels", "predicted")
"""The first columns for texts with several labels, which are joined (`core/label_sets.py`)."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read a table of a run in the block. Raises UserError if it is missing, cannot be read, or is damaged."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing") from None
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror})") from None
    except (ValueError, csv.Error):
        raise UserError(f"{path.name} is damaged") from None


@dataclass(frozen=True)
class Predictions:
    """Names, labels and predicted classes of N texts, and probabilities [N, C] of `classes`."""

    names: list[str]
    labels: list[str]
    predicted: list[str]
    probabilities: np.ndarray
    classes: list[str]
    several: bool = False
    """Whether labels and predictions are sets of classes, joined."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def by_name(self) -> dict[str, str]:
        """The predicted class by name of the text."""
        return dict(zip(self.names, self.predicted, strict=True))

    def write(self, path: Path) -> None:
        """Write the file, probabilities with six decimals."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*(SEVERAL if self.several else COLUMNS), *(f"p_{name}" for name in self.classes)])
        for *cells, row in zip(self.names, self.labels, self.predicted, self.probabilities, strict=True):
            writer.writerow([*cells, *(f"{p:.6f}" for p in row)])
        write_text_atomic(path, stream.getvalue())

    @classmethod
    def read(cls, path: Path, digest: str | None = None) -> Predictions:
        """Read the file. Raises UserError if it is missing, damaged, or does not have this digest."""
        with reading(path):
            data = path.read_bytes()
            if digest is not None and file_digest_of(data) != digest:
                raise ValueError
            header, *rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
            names, labels, predicted, *shares = zip(*rows, strict=True) if rows else ((), (), ())
            classes = [name.removeprefix("p_") for name in header[3:]]
            # Sequences of tags or tokens have no probabilities.
            probabilities = np.array(shares, dtype=np.float64).reshape(len(classes), len(rows)).T
            several = tuple(header[:3]) == SEVERAL
            named = {*labels, *predicted}
            if several:
                named = {name for joined in named for name in split_labels(joined)}
            if (
                tuple(header[:3]) not in (COLUMNS, SEVERAL)
                or probabilities.shape != (len(rows), len(classes))
                or not ((probabilities >= 0) & (probabilities <= 1)).all()
                or len(set(names)) != len(rows)
                or (classes and not named <= set(classes))
            ):
                raise ValueError
        return cls(list(names), list(labels), list(predicted), probabilities, classes, several)
