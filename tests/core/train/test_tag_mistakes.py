"""The hardest sentences of a tagger, and the stretches in which they are wrong."""

from __future__ import annotations

import numpy as np

from core.batch import Ragged
from core.data.dataset import Dataset
from core.models.heads.tag_scores import score_tags
from core.train.tag_mistakes import WrongSentence, hardest


def test_differences_are_the_shortest_stretches_between_common_words():
    own = WrongSentence("a", list("BESBES"), list("BESSBE"), 0.5)
    assert own.differences("我们爱北京市", as_words=True) == [("北京 市", "北 京市")]
    assert own.cells("我们爱北京市", as_words=True) == (
        "a",
        "我们 爱 北京 市",
        "我们 爱 北 京市",
        "0.500000",
        "我们爱北京市",
    )
    assert own.cells([], as_words=True) == ("a", "B E S B E S", "B E S S B E", "0.500000", "")
    tags = WrongSentence("a", ["r", "v"], ["r", "n"], 0.5)
    assert tags.differences(["我", "爱"], as_words=False) == [("爱/v", "爱/n")]


def test_hardest_are_those_with_the_highest_loss(rng):
    """By the outcomes of their tokens; sentences without a wrong word are left out."""
    names, lengths = tuple("BMES"), np.array([2, 1, 3, 2])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    true = np.array([names.index(tag) for tag in "BESBMESS"])
    predicted = np.array([names.index(tag) for tag in "SSSBEESS"])  # the third has two words for one
    losses = rng.uniform(0.1, 1.0, len(true))
    outcomes = np.concatenate([np.stack([predicted, losses, losses], 1), np.log(np.full((len(true), 4), 0.25))], axis=1)
    dataset = Dataset(np.ones(8, np.int32), offsets, {"tags": Ragged(true, offsets)}, list("abcd"), names)
    found = hardest(dataset, score_tags(outcomes, dataset.targets["tags"], names), as_words=True)
    sums = {"a": losses[:2].sum(), "c": losses[3:6].sum()}
    assert [own.name for own in found] == sorted(sums, key=sums.__getitem__, reverse=True)
    for own in found:
        assert np.isclose(own.probability, np.exp(-sums[own.name] / len(own.tags)))
    assert len(hardest(dataset, score_tags(outcomes, dataset.targets["tags"], names), as_words=True, limit=1)) == 1
