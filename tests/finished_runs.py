"""One finished run of `tasks.imdb` per backend, on small reviews, for all tests that need one and do not change it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import backends
import tasks.imdb
from core.data.sources import imdb
from tests.conftest import Done, fresh_rng, make_reviews, run_main

EACH = 24
"""Reviews per split and class: 38 train texts, 10 dev texts, 48 test texts."""
STEPS_PER_EPOCH = 5
TINY = (
    *(
        "--recipe",
        "lstm",
        "--hidden",
        8,
        "--embedding-dim",
        8,
        "--max-length",
        30,
        "--batch-size",
        8,
        "--epochs",
        6,
        "--lr",
        0.03,
    ),
    *("--dropout", 0.2, "--dtype", "float64"),
)
"""Options of a model that learns its reviews within a second."""
HOSTILE = "dull <script>alert(1)</script> & \"awful\" <img src=http://example.org/x.png> 'hated' <!-- </p></details>"
"""The text of the review `test/neg/3_2`."""


@dataclass(frozen=True)
class FinishedRuns:
    """Reviews, their cache, and a finished run with its output by installed backend. No test changes them."""

    archive: Path
    cache: Path
    runs: dict[str, Path]
    outputs: dict[str, Done]

    @property
    def backend(self) -> str:
        return next(iter(self.runs))

    @property
    def any_run(self) -> Path:
        return self.runs[self.backend]

    def train(self, *argv: object) -> Done:
        """Train on the reviews with the options `TINY` and more."""
        fixed = ("--data", self.archive, "--cache-dir", self.cache, "--device", "cpu")
        return run_main(tasks.imdb.main, *fixed, *TINY, *argv)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def train_all(root: Path) -> Iterator[FinishedRuns]:
    """Train with each backend; after the last test, check that no test has changed a run."""
    reviews = make_reviews(root / "data", fresh_rng(), EACH)
    (reviews / "test" / "neg" / "3_2.txt").write_text(HOSTILE, encoding="utf-8")
    archive = root / "reviews.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(reviews, arcname="aclImdb")
    found = FinishedRuns(archive, root / "cache", {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        for name in backends.NAMES:
            if backends.installed(name):
                found.runs[name] = root / "runs" / name
                found.outputs[name] = found.train("--backend", name, "--out", found.runs[name])
                assert found.outputs[name].code == 0, found.outputs[name].err
    if not found.runs:
        pytest.skip("no framework is installed")
    before = contents(root / "runs")
    yield found
    assert contents(root / "runs") == before, "a test has changed a finished run: copy it first"
