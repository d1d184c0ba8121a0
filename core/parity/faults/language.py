"""Faults of language models: the predicted neighbor, and the noise words of the loss."""

from __future__ import annotations

from types import ModuleType

from core.parity.faults.fault import Fault, Patches


def _wrong_neighbor(side: ModuleType) -> Patches:
    language = side.heads.language
    original, other = language.neighbors, {"forward": "reverse", "reverse": "forward"}
    return [(language, "neighbors", lambda values, direction: original(values, other[direction]))]


def _no_correction(side: ModuleType) -> Patches:
    head = side.heads.language.LanguageHead

    def offsets(self, inputs):
        if inputs.noise is None:
            return self.bias, inputs.all_words(self.bias.shape[0])
        return self.bias, inputs.noise

    return [(head, "offsets", offsets)]


def _true_word_as_noise(side: ModuleType) -> Patches:
    head = side.heads.language.LanguageHead
    original = head.equal
    return [(head, "equal", lambda self, words, ids: original(self, words * 0, ids))]  # no noise word is PAD


LANGUAGE = {
    "data": {"kind": "texts", "train_limit": 200, "eval_limit": 20},
    "text.vocab_size": 50,
    "text.max_length": 64,
    "model": {
        "embedding": {"vocab_size": 50, "dim": 6, "dropout": 0.25},
        "encoder": {"kind": "recurrent", "hidden_size": 5},
        "head": {"kind": "language", "num_words": 50, "dim": 6, "negatives": 20, "dropout": 0.25},
    },
}

FAULTS = {
    "wrong-neighbor": Fault(
        "the forward direction predicts the token before, which it has read", 1, "logits", _wrong_neighbor, LANGUAGE
    ),
    "no-noise-correction": Fault(
        "scores of a training step lack the correction by the noise distribution",
        1,
        "logits (with dropout)",
        _no_correction,
        LANGUAGE,
    ),
    "true-word-as-noise": Fault(
        "noise that equals the true word counts as a wrong word",
        1,
        "logits",
        _true_word_as_noise,
        LANGUAGE,
    ),
}
