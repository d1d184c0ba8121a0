"""Spec of a word2vec experiment: model, text, training and data.

The models are skip-gram and CBOW with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words and
Phrases and their Compositionality"; d2l.ai, chapter 15). The conventions in which the sources differ are in
docs/words.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from core.errors import UserError
from core.schema import Share, Spec
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.messages import LARGEST, describe
from core.spec.text import Text, TokenizerName

IN, OUT = "words.in.weight", "words.out.weight"
"""Parameters, both [V, D]: the vectors of input words, which are the result, and of predicted words."""


MOST_NUMBERS = 1 << 28
"""Maximum number of integers of a chunk, of 4 bytes each."""


class WordModel(Spec):
    """Word vectors with negative sampling.

    Skip-gram predicts each context word of a window from its center word; CBOW predicts the center word from the mean
    of the context vectors.
    """

    kind: Literal["skip_gram", "cbow"] = "skip_gram"
    dim: Annotated[int, Field(ge=1, le=4096)] = 128
    """Dimension D of a vector."""
    window: Annotated[int, Field(ge=1, le=1000)] = 5
    """Largest distance of a context word; every center draws its own, uniform in 1 to `window`."""
    negatives: Annotated[int, Field(ge=1, le=255)] = 5
    """Noise words K of each prediction. One that equals the predicted word is skipped."""
    noise_power: Annotated[float, Field(ge=0.0, le=2.0)] = 0.75
    """Noise words are drawn in proportion to count ** noise_power."""


class WordText(Spec):
    """How texts become words."""

    tokenizer: TokenizerName = "words"
    jieba_hmm: bool = True
    signs: bool = True
    lowercase: bool = True
    half_width: bool = False
    min_count: Annotated[int, Field(ge=1)] = 5
    """Words with fewer occurrences are dropped before windows are formed."""
    vocab_size: Annotated[int, Field(ge=2)] = 1_000_000
    """Maximum number of words; the most frequent ones are kept."""
    max_texts: Annotated[int, Field(ge=1)] | None = None
    """Number of texts that are read, from the first; None for all."""

    def tokenization(self) -> Text:
        """Return the spec of the tokenizer."""
        return Text(
            tokenizer=self.tokenizer,
            jieba_hmm=self.jieba_hmm,
            signs=self.signs,
            lowercase=self.lowercase,
            half_width=self.half_width,
        )


class WordTraining(Spec):
    """Minibatch SGD on the summed loss, with a learning rate that falls linearly."""

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 1024
    """Predictions of a step. The gradient is the sum over them, at the parameters before the step."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.025
    final_share: Share = 0.004
    """Last learning rate, as a share of `learning_rate`."""
    subsample: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-4
    """A word of relative frequency f is kept with probability sqrt(subsample / f); 0 keeps all words."""
    chunk_words: Annotated[int, Field(ge=1)] = 65536
    """Words that are drawn and shuffled together, in complete sentences; checkpoints are between chunks."""
    longest_sentence: Annotated[int, Field(ge=2)] = 10_000
    """Longer texts are divided."""
    dtype: Literal["float32", "float64"] = "float32"


class Reviews(Spec):
    """IMDB reviews: those for training, and the unlabeled ones where the source has them."""

    kind: Literal["reviews"] = "reviews"
    source: str = "packaged"
    """`packaged`, `official`, or the path of an archive or folder."""


class TextFiles(Spec):
    """Text files with one text per line, or tables."""

    kind: Literal["files"] = "files"
    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    column: str = ""
    """Column of the texts of a table; "" for plain text."""
    encoding: str = "utf-8"


class TrainingSplit(Spec):
    """The training split of labeled texts, in whole texts: those of dev and test are not read."""

    kind: Literal["split"] = "split"
    texts: Annotated[MovieReviews | PairedFiles | Table, Field(discriminator="kind")]
    unlabeled: bool = True
    """Add the unlabeled texts that come with them.

    The official reviews have 50,000; with the packaged Chinese ones comes a month of a newspaper.
    """


WordData = Annotated[Reviews | TextFiles | TrainingSplit, Field(discriminator="kind")]


class WordExperiment(Spec):
    """All that determines word vectors, apart from the machine."""

    model: WordModel = WordModel()
    text: WordText = WordText()
    training: WordTraining = WordTraining()
    data: WordData = Reviews()

    @model_validator(mode="after")
    def _check_chunk(self) -> WordExperiment:
        model, words = self.model, self.training.chunk_words
        predictions = model.window + 1 if model.kind == "skip_gram" else 1
        numbers = words * (4 * model.window + predictions * (1 + model.negatives))
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"training.chunk_words: a chunk of {words:,} words has some {numbers:,} numbers with this window and"
                f" these noise words, expected at most {MOST_NUMBERS:,}: set it to {words * MOST_NUMBERS // numbers:,}"
            )
        return self


WORD2VEC = "word2vec"
"""Value of `model.embedding.vectors`: vectors trained as the section `words` says."""


class WordStart(Spec):
    """Word vectors trained by word2vec before the model, as the start of its embedding.

    Their texts are the training split (`TrainingSplit`), with the tokens of the experiment's section `text`.
    """

    model: WordModel = WordModel()
    """Its `dim` is that of the embedding."""
    training: WordTraining = WordTraining()
    min_count: Annotated[int, Field(ge=1)] = 5
    """Words with fewer occurrences are dropped before windows are formed; they start as words without a vector."""
    vocab_size: Annotated[int, Field(ge=2)] = 1_000_000
    """Maximum number of words; the most frequent ones are kept."""
    unlabeled: bool = True
    """Add the unlabeled texts that come with the labeled ones."""

    def experiment(self, text: Text, texts: MovieReviews | PairedFiles | Table) -> WordExperiment:
        """Return the word2vec experiment on a classifier's sections `text` and `data`."""
        shared = {name: getattr(text, name) for name in ("tokenizer", "jieba_hmm", "signs", "lowercase", "half_width")}
        return WordExperiment(
            model=self.model,
            text=WordText(**shared, min_count=self.min_count, vocab_size=self.vocab_size),
            training=self.training,
            data=TrainingSplit(texts=texts, unlabeled=self.unlabeled),
        )


def replace_words(experiment: WordExperiment, changes: Mapping[str, object], where: str) -> WordExperiment:
    """Return a validated copy with values set by path, as `{"model.dim": 100}`.

    Raises UserError naming `where`, the field and its constraint.
    """
    tree = experiment.model_dump(mode="json")
    for path, value in changes.items():
        section, _, leaf = path.partition(".")
        if not leaf:
            tree[section] = value
            continue
        node = tree.get(section)
        if not isinstance(node, dict) or leaf not in node:
            known = ", ".join(node if isinstance(node, dict) else tree)
            raise UserError(f"{where}: no field {path} in the spec: choose one of {known}")
        node[leaf] = value
    return parse_words(tree, where)


def parse_words(tree: object, where: str) -> WordExperiment:
    """Validate a decoded JSON tree. Raises UserError naming `where`, the first invalid field and its constraint."""
    try:
        experiment = WordExperiment.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error)}") from None
    if experiment.training.seed > LARGEST:
        raise UserError(f"{where}: training.seed: expected at most 2^63")
    return experiment
