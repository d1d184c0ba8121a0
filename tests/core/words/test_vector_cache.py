"""Tables from files and packages, parsed and cached (`core/words/vector_cache.py`, `VectorText.read_all`)."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from core.data import vector_files
from core.data.pretrained_vectors import PackageFiles, locate
from core.data.vector_files import VectorText
from core.errors import UserError
from core.words import vector_cache
from core.words.vector_cache import open_table
from tests.core.data.test_pretrained_vectors import DIM, FORMATS, KNOWN, REFUSED, package, written  # noqa: F401


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(vector_cache, "SMALL", 0)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def parses_nothing(monkeypatch):
    def fail(*_):
        raise AssertionError("parsed again")

    monkeypatch.setattr(VectorText, "read_all", fail)
    monkeypatch.setattr(PackageFiles, "read_words", fail)


SECONDS = itertools.count(1)


def later(path: Path) -> None:
    """Set a later time of change: the clock of a file system may have a coarse step."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + next(SECONDS) * 10**9))


def text_of(words: list[str], values: np.ndarray) -> bytes:
    return "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, values, strict=True)).encode()


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_are_parsed_and_cached(tmp_path, cache, monkeypatch, name):
    """Whatever the file is packed in, and wherever blocks and chunks end; the second time from the cache."""
    content, member = FORMATS[name]
    source = f"{written(tmp_path / name, content)}{member}"
    monkeypatch.setattr(vector_files, "CHUNK", 2)
    parsed = open_table(source, cache)
    parses_nothing(monkeypatch)
    cached = open_table(source, cache)
    for table in (parsed, cached):
        assert table.name == source and table.words == list(KNOWN) and table.left_out == {}
        assert table.values.dtype == np.float32
        assert np.array_equal(table.values, np.array(list(KNOWN.values()), np.float32))
    assert isinstance(cached.values, np.memmap)


def test_numbers_are_those_of_float(tmp_path, rng):
    """Random float32 in several notations, and one that only Python reads, in chunks of several lines."""
    values = (rng.normal(size=(5000, 3)) * 10.0 ** rng.integers(-30, 30, (5000, 3))).astype(np.float32)
    shapes = ("{:.9g}", "{:+.12e}", "{!r}", "{:.5E}")
    texts = [
        [shapes[place].format(float(own)) for own, place in zip(row, rng.integers(0, 4, 3), strict=True)]
        for row in values
    ]
    texts[4100][1], texts[7] = "1_000.5", [".5", "-1.", "+3"]
    path = written(tmp_path / "a.txt", text_of([f"w{row}" for row in range(5000)], np.array(texts)))
    table = open_table(str(path), tmp_path)
    expected = np.array([[float(own) for own in row] for row in texts], dtype=np.float32)
    assert np.array_equal(table.values, expected) and table.values[4100, 1] == np.float32(1000.5)


def test_repeated_words_and_words_with_spaces(tmp_path, cache):
    lines = [b"film 1 2", b". . 3 4", b"plot 5 6", b"film 7 8", b"\xc2\xa0 9 9"]
    path = written(tmp_path / "a.txt", b"\n".join(lines) + b"\n")
    for _ in range(2):
        table = open_table(str(path), cache)
        assert table.words == ["film", "plot", "\xa0"] and table.values.tolist() == [[1, 2], [5, 6], [9, 9]]
        assert table.left_out == {"repeated": 1}
    path.write_bytes(b"a a 1 2\nb b 3 4\n")
    with pytest.raises(UserError, match="all of its words have spaces"):
        open_table(str(path), cache)


@pytest.mark.parametrize("fault", [fault for fault in REFUSED if fault != "no known word"])
def test_invalid_files_are_refused_as_in_training(tmp_path, cache, fault):
    """In the words of the reader that training uses, and nothing is cached."""
    name, content, says = REFUSED[fault]
    file, separator, member = name.partition("::")
    source = f"{written(tmp_path / file, content)}{separator}{member}"
    messages = []
    for read in (lambda: open_table(source, cache), lambda: locate(source).read({"film", "the"}, lambda *_: None)):
        with pytest.raises(UserError) as error:
            read()
        messages.append(str(error.value))
    assert messages[0] == messages[1] and all(part in messages[0] for part in says)
    assert not list(cache.glob("*")) if cache.exists() else True


