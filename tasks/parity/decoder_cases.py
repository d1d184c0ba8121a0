"""Define the cases of the parity check for encoder-decoders: small random models, and training runs on pairs."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.experiment import Experiment, replace

Changes = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class DecoderCase:
    """Describe a small encoder-decoder, and changes to the rest of the spec."""

    cell: str
    layers: int
    bidirectional: bool
    attention: str
    context: str
    bridge: str = "linear"
    changes: Changes = ()

    def __str__(self) -> str:
        direction = "bi" if self.bidirectional else "one"
        changed = "".join(f"-{path.rpartition('.')[2]}={value}" for path, value in self.changes)
        return f"decoder-{self.cell}-{self.layers}-{direction}-{self.attention}-{self.context}-{self.bridge}{changed}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        own = {"cell": self.cell, "num_layers": self.layers, "dropout": 0.25}
        head = {
            "kind": "decoder",
            "vocab_size": 7,
            "dim": 2,
            "state_size": 3,
            "bridge": self.bridge,
            "attention": self.attention,
            "context": self.context,
            "max_output": 6,
            **own,
        }
        model = {
            "embedding": {"vocab_size": 7, "dim": 3, "dropout": 0.25},
            "encoder": {"kind": "recurrent", "hidden_size": 3, "bidirectional": self.bidirectional, **own},
            "head": head,
        }
        training = {"training.dtype": dtype, "training.clip_norm": 0.5}
        return replace(replace(Experiment(), {"model": model, **training}), {**dict(self.changes), **changes})


DECODERS = [
    DecoderCase("lstm", 1, True, "none", "first"),
    DecoderCase("lstm", 2, False, "additive", "every", "none"),
    DecoderCase("gru", 1, True, "dot", "every"),
    DecoderCase("gru", 2, True, "additive", "first"),
    DecoderCase("srn", 1, False, "dot", "first", "none"),
    DecoderCase("srn", 2, True, "none", "every", changes=(("training.loss_reduction", "sum"),)),
    DecoderCase("residual_srn", 1, True, "additive", "first"),
    DecoderCase("lstm", 1, False, "additive", "first", changes=(("model.head.forget_bias", 1.0),)),
]
"""Every cell, both scores of attention and none, both contexts, one and two directions with and without a bridge."""


def small_pairs(head: dict[str, object], **encoder: object) -> dict[str, object]:
    """Return the changes of a spec to a small encoder-decoder on additions."""
    return {
        "data": {"kind": "pairs", "source": "addition", "digits": 2, "examples": 300},
        "text.tokenizer": "letters",
        "model": {
            "embedding": {"vocab_size": 20, "dim": 6, "dropout": 0.25},
            "encoder": {"kind": "recurrent", "hidden_size": 8, **encoder},
            "head": {"kind": "decoder", "dim": 5, "state_size": 8, "max_output": 8, "dropout": 0.25, **head},
        },
        "training.batch_size": 16,
        "training.optimizer.learning_rate": 0.02,
    }


PAIR_TRAINING: dict[str, dict[str, object]] = {
    "addition, additive attention": small_pairs({"attention": "additive"}),
    "addition, gru, dot attention, context in every step": small_pairs(
        {"attention": "dot", "context": "every", "cell": "gru"}, cell="gru"
    ),
    "addition, two layers, no attention": small_pairs(
        {"bridge": "none", "num_layers": 2}, bidirectional=False, num_layers=2
    ),
}
"""Training runs of `--all` on pairs, as changes to `PARITY_SPEC`."""
