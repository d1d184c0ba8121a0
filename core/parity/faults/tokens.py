"""Faults of taggers: the divisor of the loss, and the scores of a CRF."""

from __future__ import annotations

from types import ModuleType

from core.parity.faults.fault import Fault, Patches, reading


def _padding_in_the_mean(side: ModuleType) -> Patches:
    return [(side.engine.Engine, "_divisor", lambda self, batch: batch.ids.size)]


def _mean_of_means(side: ModuleType) -> Patches:
    head = side.heads.tokens.TokenHead
    original = head.losses

    def losses(self, outputs, inputs, weights):
        counts = inputs.windows(1).counts  # [B, 1]
        return original(self, outputs, inputs, weights) * (counts.sum() / (counts * counts.shape[0]))

    return [(head, "losses", losses)]


def _transposed_transitions(side: ModuleType) -> Patches:
    return reading(side, lambda name, array: array.T if name == "head.transitions" else array)


def _no_end_scores(side: ModuleType) -> Patches:
    chain = side.heads.crf.Chain
    original = chain.by_row

    def by_row(self, rows):
        transitions, start, end = original(self, rows)
        return transitions, start, end * 0.0

    return [(chain, "by_row", by_row)]


def _scores_of_padding(side: ModuleType) -> Patches:
    chain = side.heads.crf.Chain
    original = chain.path_score

    def path_score(self, logits, inputs):
        # Padding has tag 0: from there on, transitions from 0 to 0.
        width, counts = inputs.ids.shape[1], inputs.windows(1).counts[:, 0]
        return original(self, logits, inputs) + (width - counts) * self.transitions[0, 0]

    return [(chain, "path_score", path_score)]


HEAD = {"kind": "tokens", "classes": 3, "dropout": 0.5}
TAGS = {"model.head": HEAD, "training.loss_reduction": "mean"}
CRF = {"model.head": {**HEAD, "crf": True}}

FAULTS = {
    "padding-in-the-mean": Fault(
        "the mean loss of tags divides by all positions of the padded batch", 2, "loss", _padding_in_the_mean, TAGS
    ),
    "mean-of-means": Fault(
        "the loss is the mean of each sentence's mean, as shards average theirs, not of all tokens",
        2,
        "loss",
        _mean_of_means,
        TAGS,
    ),
    "transposed-transitions": Fault(
        "the transitions of the CRF are read as (to, from)", 1, "head.log_partition", _transposed_transitions, CRF
    ),
    "no-end-scores": Fault("the CRF leaves out its end scores", 1, "head.log_partition", _no_end_scores, CRF),
    "scores-of-padding": Fault(
        "the score of a sequence includes the padding", 1, "head.path_score", _scores_of_padding, CRF
    ),
}
