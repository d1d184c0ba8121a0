"""Which words moved an answer: the numbers, the same through every engine, and how they are shown."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import implementations
from core.analysis.occlusion import explain, log_odds
from core.batch import UNK, pad
from core.data.encode import encode_text
from core.data.vocabulary import Vocabulary
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.heads.scores import probabilities_of
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from tasks import imdb
from tasks.cli.console import run_program
from tests.conftest import INSTALLED, one_line

ROOT = Path(__file__).parents[3]
WORDS = ["a", "the", "film", "was", "wonderful", "awful", "plot", "<b>", "&", "never"]
SHAPES = {
    "two classes": {},
    "one logit": {"model.head.one_logit": True},
    "five classes": {"model.head.classes": 5},
    "gru, last": {"model.encoder.cell": "gru", "model.head.pooling": "last", "model.head.classes": 3},
}
each_shape = pytest.mark.parametrize("shape", SHAPES)


def instance(rng, shape: str):
    experiment = replace(
        Experiment(),
        {
            "text.tokenizer": "whitespace",
            "model.embedding.vocab_size": len(WORDS) + 2,
            "model.embedding.dim": 4,
            "model.encoder.hidden_size": 5,
            "training.dtype": "float64",
            **SHAPES[shape],
        },
    )
    return experiment, random_parameters(experiment, rng)


@each_shape
def test_effects_are_differences_of_log_odds(shape, rng):
    """Word by word by hand; and through every framework and implementation."""
    experiment, parameters = instance(rng, shape)
    ids = rng.integers(1, len(WORDS) + 2, 9)
    engine = ReferenceEngine(experiment.model, parameters)
    found = explain(engine.logits, ids)

    def odds(sequence) -> float:
        share = probabilities_of(engine.logits(pad([np.array(sequence)], {"label": np.array([0])})))[0][found.predicted]
        return np.log(share / (1 - share))

    whole = probabilities_of(engine.logits(pad([ids], {"label": np.array([0])})))[0]
    assert found.predicted == whole.argmax() and np.allclose(found.probabilities, whole, rtol=1e-12)
    for place in range(len(ids)):
        without = [number for other, number in enumerate(ids) if other != place]
        assert found.effects[place] == pytest.approx(odds(ids) - odds(without), abs=1e-10)
    assert sorted(found.strongest(9)) == list(range(9))
    assert found.strongest(1) == [int(np.abs(found.effects).argmax())]
    for name in INSTALLED:
        for implementation in implementations.IMPLEMENTATIONS:
            other = backends.load(name).Engine(
                experiment.model, experiment.training, parameters, Executor("cpu", implementation)
            )
            theirs = explain(other.logits, ids)
            assert theirs.predicted == found.predicted
            assert np.abs(theirs.effects - found.effects).max() <= 1e-12, (name, implementation)


@each_shape
def test_single_word_is_replaced_by_unk(shape, rng):
    experiment, parameters = instance(rng, shape)
    engine = ReferenceEngine(experiment.model, parameters)
    found = explain(engine.logits, np.array([5]))
    pair = log_odds(
        np.concatenate([engine.logits(pad([np.array([n])], {"label": np.array([0])})) for n in (5, UNK)]),
        found.predicted,
    )
    assert found.effects == pytest.approx([pair[0] - pair[1]], abs=1e-13)
    assert explain(engine.logits, np.array([UNK])).effects == pytest.approx([0.0], abs=1e-15)


def test_log_odds_of_confident_predictions_are_finite(rng):
    logits = rng.normal(size=(4, 3))
    shares = probabilities_of(logits)
    assert np.allclose(log_odds(logits, 1), np.log(shares[:, 1] / (1 - shares[:, 1])), atol=1e-12)
    assert log_odds(np.array([[900.0, 0.0, -5.0]]), 0)[0] == pytest.approx(900.0, abs=0.01)
    assert log_odds(np.array([[3.0]]), 1)[0] == 3.0 and log_odds(np.array([[3.0]]), 0)[0] == -3.0


def test_encoded_text_shows_truncation_and_unknown_words():
    vocabulary = Vocabulary(["<pad>", "<unk>", *WORDS], [0, 0, *range(len(WORDS), 0, -1)])
    text = replace(Experiment(), {"text.tokenizer": "whitespace", "text.max_length": 4}).text
    found = encode_text("the Film WAS blurry and long", vocabulary, text, "text 1")
    assert found.tokens == ["the", "film", "was", "[blurry]"] and found.unknown == ["blurry"] and found.cut == 2
    assert found.ids.tolist() == [3, 4, 5, UNK]
    with pytest.raises(UserError) as error:
        encode_text("  ", vocabulary, text, "text 7")
    assert one_line(error).startswith("text 7: the whitespace tokenizer finds no tokens")


@pytest.fixture
def run(tmp_path, rng) -> Path:
    """A run folder with a random model, of three classes."""
    experiment, parameters = instance(rng, "gru, last")
    folder = RunFolder.create(tmp_path / "run")
    own = {"backend": "paddle", "device": "cpu", "implementation": "builtin", "versions": {"paddle": "3"}}
    data = {"kind": "path", "description": "texts", "fingerprint": "texts"}
    segments = [{**own, "from_step": 0}]
    execution = {**own, "classes": ["bad", "so <so>", "good"], "data": data, "segments": segments}
    folder.write_record(experiment, execution)
    folder.write_vocabulary(Vocabulary(["<pad>", "<unk>", *WORDS], [0, 0, *range(len(WORDS), 0, -1)]))
    folder.write_best(parameters, 1)
    return folder.path


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    code = run_program(imdb.main, ["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Page(HTMLParser):
    """The tags of a page in order, and whether each is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.kinds = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "span":
            self.words.append(data)
            self.kinds.append(self.tags[-1][1].get("class"))


