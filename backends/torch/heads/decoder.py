"""Decoder head: a recurrent layer that writes a sequence from the states of a recurrent encoder."""

from __future__ import annotations

import math
from dataclasses import replace

from backends.torch.dropout import Dropout
from backends.torch.embedding import Embedding
from backends.torch.encoders.recurrent_layers import IMPLEMENTATIONS
from backends.torch.framework import torch
from backends.torch.linear import Linear, empty, linear
from backends.torch.precision import rounded
from backends.torch.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Encoded, States
from core.models.encoders.recurrent import WEIGHT_KINDS
from core.models.heads import attention
from core.models.heads.decoder import TABLE
from core.models.heads.decoder_state import DecoderState, map_state
from core.target_sequences import TARGET

nn, F = torch.nn, torch.nn.functional


class DecoderHead(nn.Module):
    """Bridge, target embedding, recurrent layers of one direction, attention and output layer.

    `core/models/heads/decoder.py` has the equations.
    """

    def __init__(
        self,
        head: spec.DecoderHead,
        features: int,
        dtype: torch.dtype,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. Raises ValueError with `models`: ensembles have no decoders."""
        super().__init__()
        if models is not None:
            raise ValueError("a decoder head does not support ensembles: train single models")
        self.kind, self.context, self.rate = head.attention, head.context, head.dropout
        self.rounds = False
        """True if the inputs of products are rounded to bfloat16 (`precision.py`)."""
        self.bridges = nn.ModuleDict()
        if head.bridge == "linear":
            for layer in range(head.num_layers):
                for name in head.state_names():
                    self.bridges[f"{name}_l{layer}"] = Linear(features, head.state_size, dtype, None)
        self.target = Embedding(spec.Embedding(vocab_size=head.vocab_size, dim=head.dim), dtype)
        self.layers = nn.ModuleList(
            IMPLEMENTATIONS[implementation](head.recurrent.layer_sizes(layer, head.input_size), dtype)
            for layer in range(head.num_layers)
        )
        self.query = self.key = self.value = None
        if head.attention != "none":
            self.key = empty(head.state_size, features, dtype=dtype)
        if head.attention == "additive":
            self.query = empty(head.state_size, head.state_size, dtype=dtype)
            self.value = empty(1, head.state_size, dtype=dtype)
        self.output = Linear(head.output_features(features), head.vocab_size, dtype, None)

    def forward(self, encoded: Encoded, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """Return `decoder.l{k}` [B, M, H], `attention` [B, M, S] if any, and `logits` [B, M, V]."""
        return self.steps(self.begin(encoded, inputs), inputs.decoder, dropout)[0]

    def begin(self, encoded: Encoded, inputs: Inputs) -> DecoderState:
        """Return the state before the first step."""
        layers = tuple(self.bridged(number, states) for number, states in enumerate(encoded.states))
        context = layers[-1].h[0] if self.context == "every" else None
        if self.kind == "none":
            return DecoderState(layers, context, None, None, None)
        values = encoded.blocks[0].values
        keys = linear(rounded(values, self.rounds), self.key, None)
        return DecoderState(layers, context, keys, values, inputs.mask[:, :, 0])

    def bridged(self, layer: int, states: States) -> States:
        """Return the first states of a layer, from the encoder's last ones [directions, B, H]."""
        if not self.bridges:
            return states
        found = {}
        for name, array in states._asdict().items():
            if array is not None:
                found[name] = self.bridges[f"{name}_l{layer}"](torch.cat(array.unbind(0), dim=-1)).unsqueeze(0)
        return States(**{**found, "h": torch.tanh(found["h"])})

    def steps(
        self, state: DecoderState, inputs: Inputs, dropout: Dropout
    ) -> tuple[dict[str, torch.Tensor], DecoderState]:
        """Compute steps from a state, for tokens [B, M]; return the outputs and the next state."""
        x = dropout(self.target.look_up(inputs.ids, self.target.weight, "index"), "target.embedding", self.rate)
        if state.context is not None:
            x = torch.cat([x, state.context.unsqueeze(1).expand(-1, x.shape[1], -1)], dim=-1)
        found, last = {}, []
        for number, (layer, start) in enumerate(zip(self.layers, state.layers, strict=True)):
            if number > 0:
                x = dropout(x, f"decoder.l{number - 1}", self.rate)
            x, h_n, c_n = layer(rounded(x, self.rounds), inputs, *start, states=True)
            found[f"decoder.l{number}"] = x
            last.append(States(h_n, c_n))
        if self.kind != "none":
            weights, context = self.attend(x, state)
            found["attention"] = weights * inputs.mask
            x = torch.cat([x, context * inputs.mask], dim=-1)
        found["logits"] = self.output(dropout(x, "head.features", self.rate))
        return found, replace(state, layers=tuple(last))

    def attend(self, h: torch.Tensor, state: DecoderState) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention weights [B, M, S], 0 at padding, and contexts [B, M, F] for h [B, M, H]."""
        keys, real = state.keys, state.real.unsqueeze(1)
        if self.kind == "dot":
            scores = torch.matmul(h, keys.transpose(1, 2)) / math.sqrt(h.shape[-1])
        else:
            queries = linear(rounded(h, self.rounds), self.query, None)
            hidden = torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1))  # [B, M, S, H]
            scores = torch.matmul(rounded(hidden, self.rounds), self.value[0])
        # In Paddle, `softmax` leaves 1e-28 at a score of minus infinity, and `exp` 3e-309: hence the product below.
        scores = torch.where(real > 0, scores, torch.full_like(scores, float("-inf")))
        powers = torch.exp(scores - scores.detach().amax(dim=-1, keepdim=True)) * real
        weights = powers / powers.sum(dim=-1, keepdim=True)
        return weights, torch.matmul(weights, state.values)

    def named(self) -> dict[str, nn.Parameter]:
        found = {}
        for name, bridge in self.bridges.items():
            found.update(bridge.named(f"bridge.{name}"))
        found[TABLE] = self.target.weight
        for number, layer in enumerate(self.layers):
            for kind, weight in zip(WEIGHT_KINDS, layer.weights()[0], strict=True):
                found[f"decoder.{kind}_l{number}"] = weight
        own = {attention.QUERY: self.query, attention.KEY: self.key, attention.VALUE: self.value}
        found.update({name: weight for name, weight in own.items() if weight is not None})
        return {**found, **self.output.named("head")}

    def losses(self, outputs: dict[str, torch.Tensor], inputs: Inputs, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the cross-entropy of every target token, [B, M], 0 at padding."""
        logits, target = outputs["logits"], inputs.targets[TARGET]
        found = F.nll_loss(
            F.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=1), target.reshape(-1), reduction="none"
        )
        return found.reshape(target.shape) * inputs.decoder.mask[:, :, 0]

    def right(self, outputs: dict[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        """Return 1 for correctly predicted target tokens, 0 for others and padding, [B, M] int64."""
        target = inputs.targets[TARGET]
        real = inputs.decoder.mask[:, :, 0] > 0
        return ((outputs["logits"].argmax(dim=-1) == target) & real).to(target.dtype)


def select(state: DecoderState, rows: torch.Tensor) -> DecoderState:
    """Return the state of these rows [R], in this order, with repetition."""
    return map_state(state, lambda array, axis: array.index_select(axis, rows))
