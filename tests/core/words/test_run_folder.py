"""The folder of a word2vec run: what is written is read back, and damage is told in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from core.checked_json import write_checked_json
from core.data.pretrained_vectors import open_vectors
from core.data.vector_files import open_vector_file
from core.errors import UserError
from core.spec.words import IN, OUT
from core.train.run_folder import RunFolder
from core.words.reference import initial_vectors
from core.words.run_folder import WordRunFolder
from core.words.run_state import WordState
from core.words.vector_text import write_vectors
from tests.conftest import one_line
from tests.run_files import edited
from tests.word_corpora import corpus_of, random_sentences, small_experiment

EXECUTION = {"backend": "torch", "device": "cpu", "implementation": "loop", "versions": {"torch": "2"}}


@pytest.fixture
def made(rng, tmp_path):
    """A folder with record, words and checkpoint; its spec, corpus and tables."""
    experiment = small_experiment(rng)
    corpus = corpus_of(experiment, random_sentences(rng, 60))
    folder = WordRunFolder.create(tmp_path / "run")
    data = {"description": "texts", "fingerprint": "f", "words": len(corpus.ids), "vocabulary": len(corpus.words)}
    segments = [{"from_step": 0, **EXECUTION}]
    more = {"data": data, "probes": [], "probe_interval": 0, "segments": segments}
    folder.write_record(experiment, {**EXECUTION, **more})
    folder.write_words(corpus)
    tables = initial_vectors(experiment.model, experiment.training, len(corpus.words))
    folder.write_last(tables, WordState(epoch=1, place=1, step=7))
    return folder, experiment, corpus, tables


def refuses(action, *says: str) -> None:
    with pytest.raises(UserError) as error:
        action()
    for part in says:
        assert part in one_line(error)


def test_what_is_written_is_read_back(made):
    folder, experiment, corpus, tables = made
    found, execution = WordRunFolder.open(folder.path).read_record()
    assert found == experiment and execution["data"]["vocabulary"] == len(corpus.words)
    assert folder.read_words(len(corpus.words)) == corpus.words
    arrays, state = folder.read_last(experiment, len(corpus.words), 3)
    assert (state.epoch, state.place, state.step) == (1, 1, 7)
    for name in (IN, OUT):
        np.testing.assert_array_equal(arrays[name], tables[name], strict=True)
    assert folder.begun and not folder.finished


def test_damage_is_told_in_one_line(made, rng):
    folder, experiment, corpus, tables = made
    size = len(corpus.words)
    refuses(lambda: folder.read_last(experiment, size + 1, 3), "not the tables of this run")
    refuses(lambda: folder.read_last(experiment, size, 1), "damaged state", "expected at most 3 epochs of 1 chunks")
    refuses(lambda: folder.read_words(size - 1), "words.tsv: damaged")
    last = folder.path / "last.safetensors"
    content = bytearray(last.read_bytes())
    content[int(rng.integers(len(content) // 2, len(content)))] ^= 1
    last.write_bytes(bytes(content))
    refuses(lambda: folder.read_last(experiment, size, 3), "does not match its digest")
    last.write_bytes(bytes(content[: len(content) // 2]))
    refuses(lambda: folder.read_last(experiment, size, 3), "damaged or not a checkpoint")
    last.unlink()
    refuses(lambda: folder.read_last(experiment, size, 3), "last.safetensors is missing")
    folder.write_last({**tables, OUT: np.full_like(tables[OUT], np.nan)}, WordState())
    refuses(lambda: folder.read_last(experiment, size, 3), "NaN")


def test_a_changed_record_is_told_in_one_line(made):
    folder, *_ = made
    with edited(folder.path / "experiment.json", checked=True) as tree:
        tree["experiment"]["model"]["dim"] += 1
    refuses(folder.read_record, "changed since it was written")
    with edited(folder.path / "experiment.json") as tree:
        del tree["experiment"]["training"]["epochs"]
    refuses(folder.read_record, "the spec is incomplete")
    with edited(folder.path / "experiment.json") as tree:
        tree["experiment"]["training"]["epochs"] = 0
    refuses(folder.read_record, "training.epochs", "greater than or equal to 1")
    with edited(folder.path / "experiment.json") as tree:
        tree["format"] = 99
    refuses(folder.read_record, "format 99", "update seqtwin")


def test_other_programs_and_this_one_know_each_other_s_folders(made, tmp_path):
    folder, *_ = made
    refuses(RunFolder(folder.path).read_record, "a run of tasks.word2vec", "use tasks.words")
    other = tmp_path / "other"
    other.mkdir()
    write_checked_json(other / "experiment.json", {"format": 4, "experiment": {"task": "imdb"}, "execution": {}})
    refuses(lambda: WordRunFolder.open(other), "a run of task imdb", "expected word vectors")
    refuses(lambda: open_vectors(str(other)), "a run of another program")
    refuses(lambda: open_vectors(str(tmp_path)), "a folder, expected a file of word vectors")


def test_vectors_read_back_to_the_same_bits(rng, tmp_path):
    """Numbers of all magnitudes, denormal ones and negative zero too."""
    words = [f"w{n}" for n in range(50)] + ["c++", "...", "电影", "naïve", ":)"]
    scale = 10.0 ** rng.integers(-44, 38, size=(len(words), 9))
    vectors = (rng.standard_normal((len(words), 9)) * scale).astype(np.float32)
    vectors[0, :2] = 0.0, -0.0
    path = tmp_path / "vectors.txt"
    write_vectors(path, words, vectors)
    text = open_vector_file(path, None)
    assert (text.count, text.dim) == vectors.shape
    found, _ = text.read(set(words))
    read = np.stack([found[word] for word in words])
    np.testing.assert_array_equal(read.view(np.uint32), vectors.view(np.uint32))
    assert path.read_text(encoding="utf-8").split("\n")[1].startswith("w0 0.0 -0.0 ")
    with pytest.raises(ValueError, match="white space"):
        write_vectors(tmp_path / "other.txt", ["a b"], vectors[:1])
    assert not (tmp_path / "other.txt").exists()


def test_vectors_of_a_run_are_opened_when_it_is_finished(made, tmp_path):
    folder, _, corpus, tables = made
    refuses(lambda: open_vectors(str(folder.path)), "not finished", "tasks.word2vec resume")
    write_vectors(folder.path / "vectors.txt", corpus.words, tables[IN])
    folder.metrics.append([])
    folder.write_result({"loss": 1.0})
    copy = shutil.copytree(folder.path, tmp_path / "a copy")
    vectors = open_vectors(str(copy))
    assert vectors.dim == tables[IN].shape[1]
    found, _ = vectors.read({corpus.words[3]}, lambda *_: None)
    np.testing.assert_array_equal(found[corpus.words[3]], tables[IN][3])
