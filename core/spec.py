"""The specification: every choice and every number of an experiment, in frozen models that are JSON in and out.

Reading one, a third person could rebuild the experiment in a framework of their own. What is *not* here is how a run
executes it (backend, device, implementation): the run folder records that beside the spec.

`encoder` and `head` carry a `kind`: they are where other model families (a convolutional encoder, a head per token)
are to be added, as unions discriminated by that field.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from core.class_weights import ClassWeights
from core.data_spec import DATA_KINDS, AnyData, Spec
from core.data_spec import TEXTS as TEXTS  # and these for who reads a whole spec
from core.data_spec import Data as Data
from core.data_spec import Digits as Digits
from core.data_spec import Lines as Lines
from core.data_spec import Splits as Splits
from core.data_spec import Table as Table
from core.errors import UserError

FORMAT_VERSION = 1
"""Version of the run-folder and spec format. A reader refuses a newer one."""

Cell = Literal["srn", "gru", "lstm", "residual_srn"]
Dtype = Literal["float32", "float64", "tf32", "bfloat16"]
GATES = {"srn": 1, "gru": 3, "lstm": 4, "residual_srn": 1}
"""Number of gate blocks `G` in a cell's weights: SRN; GRU r, z, n; LSTM i, f, g, o."""
FRAMEWORK_CELLS = ("srn", "gru", "lstm")
"""Those that both frameworks have a layer of their own for."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
DropoutRate = Annotated[float, Field(ge=0.0, lt=1.0)]


class Init(Spec):
    """How an array's starting values are drawn (`core/parameters.py`). Biases are zero unless `fan_uniform`."""

    scheme: Literal["fan_uniform", "xavier_uniform", "uniform", "normal"] = "fan_uniform"
    """`fan_uniform`: U(-s, s), s = scale / sqrt(fan), fan = H in a recurrent layer, in-features in a linear one: the
    default of both frameworks' recurrent layers, and of torch's linear one. `xavier_uniform`: Glorot and Bengio 2010,
    times `scale`. `uniform`: U(-scale, scale). `normal`: N(0, scale^2)."""
    scale: float = Field(1.0, gt=0.0)


class Embedding(Spec):
    vocab_size: int = Field(30000, ge=2)
    """Rows, PAD (0) and UNK (1) included. Set to the real size once the vocabulary is built."""
    dim: int = Field(128, ge=1)
    lookup: Literal["index", "one_hot"] = "index"
    """`one_hot` multiplies by one-hot vectors: the same numbers, the textbook's way to see that look-up is linear."""
    vectors: str | None = Field(None, min_length=1)
    """`glove-6b-50d` or a file's path: words found there start so, the others as `init` says. They are `dim` wide."""
    trainable: bool = True
    dropout: DropoutRate = 0.0
    init: Init = Init(scheme="normal", scale=1.0)

    @model_validator(mode="after")
    def _one_hot_fits_in_memory(self):
        if self.lookup == "one_hot" and self.vocab_size > 20000:
            raise ValueError("a one_hot look-up builds [B, L, V] and is limited to vocab_size <= 20000")
        return self


class RecurrentEncoder(Spec):
    kind: Literal["recurrent"] = "recurrent"
    cell: Cell = "lstm"
    hidden_size: int = Field(128, ge=1)
    num_layers: int = Field(1, ge=1, le=16)
    bidirectional: bool = True
    dropout: DropoutRate = 0.0
    """On the output of every layer but the last."""
    forget_bias: float = 0.0
    """Added to the forget gate's `bias_ih` at the start (LSTM only; Jozefowicz et al. 2015 advise 1)."""
    biases: Literal["two", "one"] = "two"
    """`two`: `bias_ih` and `bias_hh`, as in both frameworks' layers; they move alike, and their sum twice as fast.
    `one`: the textbook's single b; `bias_hh` is zero and stays so."""
    init: Init = Init(scheme="fan_uniform")

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        return self.hidden_size * self.directions

    def layer_input_size(self, layer: int, embedding_dim: int) -> int:
        return embedding_dim if layer == 0 else self.output_size


