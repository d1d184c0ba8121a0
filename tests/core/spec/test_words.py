"""Spec of word2vec: what it refuses."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.spec.words import WordExperiment, replace_words


@pytest.mark.parametrize("kind", ["skip_gram", "cbow"])
def test_a_chunk_that_does_not_fit_into_memory_names_one_that_does(kind):
    wide = {"model.kind": kind, "model.window": 1000, "model.negatives": 255, "training.chunk_words": 1_000_000}
    with pytest.raises(UserError, match="training.chunk_words: a chunk of 1,000,000 words") as raised:
        replace_words(WordExperiment(), wide, "options")
    fitting = int(str(raised.value).rpartition("set it to ")[2].replace(",", ""))
    experiment = replace_words(WordExperiment(), {**wide, "training.chunk_words": fitting}, "options")
    assert experiment.training.chunk_words == fitting > 0


@pytest.mark.parametrize(
    ("field", "value"), [("model.window", 0), ("model.negatives", 0), ("text.vocab_size", 1), ("text.min_count", 0)]
)
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(UserError, match=f"^options: {field}: "):
        replace_words(WordExperiment(), {field: value}, "options")