def test_explanations_are_printed_and_written_as_a_page(run, capsys, tmp_path):
    page, text = tmp_path / "why.html", "the film was <b> wonderful & blurry"
    code, out, _ = call(capsys, run, "--explain", text, "awful", "--html", page)
    assert code == 0
    answers = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert [line[2] for line in answers] == [text, "awful"]
    assert "the film was <b> wonderful & [blurry]" in out and out.count("log-odds of") == 2
    found = Page()
    content = page.read_text(encoding="utf-8")
    found.feed(content)
    words = [own for own, kind in zip(found.words, found.kinds, strict=True) if kind and kind.startswith("word")]
    assert not found.open and words[2:] == ["the", "film", "was", "<b>", "wonderful", "&", "blurry", "awful"]
    assert found.kinds.count("word unknown") == 1 and found.words[found.kinds.index("word unknown")] == "blurry"
    assert (
        "script" not in {tag for tag, _ in found.tags}
        and "http:" not in content
        and "https:" not in content
        and "src=" not in content
    )
    policies = [own["content"] for tag, own in found.tags if own.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none';")
    titles = [float(attributes["title"]) for tag, attributes in found.tags if tag == "span" and "title" in attributes]
    assert len(titles) == 8 and max(map(abs, titles)) > 0
    code, _, err = call(capsys, run, text, "--html", page)
    assert code == 2 and "exists" in err and page.read_text(encoding="utf-8") == content
    code, _, err = call(capsys, run, text, "--html", tmp_path / "none" / "page.html")
    assert code == 2 and len(err.strip().splitlines()) == 1
    # Answers are the same with and without an explanation, and in every framework.
    for options in ((), *((("--backend", name, "--explain")) for name in INSTALLED)):
        code, again, _ = call(capsys, run, *options, text, "awful")
        assert code == 0 and [line.split("\t") for line in again.splitlines() if "\t" in line] == answers


def test_interactive_predictions(run):
    """Each at once, before the next is read; a text without tokens has an empty label."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.imdb", "predict", str(run), "--interactive"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for text in ("wonderful film", "awful plot"):
        process.stdin.write(f"{text}\n\n")
        process.stdin.flush()
        assert process.stdout.readline().rstrip("\n").endswith(f"\t{text}")
    process.stdin.write("<br />\nthe film")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and out.startswith("\t\t<br />\n") and out.endswith("\tthe film\n")
    assert out.count("\n") == 2 and err == "note: no prediction for 1 of 1 texts: no tokens (line 5)\n"


def test_interactive_takes_no_texts(run, capsys):
    code, _, err = call(capsys, run, "a film", "--interactive")
    assert code == 2 and "--interactive reads texts as they are typed" in err
