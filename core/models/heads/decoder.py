"""Decoder head: a recurrent layer that writes a sequence from the states of a recurrent encoder.

The decoder starts at the encoder's final states and reads [BOS, target 1 .. M-1]. Attention is queried by the
decoder's output of the same step and joined before the output layer (Luong et al. 2015), so that training computes all
steps in one call of each layer:

    h_t = layers(x_t), x_t = embedding of token t-1, with `context` every: [embedding, z]
    logits_t = W [h_t, context_t] + b, without attention: W h_t + b

z is the state h of the last layer at the start (Cho et al. 2014; d2l, seq2seq). `bridge` linear maps the states of all
directions of an encoder layer to one start: h_0 = tanh(W_h [h_forward, h_reverse] + b_h), and for an LSTM
c_0 = W_c [c_forward, c_reverse] + b_c without tanh, as cell states are unbounded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from core.batch import PAD, Batch, Targets, real_mask
from core.decoding import decode
from core.errors import UserError
from core.models.encoders.encoder import Encoded, Encoder, Places, States
from core.models.encoders.recurrent import Cell, RecurrentEncoder, layer_weights, recurrent_states
from core.models.heads.attention import KEY, Score, attend, attention_parameters, product
from core.models.heads.decoder_scores import DecoderEvaluation, outcomes_of, summarize_outputs
from core.models.heads.decoder_state import DecoderState
from core.models.heads.head import Head
from core.models.heads.pooled import cross_entropies
from core.models.heads.tokens import sequences_of
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, no_dropout
from core.schema import DropoutRate
from core.target_sequences import EOS, TARGET, decoder_batch, step_batch, target_lengths

TABLE = "target.embedding.weight"
LEAST_VOCABULARY = EOS + 2


class DecoderHead(Head):
    """Sequence to sequence: writes the target from the final states of a recurrent encoder."""

    targets: ClassVar[tuple[str, ...]] = (TARGET,)
    needs_states: ClassVar[bool] = True
    classes: ClassVar[int] = 0

    kind: Literal["decoder"] = "decoder"
    vocab_size: int = Field(default=1000, ge=LEAST_VOCABULARY)
    """Size of the target vocabulary, including PAD (0), UNK (1), BOS (2) and EOS (3)."""
    dim: int = Field(default=128, ge=1)
    """Dimension of the target embedding."""
    cell: Cell = "lstm"
    """Recurrent cell, that of the encoder."""
    state_size: int = Field(default=128, ge=1)
    """Units of the recurrent layers, as many as the encoder's `hidden_size`."""
    num_layers: int = Field(default=1, ge=1, le=16)
    """Recurrent layers, as many as the encoder's."""
    forget_bias: float = 0.0
    """Initial offset of the forget gate's `bias_ih`, as in the encoder."""
    bridge: Literal["none", "linear"] = "linear"
    """How the encoder's final states become the first ones: unchanged (one direction only), or by a linear layer."""
    attention: Score = "none"
    """Score of the attention over the encoder's outputs."""
    context: Literal["first", "every"] = "first"
    """Where the decoder gets the encoder's summary: in its first states, or also in the input of every step."""
    max_output: int = Field(default=64, ge=2)
    """Maximum number of target tokens, including EOS."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the target embedding, between layers, and of the features before the output layer."""
    init: Init = Init(scheme="fan_uniform")
    embedding_init: Init = Init(scheme="normal", scale=1.0)

    def check_encoder(self, encoder: Encoder) -> None:
        if not isinstance(encoder, RecurrentEncoder):
            kind = encoder.model_dump()["kind"]
            raise ValueError(f"head.kind decoder needs a recurrent encoder, got encoder.kind {kind}: use recurrent")
        for field, name in (("cell", "cell"), ("state_size", "hidden_size"), ("num_layers", "num_layers")):
            own, wanted = getattr(self, field), getattr(encoder, name)
            if own != wanted:
                raise ValueError(f"head.{field} is {own}, but encoder.{name} is {wanted}: set both to the same value")
        if self.bridge == "none" and encoder.bidirectional:
            raise ValueError("head.bridge none needs an encoder of one direction: use linear, or bidirectional false")

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        target = sequences_of(targets, TARGET)
        ends = target.values[target.offsets[1:] - 1]
        if target.lengths.min() < 1 or (ends != EOS).any():
            raise UserError("a target does not end with EOS: encode the targets again")
        low, high = int(target.values.min()), int(target.values.max())
        if low <= PAD or high >= self.vocab_size:
            raise UserError(f"expected target ids in 1..{self.vocab_size - 1}, got {low}..{high}: encode them again")

    @property
    def recurrent(self) -> RecurrentEncoder:
        """The recurrent layers as an encoder, whose parameters and sizes are the decoder's."""
        return RecurrentEncoder(
            cell=self.cell,
            hidden_size=self.state_size,
            num_layers=self.num_layers,
            bidirectional=False,
            forget_bias=self.forget_bias,
            init=self.init,
        )

    @property
    def input_size(self) -> int:
        """Size of the input of the first recurrent layer."""
        return self.dim + (self.state_size if self.context == "every" else 0)

    def output_features(self, features: int) -> int:
        """Return the input size of the output layer, for an encoder of `features`."""
        return self.state_size + (0 if self.attention == "none" else features)

    def state_names(self) -> tuple[str, ...]:
        """Return the kinds of states of a layer: `h`, and `c` of an LSTM."""
        return ("h", "c") if self.cell == "lstm" else ("h",)

    def values_per_token(self, features: int) -> int:
        return 0 if self.attention == "none" else self.state_size

    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of bridge, target embedding, recurrent layers, attention and output layer.

        `bridge.{h,c}_l{k}.weight` [H, F] and `.bias` [H]; `target.embedding.weight` [V, E]; `decoder.weight_ih_l{k}`
        and so on as in an encoder; `attention.*` (`core/models/heads/attention.py`); `head.weight` [V, F'],
        `head.bias` [V].
        """
        rows = []
        if self.bridge == "linear":
            for layer in range(self.num_layers):
                for name in self.state_names():
                    rows += linear_parameters(f"bridge.{name}_l{layer}", self.state_size, features, self.init)
        rows.append(Parameter(TABLE, (self.vocab_size, self.dim), self.embedding_init, self.dim, looked_up=True))
        for row in self.recurrent.parameters(self.input_size):
            rows.append(replace(row, name=row.name.replace("encoder.", "decoder.")))
        rows += attention_parameters(self.attention, self.state_size, features, self.init)
        return rows + linear_parameters("head", self.vocab_size, self.output_features(features), self.init)

    def forward(
        self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Arrays:
        """Return `decoder.l{k}` [B, M, H], `attention` [B, M, S] if any, and `logits` [B, M, V]."""
        state = self.begin(arrays, encoded, batch, rounded)
        return self.steps(arrays, state, decoder_batch(batch), dropout, rounded)[0]

    def begin(self, arrays: Arrays, encoded: Encoded, batch: Batch, rounded: Rounding = exactly) -> DecoderState:
        """Return the state before the first step."""
        layers = tuple(self._bridged(arrays, number, own, rounded) for number, own in enumerate(encoded.states))
        context = layers[-1].h[0] if self.context == "every" else None
        if self.attention == "none":
            return DecoderState(layers, context, None, None, None)
        values = encoded.blocks[0].values
        keys = rounded(values) @ rounded(arrays[KEY]).T
        return DecoderState(layers, context, keys, values, real_mask(batch))

    def _bridged(self, arrays: Arrays, layer: int, states: States, rounded: Rounding) -> States:
        if self.bridge == "none":
            return states
        found = {}
        for name in self.state_names():
            joined = np.concatenate(list(getattr(states, name)), axis=-1)  # [B, H * directions]
            weight, bias = (arrays[f"bridge.{name}_l{layer}.{kind}"] for kind in ("weight", "bias"))
            found[name] = (rounded(joined) @ rounded(weight).T + bias)[None]
        return States(**{**found, "h": np.tanh(found["h"])})

    def steps(
        self, arrays: Arrays, state: DecoderState, inputs: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> tuple[Arrays, DecoderState]:
        """Compute steps from a state, for the tokens of `inputs` [B, M]; return the outputs and the next state."""
        real = real_mask(inputs)
        x = dropout(arrays[TABLE][inputs.ids] * (inputs.ids != PAD)[:, :, None], "target.embedding", self.dropout)
        if state.context is not None:
            x = np.concatenate([x, np.repeat(state.context[:, None], x.shape[1], axis=1)], axis=-1)
        found, last = {}, []
        named = {name.replace("decoder.", "encoder."): array for name, array in arrays.items() if "decoder." in name}
        for number, start in enumerate(state.layers):
            if number > 0:
                x = dropout(x, f"decoder.l{number - 1}", self.dropout)
            weights = layer_weights(self.recurrent, named, number, rounded)
            x, states = recurrent_states(self.cell, weights, rounded(x), inputs.lengths, start)
            found[f"decoder.l{number}"] = x
            last.append(states)
        if self.attention != "none":
            weights, context = attend(self.attention, arrays, x, state, rounded)
            found["attention"] = weights * real[:, :, None]
            x = np.concatenate([x, context * real[:, :, None]], axis=-1)
        features = dropout(x, "head.features", self.dropout)
        found["logits"] = product(rounded(features), rounded(arrays["head.weight"])) + arrays["head.bias"]
        return found, replace(state, layers=tuple(last))

    def step(self, arrays: Arrays, state: DecoderState, ids: np.ndarray, rounded: Rounding = exactly):
        """Compute one step from the last tokens `ids` [R]: outputs [R, 1, ...] and the next state."""
        return self.steps(arrays, state, step_batch(ids), no_dropout, rounded)

    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        sizes = {
            "target.embedding": self.dim,
            **{f"decoder.l{number}": self.state_size for number in range(self.num_layers - 1)},
            "head.features": self.output_features(features),
        }
        return {place: ((rows, width, size), self.dropout) for place, size in sizes.items()}

    def output_width(self, batch: Batch) -> int:
        return batch.targets[TARGET].shape[1]

    def counted(self, batch: Batch) -> int:
        return int(target_lengths(batch).sum())

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return the cross-entropy of every target token, [B, M], 0 at padding."""
        target, logits = batch.targets[TARGET], outputs["logits"]
        flat = cross_entropies(logits.reshape(-1, self.vocab_size), target.reshape(-1), class_weights)
        return np.where(target != PAD, flat.reshape(target.shape), 0.0)

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        raise TypeError("a decoder is evaluated with an engine: use `evaluated`")

    def evaluated(self, engine: Any, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return what `score` needs of every text, with greedy search (`core/models/heads/decoder_scores.py`)."""
        return outcomes_of(engine.logits(batch), decode(engine, batch, self.max_output), batch, self.max_output)

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> DecoderEvaluation:
        return summarize_outputs(outcomes, targets)

    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        return np.ones(len(lengths), np.int64)

    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        own = rng.permutation(np.arange(len(lengths)) % 5 + 1)
        real = np.arange(own.max()) < own[:, None] - 1
        target = np.where(real, rng.integers(EOS + 1, self.vocab_size, real.shape), PAD)
        target[np.arange(len(own)), own - 1] = EOS
        return {TARGET: target}

    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        return {**batch.targets, TARGET: np.where(batch.targets[TARGET] != PAD, index, PAD)}

    def margin(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
        return np.inf

    def describe(self) -> str:
        attending = "" if self.attention == "none" else f", {self.attention} attention"
        return f"decoder {self.num_layers} x {self.cell.upper()} {self.state_size}{attending}"
