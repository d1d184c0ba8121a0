"""Define the cases of the parity check for language models: small random models, and a training run on reviews."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.experiment import Experiment, replace

Changes = tuple[tuple[str, object], ...]


def small_language_model(
    cell: str = "lstm", bidirectional: bool = True, num_layers: int = 1, **head: object
) -> dict[str, object]:
    """Return the section `model` of a language model of 7 words with dropout, and K = 5."""
    encoder = {"kind": "recurrent", "cell": cell, "hidden_size": 3, "num_layers": num_layers, "dropout": 0.25}
    own = {
        "kind": "language",
        "num_words": 7,
        "dim": 3,
        "negatives": 5,
        "dropout": 0.25,
        "bidirectional": bidirectional,
    }
    return {
        "embedding": {"vocab_size": 7, "dim": 3, "dropout": 0.25},
        "encoder": {**encoder, "bidirectional": bidirectional},
        "head": {**own, **head},
    }


@dataclass(frozen=True)
class LanguageCase:
    """Describe a small language model, and changes to the rest of the spec."""

    cell: str
    layers: int
    bidirectional: bool
    changes: Changes = ()

    def __str__(self) -> str:
        direction = "bi" if self.bidirectional else "one"
        changed = "".join(f"-{path.rpartition('.')[2]}={value}" for path, value in self.changes)
        return f"language-{self.cell}-{self.layers}-{direction}{changed}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        model = small_language_model(self.cell, self.bidirectional, self.layers)
        training = {"training.dtype": dtype, "training.clip_norm": 0.5}
        base = replace(Experiment(), {"model": model, "data": {"kind": "texts"}, **training})
        return replace(base, {**dict(self.changes), **changes})


LANGUAGE = [
    LanguageCase("lstm", 1, True),
    LanguageCase("gru", 1, True, (("model.head.power", 0.5), ("model.head.negatives", 1))),
    LanguageCase("lstm", 2, False, (("training.word_dropout", 0.4),)),
    LanguageCase("srn", 1, True, (("training.loss_reduction", "sum"), ("model.embedding.lookup", "one_hot"))),
    LanguageCase("gru", 1, False, (("model.embedding.trainable", False),)),
]
"""Both numbers of directions, noise that always or seldom has the true word, dropped words, and frozen words."""

LANGUAGE_TRAINING: dict[str, dict[str, object]] = {
    "language model, bilstm": {
        "data": {"kind": "texts", "train_limit": 400, "eval_limit": 40},
        "text.vocab_size": 2000,
        "text.max_length": 64,
        "model": {
            "embedding": {"vocab_size": 2000, "dim": 24, "dropout": 0.25},
            "encoder": {"kind": "recurrent", "hidden_size": 32},
            "head": {"kind": "language", "num_words": 2000, "dim": 24, "negatives": 100, "dropout": 0.25},
        },
        "training.batch_size": 16,
        "training.optimizer.learning_rate": 0.01,
    },
}
"""Training runs of `--all` of language models, as changes to `PARITY_SPEC`."""