def test_every_number_is_checked(tmp_path, cache):
    """Also those that compensate for one another, and those of words that were not requested."""
    for bad, said in ((b"b 1.2.3  4", "line 2: '1.2.3' is not"), (b"b 1\t2 \t 3", "line 2: "), (b"b 1 2 3-4", "'3-4'")):
        path = written(tmp_path / "a.txt", b"a 1 2 3\n" + bad + b"\nc 1 2 3\n")
        with pytest.raises(UserError, match=said):
            open_table(str(path), cache)


def test_a_changed_file_is_parsed_again(tmp_path, cache, monkeypatch, rng):
    words = [f"w{row}" for row in range(20)]
    values = rng.normal(size=(20, DIM)).round(3)
    path = written(tmp_path / "a.txt", text_of(words, values))
    open_table(str(path), cache)
    path.write_bytes(text_of(words, -values - 1))
    later(path)
    assert np.array_equal(open_table(str(path), cache).values, (-values - 1).astype(np.float32))
    # Of the same size, but later.
    path.write_bytes(path.read_bytes().replace(b"w0 ", b"x0 "))
    later(path)
    assert open_table(str(path), cache).words[0] == "x0"
    # Another path with the same content has its own entry and shares the data.
    count = len(list(cache.glob("*.npy")))
    packed = written(tmp_path / "a.gz", gzip.compress(path.read_bytes()))
    assert open_table(str(packed), cache).name == str(packed) and len(list(cache.glob("*.npy"))) == count
    parses_nothing(monkeypatch)
    open_table(str(path), cache)


@pytest.mark.parametrize("place", ["*.npy", "*.words", "*.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_cache_is_rebuilt(tmp_path, cache, monkeypatch, rng, place, damage):
    values = rng.normal(size=(30, DIM)).astype(np.float32)
    path = written(tmp_path / "a.txt", text_of([f"w{row}" for row in range(30)], values))
    open_table(str(path), cache)
    (file,) = cache.glob(place)
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content if damage == "flip" else content[:-9])
    if damage == "remove":
        file.unlink()
    seen = []
    assert np.array_equal(open_table(str(path), cache, lambda *given: seen.append(given[0])).values, values)
    assert any("reading again, the cache of a.txt is invalid" in one for one in seen) == (damage != "remove")
    parses_nothing(monkeypatch)
    assert np.array_equal(open_table(str(path), cache).values, values)


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path):
    path, blocked = written(tmp_path / "a.txt", FORMATS["glove.txt"][0]), written(tmp_path / "file", b"")
    with pytest.warns(UserWarning, match="parsed vectors are not cached"):
        assert open_table(str(path), blocked / "cache").words == list(KNOWN)


def test_small_files_are_not_cached(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(vector_cache, "SMALL", 1 << 20)
    open_table(str(written(tmp_path / "a.txt", FORMATS["glove.txt"][0])), cache)
    assert not cache.exists()


def test_words_of_a_package_are_cached(package, cache, monkeypatch):  # noqa: F811
    values = np.array(list(KNOWN.values()), np.float32)
    package(values, list(KNOWN))
    table = open_table("glove-6b-50d", cache)
    assert table.words == list(KNOWN) and np.array_equal(table.values, values)
    assert not list(cache.glob("*.npy")) and len(list(cache.glob("*.words"))) == 1
    with monkeypatch.context() as patch:
        parses_nothing(patch)
        cached = open_table("glove-6b-50d", cache)
    assert (cached.name, cached.words) == ("glove-6b-50d", list(KNOWN)) and np.array_equal(cached.values, values)
    # An update of the package is noticed.
    later(package(values[::-1], list(KNOWN)[::-1])[1])
    assert open_table("glove-6b-50d", cache).words == list(KNOWN)[::-1]
    later(package(values, [*list(KNOWN)[:-1], "film"])[1])
    with pytest.raises(UserError, match="a word occurs twice: pip install --force-reinstall"):
        open_table("glove-6b-50d", cache)


def test_the_digest_is_the_fingerprint_of_training(tmp_path):
    content = FORMATS["word2vec.txt"][0]
    text, digest = locate(str(written(tmp_path / "a.gz", gzip.compress(content)))), hashlib.sha256()
    assert [word for words, _ in text.read_all(digest.update) for word in words] == list(KNOWN)
    assert text.read(set())[1] == f"sha256:{digest.hexdigest()}" == f"sha256:{hashlib.sha256(content).hexdigest()}"
