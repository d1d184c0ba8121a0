"""Tokenization by several processes: the numbers are those of one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from core.child_process import ROOT
from core.data import token_workers, tokenizers
from core.data.documents import Document
from core.data.token_numbers import TokenNumbers
from core.data.token_workers import Worker, number_documents, tokenized
from core.data.tokenizers import make_tokenizer
from core.errors import UserError
from core.spec.text import Text

WORDS = ("Film", "film", "don't", "caf\u00e9", "\u597d\u770b", "10:30", ":-)", "<br />", "!", "\u0130stanbul", "x1")


@pytest.fixture
def documents(rng, monkeypatch):
    """Texts of 0 to 30 words, some without tokens and some without a label, in batches of 1 to 7."""
    monkeypatch.setattr(token_workers, "BATCH", 500)
    monkeypatch.setattr(token_workers, "MOST_TEXTS", 7)
    made = []
    for number in range(int(rng.integers(90, 130))):
        words = [str(rng.choice(WORDS)) + str(rng.integers(40)) * int(rng.integers(2)) for _ in range(rng.integers(31))]
        label = str(rng.integers(2)) if rng.random() < 0.8 else ""
        made.append(Document(str(number), " ".join(words), label))
    return made


def whole(documents, spec, **how):
    """Return all tokens, ids, lengths and digests, and the documents."""
    batches = list(number_documents(documents, spec, **how))
    tokens = [token for _, numbered in batches for token in numbered.new]
    arrays = [np.concatenate([getattr(own, name) for _, own in batches]) for name in ("ids", "lengths", "digests")]
    return tokens, *arrays, [document for own, _ in batches for document in own]


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 400])
def test_processes_change_nothing(documents, alone):
    spec = Text(signs=True)
    started = []
    one = whole(documents, spec, processes=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_workers, "Worker", lambda spec: started.append(Worker(spec)) or started[-1])
        many = whole(documents, spec, processes=3, alone=alone)
    assert len(started) == 3 and all(own._process.poll() is not None for own in started)
    assert one[0] == many[0] and one[-1] == many[-1] == documents
    for ours, theirs in zip(one[1:-1], many[1:-1], strict=True):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [299, 300])
def test_processes_start_before_a_large_source_is_read(documents, monkeypatch, size):
    started, here = [], []
    monkeypatch.setattr(token_workers, "Worker", lambda spec: started.append(Worker(spec)) or started[-1])
    original = TokenNumbers.number
    monkeypatch.setattr(TokenNumbers, "number", lambda self, *given: here.append(given) or original(self, *given))

    def read():
        assert len(started) == (2 if size == 300 else 0)
        yield from documents[:1]

    found = whole(read(), Text(), processes=2, alone=300, size=size)
    assert bool(here) == (size < 300)
    for ours, theirs in zip(found, whole(documents[:1], Text(), processes=1), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("most", [1, 40, 10**6])
def test_batches_have_a_limit_of_characters_and_texts(documents, most):
    batches = list(token_workers._batches(documents, most))
    assert [document for batch in batches for document in batch] == documents
    for batch in batches:
        assert len(batch) <= 7 and sum(len(own.text) for own in batch[:-1]) < most
    for batch in batches[:-1]:
        assert len(batch) == 7 or sum(len(own.text) for own in batch) >= most


def test_numbers_are_those_of_the_tokens_in_order_of_first_occurrence(documents):
    spec, expected, order = Text(), [], {}
    tokens, ids, lengths, digests, _ = whole(documents, spec, processes=1)
    for document in documents:
        own = make_tokenizer(spec)(document.text)
        if document.label:
            expected += own
            order |= dict.fromkeys(own)
    assert [tokens[number] for number in ids] == expected and tokens == list(order)
    assert lengths.tolist() == [len(make_tokenizer(spec)(document.text)) for document in documents]
    spaced = [Document(own.name, f" {own.text}\n".replace(" ", "\t "), own.label) for own in documents]
    assert (whole(spaced, spec, processes=1)[3] == digests).all()


def test_tokenized_texts_are_those_of_the_tokenizer(documents):
    texts = [document.text for document in documents]
    assert list(tokenized(iter(texts), Text())) == [make_tokenizer(Text())(text) for text in texts]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_is_an_error(documents, monkeypatch):
    class Killed(Worker):
        def number(self, texts, wanted):
            os.kill(self._process.pid, signal.SIGKILL)
            return super().number(texts * 500, wanted * 500)

    monkeypatch.setattr(token_workers, "Worker", Killed)
    with pytest.raises(UserError, match=r"tokenizing: a process was killed by signal 9: free memory"):
        list(number_documents(documents, Text(), processes=2, alone=0))


@pytest.mark.slow
def test_what_fails_in_the_reader_of_the_texts_is_not_hidden(documents):
    def broken():
        yield from documents
        raise UserError("file: truncated: copy it again")

    with pytest.raises(UserError, match="truncated"):
        list(number_documents(broken(), Text(), processes=2, alone=0))


CHINESE = (
    *("\u4e2d\u56fd\u4eba\u6c11", "\u65e0\u804a", "\u623f\u95f4\u5f88\u5e72\u51c0", "\u5218\u5fb7\u534e\u548c", "3.5"),
    *("\u3002", "\uff0c", "\uff01\uff21", "c++", "A-b", "\u0130", "\U0002070e", "caf\u00e9", "<br />", "<", "br>"),
    *(" ", "\n", "\r", "\r\n", "\t", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\x00", "\ufeff", "\x0b"),
)


@pytest.mark.slow
@pytest.mark.parametrize("hmm", [False, True])
def test_chinese_texts_that_are_segmented_together(rng, monkeypatch, hmm):
    pytest.importorskip("jieba")
    spec = Text(tokenizer="jieba", jieba_hmm=hmm, half_width=bool(rng.integers(2)), lowercase=bool(rng.integers(2)))
    for name in ("BATCH_RJIEBA", "BATCH_JIEBA"):
        monkeypatch.setattr(token_workers, name, int(rng.integers(50, 2000)))
    texts = ["".join(rng.choice(CHINESE, int(rng.integers(40))).tolist()) for _ in range(150)]
    documents = [Document(str(place), text, "x" * int(rng.random() < 0.9)) for place, text in enumerate(texts)]
    expected = [make_tokenizer(spec)(text) for text in texts]
    found = [whole(documents, spec, processes=number, alone=0) for number in (1, 2)]
    wanted = [token for own, document in zip(expected, documents, strict=True) if document.label for token in own]
    for tokens, ids, lengths, _, _ in found:
        assert tokens == list(dict.fromkeys(wanted)) and [tokens[number] for number in ids] == wanted
        assert lengths.tolist() == [len(own) for own in expected]
    assert (found[0][3] == found[1][3]).all()


def test_segments_with_several_tokens_keep_the_order_of_their_numbers(monkeypatch):
    pytest.importorskip("jieba")
    monkeypatch.setattr(tokenizers, "jieba_cut", lambda hmm: lambda text: re.findall(r"[^ \n]+|\s", text))
    texts = ["a b\x1cc a", "", "c\u2003d\u2003a \x1c", "b\x1cc"]
    found = TokenNumbers(Text(tokenizer="jieba")).number(texts, [True] * 4)
    assert found.new == ["a", "b", "c", "d"] and found.ids.tolist() == [0, 1, 2, 0, 2, 3, 0, 1, 2]
    assert found.lengths.tolist() == [4, 0, 3, 2]


def test_a_process_imports_no_specification():
    code = "import sys, core.data.token_process; print([n for n in sys.modules if n in UNWANTED])"
    unwanted = ("pydantic", "core.spec", "numpy.random", "subprocess", "concurrent.futures")
    code = code.replace("UNWANTED", repr(unwanted))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
