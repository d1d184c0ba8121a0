"""Memory of a fit of n-grams: refused in time, and parts of the work that give what the whole gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.data.dataset import Prepared
from core.data.ngrams import fit as fit_module
from core.data.ngrams import rows as rows_module
from core.data.ngrams import table as table_module
from core.data.ngrams.fit import fit, fit_alone
from core.data.ngrams.rows import Rows
from core.data.ngrams.table import build_table
from core.data.ngrams.texts import LabeledTexts, Texts
from core.engine.memory import Limit
from core.errors import UserError
from core.models.ngrams import Ngrams
from core.train import prepare_data
from tests.conftest import one_line


def texts_of(rng: np.random.Generator, count: int = 60) -> Texts:
    """Return texts of 0 to 40 tokens, frequent and rare ones, the first and last without any."""
    sizes = rng.integers(0, 41, count)
    sizes[[0, 3, -1]] = 0, 1, 0
    return Texts.of([[f"w{int(30 * rng.random() ** 3)}" for _ in range(size)] for size in sizes])


def labeled(rng: np.random.Generator, classes: int) -> LabeledTexts:
    texts = texts_of(rng)
    return LabeledTexts(texts, rng.permutation(np.arange(len(texts)) % classes), np.full(len(texts), -1), classes)


@pytest.mark.parametrize("fitted", [fit, fit_alone])
def test_texts_that_do_not_fit_are_refused_before_the_table(rng, monkeypatch, fitted):
    monkeypatch.setattr(fit_module, "build_table", lambda *_: pytest.fail("the table was made"))
    training = labeled(rng, 2)
    for spec, field in ((Ngrams(), "orders 3"), (Ngrams(orders=0, inputs=False, characters=2), "characters 2")):
        with pytest.raises(UserError, match=rf"^model\.ngrams\.{field}: .* set a lower data\.train_limit$") as refused:
            fitted(replace(training, memory=50 * len(training.texts.ids)), spec, 0)
        one_line(refused)


def test_weights_that_do_not_fit_are_refused_before_the_solver(rng, monkeypatch):
    training = replace(labeled(rng, 5), memory=200 * 1024)
    monkeypatch.setattr(fit_module, "solve", lambda *_: pytest.fail("solved"))
    with pytest.raises(UserError, match=r"of 5 classes take .* into memory: set a higher model\.ngrams\.min_texts$"):
        fit(training, Ngrams(min_texts=1), 0, fit_module.solve)
    assert fit(training, Ngrams(min_texts=20, passes=1), 0).train_logits.shape == (60, 5)


def test_texts_of_a_run_know_the_memory_of_the_machine(rng, monkeypatch):
    """The limit is that of all other memory of a run."""
    monkeypatch.setattr(prepare_data, "host_limit", lambda: Limit(1000, "this machine"))
    training = labeled(rng, 2)
    data = Prepared(*[None] * 6, whole=lambda part: training)  # type: ignore[arg-type]
    limited = prepare_data.with_memory_limit(data).whole
    assert limited is not None and limited("train").memory == 1000 and limited("train").texts is training.texts


def test_work_in_small_parts_gives_the_same(rng, monkeypatch):
    """Rows of a few texts at a time, sums of a few values, classes in turns, keys too large to be packed: same bits."""
    training, values = labeled(rng, 3), rng.normal(size=(2000, 3))

    def everything() -> list[np.ndarray]:
        table, numbers = build_table(training.texts, 3, 1)
        rows = Rows.of(numbers, training.texts.numbers, len(training.texts), len(table))
        model = fit(training, Ngrams(passes=2, min_texts=1), 5)
        return [numbers, rows.features, rows.starts, *table.keys, table.find(training.texts), rows.sums(values)] + [
            *(model.train_logits, model.model.weights, model.model.ratios, model.model.counts, model.model.bias)
        ]

    whole = everything()
    monkeypatch.setattr(rows_module, "TOKENS", 7)
    monkeypatch.setattr(rows_module, "BLOCK", 11)
    monkeypatch.setattr(table_module, "PACKED_BITS", 0)
    monkeypatch.setattr(fit_module, "MOST_VALUES", 1)
    for one, other in zip(whole, everything(), strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
