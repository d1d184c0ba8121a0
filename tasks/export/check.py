"""Check an exported model on the test texts of its run: predict.py against the run's own evaluator."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from core.data.dataset import Dataset, evaluation_batches
from core.data.tokenizers import make_tokenizer
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation
from core.models.types import Arrays
from core.spec.experiment import Experiment
from core.train.metrics import EVALUATION_BATCH, positions

TIE = 1e-5
"""Difference of the two largest probabilities below which another prediction is a tie."""
LARGEST = 1e-3
"""Largest difference of a probability of a float32 export."""
INT8_LOSS = 0.01
"""Largest loss of accuracy of an int8 export."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    `texts`: how many; `same_tokens`: those that predict.py encodes as the run does; `predictions`: one per text, or per
    token of a tagger; `same`: equal predictions; `ties`: different ones between classes of nearly equal probability.
    `accuracy` of the run and `exported_accuracy` are those on these texts.
    """

    texts: int
    same_tokens: int
    predictions: int
    same: int
    ties: int
    largest_difference: float
    accuracy: float
    exported_accuracy: float
    evaluator: str
    int8: bool

    @property
    def passed(self) -> bool:
        """Whether the export computes the run's predictions."""
        if self.same_tokens < self.texts:
            return False
        if self.int8:
            return self.accuracy - self.exported_accuracy <= INT8_LOSS
        return self.same + self.ties == self.predictions and self.largest_difference <= LARGEST

    def lines(self) -> list[str]:
        """Describe the result."""
        found = [f"predict.py encodes {self.same_tokens:,} of {self.texts:,} texts as the run does"]
        if self.same_tokens < self.texts:
            return found
        ties = f", {self.ties:,} of the others are ties" if self.ties else ""
        found.append(
            f"{self.same:,} of {self.predictions:,} predictions the same as {self.evaluator}{ties},"
            f" largest difference of a probability {self.largest_difference:.1e}"
        )
        if self.int8:
            found.append(f"accuracy {self.accuracy:.4f}, int8 {self.exported_accuracy:.4f} (fails below -{INT8_LOSS})")
        return found

    def record(self) -> dict:
        """Return the entry of export.json."""
        return {**asdict(self), "passed": self.passed}


def load_script(folder: Path) -> ModuleType:
    """Import predict.py of an exported folder."""
    spec = importlib.util.spec_from_file_location("exported_predict", folder / "predict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def encode_texts(script: ModuleType, experiment: Experiment, dataset: Dataset, texts: dict[str, str]):
    """Return the rows of a data set as predict.py encodes their texts, and how many are those of the run.

    A tagger reads the pieces of the run's data set, as a test sentence may be a piece of a longer one.
    """
    rows, same = [], 0
    if experiment.model.head.kind == "tokens":
        for number, name in enumerate(dataset.names):
            ids = dataset.tokens[dataset.offsets[number] : dataset.offsets[number + 1]].tolist()
            _, _, pieces = script.encode(texts[name])
            same += [token for piece in pieces for token in piece["ids"]] == ids
            rows.append({"ids": ids})
        return rows, same
    tokenize = make_tokenizer(experiment.text)
    for number, name in enumerate(dataset.names):
        ids = dataset.tokens[dataset.offsets[number] : dataset.offsets[number + 1]].tolist()
        tokens, row = script.encode(texts[name])
        same += tokens == tokenize(texts[name]) and row.get("ids", ids) == ids
        rows.append(row)
    return rows, same


def evaluate_rows(
    logits_of: Callable[[list[int]], np.ndarray], head: Head, dataset: Dataset, arrays: Arrays, report: Report
) -> Evaluation:
    """Return the evaluation of an exported model; `logits_of` returns the logits of rows, by their numbers."""
    found, done = None, 0
    counts = head.answers(dataset.targets, dataset.lengths)
    starts = np.cumsum(counts) - counts
    for chosen, batch in evaluation_batches(dataset, EVALUATION_BATCH):
        own = head.outcomes(logits_of(chosen.tolist()), batch, arrays)
        if found is None:
            found = np.zeros((int(counts.sum()), own.shape[1]), own.dtype)
        found[positions(starts[chosen], counts[chosen])] = own
        done += len(chosen)
        report(done, len(dataset))
    assert found is not None
    return head.score(found, dataset.targets, dataset.classes)


def compare(own: Evaluation, other: Evaluation, texts: int, evaluator: str, int8: bool) -> Checked:
    """Compare the evaluations of a run and of its export, whose texts are encoded equally."""
    different = own.predicted != other.predicted
    return Checked(
        texts=texts,
        same_tokens=texts,
        predictions=len(different),
        same=int((~different).sum()),
        ties=int((different & (own.margins <= TIE)).sum()),
        largest_difference=float(np.abs(own.probabilities - other.probabilities).max()),
        accuracy=own.accuracy,
        exported_accuracy=other.accuracy,
        evaluator=evaluator,
        int8=int8,
    )


def encoded_differently(texts: int, same: int, evaluator: str, int8: bool) -> Checked:
    """Return the result for texts that predict.py encodes differently: nothing was predicted."""
    return Checked(texts, same, 0, 0, 0, 0.0, 0.0, 0.0, evaluator, int8)
