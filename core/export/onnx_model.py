"""Write the ONNX model of a spec, operator by operator, without a framework."""

from __future__ import annotations

from core.errors import UserError
from core.export.encoders import ENCODERS, embedded
from core.export.graph import Graph
from core.export.heads import Features, ngram_logits, ngram_values, pooled_logits, probabilities, token_logits
from core.export.sequences import Sequences
from core.models.encoders import RecurrentEncoder
from core.models.heads import PooledHead, TokenHead
from core.models.model import Model
from core.models.ngrams import SCALE
from core.models.types import Arrays


def check_exportable(model: Model) -> None:
    """Raise UserError for a model that predicts several labels, words or a sequence, or that reads digits."""
    kind = model.head.kind
    if not isinstance(model.head, (PooledHead, TokenHead)):
        raise UserError(f"model.head.kind {kind} cannot be exported: give a run with a label per text or per token")
    if model.embedding.lookup == "scalar":
        raise UserError("model.embedding.lookup scalar cannot be exported: give a run that reads texts")


def onnx_model(graph: Graph, model: Model, arrays: Arrays, tables: Arrays, note: dict[str, str]) -> bytes:
    """Return the bytes of an ONNX file, given an empty graph.

    Inputs: `input_names`. Outputs: `logits` and `probabilities`, of texts [B, C], of tokens [B, L, C]; a CRF has no
    probabilities, as those of its tags depend on each other. `tables` are those of n-grams, `note` is metadata.
    """
    head, ngrams = model.head, model.ngrams
    if not isinstance(head, (PooledHead, TokenHead)):
        raise TypeError(f"got head.kind {head.kind}, expected a model that check_exportable accepts")
    if model.is_linear:
        logits = ngram_logits(graph, tables, model.outputs)
    else:
        logits = _network(graph, model, arrays, tables)
        if ngrams is not None and ngrams.logits:
            own = ngram_logits(graph, tables, model.outputs)
            logits = graph.op("Add", logits, graph.op("Mul", own, graph.array(SCALE, arrays[SCALE])))
    per_text = isinstance(head, PooledHead)
    place = ("batch",) if per_text else ("batch", "length")
    size = head.outputs if isinstance(head, PooledHead) else head.classes
    outputs = {"logits": (logits, (*place, size))}
    if per_text or not head.crf:
        outputs["probabilities"] = probabilities(graph, logits, size), (*place, head.classes)
    return graph.file(outputs, note)


def _network(graph: Graph, model: Model, arrays: Arrays, tables: Arrays) -> str:
    """Return the logits of the network."""
    given, encoder = Sequences(graph), model.encoder
    x = embedded(graph, model.embedding, arrays, given)
    if model.ngrams is not None and model.ngrams.inputs:
        x = graph.op("Concat", x, ngram_values(graph, tables, model.ngrams.orders, given), axis=-1)
    blocks = ENCODERS[encoder.kind](graph, encoder, arrays, x, given)
    forward = encoder.hidden_size if isinstance(encoder, RecurrentEncoder) else 0
    features = Features(blocks, forward, getattr(encoder, "activation", "none"))
    if isinstance(model.head, TokenHead):
        return token_logits(graph, model.head, arrays, features, given)
    assert isinstance(model.head, PooledHead)
    return pooled_logits(graph, model.head, arrays, features, given)
