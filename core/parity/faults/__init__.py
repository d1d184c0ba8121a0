"""Deliberate faults that the parity check must detect, typical of real ports.

A planted fault replaces a few names in one backend package. The backends mirror each other name by name
(`tests/test_architecture.py`), and a fault wraps the originals with operations that both frameworks support. Each fault
is therefore written once and works in either backend. There is one file per model family, one for what families share,
one for pooling, one for training, and one for word2vec.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import ModuleType

from core.errors import UserError
from core.parity.faults import (
    common,
    decoder,
    language,
    multilabel,
    ngrams,
    pooling,
    recurrent,
    textcnn,
    tokens,
    training,
    words,
)
from core.parity.faults.fault import Fault, patched

FAMILIES = (recurrent, common, pooling, training, textcnn, multilabel, tokens, decoder, language, ngrams)
FAULTS: dict[str, Fault] = {name: own for family in FAMILIES for name, own in family.FAULTS.items()}
"""Faults of sequence models by name; no two families have the same name (`tests/parity/test_training.py`)."""
WORD_FAULTS: dict[str, Fault] = words.FAULTS
"""Faults of word2vec by name."""


def planted(side: ModuleType, name: str) -> AbstractContextManager[None]:
    """Plant a fault in backend package `side` for the block, which must create the engines."""
    return patched(fault(name).plant(side))


def fault(name: str) -> Fault:
    """Look up a fault. Raises UserError for an unknown name."""
    known = {**FAULTS, **WORD_FAULTS}
    if name not in known:
        raise UserError(f"unknown fault {name!r}: choose one of {', '.join(known)}")
    return known[name]