class PooledHead(Spec):
    """One answer per sequence: pool the encoder's outputs over real tokens, then a linear map to logits."""

    kind: Literal["pooled"] = "pooled"
    pooling: Literal["last", "mean", "max"] = "mean"
    """`last`: the forward state at the last real token joined with the reverse state at the first."""
    classes: int = Field(2, ge=2)
    one_logit: bool = False
    """One logit with binary cross-entropy instead of two with cross-entropy; two classes only."""
    hidden_size: int | None = Field(None, ge=1)
    """Size of an optional hidden layer before the logits."""
    activation: Literal["tanh", "relu"] = "relu"
    """Of the hidden layer."""
    dropout: DropoutRate = 0.0
    """On the pooled features, and on the hidden layer where there is one."""
    init: Init = Init(scheme="fan_uniform")

    @model_validator(mode="after")
    def _one_logit_is_binary(self):
        if self.one_logit and self.classes != 2:
            raise ValueError("one_logit needs classes = 2")
        return self

    @property
    def outputs(self) -> int:
        return 1 if self.one_logit else self.classes


class Model(Spec):
    embedding: Embedding = Embedding()
    encoder: RecurrentEncoder = RecurrentEncoder()
    head: PooledHead = PooledHead()


class Text(Spec):
    """From a string to ids. Padding is on the right and, by the lengths rule, never seen: it needs no field."""

    tokenizer: Literal["whitespace", "words", "jieba", "characters"] = "words"
    """`whitespace`: the textbook's (lower-case, `<br />` to a space, split). `words`: English words, `!` and `?`.
    `jieba`: Chinese segmentation. `characters`: of scripts without spaces every character, of others whole words."""
    jieba_hmm: bool = True
    """Whether jieba also makes words that its dictionary lacks, by a hidden Markov model. Without it `rjieba`, where
    that package is installed, gives the same segments in a tenth of the time."""
    lowercase: bool = True
    vocab_size: int = Field(30000, ge=3)
    """Most entries kept, PAD and UNK included."""
    min_count: int = Field(1, ge=1)
    """Rarer tokens become UNK."""
    max_length: int = Field(256, ge=1)
    """Tokens kept of a text."""
    truncate: Literal["head", "tail", "both"] = "head"
    """The part of a longer text that is kept: its head, its tail, or both ends."""
    head_share: Share = 0.25
    """With `both`: the share of `max_length` taken from the head; the rest comes from the tail."""


class Adam(Spec):
    """Kingma and Ba 2015, with decoupled weight decay (Loshchilov and Hutter 2019), never on biases."""

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(1e-3, gt=0.0)
    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    epsilon: float = Field(1e-8, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)


class SGD(Spec):
    """`v = momentum * v + g; p = p - lr * v`, with decoupled weight decay, never on biases."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.1, gt=0.0)
    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0)


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Schedule(Spec):
    """The learning rate as a share of the optimiser's, a function of the step alone (`core/schedule.py`)."""

    kind: Literal["constant", "linear", "one_cycle"] = "constant"
    """`linear`: up to the peak, then down, both straight. `one_cycle`: both as half a cosine (Smith 2018)."""
    warmup_share: Share = 0.1
    """Share of all steps spent rising."""
    start_share: Share = 0.04
    """First rate, as a share of the peak."""
    final_share: Share = 0.0
    """Last rate, as a share of the peak."""


class Training(Spec):
    optimizer: Optimizer = Adam()
    schedule: Schedule = Schedule()
    loss_reduction: Literal["mean", "sum"] = "mean"
    class_weights: ClassWeights | None = None
    """A text of class c counts class_weights[c] times in the training loss, and once in that of dev and test. The mean
    is still over texts, not over their weights. `balanced`: N / (C * n_c), n_c of the N texts of train being of class
    c, put in its place as numbers before training begins: the spec of a run holds the numbers."""
    clip_mode: Literal["none", "global", "tensor"] = "global"
    """Scale by min(1, clip_norm / norm): the norm over all gradients, or of each tensor alone."""
    clip_norm: float = Field(1.0, gt=0.0)
    batch_size: int = Field(32, ge=1)
    bucket_batches: int = Field(50, ge=0)
    """Sequences of this many batches are sorted by length together, so that a batch holds similar lengths; 0: none."""
    shuffle: bool = True
    """Another order in every epoch. Otherwise that of the data, always the same, and `bucket_batches` is 0 or 1."""
    epochs: int = Field(3, ge=1)
    eval_interval: int | None = Field(None, ge=1)
    """Steps between evaluations on dev, besides those of `eval_epochs`."""
    eval_epochs: bool = True
    """Evaluate on dev at the end of each epoch. After the last step dev is looked at in any case."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a better one: a higher dev accuracy, or as high at a lower loss."""
    seed: int = Field(0, ge=0, lt=2**63)
    dtype: Dtype = "float32"
    """`tf32`: arrays are float32, and a GPU may round to 10 bits what its matrix products and recurrent layers read.
    `bfloat16`: arrays are float32, and what a product of a recurrent or linear layer reads from outside, its weight
    matrices and its input x (not the recurrent state h, not biases), is rounded to the nearest of 8 significant bits,
    ties to even. Gradients pass straight through that, and updates go to the weights as they were. A GPU may round to
    10 bits what else its products read: h, and backwards gradients."""
    dropout_masks: Literal["shared", "native"] = "shared"
    """`shared`: drawn in core from (seed, step, place), the same bits in every backend and after a resume. `native`: by
    the framework's own generator."""

    @property
    def array_dtype(self) -> Literal["float32", "float64"]:
        """Of parameters, moments and everything in between: NumPy's and the frameworks' name of it."""
        return "float64" if self.dtype == "float64" else "float32"

    @model_validator(mode="after")
    def _buckets_are_shuffled(self):
        if not self.shuffle and self.bucket_batches > 1:
            raise ValueError("shuffle = false keeps the order of the data: set bucket_batches to 0")
        return self


