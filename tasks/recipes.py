"""Named sets of numbers for the IMDB task, as changes to the spec's own defaults."""

from __future__ import annotations

from core.errors import UserError
from core.spec import Experiment, replace

RECIPES: dict[str, dict[str, object]] = {
    # Chosen by dev accuracy among what trains within five minutes on two cores: see README.md, "The numbers".
    "default": {
        "text.tokenizer": "words",
        "text.vocab_size": 30000,
        "text.max_length": 256,
        "text.truncate": "both",
        "model.embedding.vocab_size": 30000,
        "model.embedding.dim": 128,
        "model.embedding.dropout": 0.3,
        "model.embedding.init": {"scheme": "normal", "scale": 0.1},
        "model.encoder.cell": "lstm",
        "model.encoder.hidden_size": 128,
        "model.head.pooling": "max",
        "model.head.dropout": 0.5,
        "training.batch_size": 32,
        "training.epochs": 2,
        "training.optimizer.learning_rate": 3e-3,
        "training.schedule.kind": "one_cycle",
        "training.clip_mode": "global",
        "training.clip_norm": 1.0,
    },
    # nndl, chapter 6: a plain BiLSTM, masked mean, no dropout, no clipping; 50,000 words besides PAD and UNK, and the
    # starting values of Paddle's own layers, as the book's program leaves them.
    "textbook": {
        "text.tokenizer": "whitespace",
        "text.vocab_size": 50002,
        "text.max_length": 256,
        "text.truncate": "head",
        "model.embedding.vocab_size": 50002,
        "model.embedding.dim": 256,
        "model.embedding.init": {"scheme": "xavier_uniform", "scale": 1.0},
        "model.encoder.cell": "lstm",
        "model.encoder.hidden_size": 256,
        "model.head.pooling": "mean",
        "model.head.init": {"scheme": "xavier_uniform", "scale": 1.0},
        "training.batch_size": 128,
        "training.epochs": 3,
        "training.optimizer.learning_rate": 1e-3,
        "training.clip_mode": "none",
    },
}


def recipe(name: str) -> Experiment:
    """The experiment of a recipe. Raises UserError for an unknown name."""
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return replace(Experiment(task="imdb", recipe=name), RECIPES[name])
