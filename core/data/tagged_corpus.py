"""Preparation of encoded train, dev and test sets of tagged sentences: read, split, build the vocabulary, encode."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import defaultdict
from dataclasses import dataclass
from itertools import count

import numpy as np

from core.batch import UNK, Ragged
from core.data.dataset import Dataset, Prepared
from core.data.sources.formats.tagged_lines import Sentence
from core.data.sources.tagged import TaggedSource
from core.data.splits import CODES, split_rows, without_duplicates
from core.data.tagged_text import form, pieces, word_tags
from core.data.tagging_baselines import baseline_of
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.heads.spans import WORD_TAGS, impossible_steps
from core.spec.data import Tagged
from core.spec.text import Text
from core.strings import count_reasons, in_order

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class TaggedCorpus:
    """Tagged sentences as concatenated provisional ids and tags.

    Sentence n is `ids[offsets[n]:offsets[n + 1]]`, its tags the same entries of `tags`. `tokens`: the form of every
    provisional id, in order of first occurrence; `ids` and `tags` [total] int32, indices into `tokens` and `classes`;
    `offsets` [N + 1] int64; `names`: N strings; `splits` [N] int8 by `splits.CODES`.
    """

    tokens: list[str]
    ids: np.ndarray
    tags: np.ndarray
    offsets: np.ndarray
    classes: list[str]
    names: list[str]
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def row(self, number: int) -> slice:
        """Return the place of a sentence in `ids` and `tags`."""
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))


def name_of(split: str, sentence: Sentence) -> str:
    """Return the name of a sentence: its split and the number of its first line."""
    return f"{split or 'train'}/{sentence.line}"


def units_of(sentence: Sentence, labels: str) -> tuple[list[str], list[str]]:
    """Return the tokens and tags of a sentence, as `data.labels` wants them."""
    if labels == "tags":
        return sentence.tokens, sentence.tags
    tokens = [character for word in sentence.tokens for character in word]
    return tokens, [tag for word in sentence.tokens for tag in word_tags(len(word))]


def texts_of(source: TaggedSource, text: Text, names: set[str]) -> dict[str, str]:
    """Return the rows with these names as text, by name."""
    joined = "" if text.tokenizer == "letters" else " "
    return {name: joined.join(tokens) for name, tokens in tokens_of_rows(source, text, names).items()}


def tokens_of_rows(source: TaggedSource, text: Text, names: set[str]) -> dict[str, list[str]]:
    """Return the tokens of the rows with these names, by name. A row is a sentence, or a piece of a long one."""
    found, wanted = {}, {name.partition(".")[0] for name in names}
    for split, sentence in source.sentences():
        if (whole := name_of(split, sentence)) in wanted:
            tokens, _ = units_of(sentence, source.data.labels)
            start = 0
            for name, end in _pieces(whole, [form(own, text) for own in tokens], text):
                if name in names:
                    found[name] = tokens[start:end]
                start = end
    return found


def _pieces(name: str, tokens: list[str], text: Text) -> list[tuple[str, int]]:
    """Return the names and the ends of the pieces of a sentence."""
    ends = pieces(tokens, text.max_length)
    return [(f"{name}.{number}" if len(ends) > 1 else name, end) for number, end in enumerate(ends, 1)]


def read_corpus(source: TaggedSource, text: Text) -> TaggedCorpus:
    """Read every sentence of `source`.

    Raises UserError like `TaggedSource.sentences`, and if there is no sentence.
    """
    labels = source.data.labels
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    found: defaultdict[str, int] = defaultdict(count().__next__)
    for tag in WORD_TAGS if labels == "boundaries" else ():
        found[tag]
    known: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    ids, tags, offsets, splits, names = array("i"), array("i"), array("q", [0]), array("b"), []
    for split, sentence in source.sentences():
        for pair in zip(sentence.tokens, sentence.tags, strict=True):
            if (own := known.get(pair)) is None:
                units, unit_tags = units_of(Sentence(0, [pair[0]], [pair[1]]), labels)
                own = known[pair] = [numbers[form(unit, text)] for unit in units], [found[tag] for tag in unit_tags]
            ids.extend(own[0])
            tags.extend(own[1])
        offsets.append(len(ids))
        splits.append(CODES[split])
        names.append(name_of(split, sentence))
    if not names:
        raise UserError(f"{source.description}: no tagged sentence: give at least one for each split")
    classes: list[str] = [*WORD_TAGS] if labels == "boundaries" else in_order(set(found))
    order = np.array([classes.index(tag) for tag in found], dtype=np.int32)
    return TaggedCorpus(
        tokens=list(numbers),
        ids=np.frombuffer(ids, dtype=np.int32),
        tags=order[np.frombuffer(tags, dtype=np.int32)],
        offsets=np.frombuffer(offsets, dtype=np.int64),
        classes=classes,
        names=names,
        splits=np.frombuffer(splits, dtype=np.int8),
    )


def prepare_tagged(corpus: TaggedCorpus, data: Tagged, text: Text) -> Prepared:
    """Split, build the vocabulary from the training split, encode, and divide long sentences.

    The result depends on the arguments alone. Raises UserError if a split has no sentence, if there is a single tag,
    or if a provided dev or test file has a tag that the training split lacks.
    """
    marks, skipped, none = corpus.splits, {}, np.zeros(len(corpus), np.int64)
    if data.duplicates == "drop":
        digests = _digests(corpus)
        keep, skipped = without_duplicates(corpus.ids, corpus.offsets, none, marks, digests)
        marks = np.where(keep, marks, np.int8(-1))
    rows, summary = split_rows(marks, none, none - 1, data)
    for split in SPLITS:
        if len(rows[split]) == 0:
            reasons = f" (skipped: {count_reasons(skipped)})" if skipped else ""
            raise UserError(f"{data.source}: the {split} split has no sentence{reasons}: add sentences")
    if len(corpus.classes) < 2:
        raise UserError(f"{data.source}: all tokens have the tag {corpus.classes[0]!r}: expected at least two tags")
    _check_tags(corpus, rows, data)
    train_ids = np.concatenate([corpus.ids[corpus.row(row)] for row in rows["train"]])
    vocabulary = Vocabulary.build(corpus.tokens, np.bincount(train_ids, minlength=len(corpus.tokens)), text)
    final_ids = vocabulary.encode(corpus.tokens).astype(np.int32)
    summary |= {"vocabulary": len(vocabulary), "left_out": skipped}
    sets = {}
    for split, chosen in rows.items():
        sets[split], summary[split] = _encoded(corpus, chosen, final_ids, text)
    summary["impossible"] = int(_impossible(corpus)[np.concatenate(list(rows.values()))].sum())
    summary["baseline"] = baseline_of(corpus, rows, data.labels)
    return Prepared(vocabulary, sets["train"], sets["dev"], sets["test"], corpus.classes, summary)


def _digests(corpus: TaggedCorpus) -> np.ndarray:
    """Return digests [N] uint64 of the tokens."""
    digests = (
        hashlib.blake2b(corpus.ids[start:end].tobytes(), digest_size=8).digest()
        for start, end in itertools.pairwise(corpus.offsets)
    )
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _check_tags(corpus: TaggedCorpus, rows: dict[str, np.ndarray], data: Tagged) -> None:
    """Raise UserError for a tag of a provided dev or test file that does not occur in train."""
    if data.labels == "boundaries":
        return
    present = np.zeros(len(corpus.classes), dtype=bool)
    for row in rows["train"]:
        present[corpus.tags[corpus.row(row)]] = True
    for split in ("dev", "test"):
        path = getattr(data, split)
        for row in rows[split] if path is not None else ():
            unknown = corpus.tags[corpus.row(row)][~present[corpus.tags[corpus.row(row)]]]
            if len(unknown):
                line = corpus.names[row].rpartition("/")[2]
                raise UserError(
                    f"{path}: sentence at line {line}: tag {corpus.classes[unknown[0]]!r} does not occur in the"
                    f" training split: correct it, or add training sentences with that tag"
                )


def _impossible(corpus: TaggedCorpus) -> np.ndarray:
    """Return [N] bool: sentences with a sequence of tags that the scheme of the tags does not allow."""
    steps = impossible_steps(corpus.tags, corpus.offsets, corpus.classes)
    return np.add.reduceat(steps, corpus.offsets[:-1]) > 0


def _encoded(corpus: TaggedCorpus, chosen: np.ndarray, final_ids: np.ndarray, text: Text) -> tuple[Dataset, dict]:
    """Return the encoded sentences, long ones in pieces, and their summary."""
    places, names, divided = [], [], 0
    for row in chosen:
        where = corpus.row(row)
        own = [(corpus.names[row], where.stop - where.start)]
        if own[0][1] > text.max_length:
            own = _pieces(corpus.names[row], [corpus.tokens[number] for number in corpus.ids[where]], text)
            divided += 1
        start = where.start
        for name, end in own:
            places.append(slice(start, where.start + end))
            names.append(name)
            start = where.start + end
    tokens = final_ids[np.concatenate([corpus.ids[place] for place in places])]
    tags = np.concatenate([corpus.tags[place] for place in places]).astype(np.int64)
    lengths = np.array([place.stop - place.start for place in places])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    full = np.diff(corpus.offsets)[chosen]
    dataset = Dataset(tokens, offsets, {"tags": Ragged(tags, offsets)}, names, tuple(corpus.classes))
    return dataset, {
        "documents": len(dataset),
        "sentences": len(chosen),
        "per_class": np.bincount(tags, minlength=len(corpus.classes)).tolist(),
        "tokens": len(tokens),
        "mean_length": round(float(full.mean()), 2),
        "max_length": int(full.max()),
        "divided": divided,
        "unknown_share": round(float((tokens == UNK).mean()), 6),
    }
