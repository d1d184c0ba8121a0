"""Tokenisers, vocabulary, truncation, files, corpus: from strings to encoded parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from core.batch import PAD, UNK
from core.data import corpus as corpus_module
from core.data import vocabulary
from core.data.corpus import Corpus, build_corpus, load_corpus, prepare
from core.data.documents import Document, Source
from core.data.encode import encode_worded
from core.data.splits import split_rows
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import Vocabulary, truncate, truncated
from core.errors import UserError
from core.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from core.spec.data import MovieReviews
from core.spec.text import Text


@pytest.fixture
def rng():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")  # pytest shows it when the test fails
    return np.random.default_rng(seed)


def one_line(error) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


def source_of(documents: list[Document], fingerprint: str = "f") -> Source:
    return Source("path", "made up", fingerprint, len(documents), lambda: iter(documents))


def made_up(rng, films: int = 40, per_part: int = 400, marked: bool = True, words: int = 60) -> list[Document]:
    documents = []
    for number in range(2 * per_part if marked else per_part):
        text = " ".join(f"w{word}" for word in rng.zipf(1.5, size=rng.integers(1, 50)) % words)
        split = ("train" if number < per_part else "test") if marked else ""
        film = f"tt{rng.integers(films):07d}" if films else ""
        documents.append(Document(f"d/{number}", text, str(number % 2), split, film))
    return documents


def equal(one: Corpus, other: Corpus) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Corpus))


# Tokenisers


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't LIKE it!!", ["i", "don't", "like", "it", "!", "!"]),
        ("Fine.<br /><br />Why?", ["fine", "why", "?"]),
        ("a<br>b<BR/>c", ["a", "b", "c"]),
        ("Tom &amp; Jerry isn&#39;t", ["tom", "jerry", "isn't"]),
        ("the film's 'seven' 'stars'", ["the", "film", "'s", "seven", "stars"]),
        ("A caf\u00e9, a cafe\u0301", ["a", "caf\u00e9", "a", "caf\u00e9"]),
        ("can\u2019t \u041d\u0435\u0442", ["can't", "\u043d\u0435\u0442"]),
        (
            "\u092c\u0939\u0941\u0924 \u0905\u091a\u094d\u091b\u093e\u0964",
            ["\u092c\u0939\u0941\u0924", "\u0905\u091a\u094d\u091b\u093e"],
        ),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0643\u0650",
            ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0643\u0650"],
        ),
        ("10/10 in the 70s, 3-D", ["10", "10", "in", "the", "70s", "3", "d"]),
        ("_very_ re-made --- ...", ["very", "re", "made"]),
        ("... -- ()", []),
        ("", []),
    ],
)
def test_words(text, tokens):
    assert make_tokenizer(Text(tokenizer="words", signs=False))(text) == tokens


def test_words_keep_case_when_asked():
    assert make_tokenizer(Text(tokenizer="words", lowercase=False))("Bad FILM'S") == ["Bad", "FILM", "'S"]


def test_whitespace_is_the_textbooks():
    text = "Great movie.<br /><br />I LIKED it!"
    assert make_tokenizer(Text(tokenizer="whitespace"))(text) == ["great", "movie.", "i", "liked", "it!"]
    assert make_tokenizer(Text(tokenizer="whitespace", lowercase=False))("A b") == ["A", "b"]


def test_jieba(capfd):
    pytest.importorskip("jieba")
    tokens = make_tokenizer(Text(tokenizer="jieba"))("\u8fd9\u90e8\u7535\u5f71 \u5f88\u597d\u770b\nOK")
    assert "\u7535\u5f71" in tokens and "ok" in tokens and not any(token.isspace() for token in tokens)
    assert capfd.readouterr().err == ""


def test_jieba_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(UserError) as error:
        make_tokenizer(Text(tokenizer="jieba"))
    assert "pip install jieba" in one_line(error)


@pytest.mark.parametrize("tokenizer", ["words", "whitespace"])
def test_tokens_contain_no_white_space(rng, tokenizer):
    tokenize = make_tokenizer(Text(tokenizer=tokenizer))
    for _ in range(200):
        points = rng.choice([*range(1, 0x180), 0x2019, 0x2028, 0x3000, 0x4E2D, 0x301, 0x1F600], size=60)
        tokens = tokenize("".join(map(chr, points)))
        assert all(token and not any(character.isspace() for character in token) for token in tokens)


# Vocabulary


def test_vocabulary_order_limits_and_counts():
    tokens, counts = ["b", "a", "rare", "c", "<pad>", "<unk>"], [3, 3, 1, 5, 9, 9]
    whole = Vocabulary.build(tokens, counts, Text())
    assert whole.tokens == ["<pad>", "<unk>", "c", "a", "b", "rare"]
    assert whole.counts == [0, 18, 5, 3, 3, 1]
    assert Vocabulary.build(tokens, counts, Text(min_count=2)).tokens == ["<pad>", "<unk>", "c", "a", "b"]
    small = Vocabulary.build(tokens, counts, Text(vocab_size=4))
    assert (small.tokens, len(small)) == (["<pad>", "<unk>", "c", "a"], 4)
    with pytest.raises(UserError, match="min_count"):
        Vocabulary.build(tokens, counts, Text(min_count=6))


def test_vocabulary_is_independent_of_the_order_of_tokens(rng):
    tokens = [f"t{number}" for number in range(300)]
    counts = rng.integers(1, 20, size=300)
    order = rng.permutation(300)
    again = Vocabulary.build([tokens[n] for n in order], counts[order], Text(vocab_size=100))
    assert Vocabulary.build(tokens, counts, Text(vocab_size=100)) == again


def test_encode_never_gives_pad():
    vocabulary = Vocabulary.build(["good", "<pad>"], [1, 5], Text())
    ids = vocabulary.encode(["<pad>", "good", "<unk>", "new"])
    assert ids.dtype == np.int64 and ids.tolist() == [UNK, 2, UNK, UNK]
    assert vocabulary.encode([]).shape == (0,)


def test_vocabulary_is_read_back(tmp_path):
    vocabulary = Vocabulary.build(["caf\u00e9", '"', "\u4e2d"], [3, 2, 1], Text())
    vocabulary.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "tokens and counts"),
        (b'{"format": 2, "tokens": [], "counts": []}', "digest is missing"),
        (b'{"format": 3, "tokens": [], "counts": [], "digest": null}', "format 3"),
        (b'{"format": 1, "tokens": "ab", "counts": []}', "list of strings"),
        (b'{"format": 1, "tokens": ["<pad>", "<unk>"], "counts": [0, 0.5]}', "whole numbers"),
        (b'{"format": 1, "tokens": ["<pad>", "<unk>"], "counts": [0]}', "2 tokens but 1 counts"),
        (b'{"format": 1, "tokens": ["a", "b"], "counts": [0, 0]}', "must be <pad>"),
        (b'{"format": 1, "tokens": ["<pad>", "<unk>", "a", "a"], "counts": [0, 0, 1, 1]}', "twice"),
    ],
)
def test_vocabulary_load_errors(tmp_path, content, reason):
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        Vocabulary.load(path)
    assert reason in one_line(error) and str(path) in one_line(error)


@pytest.mark.parametrize(
    ("form", "share", "kept"),
    [
        ("head", 0.25, [0, 1, 2, 3]),
        ("tail", 0.25, [6, 7, 8, 9]),
        ("both", 0.25, [0, 7, 8, 9]),
        ("both", 0.0, [6, 7, 8, 9]),
        ("both", 1.0, [0, 1, 2, 3]),
        ("both", 0.5, [0, 1, 8, 9]),
    ],
)
def test_truncate(form, share, kept):
    spec = Text(max_length=4, truncate=form, head_share=share)
    assert truncate(np.arange(10), spec).tolist() == kept
    assert truncate(np.arange(4, dtype=np.int32), spec).tolist() == [0, 1, 2, 3]
    assert truncate(np.arange(1), spec).tolist() == [0]


# Files


def test_atomic_writes(tmp_path):
    path = tmp_path / "file"
    write_bytes_atomic(path, b"one")
    write_bytes_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    write_text_atomic(path, "caf\u00e9\n")
    assert path.read_bytes() == b"caf\xc3\xa9\n"
    write_json_atomic(path, {"a": [1, "\u4e2d"]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, "\u4e2d"]}
    with pytest.raises(ValueError):
        write_json_atomic(path, float("nan"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_full_disk_leaves_the_previous_version(tmp_path):
    (tmp_path / "file").write_bytes(b"previous")
    script = """
        import resource, signal, sys
        from core.errors import UserError
        from core.files import write_bytes_atomic
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_bytes_atomic(sys.argv[1], bytes(100_000))
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "file")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True)
    assert "cannot be written" in result.stdout and "previous version is unchanged" in result.stdout
    assert result.stdout.count("\n") == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"previous")]


