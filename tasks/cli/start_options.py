"""Settings of a new run that `--start RUN` takes from the specification of RUN."""

from __future__ import annotations

import argparse

from core.files import user_path
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from core.train.start_run import DRAWING, check_network_on_words
from tasks.cli.assignments import assigned

OF_EMBEDDING = ("dim", "static_copy", "bigrams", "bigram_dim")
"""Fields of the embedding that determine what the encoder reads."""
OWN_OF_TEXT = ("max_length", "truncate", "head_share")
"""Fields of the text section that a new run does not take, as they only choose the tokens to read."""
WITHOUT_VECTORS: dict[str, object] = {
    "words": None,
    "model.embedding.vectors": None,
    "model.embedding.vectors_missing": "init",
    "model.embedding.vectors_scale": 1.0,
}
"""Changes that remove the word vectors of a recipe, which those of another run replace."""


def start_of(arguments: argparse.Namespace) -> str | None:
    """Return the run from which the command line starts, by `--start` or `--set`; None without any."""
    found = assigned(arguments.set).get("start", getattr(arguments, "start", None))
    return found if isinstance(found, str) else None


def with_settings_of_start(recipe: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the recipe with embedding size, encoder, tokenizer and vocabulary size of the run that it starts from.

    Fields of the encoder that only draw or train its parameters remain those of the recipe. Raises UserError if there
    is no such run, or if it has no word vectors or no network.
    """
    path = start_of(arguments)
    if path is None:
        return recipe
    folder = RunFolder.open(user_path(path))
    other, _ = folder.read_record()
    check_network_on_words(other.model, str(folder.path))
    embedding, encoder = (part.model_dump(mode="json") for part in (other.model.embedding, other.model.encoder))
    own = recipe.model.encoder.model_dump(mode="json")
    trained = own if own["kind"] == encoder["kind"] else encoder
    text = other.text.model_dump(mode="json", exclude=set(OWN_OF_TEXT))
    if recipe.data.kind == "tagged":  # its tokens are those of the file
        del text["tokenizer"]
    changes: dict[str, object] = {
        **WITHOUT_VECTORS,
        **{f"model.embedding.{name}": embedding[name] for name in OF_EMBEDDING},
        "model.encoder": {**encoder, **{name: trained[name] for name in DRAWING if name in trained}},
        **{f"text.{name}": value for name, value in text.items()},
        "model.embedding.vocab_size": other.text.vocab_size,
    }
    if recipe.model.head.kind == "language":  # its output layer has the shape of the table
        changes |= {"model.head.dim": embedding["dim"], "model.head.num_words": other.text.vocab_size}
    return replace(recipe, changes, f"--start {path}")


def settings(experiment: Experiment, path: str) -> str:
    """Return in one line the settings that `with_settings_of_start` took from the run `path`."""
    embedding, encoder, text = experiment.model.embedding, experiment.model.encoder, experiment.text
    return (
        f"from {path}: embedding {embedding.dim}, {encoder.describe()}, tokenizer {text.tokenizer},"
        f" vocabulary up to {text.vocab_size:,}"
    )
