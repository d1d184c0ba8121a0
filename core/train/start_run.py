"""Initial embedding and encoder of a new run from another run's best checkpoint.

The other run may be of any task: only its word vectors and its encoder are read, never its head. Its vocabulary may
differ, so that word vectors are matched by word (Howard and Ruder 2018, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.batch import PAD, UNK
from core.checked_json import file_digest_of
from core.data.vocabulary import SOURCE_TOKENS, Vocabulary
from core.errors import UserError
from core.models.embedding import BIGRAM_TABLE, STATIC_TABLE, TABLE
from core.models.model import Model, parameter_table
from core.spec.experiment import Experiment
from core.spec.rates import part_of
from core.train.run_folder import RunFolder

DRAWING = ("init", "dropout", "forget_bias")
"""Fields of an encoder that do not change what its trained parameters compute."""


@dataclass(frozen=True)
class StartRun:
    """Another run, from which a new one takes its initial values."""

    path: str
    task: str
    parameters: dict[str, np.ndarray]
    vocabulary: Vocabulary
    digest: str
    """That of the file of the best checkpoint."""


def open_start(experiment: Experiment) -> StartRun | None:
    """Read the best checkpoint of the run `experiment.start`; None without one.

    Raises UserError if it is no run with a checkpoint, or if its model has other word vectors or another encoder.
    """
    if experiment.start is None:
        return None
    folder = RunFolder.open(Path(experiment.start))
    other, _ = folder.read_record()
    check_models(other.model, experiment.model, str(folder.path))
    digest = file_digest_of(folder.file("best.safetensors").read_bytes())
    parameters, vocabulary = folder.read_best(other.model), folder.read_vocabulary(other.model)
    return StartRun(str(folder.path), other.task, parameters, vocabulary, digest)


def check_network_on_words(other: Model, where: str) -> None:
    """Raise UserError if a model has no word vectors and no network from which another one can start."""
    if other.is_linear or other.embedding.lookup == "scalar":
        raise UserError(f"{where}: has no word vectors to start from: give a run of a network on words")


def check_models(other: Model, model: Model, where: str) -> None:
    """Raise UserError naming the first field in which the embedding or the encoder of two models differ.

    Fields that only draw or train the parameters may differ.
    """
    check_network_on_words(other, where)
    fields = {"model.embedding.dim": (other.embedding.dim, model.embedding.dim)}
    trees = [own.encoder.model_dump(mode="json") for own in (other, model)]
    names = [name for name in trees[1] if name not in DRAWING] if trees[0]["kind"] == trees[1]["kind"] else ["kind"]
    fields |= {f"model.encoder.{name}": (trees[0].get(name), trees[1][name]) for name in names}
    for name, (theirs, own) in fields.items():
        if theirs != own:
            raise UserError(f"{where}: has `{name}` {theirs}, this model {own}: use equal ones, or start elsewhere")
    shapes = {row.name: row.shape for row in parameter_table(other)}
    for row in parameter_table(model):
        if part_of(row.name) == "encoder" and shapes.get(row.name) != row.shape:
            raise UserError(
                f"{where}: its {row.name} has shape {list(shapes.get(row.name, ()))}, expected {list(row.shape)}:"
                " set equal inputs of the encoder (static_copy, bigrams, ngrams)"
            )


def take_values(parameters: dict[str, np.ndarray], start: StartRun, vocabulary: Vocabulary) -> dict:
    """Write the values of `start` into the drawn `parameters`, in place, and return the record entry.

    Rows of words that the other run lacks remain as drawn. Rows of bigrams are hashed from the numbers of words: they
    are taken only for equal vocabularies. Raises UserError if the two vocabularies share no word.
    """
    table, found = parameters[TABLE], start.vocabulary.encode(vocabulary.tokens)
    found[: len(SOURCE_TOKENS)] = PAD, UNK
    known = np.flatnonzero(found != UNK)[1:]  # without PAD, whose row is zero
    if not len(known):
        raise UserError(f"{start.path}: knows no word of this vocabulary: use the tokenizer of that run")
    rows = np.append(known, UNK)
    table[rows] = start.parameters[TABLE][found[rows]]
    taken = [TABLE]
    if STATIC_TABLE in parameters:
        parameters[STATIC_TABLE][:] = table
    for name, values in parameters.items():
        theirs = start.parameters.get(name)
        hashed = name == BIGRAM_TABLE and start.vocabulary.tokens == vocabulary.tokens
        if theirs is not None and theirs.shape == values.shape and (part_of(name) == "encoder" or hashed):
            values[:] = theirs
            taken.append(name)
    words = len(vocabulary.tokens) - len(SOURCE_TOKENS)
    return {
        "source": start.path,
        "task": start.task,
        "digest": start.digest,
        "found": len(known),
        "missing": words - len(known),
        "parameters": taken,
        "drawn": [name for name in parameters if name not in (*taken, STATIC_TABLE)],
    }