def test_write_into_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_bytes_atomic(tmp_path / "no" / "file", b"")


# Corpus


def test_corpus_contains_every_token(rng):
    documents = made_up(rng)
    corpus = build_corpus(source_of(documents), Text())
    tokenize = make_tokenizer(Text())
    assert (corpus.ids.dtype, corpus.offsets.dtype, corpus.labels.dtype) == (np.int32, np.int64, np.int64)
    for row, document in enumerate(documents):
        assert [corpus.tokens[number] for number in corpus.sequence(row)] == tokenize(document.text)
        assert (corpus.names[row], corpus.labels[row]) == (document.name, int(document.label))


def test_a_text_without_tokens_is_named():
    documents = [Document("train/pos/1_9", "good", "1"), Document("train/neg/7_1", " -- ", "0")]
    with pytest.raises(UserError) as error:
        build_corpus(source_of(documents), Text())
    assert "train/neg/7_1" in one_line(error)


def test_cache_gives_the_same_corpus(rng, tmp_path, monkeypatch):
    documents = made_up(rng)
    monkeypatch.setattr(corpus_module, "open_data", lambda *_: source_of(documents))
    first, _ = load_corpus(MovieReviews(), Text(), tmp_path)
    monkeypatch.setattr(corpus_module, "build_corpus", None)
    second, _ = load_corpus(MovieReviews(), Text(vocab_size=50, max_length=3), tmp_path)
    assert equal(first, second)


