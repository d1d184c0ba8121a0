"""Disjoint train, dev and test splits, and removal of duplicates."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import numpy as np

from core.rng import generator
from core.spec.data import Splits

CODES = {"": 0, "train": 1, "test": 2, "dev": 3}
"""Codes of the splits that the data itself provides; "" for none."""

DUPLICATE = "duplicate"
CONFLICTING = "with conflicting labels"
ELSEWHERE = "also in the {} split"
ONLY_TOKENS = " only after the TOKENIZER tokenizer"
"""Reasons for skipping a text (`core.strings.count_reasons`), and their end if the texts themselves differ."""


def split_rows(
    marks: np.ndarray, labels: np.ndarray, groups: np.ndarray, data: Splits, tested: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], dict]:
    """Return disjoint, sorted rows of `train`, `dev` and `test`, and how they were split.

    `marks` [N] by CODES, `labels` [N], `groups` [N], -1 if unknown. Marked texts keep their split. If no text is marked
    dev, dev is held out of train: entire films if films are known, otherwise at random, stratified by class. Unmarked
    texts are divided into all three splits at random, stratified by class. `tested` [N] bool are the texts of the test
    split in a cross-validation.
    """
    if tested is not None:
        marks = np.where(tested, np.int8(CODES["test"]), marks)
    own_test, own_dev, marked, unmarked = (
        np.flatnonzero(marks == CODES[part]) for part in ("test", "dev", "train", "")
    )
    dev_share = 0.0 if len(own_dev) else data.dev_share
    by_film = bool(dev_share and (groups[marked] >= 0).any())
    if by_film:
        train, dev = _split_by_group(marked, groups[marked], dev_share, data.split_seed)
    else:
        train, dev = _split_at_random(marked, labels, [dev_share], data.split_seed)
    test_share = data.test_share if tested is None else 0.0
    rest, more_dev, cut_test = _split_at_random(unmarked, labels, [dev_share, test_share], data.split_seed)
    parts = {
        "train": np.concatenate((train, rest)),
        "dev": np.concatenate((own_dev, dev, more_dev)),
        "test": np.concatenate((own_test, cut_test)),
    }
    if data.train_limit is not None:
        parts = {part: _limited(rows, labels, data.train_limit, data.split_seed, part) for part, rows in parts.items()}
    summary = {
        "dev_split": "as provided" if len(own_dev) else "by film" if by_film else "at random",
        "test_split": "by fold" if tested is not None else "as provided" if len(own_test) else "at random",
    }
    return {part: np.sort(rows) for part, rows in parts.items()}, summary


def without_duplicates(
    ids: np.ndarray, offsets: np.ndarray, labels: np.ndarray, marks: np.ndarray, texts: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows to keep, [N] bool, and the number of skipped rows by reason.

    Texts are duplicates if their tokens are equal. The first of several duplicates is kept, none if their labels
    differ. A text of a provided test split is kept there, with its duplicates, and removed from the other splits; the
    same then holds for dev. `texts` are digests [N] of the texts, to count those apart that only the tokenizer made
    equal.
    """
    digests = token_digests(ids, offsets)
    keep, found = np.ones(len(labels), dtype=bool), Counter()

    def count(reason: str, skipped: np.ndarray, same_text: np.ndarray) -> None:
        found[reason] += int((skipped & same_text).sum())
        found[reason + ONLY_TOKENS] += int((skipped & ~same_text).sum())

    held_out = np.zeros(len(labels), dtype=bool)
    for part in ("test", "dev"):
        own = (marks == CODES[part]) & keep
        held_out |= own
        elsewhere = keep & ~held_out & np.isin(digests, digests[own])
        keep &= ~elsewhere
        count(ELSEWHERE.format(part), elsewhere, np.isin(texts, texts[own]))
    rows = np.flatnonzero(keep & ~held_out)
    again, torn = _repeated(digests[rows], labels[rows])
    same_again, same_torn = _repeated(texts[rows], labels[rows])
    keep[rows[again | torn]] = False
    count(DUPLICATE, again & ~torn, same_again)
    count(CONFLICTING, torn, same_torn)
    return keep, {reason: count for reason, count in found.items() if count}


def token_digests(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return a digest [N] uint64 of the tokens of every text."""
    content = np.ascontiguousarray(ids).view(np.uint8).data
    pairs = itertools.pairwise((offsets * ids.itemsize).tolist())
    digests = b"".join(hashlib.blake2b(content[start:end], digest_size=8).digest() for start, end in pairs)
    return np.frombuffer(digests, dtype=np.uint64)


def _repeated(digests: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which texts repeat an earlier one, and which occur with several labels, both [N] bool."""
    _, first, text = np.unique(digests, return_index=True, return_inverse=True)
    torn = np.zeros(len(first), dtype=bool)
    torn[text[labels != labels[first][text]]] = True
    again = np.ones(len(digests), dtype=bool)
    again[first] = False
    return again, torn[text]


def _split_by_group(rows: np.ndarray, groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out entire groups, in shuffled order, until `share` of the rows is reached.

    A row without a group forms a group. Returns the remaining rows and the held-out rows.
    """
    groups = np.where(groups >= 0, groups.astype(np.int64), -1 - np.arange(len(rows)))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator(seed, "split").permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[before < share * len(rows)]] = True
    return rows[~chosen[group]], rows[chosen[group]]


def _split_at_random(rows: np.ndarray, labels: np.ndarray, shares: list[float], seed: int) -> list[np.ndarray]:
    """Return the remaining rows, then one split per share, stratified by class.

    Every split has at least one row of a class that has enough rows for all splits. A smaller class is not divided: its
    rows remain, for training.
    """
    parts = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        shuffled = own[generator(seed, "split", int(label)).permutation(len(own))]
        if len(own) > sum(share > 0 for share in shares):
            sizes = [max(round(share * len(own)), int(share > 0)) for share in shares]
        else:
            sizes = [0] * len(shares)
        while sum(sizes) >= len(own):  # shares near a half, rounded up
            sizes[sizes.index(max(sizes))] -= 1
        *held_out, rest = np.split(shuffled, np.cumsum(sizes))
        for part, piece in zip(parts, [rest, *held_out], strict=True):
            part.append(piece)
    return [np.concatenate(part) if part else np.zeros(0, np.int64) for part in parts]


def _limited(rows: np.ndarray, labels: np.ndarray, limit: int, seed: int, part: str) -> np.ndarray:
    """Return at most `limit` rows with balanced classes.

    Smaller limits give subsets of larger ones.
    """
    if len(rows) == 0:
        return rows
    classes = np.unique(labels[rows])
    chosen = []
    for place, label in enumerate(classes):
        own = rows[labels[rows] == label]
        quota = limit // len(classes) + (place < limit % len(classes))
        chosen.append(own[generator(seed, "limit", part, int(label)).permutation(len(own))[:quota]])
    return np.concatenate(chosen)
