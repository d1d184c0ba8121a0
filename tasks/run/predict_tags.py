"""Tag new texts with a finished run, and explain the tag of a token."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from core.analysis.marked_text import MarkedText
from core.analysis.tag_occlusion import explain_tag, least_certain
from core.data.tagged_text import EncodedSentence, encode_sentence, rendered, tokens_of
from core.data.token_spans import sentence_spans
from core.errors import UserError
from core.files import as_spreadsheet_text, incremental_writer, row_writer
from core.models.heads.spans import scheme_of
from core.models.heads.tokens import TokenHead
from core.schema import of_kind
from core.strings import CONTROL
from core.train.run_folder import RunFolder
from core.train.tagging import Tags, tag
from tasks.cli.console import fact
from tasks.cli.terminal import note
from tasks.run.evaluators import evaluator
from tasks.run.explain import Explained, Unexplained, show
from tasks.run.predict_file import Text, Texts, chunks_of
from tasks.run.predict_options import Counts, PredictOptions
from tasks.run.worker import Request

COLUMNS = ("predicted", "lowest_probability")
"""Columns of the CSV file after those of the texts."""

Tagged = tuple[Text, EncodedSentence, Tags]


class TagPredictor:
    """A run's tags of new texts: words separated by spaces, or `token/tag`; an empty line for a blank text."""

    def __init__(self, run: str, request: Request, wanted: PredictOptions) -> None:
        self.run, self.wanted = run, wanted
        folder = RunFolder.open(Path(run))
        self.experiment, execution = folder.read_record()
        self.classes: list[str] = execution["classes"]
        scheme = scheme_of(self.classes)
        self.as_words = scheme is not None and scheme.words
        self.head = of_kind(self.experiment.model.head, TokenHead)
        self.vocabulary = folder.read_vocabulary(self.experiment.model)
        chosen = evaluator(folder, self.experiment, request)
        self.engine, self.computed_by = chosen.engine, chosen.computed_by
        self.counts = Counts()

    def with_engine(self, engine: Any) -> TagPredictor:
        """Return a predictor that computes with another engine, and counts its texts anew."""
        other = copy(self)
        other.engine, other.counts = engine, Counts()
        return other

    def write(self, texts: Texts, out: Path) -> None:
        """Write the tagged texts to a CSV file. Raises UserError as reading does, and leaves no file then."""
        self.write_file(texts, out)
        fact("written", f"{out}: predictions for {self.counts.texts:,} texts ({self.computed_by})")
        self._note_empty(texts)

    def write_file(self, texts: Texts, out: Path) -> None:
        """Write the tagged texts to a CSV file, and print no summary."""
        names = dict.fromkeys(COLUMNS)
        for name in COLUMNS:
            free, number = name, 2
            while free in texts.columns:
                free, number = f"{name}_{number}", number + 1
            names[name] = free
            if free != name:
                note(f"the file has a column {name}, so the prediction's is {free}")
        own = (lambda cell: cell) if self.wanted.raw else as_spreadsheet_text
        with incremental_writer(out) as file:
            file.write("\ufeff")
            write = row_writer(file)
            write([own(str(name)) for name in (*texts.columns, *names.values())])
            for row, tagged in self.tagged(texts):
                results = ["", ""] if tagged is None else [own(self.rendered(tagged)), f"{_lowest(tagged[2]):.6f}"]
                write([*map(own, row.cells), *results])

    def predict(self, texts: Texts) -> None:
        """Print the tagged texts."""
        for _, tagged in self.tagged(texts):
            self._print("" if tagged is None else self.rendered(tagged))
        self._note_empty(texts)

    def explain(self, texts: Texts) -> list[Explained | Unexplained]:
        """Print the tagged texts with the explanation of a tag; return these if they are wanted as a page."""
        found: list[Explained | Unexplained] = []
        for row, tagged in self.tagged(texts):
            if tagged is None:
                self._print("")
                own = Unexplained(row.number, row.text)
            else:
                self._print(self.rendered(tagged))
                own = self.explained(tagged)
                show(own)
            if self.wanted.page is not None:
                found.append(own)
        self._note_empty(texts)
        return found

    def explained(self, tagged: Tagged) -> Explained:
        """Return the explanation of a tag of a text. Raises UserError for a token that it does not have."""
        row, sentence, tags = tagged
        size = len(sentence.tokens)
        if self.wanted.token is not None and not 1 <= self.wanted.token <= size:
            raise UserError(f"text {row.number}: no token {self.wanted.token}: choose one of 1 to {size} for `token`")
        place = least_certain(tags) if self.wanted.token is None else self.wanted.token - 1
        start, end = next(own for own in pairwise([0, *sentence.ends]) if own[0] <= place < own[1])
        piece = slice(start, end)
        explanation = explain_tag(self.engine, self.head, sentence.ids[piece], place - start)
        places, unknown = np.arange(start, end), sentence.unknown[piece]
        spans = sentence_spans(row.text, self.experiment.text)
        marked = MarkedText(row.text, spans, sentence.tokens, places, unknown, place)
        best, second = (int(own) for own in np.argsort(-explanation.probabilities, kind="stable")[:2])
        shares = ", ".join(f"{self.classes[own]} {explanation.probabilities[own]:.2f}" for own in (best, second))
        name = self.classes[explanation.predicted]
        prediction = f"tag {name} of token {place + 1}, {sentence.tokens[place]} ({shares})"
        return Explained(marked, explanation, prediction, row.number, unread="in other pieces")

    def tagged(self, texts: Texts) -> Iterator[tuple[Text, Tagged | None]]:
        """Yield the texts with their tags, in order; None for a text without tokens."""
        spec = self.experiment.text
        for chunk in chunks_of(texts.rows):
            found: list[EncodedSentence | None] = []
            for row in chunk:
                empty = not tokens_of(row.text, spec)[0]
                self.counts.add(row.number, empty)
                found.append(None if empty else encode_sentence(row.text, self.vocabulary, spec, f"text {row.number}"))
            tags = iter(self._tags([own for own in found if own is not None]))
            for row, own in zip(chunk, found, strict=True):
                yield row, None if own is None else (row, own, next(tags))

    def _tags(self, sentences: list[EncodedSentence]) -> list[Tags]:
        """Return the tags of sentences, which the model reads in pieces."""
        pieces = [own.ids[start:end] for own in sentences for start, end in pairwise([0, *own.ends])]
        found, joined = iter(tag(self.engine, self.head, pieces)), []
        for own in sentences:
            parts = [next(found) for _ in own.ends]
            tags, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("tags", "scores"))
            joined.append(Tags(tags, scores))
        return joined

    def rendered(self, tagged: Tagged) -> str:
        """Return a tagged text as words, or as `token/tag`."""
        _, sentence, tags = tagged
        names = [self.classes[own] for own in tags.tags]
        return rendered(sentence.tokens, names, self.as_words, sentence.spaced.tolist())

    def _print(self, line: str) -> None:
        print(CONTROL.sub("\ufffd", line), flush=self.wanted.interactive)

    def _note_empty(self, texts: Texts) -> None:
        if self.counts.empty:
            note(self.counts.describe(texts.unit))


def _lowest(found: Tags) -> float:
    """Return the probability of the least certain tag."""
    return float(found.probabilities[np.arange(len(found.tags)), found.tags].min())
