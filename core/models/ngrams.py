"""N-grams next to the network, or in its place: spec section, parameter and NumPy reference.

A linear model of n-grams weighted by log-count ratios (Wang and Manning 2012, "Baselines and Bigrams") is fitted before
training (`core/data/ngrams`). The network adds its logits to those of the head, and reads the ratios of the n-grams
that end at a token together with its word vector.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch, NgramBatch
from core.models.parameters import Init, Parameter
from core.schema import Spec

SCALE = "head.ngram_scale"
"""Parameter [1]: the factor of the linear model's logits."""


class Ngrams(Spec):
    """The linear model of n-grams, and what the network takes from it."""

    orders: int = Field(default=3, ge=0, le=8)
    """Largest n of the n-grams of tokens; 0: none."""
    characters: int = Field(default=0, ge=0, le=8)
    """Largest n of the n-grams of characters; 0: none.

    Tokens are divided as by the tokenizer `characters`: characters of scripts without spaces, words of other scripts.
    """
    min_texts: int = Field(default=2, ge=1)
    """Minimum number of training texts that have an n-gram; rarer ones are dropped."""
    smoothing: float = Field(default=1.0, gt=0.0)
    """Added to the counts p and q of an n-gram in its ratio log((p / sum p) / (q / sum q))."""
    cost: float = Field(default=10.0, gt=0.0)
    """Factor C of the logistic loss; the penalty is |w|^2 / 2."""
    passes: int = Field(default=10, ge=1)
    """Passes of the solver over the training texts."""
    folds: int = Field(default=5, ge=2)
    """Parts of the training texts.

    The logits of a training text are those of a linear model that was fitted on the other parts.
    """
    only_if_useful: bool = False
    """Leave the n-grams out of a network unless they are worth it.

    They are if they predict training texts that their fold did not see better than the largest class, by more than two
    standard errors.
    """
    logits: bool = True
    """Add the linear model's logits to those of the head."""
    inputs: bool = True
    """Join to each word vector the values of the n-grams of tokens that end at the token, one for each n."""
    input_scale: float = Field(default=0.3, gt=0.0)
    input_limit: float = Field(default=3.0, gt=0.0)
    """A value is input_scale * clip(log((P + 1) / (Q + 1)) - log(N_P / N_Q), +-input_limit).

    P and Q are the numbers of texts of the class and of others that have the n-gram, N_P and N_Q those of all texts. In
    training the text itself is not counted.
    """

    @model_validator(mode="after")
    def _has_ngrams(self):
        if not self.orders and not self.characters:
            raise ValueError("orders and characters are both 0: set one of them to 1 or more")
        if self.inputs and not self.orders:
            raise ValueError("inputs needs n-grams of tokens: set orders to 1 or more, or inputs false")
        if not self.inputs and not self.logits:
            raise ValueError("inputs and logits are both false: set one of them true, or omit ngrams")
        return self

    def input_size(self, classes: int) -> int:
        """Return the number of values that are joined to each word vector."""
        return self.orders * columns_of(classes) if self.inputs else 0

    def parameters(self) -> list[Parameter]:
        """Return `head.ngram_scale` [1], which starts at 1; none without `logits`."""
        return [Parameter(SCALE, (1,), Init(), 1, constant=1.0)] if self.logits else []

    def describe(self) -> str:
        """Describe the n-grams in a few words."""
        kinds = [
            f"1-{n}-grams of {what}" for n, what in ((self.orders, "tokens"), (self.characters, "characters")) if n
        ]
        return " and ".join(kinds)


def columns_of(classes: int) -> int:
    """Return the number K of linear models: one for two classes, else one against the rest for each class."""
    return 1 if classes == 2 else classes


def spread(logits: np.ndarray, outputs: int) -> np.ndarray:
    """Return the linear models' logits [B, K] as logits [B, outputs] of a head.

    For two outputs of one model they are [-z / 2, z / 2].
    """
    if logits.shape[1] == outputs:
        return logits
    return np.concatenate([-logits / 2, logits / 2], axis=1)


def ngrams_of(batch: Batch) -> NgramBatch:
    """Return the n-grams of a batch. Raises ValueError if it has none."""
    if batch.ngrams is None:
        raise ValueError("a model with n-grams needs a batch with n-grams")
    return batch.ngrams
