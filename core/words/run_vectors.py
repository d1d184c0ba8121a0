"""The word vectors of a run of a text task, as a table."""

from __future__ import annotations

from core.batch import UNK
from core.errors import UserError
from core.models.embedding import TABLE
from core.train.run_folder import RunFolder
from core.words.vector_table import VectorTable


def run_table(folder: RunFolder) -> VectorTable:
    """Return the embedding of a run's best checkpoint. Raises UserError for a model without word vectors."""
    path, model = folder.path, folder.read_record()[0].model
    if TABLE not in {parameter.name for parameter in model.embedding.parameters()} or model.is_linear:
        raise UserError(f"{path}: the model has no word vectors: give another run")
    words = folder.read_vocabulary(model).tokens[UNK + 1 :]
    if not words:
        raise UserError(f"{path}: its vocabulary has no words: give another run")
    return VectorTable(str(path), words, folder.read_best(model)[TABLE][UNK + 1 :])
