"""Metrics of a decoder: loss and accuracy with teacher forcing, exact match and BLEU of decoded outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.batch import PAD, Batch, Ragged, Targets
from core.decoding import Decoded
from core.models.heads.bleu import ORDER, STATISTICS, bleu_counts, corpus_bleu
from core.models.heads.pooled import cross_entropies
from core.models.heads.scores import Evaluation
from core.models.heads.tokens import sequences_of
from core.target_sequences import TARGET, join_tokens

SUMS = 5
"""First columns of an outcome: loss, target tokens, right ones, log p of the output, margin."""
LENGTHS = 40
"""Maximum number of target lengths that are listed."""
FIXED = SUMS + STATISTICS + 1
"""Columns before the output ids: the sums, the counts of BLEU, the length of the output."""


@dataclass(frozen=True)
class DecoderEvaluation(Evaluation):
    """Metrics of N texts.

    `loss` and `accuracy` are means over target tokens with teacher forcing; `exact_match` is the share of decoded
    outputs that equal their targets, `bleu` the corpus BLEU from 0 to 1, None if no target has four tokens. `outputs`:
    the decoded ids; `predicted` [N] the same as strings, `probabilities` [N, 1] those of the outputs.
    """

    exact_match: float
    bleu: float | None
    outputs: Ragged
    by_length: dict[int, tuple[int, int]]
    """Exact matches and texts by the number of target tokens, without EOS."""
    least_margins: np.ndarray
    """Smallest difference of the two largest probabilities of a step, [N]."""

    @property
    def score(self) -> float:
        return self.exact_match

    @property
    def margins(self) -> np.ndarray:
        return self.least_margins

    def figures(self) -> dict[str, Any]:
        by_length = {str(length): list(counts) for length, counts in self.by_length.items()}
        return {**super().figures(), **self.quantities(), "by_length": by_length}

    def quantities(self) -> dict[str, float]:
        return {"exact_match": self.exact_match} | ({} if self.bleu is None else {"bleu": self.bleu})

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return targets and outputs; `classes` are the tokens of the target vocabulary."""
        labels = sequences_of(targets, TARGET)
        wanted = [join_tokens(labels[number][:-1], classes) for number in range(len(labels))]
        return wanted, [join_tokens(self.outputs[number], classes) for number in range(len(self.outputs))]

    def details(self) -> list[str]:
        """Return the exact match by target length, if there are several lengths and few enough for a line."""
        if not 1 < len(self.by_length) <= LENGTHS:
            return []
        shares = [f"{length}: {right / texts:.3f}" for length, (right, texts) in self.by_length.items()]
        return [f"exact match by target length  {', '.join(shares)}"]

    def describe(self) -> str:
        bleu = "" if self.bleu is None else f"BLEU {self.bleu:.4f}  "
        return f"exact match {self.exact_match:.4f}  {bleu}token {super().describe()}"


def outcomes_of(logits: np.ndarray, decoded: Decoded, batch: Batch, width: int) -> np.ndarray:
    """Return an outcome per text, [B, FIXED + width] float64.

    `logits` [B, M, V] are those of the targets; `width` is the largest length of an output.
    """
    target = batch.targets[TARGET]
    found = np.zeros((len(target), FIXED + width))
    flat = cross_entropies(logits.reshape(-1, logits.shape[2]).astype(np.float64), target.reshape(-1))
    real = target != PAD
    found[:, 0] = (flat.reshape(target.shape) * real).sum(axis=1)
    found[:, 1] = real.sum(axis=1)
    found[:, 2] = ((logits.argmax(axis=2) == target) & real).sum(axis=1)
    found[:, 3], found[:, 4] = decoded.log_probabilities, decoded.margins
    for number, row in enumerate(found):
        output, label = decoded.row(number), target[number][real[number]][:-1]
        row[SUMS : FIXED - 1] = bleu_counts(output.tolist(), label.tolist())
        row[FIXED - 1] = len(output)
        row[FIXED : FIXED + len(output)] = output
    return found


def summarize_outputs(outcomes: np.ndarray, targets: Targets) -> DecoderEvaluation:
    """Compute the metrics from the outcomes of all texts."""
    labels = sequences_of(targets, TARGET)
    ids, lengths = outcomes[:, FIXED:].astype(np.int64), outcomes[:, FIXED - 1].astype(np.int64)
    outputs = Ragged.of([own[:length] for own, length in zip(ids, lengths, strict=True)])
    exact = [np.array_equal(outputs[number], labels[number][:-1]) for number in range(len(labels))]
    bleu = corpus_bleu(outcomes[:, SUMS : FIXED - 1].sum(axis=0).astype(np.int64))
    sizes, places = np.unique(labels.lengths - 1, return_inverse=True)
    texts, matches = np.bincount(places), np.bincount(places, weights=exact).astype(np.int64)
    by_length = dict(zip(sizes.tolist(), zip(matches.tolist(), texts.tolist(), strict=True), strict=True))
    loss, tokens, right = outcomes[:, :3].sum(axis=0)
    return DecoderEvaluation(
        loss=float(loss / tokens),
        accuracy=float(right / tokens),
        probabilities=np.exp(outcomes[:, 3:4]),
        predicted=np.array([" ".join(map(str, outputs[number].tolist())) for number in range(len(outputs))]),
        exact_match=float(np.mean(exact)),
        bleu=bleu if (labels.lengths > ORDER).any() else None,
        outputs=outputs,
        by_length=by_length,
        least_margins=outcomes[:, 4],
    )
