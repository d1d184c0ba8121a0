"""Choices that the weights of a file do not determine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import UserError
from core.models.heads.pooled import PooledHead
from core.models.model import Model, check_network
from core.models.ngrams import Ngrams


@dataclass(frozen=True)
class Choices:
    """Choices that the weights do not determine.

    `embedding`, `encoder`, `hidden` and `head` name modules of the file, and are needed only if it is ambiguous.
    """

    pooling: str | None = None
    activation: str | None = None
    embedding: str | None = None
    encoder: str | None = None
    hidden: str | None = None
    head: str | None = None
    encoder_activation: str | None = None
    """Activation of a TextCNN."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Layouts of single linear layers by module, where they differ from that of the file or are known."""
    ngrams: Ngrams | None = None
    """N-grams of the run that the file belongs to; their linear model is not converted."""
    ngram_inputs: int = 0
    """Number of values of n-grams V that the encoder reads with each word vector."""


def classifier_head(model: Model, where: str) -> PooledHead:
    """Return the head of a classifier of texts. Raises UserError for a model that is not converted."""
    check_network(model)
    if not isinstance(model.head, PooledHead):
        raise UserError(f"{where}: head of kind {model.head.kind}, but only classifiers of texts are converted")
    odd = {
        f"encoder of kind {model.encoder.kind}": model.encoder.kind == "none",
        "residual layers": getattr(model.encoder, "residual", False),
        "bigrams": bool(model.embedding.bigrams),
        f"pooling {model.head.pooling}": model.head.pooling in ("ends", "attention"),
        f"lookup {model.embedding.lookup}": model.embedding.lookup == "scalar",
    }
    if found := next((name for name, has in odd.items() if has), None):
        raise UserError(f"{where}: {found}: not converted, the run folder itself opens in both frameworks")
    return model.head