class Experiment(Spec):
    """A whole experiment. `recipe` only names where the numbers came from."""

    format: int = FORMAT_VERSION
    task: str = "imdb"
    recipe: str = "default"
    model: Model = Model()
    text: Text = Text()
    training: Training = Training()
    data: AnyData = Data()

    @model_validator(mode="after")
    def _vectors_are_of_words(self):
        if self.model.embedding.vectors is not None and self.data.kind not in TEXTS:
            raise ValueError("model.embedding.vectors are of words: this task's data have none")
        return self

    @model_validator(mode="after")
    def _a_weight_for_each_class(self):
        weights, classes = self.training.class_weights, self.model.head.classes
        if isinstance(weights, tuple) and self.known_classes is not None and len(weights) != classes:
            raise ValueError(f"training.class_weights are {len(weights)}, and model.head.classes is {classes}")
        return self

    def with_vocab_size(self, size: int) -> Experiment:
        """The same experiment with `model.embedding.vocab_size` set to the size of the vocabulary that was built."""
        return replace(self, {"model.embedding.vocab_size": size})

    @property
    def known_classes(self) -> int | None:
        """How many classes the data must have; None where the data tell (then `head.classes` is set by them)."""
        return None if self.data.kind == "table" else self.model.head.classes


def replace(experiment: Experiment, changes: dict[str, object], where: str = "experiment") -> Experiment:
    """A validated copy with values set by dotted path, as in `{"model.encoder.cell": "gru"}`.

    Raises UserError naming `where`, the field and what it allows.
    """
    tree = experiment.model_dump(mode="json")
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            known = ", ".join(node) if isinstance(node, dict) else "none below it"
            raise UserError(f"{where}: there is no field {path} in the spec (fields there: {known})")
        node[leaf] = value
    return parse_experiment(tree, where)


def parse_experiment(tree: object, where: str) -> Experiment:
    """Validate a decoded JSON tree. Raises UserError, one line, naming `where`, the first wrong field and the rule."""
    if not isinstance(tree, dict):
        raise UserError(f"{where}: an experiment is a JSON object, not {type(tree).__name__}")
    version = tree.get("format", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(
            f"{where}: written in format {version!r}, and this seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
        )
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error)}") from None


KINDS = {"data": DATA_KINDS, "optimizer": ("adam", "sgd"), "class_weights": ("balanced", "weights")}
"""Of parts that come in several kinds."""


def describe(error: ValidationError) -> str:
    """The first problem of a validation error in one line: dotted field, rule, and the value that broke it."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    # pydantic names the chosen kind of a part as well, which no path in the spec has.
    named = [part for before, part in zip(["", *parts], parts, strict=False) if part not in KINDS.get(before, ())]
    field = ".".join(named)
    message = first["msg"].removeprefix("Value error, ")
    value = json.dumps(first["input"], default=str)
    shown = f" (got {value})" if len(value) <= 60 else ""
    return f"{field}: {message}{shown}" if field else f"{message}{shown}"


def read_experiment(path: str | Path) -> Experiment:
    """An experiment from a JSON file: a bare spec, or a run folder's `experiment.json`, which holds it as `experiment`.

    Raises UserError if the file is missing, is not JSON, or does not hold an experiment.
    """
    path = Path(path)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    if isinstance(tree, dict) and "experiment" in tree:
        tree = tree["experiment"]
    return parse_experiment(tree, str(path))