def test_the_rest_of_a_killed_build_is_removed_from_the_cache(rng, tmp_path, monkeypatch):
    documents = made_up(rng, per_part=20)
    monkeypatch.setattr(corpus_module, "open_data", lambda *_: source_of(documents))
    left = tmp_path / ".corpus-words-0.npz.x.tmp"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    load_corpus(MovieReviews(), Text(), tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_cache_key_has_content_and_tokenizer(rng, tmp_path, monkeypatch):
    documents = made_up(rng, per_part=20)
    for fingerprint in ("one", "two"):
        source = source_of(documents, fingerprint)
        monkeypatch.setattr(corpus_module, "open_data", lambda *_, source=source: source)
        for text in (Text(), Text(lowercase=False), Text(tokenizer="whitespace")):
            load_corpus(MovieReviews(), text, tmp_path)
    assert len(list(tmp_path.glob("corpus-*.npz"))) == 6


def test_a_damaged_cache_is_built_again(rng, tmp_path, monkeypatch):
    documents = made_up(rng, per_part=30)
    monkeypatch.setattr(corpus_module, "open_data", lambda *_: source_of(documents))
    whole, _ = load_corpus(MovieReviews(), Text(), tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    damaged = [b"", b"nonsense", content[: len(content) // 2], content[:-1]]
    for _ in range(40):
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    for wrong in damaged:
        path.write_bytes(wrong)
        said = []
        again, _ = load_corpus(
            MovieReviews(), Text(), tmp_path, lambda description, *_, said=said: said.append(description)
        )
        assert equal(whole, again)
        assert "tokenizing again" in said[0] and path.name in said[0]
        assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning(rng, tmp_path, monkeypatch):
    documents = made_up(rng, per_part=20)
    monkeypatch.setattr(corpus_module, "open_data", lambda *_: source_of(documents))
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not cached") as seen:
        corpus, _ = load_corpus(MovieReviews(), Text(), tmp_path / "file" / "cache")
    assert len(seen) == 1 and len(corpus) == 40


# Splits


def split(corpus: Corpus, data: MovieReviews):
    return split_rows(corpus.splits, corpus.labels, corpus.groups, data)


@pytest.mark.parametrize("limit", [None, 51])
@pytest.mark.parametrize(("marked", "films"), [(True, 40), (True, 0), (False, 0)])
def test_splits_are_disjoint_and_complete(rng, marked, films, limit):
    corpus = build_corpus(source_of(made_up(rng, films, marked=marked)), Text())
    rows, summary = split(corpus, MovieReviews(train_limit=limit, split_seed=int(rng.integers(2**62))))
    together = np.concatenate(list(rows.values()))
    assert len(set(together.tolist())) == len(together)
    if limit is None:
        assert len(together) == len(corpus)
        assert 0.05 < len(rows["dev"]) / 400 < 0.2
    else:
        assert len(rows["train"]) == limit and all(len(part) <= limit for part in rows.values())
        assert np.bincount(corpus.labels[rows["train"]]).tolist() == [26, 25]
    if marked:
        assert set(corpus.splits[rows["test"]]) == {2} and set(corpus.splits[rows["train"]]) == {1}
    assert summary["dev_split"] == ("by film" if films else "at random")
    if films:
        assert not set(corpus.groups[rows["train"]]) & set(corpus.groups[rows["dev"]])
    elif limit is None:
        assert np.ptp(np.bincount(corpus.labels[rows["dev"]])) == 0


def test_dev_split_contains_the_fewest_films(rng):
    corpus = build_corpus(source_of(made_up(rng)), Text())
    rows, _ = split(corpus, MovieReviews(dev_share=0.2))
    sizes = np.bincount(corpus.groups[rows["dev"]])
    assert 80 <= len(rows["dev"]) < 80 + sizes.max()


def test_a_smaller_limit_is_a_subset(rng):
    corpus = build_corpus(source_of(made_up(rng)), Text())
    small, _ = split(corpus, MovieReviews(train_limit=20))
    large, _ = split(corpus, MovieReviews(train_limit=100))
    assert all(set(small[part]) <= set(large[part]) for part in small)


def test_prepare_is_determined_by_its_arguments(rng):
    corpus = build_corpus(source_of(made_up(rng)), Text())
    one, same = (prepare(corpus, MovieReviews(), Text()) for _ in range(2))
    other = prepare(corpus, MovieReviews(split_seed=1), Text())
    assert one.summary == same.summary and one.dev.names == same.dev.names
    assert np.array_equal(one.train.tokens, same.train.tokens)
    assert one.dev.names != other.dev.names


def test_prepare_encodes_and_counts(rng):
    documents = {document.name: document for document in made_up(rng)}
    text = Text(max_length=8, truncate="both", min_count=3)
    prepared = prepare(build_corpus(source_of(list(documents.values())), text), MovieReviews(), text)
    tokenize = make_tokenizer(text)
    counts: dict[str, int] = {}
    for name in prepared.train.names:
        for token in tokenize(documents[name].text):
            counts[token] = counts.get(token, 0) + 1
    assert prepared.vocabulary == Vocabulary.build(list(counts), list(counts.values()), text)
    for part in (prepared.train, prepared.dev, prepared.test):
        assert part.tokens.dtype == np.int32 and part.tokens.min() > PAD and part.lengths.max() <= 8
        for row, name in enumerate(part.names):
            expected = truncate(prepared.vocabulary.encode(tokenize(documents[name].text)), text)
            assert np.array_equal(part.tokens[part.offsets[row] : part.offsets[row + 1]], expected)
            assert part.labels[row] == int(documents[name].label)
    summary = json.loads(json.dumps(prepared.summary))["dev"]
    long = sum(len(tokenize(documents[name].text)) > 8 for name in prepared.dev.names)
    assert (summary["documents"], summary["truncated"]) == (len(prepared.dev), long)
    assert sum(summary["per_class"]) == len(prepared.dev) and summary["tokens"] == len(prepared.dev.tokens)
    assert summary["unknown_share"] == pytest.approx((prepared.dev.tokens == UNK).mean(), abs=1e-6)


def test_prepare_refuses_wrong_classes(rng):
    corpus = build_corpus(source_of(made_up(rng)), Text())
    with pytest.raises(UserError, match="3 classes"):
        prepare(corpus, MovieReviews(), Text(), classes=3)
    few = build_corpus(source_of(made_up(rng, films=0, per_part=4, marked=False)), Text())
    with pytest.raises(UserError, match="dev split has no text"):
        prepare(few, MovieReviews(), Text())


def test_texts_without_tokens_are_not_encoded():
    vocabulary = Vocabulary.build(["good", "film"], [2, 1], Text())
    texts = ["Good film!", " () ", "a good good film"]
    dataset, rows = encode_worded(texts, vocabulary, Text(max_length=3))
    assert dataset.tokens.dtype == np.int32 and dataset.tokens.tolist() == [2, 3, UNK, UNK, 2, 2]
    assert (dataset.offsets.tolist(), dataset.names, rows) == ([0, 3, 6], ["1", "3"], [0, 2])
    assert encode_worded(["()"], vocabulary, Text())[1] == []


@pytest.mark.parametrize("how", ["head", "tail", "both"])
def test_texts_truncated_together_are_those_truncated_alone(rng, monkeypatch, how):
    monkeypatch.setattr(vocabulary, "ROWS", int(rng.integers(1, 9)))
    sizes = rng.integers(0, 12, 40)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    ids = rng.integers(0, 1000, int(offsets[-1])).astype(np.int32)
    spec = Text(max_length=int(rng.integers(1, 14)), truncate=how, head_share=float(rng.random()))
    for rows in (np.flatnonzero(rng.random(40) < 0.6), np.zeros(0, np.int64)):
        found, bounds = truncated(ids, offsets, rows, spec)
        expected = [truncate(ids[offsets[row] : offsets[row + 1]], spec) for row in rows]
        assert found.dtype == np.int32 and bounds.dtype == np.int64
        assert found.tolist() == [number for own in expected for number in own.tolist()]
        assert np.diff(bounds).tolist() == [len(own) for own in expected]
