"""Baselines of tagging that need no training: forward maximum match, and the most frequent tag of each token."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from core.models.heads.spans import Spans, find_spans, scheme_of, score_spans


class Tagging(Protocol):
    """The part of a corpus (`core/data/tagged_corpus.py`) that a baseline reads."""

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def tags(self) -> np.ndarray: ...

    @property
    def offsets(self) -> np.ndarray: ...

    @property
    def classes(self) -> list[str]: ...


MATCH = "forward maximum match with the words of the training set"
FREQUENT = "most frequent tag of each token in the training set"


def baseline_of(corpus: Tagging, rows: dict[str, np.ndarray], labels: str) -> dict:
    """Return the name of the baseline of this kind of labels, and its figures on dev and test.

    `rows` are the sentences of each split. Figures: `accuracy` of tags, `precision`, `recall` and `f1` of spans if the
    tags mark any.
    """
    sets = {split: _joined(corpus, chosen) for split, chosen in rows.items()}
    train = sets.pop("train")
    scheme = scheme_of(corpus.classes)
    found: dict = {"name": MATCH if labels == "boundaries" else FREQUENT}
    for split, (ids, tags, offsets) in sets.items():
        predicted = _matched(train, ids, offsets, corpus) if labels == "boundaries" else _frequent(train, ids)
        figures = {"accuracy": float((predicted == tags).mean())}
        if scheme is not None:
            true, own = (find_spans(values, offsets, scheme) for values in (tags, predicted))
            scores = score_spans(true, own, scheme)
            figures |= {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
        found[split] = figures
    return found


def maximum_match(ids: list[int], words: dict[int, dict[int, set[tuple[int, ...]]]]) -> list[int]:
    """Return the sizes of the words of a sentence: from left to right the longest known word, else a single token.

    `words` holds the known words of two or more tokens by first token and size, longest sizes first (`by_start`).
    """
    sizes, start = [], 0
    while start < len(ids):
        known = words.get(ids[start], {})
        size = next((size for size, own in known.items() if tuple(ids[start : start + size]) in own), 1)
        sizes.append(size)
        start += size
    return sizes


def by_start(words: set[tuple[int, ...]]) -> dict[int, dict[int, set[tuple[int, ...]]]]:
    """Return words of two or more tokens by their first token and their size, longest sizes first."""
    found: dict[int, dict[int, set[tuple[int, ...]]]] = {}
    for word in sorted(words, key=len, reverse=True):
        if len(word) > 1:
            found.setdefault(word[0], {}).setdefault(len(word), set()).add(word)
    return found


def most_frequent_tags(ids: np.ndarray, tags: np.ndarray) -> tuple[dict[int, int], int]:
    """Return the most frequent tag of each token, and that of all tokens; the first tag wins a tie."""
    classes = int(tags.max()) + 1
    pairs, counts = np.unique(ids.astype(np.int64) * classes + tags, return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for pair, number in zip(pairs.tolist(), counts.tolist(), strict=True):
        token, tag = divmod(pair, classes)
        if token not in best or number > best[token][0]:
            best[token] = number, tag
    return {token: tag for token, (_, tag) in best.items()}, int(np.bincount(tags).argmax())


def _joined(corpus: Tagging, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the concatenated tokens and tags of these sentences, and their offsets."""
    lengths = np.diff(corpus.offsets)
    wanted = np.zeros(len(lengths), dtype=bool)
    wanted[rows] = True
    chosen = np.repeat(wanted, lengths)
    return corpus.ids[chosen], corpus.tags[chosen], np.concatenate(([0], np.cumsum(lengths[wanted])))


def _words(ids: np.ndarray, spans: Spans) -> set[tuple[int, ...]]:
    values = ids.tolist()
    return {tuple(values[start:end]) for start, end in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)}


def _matched(train: tuple, ids: np.ndarray, offsets: np.ndarray, corpus: Tagging) -> np.ndarray:
    scheme = scheme_of(corpus.classes)
    assert scheme is not None, "boundaries have the tags of words"
    words = by_start(_words(train[0], find_spans(train[1], train[2], scheme)))
    number = {name: place for place, name in enumerate(corpus.classes)}
    begin, middle, end, single = (number[name] for name in "BMES")
    values, found = ids.tolist(), []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for size in maximum_match(values[start:stop], words):
            found += [single] if size == 1 else [begin, *[middle] * (size - 2), end]
    return np.array(found)


def _frequent(train: tuple, ids: np.ndarray) -> np.ndarray:
    known, other = most_frequent_tags(train[0], train[1])
    return np.array([known.get(token, other) for token in ids.tolist()])
