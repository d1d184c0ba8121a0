"""What both backends share, against a golden file in this test and a recomputation from the definitions.

A parity check compares two backends on the same batches: a fault in vocabulary, truncation, batch order or schedule is
the same on both sides, and invisible to it. Here nothing of `core.data` or `core.train` computes the expected values.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from math import ceil, cos, pi

import numpy as np
import pytest

from core.spec.experiment import Experiment, replace
from core.train.prepare_data import fitted, read_data
from core.train.steps import steps_from

TRAIN = [
    ("good film and good plot and good cast", "pos"),
    ("bad film", "neg"),
    ("good", "pos"),
    ("the plot was bad and the cast was bad too", "neg"),
    ("a good plot", "pos"),
    ("awful , awful plot", "neg"),
    ("the cast was good and the film was good", "pos"),
]
WORDS = ["<pad>", "<unk>", "good", "and", "plot", "the", "was", "bad", "cast", "film"]
"""By count, equal counts by code point, at least two of each, the first 8."""
KEPT = {
    "head": [[2, 9, 3, 2, 4], [7, 9], [2], [5, 4, 6, 7, 3], [1, 2, 4], [1, 1, 1, 4], [5, 8, 6, 2, 3]],
    "tail": [[2, 4, 3, 2, 8], [7, 9], [2], [5, 8, 6, 7, 1], [1, 2, 4], [1, 1, 1, 4], [3, 5, 9, 6, 2]],
    "both": [[2, 9, 3, 2, 8], [7, 9], [2], [5, 4, 6, 7, 1], [1, 2, 4], [1, 1, 1, 4], [5, 8, 6, 6, 2]],
}
"""Ids of the training texts, at most 5: the first, the last, and the first 3 with the last 2."""
ORDER = {0: [[4, 6], [0], [5, 3], [2, 1]], 1: [[2, 4], [6], [1, 3], [5, 0]]}
"""Rows of every batch by epoch, for seed 3 and buckets of 2 batches."""


def experiment_of(tmp_path, **changes) -> Experiment:
    for part, rows in {"train": TRAIN, "dev": TRAIN[1:3], "test": TRAIN[2:4]}.items():
        lines = [f'"{text}",{label}' for text, label in rows]
        (tmp_path / f"{part}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    files = {part: str(tmp_path / f"{part}.csv") for part in ("dev", "test")}
    fixed = {
        "data": {"kind": "table", "source": str(tmp_path / "train.csv"), "duplicates": "keep", **files},
        "text.tokenizer": "whitespace",
        "text.vocab_size": 10,
        "text.min_count": 2,
        "text.max_length": 5,
        "text.head_share": 0.6,
        "training.batch_size": 2,
        "training.epochs": 2,
        "training.seed": 3,
        "training.bucket_batches": 2,
    }
    return replace(Experiment(), {**fixed, **changes})


def steps_of(experiment: Experiment, tmp_path):
    data, _ = read_data(experiment, tmp_path / "cache")
    return data, list(steps_from(fitted(experiment, data), data.train))


def words_and_ids(truncation: str) -> tuple[list[str], list[list[int]]]:
    """The vocabulary and the ids of the training texts, from the definitions."""
    texts = [text.split() for text, _ in TRAIN]
    counts = Counter(word for text in texts for word in text)
    words = sorted((word for word in counts if counts[word] >= 2), key=lambda word: (-counts[word], word))[:8]
    ids = {word: number for number, word in enumerate(words, start=2)}
    cut = {"head": lambda x: x[:5], "tail": lambda x: x[-5:], "both": lambda x: x if len(x) <= 5 else x[:3] + x[-2:]}
    return ["<pad>", "<unk>", *words], [[ids.get(word, 1) for word in cut[truncation](text)] for text in texts]


def batches_of(lengths: list[int], seed: int, epoch: int, size: int, buckets: int) -> list[list[int]]:
    """Shuffle; sort each bucket by length, equal ones as shuffled; cut into batches; shuffle those."""
    key = int.from_bytes(hashlib.blake2b(f"{seed}/order/{epoch}".encode(), digest_size=16).digest(), "little")
    rng = np.random.Generator(np.random.Philox(key=key))
    rows, span = rng.permutation(len(lengths)).tolist(), size * buckets
    ordered = [
        row for start in range(0, len(rows), span) for row in sorted(rows[start:][:span], key=lengths.__getitem__)
    ]
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def rates_of(kind: str, peak: float, total: int, warmup: float, start: float, final: float) -> list[float]:
    """Constant; or straight, or along a cosine, from `start` up to the peak in `warmup` steps, and down to `final`."""
    if kind == "constant":
        return [peak] * total
    ease = (lambda x: x) if kind == "linear" else (lambda x: (1 - cos(pi * x)) / 2)
    up = lambda step: start + (1 - start) * ease(step / warmup)  # noqa: E731
    down = lambda step: 1 + (final - 1) * ease((step - warmup) / (total - 1 - warmup))  # noqa: E731
    return [peak * (up(step) if step < warmup else down(step)) for step in range(total)]


@pytest.mark.parametrize("truncation", KEPT)
def test_ids_lengths_and_labels(truncation, tmp_path):
    assert words_and_ids(truncation) == (WORDS, KEPT[truncation])
    data, steps = steps_of(experiment_of(tmp_path, **{"text.truncate": truncation}), tmp_path)
    assert data.vocabulary.tokens == WORDS and data.vocabulary.counts == [0, 5, 7, 4, 4, 4, 4, 3, 3, 3]
    order = [row for epoch in ORDER for rows in ORDER[epoch] for row in rows]
    seen = []
    for _, batch, _ in steps:
        assert batch.ids.shape[1] == batch.lengths.max()
        for ids, length, label in zip(batch.ids, batch.lengths, batch.targets["label"], strict=True):
            assert not ids[length:].any()
            seen.append((ids[:length].tolist(), data.classes[label]))
    assert seen == [(KEPT[truncation][row], TRAIN[row][1]) for row in order]


def test_batch_order_and_learning_rates(tmp_path):
    """Every batch of both epochs, the short last one too, and its rate."""
    lengths = [len(ids) for ids in KEPT["head"]]
    assert {epoch: batches_of(lengths, seed=3, epoch=epoch, size=2, buckets=2) for epoch in ORDER} == ORDER
    sizes = [len(rows) for epoch in ORDER for rows in ORDER[epoch]]
    assert len(sizes) == 2 * ceil(7 / 2) and sorted(sizes)[:2] == [1, 1]
    for kind in ("constant", "linear", "one_cycle"):
        schedule = {"kind": kind, "warmup_share": 0.25, "start_share": 0.1, "final_share": 0.02}
        settings = {"training.schedule": schedule, "training.optimizer.learning_rate": 0.5}
        _, steps = steps_of(experiment_of(tmp_path, **settings), tmp_path)
        assert [step for step, _, _ in steps] == list(range(8))
        assert [len(batch.lengths) for _, batch, _ in steps] == sizes
        wanted = rates_of(kind, 0.5, 8, warmup=2.0, start=0.1, final=0.02)
        np.testing.assert_allclose([rate for _, _, rate in steps], wanted, 1e-14)
    assert [round(rate, 4) for rate in wanted] == [0.05, 0.275, 0.5, 0.4532, 0.3307, 0.1793, 0.0568, 0.01]
