"""`tasks.classify` and `tasks.reviews_zh` as a user runs them, on tables and folders of a few made-up texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import backends
import core.train.setup
import tasks.classify
import tasks.compare
import tasks.reviews_zh
import tasks.run.table_options
from core.data import corpus, tokenizers
from core.data.corpus import load_corpus
from core.spec.experiment import replace
from core.train.run_folder import RunFolder
from tasks.cli.console import run_program
from tasks.cli.recipes import recipe
from tasks.run import both_frameworks
from tasks.run.predict_file import CHUNK
from tests.conftest import Done, check_refused, fresh_rng, loaded, run_main, stop_at
from tests.markdown import first_difference, shown_output

ROOT = Path(__file__).parents[2]
TINY = ("--hidden", 8, "--embedding-dim", 8, "--epochs", 2, "--batch-size", 8, "--lr", 0.03, "--dtype", "float64")
CHINESE = "\u597d"
TELLING = {
    "pos, good": "wonderful loved fine",
    'say "neg"': "awful hated dull",
    f"{CHINESE}\n\U0001f600 $_x": f"so-so middling {CHINESE}",
}
"""Labels that every writer of files must escape, and words that tell them."""
CLASSES = sorted(" ".join(label.split()) for label in TELLING)
EACH = 24


def texts_of(rng, label: str, count: int) -> list[str]:
    words = np.array(["film", "plot", "actor", "scene", "the", "a", "of", "and", "was", "it", "very", "café", "!", "?"])
    told = np.array(TELLING[label].split())
    return [" ".join([*rng.choice(words, rng.integers(3, 20)), *rng.choice(told, 3)]) for _ in range(count)]


def labelled(rng, each: int = EACH) -> list[tuple[str, str]]:
    found = [(text, label) for label in TELLING for text in texts_of(rng, label, each)]
    return [found[place] for place in rng.permutation(len(found))]


def write_csv(path: Path, rows, columns=("text", "label"), **form) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, **{"lineterminator": "\n", **form}).writerows([columns, *rows])
    return path


def write_jsonl(path: Path, rows) -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_bytes(gzip.compress("\n".join(lines).encode()) if path.suffix == ".gz" else "\n".join(lines).encode())
    return path


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Relative paths, `runs/` among them, land in a folder of the test's own, which `refused` comparison_steps over."""
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Place:
    """What the tests share and none of them changes: a table, test and dev files, and a run by every backend."""

    root: Path
    runs: dict[str, Path]
    outputs: dict[str, Done]

    @property
    def table(self) -> Path:
        return self.root / "train.csv"

    @property
    def any_run(self) -> Path:
        return next(iter(self.runs.values()))

    @property
    def backend(self) -> str:
        return next(iter(self.runs))

    def train(self, *argv: object) -> Done:
        return run_main(tasks.classify.main, *TINY, *argv, *self.where, "--backend", self.backend)

    @property
    def where(self) -> tuple:
        return ("--cache-dir", self.root / "cache", "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    root = tmp_path_factory.mktemp("classify")
    rng = fresh_rng()
    rows = labelled(rng)
    extra = [("()", CLASSES[0]), ("", CLASSES[0]), ("a text without a label", " "), rows[0]]
    write_csv(root / "train.csv", [*rows[:30], *extra, *rows[30:]])
    write_csv(root / "test.csv", labelled(rng, 6))
    write_jsonl(root / "dev.jsonl.gz", labelled(rng, 4))
    found = Place(root, {}, {})
    for name in backends.NAMES:
        if backends.installed(name):
            found.runs[name] = root / "runs" / name
            files = (found.table, "--test", root / "test.csv", "--dev", root / "dev.jsonl.gz", "--tokenizer", "words")
            argv = (*files, *TINY, *found.where, "--class-weights", "balanced")
            found.outputs[name] = run_main(tasks.classify.main, *argv, "--backend", name, "--out", found.runs[name])
    if not found.runs:
        pytest.skip("no framework is installed")
    return found


@pytest.fixture
def refused(tmp_path, place):
    """Call a program and check its refusal: one line, and nothing changed in the test's folder."""

    def check(*argv: object, says: tuple[str, ...] | str, main=tasks.classify.main) -> None:
        check_refused(main, *argv, says=says, folder=tmp_path)

    return check


# Training


@pytest.mark.parametrize("name", backends.NAMES)
def test_run_of_three_files(place, name):
    loaded(name)
    done, run = place.outputs[name], place.runs[name]
    assert done.code == 0, done.err
    assert "skipped: 2 without tokens, 1 without a label, 1 duplicate\n" in done.out
    assert "inferred" not in done.out
    assert f"{3 * EACH} train, 12 dev, 18 test" in done.out and "dev split as provided" in done.out
    assert f"test {place.root / 'test.csv'}" in done.out and "dev.jsonl.gz" in done.out
    experiment, execution = RunFolder.open(run).read_record()
    assert execution["classes"] == CLASSES and "tokenized_by" not in execution
    assert execution["data"]["test_split"] == "as provided"
    assert experiment.model.head.classes == 3 and experiment.data.test == str(place.root / "test.csv")
    assert experiment.training.class_weights == (1.0, 1.0, 1.0)
    rows = table_of(run / "predictions.csv")
    assert list(rows[0]) == ["id", "label", "predicted", *(f"p_{name}" for name in CLASSES)]
    assert [row["id"] for row in rows] == [f"test/{number}" for number in range(1, 19)]
    told = table_of(place.root / "test.csv")
    assert [row["label"] for row in rows] == [" ".join(row["label"].split()) for row in told]
    mistakes = table_of(run / "mistakes.csv")
    assert len(mistakes) == sum(row["label"] != row["predicted"] for row in rows)
    for row in mistakes:
        assert row["text"] == told[int(row["id"].split("/")[1]) - 1]["text"] and row["label"] in CLASSES
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    typed = shlex.split(done.out.splitlines()[-1])
    assert typed[:6] == ["next", "python", "-m", "tasks.classify", "predict", str(run)] and len(typed) == 7
    answer = run_main(tasks.classify.main, *typed[4:])
    assert answer.code == 0 and answer.out.split("\t")[2].strip() == typed[6]


def test_splits_of_one_file_contain_every_class(place):
    """Of one file alone; a text that is there twice counts once, and what was guessed is said and recorded."""
    rng = fresh_rng()
    rows = labelled(rng, 20)
    write_csv(Path("t.csv"), [*rows, *rows[:7]], ("body", "category"), delimiter=";", lineterminator="\r\n")
    argv = [part for part in TINY if part not in ("--epochs", 2)]
    argv = (
        "t.csv",
        "--split-seed",
        int(rng.integers(1000)),
        *argv,
        *place.where,
        "--backend",
        place.backend,
        "--out",
        "r",
    )
    done = run_main(tasks.classify.main, *argv)
    assert done.code == 0, done.err
    assert "inferred --tokenizer words (space-separated script)" in done.out
    assert "inferred --epochs 6 --patience 3 (67 rows)" in done.out and "7 duplicates\n" in done.out
    shown = shown_output((ROOT / "docs" / "own-texts.md").read_text(encoding="utf-8"), "tasks.classify")
    assert (missing := first_difference(shown, done.out)) is None, f"{missing!r} is not in:\n{done.out}"
    experiment, execution = RunFolder.open(Path("r")).read_record()
    assert (experiment.training.epochs, experiment.text.tokenizer) == (6, "words")
    assert experiment.training.patience == 3
    assert [execution["data"][part]["per_class"] for part in ("train", "dev", "test")] == [[16] * 3, [2] * 3, [2] * 3]
    assert experiment.data.source == str(Path("t.csv").absolute()) and experiment.data.text_column == "body"
    found = {int(row["id"].removeprefix("train/")): row["label"] for row in table_of(Path("r/predictions.csv"))}
    assert all(" ".join(rows[number - 1][1].split()) == label for number, label in found.items())


TABLES = {
    "imdb.csv": ("review,sentiment\n", '"{text}, <br />so",{label}\n', ("review", "sentiment")),
    "chnsenticorp.tsv": ("qid\tlabel\ttext_a\n", "7\t{label}\t{text}\n", ("text_a", "label")),
    "weibo.csv": ("label,review\n", "{label},{text}\n", ("review", "label")),
    "zh.csv": ("\u6807\u7b7e;\u5185\u5bb9\n", "{label};{text}\n", ("\u5185\u5bb9", "\u6807\u7b7e")),
    "train.ft.txt": ("", "__label__{label} {text}\n", ("text", "label")),
    "array": ("[", '{{"content": "{text}", "category": "{label}"}},\n', ("content", "category")),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_usual_sets_need_no_option(place, name):
    start, line, (text, label) = TABLES[name]
    words = {"neg": "bad", "pos": "good"}
    content = start + "".join(
        line.format(text=f"{words[own]} film {number}", label=own) for number in range(15) for own in words
    )
    Path(name).write_text(content[:-2] + "]" if start == "[" else content, encoding="utf-8")
    done = place.train(name, "--tokenizer", "words", "--out", "r")
    assert done.code == 0, done.err
    told = [line.split(" (")[0] for line in done.out.splitlines() if line.startswith("inferred")]
    shown = {"--text-column": text, "--label-column": label}
    formats = {"array": "inferred format a JSON array", "train.ft.txt": "inferred format fastText"}
    expected = [f"inferred {flag} {shlex.quote(own)}" for flag, own in shown.items() if own not in ("text", "label")]
    assert told == [formats[own] for own in (name,) if own in formats] + expected
    experiment, execution = RunFolder.open(Path("r")).read_record()
    assert (experiment.data.text_column, experiment.data.label_column) == (text, label)
    assert execution["classes"] == ["neg", "pos"]
    found = run_main(tasks.classify.main, "predict", "r", "--file", name)
    assert found.code == 0 and found.out.count("\n") == 30, found.err
    done = run_main(tasks.classify.main, "evaluate", "r", *place.where)
    assert done.code == 0 and "predictions match" in done.out


def test_table_without_header_line(place):
    rows = [(number % 2, f"Title {number}", f"text {number % 2}, too") for number in range(40)]
    write_csv(Path("t.csv"), rows[1:], rows[0])
    done = place.train("t.csv", "--columns", "label,title,text", "--out", "r")
    assert done.code == 0, done.err
    assert "inferred --text-column title,text (columns: label, title, text; joined by a space)" in done.out
    data = RunFolder.open(Path("r")).read_record()[0].data
    assert data.columns == ("label", "title", "text") and data.text_column == ("title", "text")
    done = run_main(tasks.classify.main, "predict", "r", "--file", "t.csv", "--out", "o.csv")
    assert done.code == 0 and table_of(Path("o.csv"))[3]["text"] == "text 1, too", done.err
    done = run_main(tasks.classify.main, "--config", "r/experiment.json", *place.where, "--out", "again")
    assert done.code == 0 and RunFolder.open(Path("again")).read_record()[0].data == data, done.err


@pytest.mark.parametrize("weights", ["balanced", "none"])
def test_rare_classes_and_similar_labels(place, weights):
    """A class in train only, in two classes and in more, through all files of a run and its report."""
    rows = [(f"text {number}", "Yes" if number % 3 else "no") for number in range(30)]
    for name, own in (
        ("two", [("a yes", "Yes"), *((text, "no") for text, _ in rows)]),
        ("more", [*rows, ("a", "yes ")]),
    ):
        write_csv(Path(f"{name}.csv"), own)
        done = place.train(f"{name}.csv", "--class-weights", weights, "--out", name)
        assert done.code == 0, done.err
        rare = "Yes" if name == "two" else "yes"
        assert f"         dev and test have no text of: {rare}\n" in done.out
        note = "note: labels that look the same are different classes: 'Yes' (16), 'yes' (1): write them alike"
        assert (note in done.err) == (name == "more"), done.err
        result = RunFolder.open(Path(name)).read_result()["test"]
        assert 0 <= result["macro_f1"] <= 1 and sum(map(sum, result["confusion"])) == result["documents"]
        assert run_main(tasks.classify.main, "evaluate", name, *place.where).code == 0
    done = run_main(tasks.compare.main, "two", "more", "--out", "page.html")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("rows", "limit", "batch", "epochs", "beside"),
    [(60, None, 32, 20, 6), (3_000, None, 32, 8, 4), (10_000, 500, 8, 10, 5), (90_000, None, 32, 1, 1)],
)
def test_inferred_epochs(place, monkeypatch, rows, limit, batch, epochs, beside):
    """More for the network alone than `beside` n-grams, with early stopping where there are more than the patience."""
    monkeypatch.setattr(tasks.run.table_options, "survey", lambda *_: (["good"], rows))
    seen = []
    monkeypatch.setattr("tasks.run.train.start", lambda task, experiment, *_: seen.append(experiment) or 0)
    more = ("--train-limit", limit) if limit else ()
    cases = ((("--no-ngrams",), epochs, 5), (("--recipe", "default"), epochs, 5), ((), beside, 3))
    for wanted, expected, patience in cases:
        stops = expected > patience
        done = run_main(tasks.classify.main, place.table, "--batch-size", batch, *more, *wanted)
        training = seen.pop().training
        assert done.code == 0 and (training.epochs, training.patience) == (expected, patience if stops else None)
        told = f" --patience {patience}" if stops else ""
        assert f"inferred --epochs {expected}{told} ({rows:,} rows)\n" in done.out
    for own, patience in ((("--patience", 7), 7), (("--eval-interval", 9), None)):
        done = run_main(tasks.classify.main, place.table, "--batch-size", batch, *more, *own)
        assert seen.pop().training.patience == patience and f"inferred --epochs {beside} (" in done.out
    set_by_name = ("--set", "training.epochs=3", "--set", "text.tokenizer=whitespace")
    done = run_main(tasks.classify.main, place.table, *set_by_name)
    assert done.out == "" and (seen[0].training.epochs, seen[0].text.tokenizer) == (3, "whitespace")
    assert seen[0].training.patience is None


def test_inferred_epochs_of_folds(place, monkeypatch):
    """A fold trains on the texts of the others, without those of dev."""
    monkeypatch.setattr(tasks.run.table_options, "survey", lambda *_: (["good"], 3_000))
    seen = []
    monkeypatch.setattr("tasks.run.cross_validation.begin", lambda task, experiment, *_: seen.append(experiment) or 0)
    for folds, epochs in ((2, 15), (10, 8)):
        assert run_main(tasks.classify.main, place.table, "--no-ngrams", "--cross-validate", folds).code == 0
        assert (seen[-1].training.epochs, seen[-1].data.folds, seen[-1].data.fold) == (epochs, folds, 1)


SENTENCES = {
    "words": ["a good film", "a dull film"],
    "jieba": ["\u8fd9\u90e8\u7535\u5f71\u5f88\u597d\u770b", "\u8fd9\u90e8\u7535\u5f71\u592a\u5dee\u4e86"],
    "characters": ["\u3053\u306e\u6620\u753b\u306f\u826f\u3044", "\u3053\u306e\u6620\u753b\u306f\u60aa\u3044"],
}


@pytest.mark.parametrize("tokenizer", SENTENCES)
def test_inferred_tokenizer_is_used(place, tokenizer):
    """And predicting takes the same."""
    if tokenizer == "jieba":
        pytest.importorskip("jieba")
    rows = [(f"{SENTENCES[tokenizer][number % 2]} {number}", number % 2) for number in range(40)]
    write_jsonl(Path("t.jsonl"), rows)
    done = place.train("t.jsonl", "--out", "r")
    assert done.code == 0 and f"inferred --tokenizer {tokenizer} (" in done.out, done.err
    experiment, execution = RunFolder.open(Path("r")).read_record()
    assert experiment.text.tokenizer == tokenizer and execution["classes"] == ["0", "1"]
    assert ("tokenized_by" in execution) == (tokenizer == "jieba")
    found = run_main(tasks.classify.main, "predict", "r", SENTENCES[tokenizer][0])
    assert found.code == 0 and found.out.split("\t")[0] in ("0", "1")


def test_many_classes(place):
    rows = [(f"w{number} says class{number % 120}", number % 120) for number in range(600)]
    done = place.train(write_csv(Path("t.csv"), rows), "--out", "r")
    assert done.code == 0, done.err
    assert "classes  120: 0 3, 1 3, 2 3, 3 3, 4 3, 5 3, 6 3, 7 3, and 112 more, down to 3" in done.out
    assert RunFolder.open(Path("r")).read_record()[1]["classes"] == [str(number) for number in range(120)]
    assert len(table_of(Path("r/predictions.csv"))[0]) == 3 + 120


def test_class_weights(place):
    """Balanced: numbers in the record, by the training texts that are left."""
    rng = fresh_rng()
    counts = dict(zip("abc", rng.integers(10, 60, size=3).tolist(), strict=True))
    rows = [(f"{label} text {number}", label) for label, count in counts.items() for number in range(count)]
    write_csv(Path("t.csv"), [rows[place] for place in rng.permutation(len(rows))])
    assert place.train("t.csv", "--class-weights", "balanced", "--out", "r").code == 0
    experiment, execution = RunFolder.open(Path("r")).read_record()
    trained = np.array(execution["data"]["train"]["per_class"])
    assert experiment.training.class_weights == pytest.approx(trained.sum() / (3 * trained))
    done = place.train("--config", "r/experiment.json", "--out", "again")
    assert done.code == 0 and RunFolder.open(Path("again")).read_record()[0] == experiment


def test_duplicates_can_be_kept(place):
    rows = labelled(fresh_rng(), 10)
    write_csv(Path("t.csv"), [*rows, *rows])
    for kept, documents in (("keep", 60), ("drop", 30)):
        done = place.train("t.csv", "--duplicates", kept, "--out", kept)
        assert done.code == 0 and ("skipped: 30 duplicates\n" in done.out) == (kept == "drop"), done.err
        record = RunFolder.open(Path(kept)).read_record()[1]["data"]
        assert sum(record[part]["documents"] for part in ("train", "dev", "test")) == documents


def test_dev_file_alone_and_a_limit(place):
    """Then only the test part is cut, and a limit holds for each part."""
    done = place.train(place.table, "--dev", place.root / "dev.jsonl.gz", "--train-limit", 9, "--out", "r")
    assert done.code == 0, done.err
    record = RunFolder.open(Path("r")).read_record()[1]["data"]
    assert (record["dev_split"], record["test_split"]) == ("as provided", "at random")
    assert [record[part]["per_class"] for part in ("train", "dev", "test")] == [[3] * 3, [3] * 3, [2] * 3]


def test_cache_is_reused(place, monkeypatch):
    """Not where columns, encoding or content differ."""
    built, build = [], corpus.build_corpus
    read = core.train.setup.read_data
    monkeypatch.setattr("tasks.run.train.start", lambda task, experiment, *_: read(experiment, Path("cache")) and 0)
    monkeypatch.setattr(corpus, "build_corpus", lambda *argv: built.append(1) or build(*argv))
    rows = [(f"{text} {n}", label, "ab"[n % 2]) for n, (text, label) in enumerate(labelled(fresh_rng(), 8))]
    write_csv(Path("t.csv"), rows, ("text", "label", "other"))
    other = (("--vocab-size", 9), 1), (("--label-column", "other"), 2), (("--encoding", "latin-1"), 3)
    for argv, count in (((), 1), ((), 1), *other):
        assert place.train("t.csv", *argv).code == 0 and len(built) == count
    with Path("t.csv").open("a", encoding="utf-8") as stream:
        stream.write(f'one more,"{CLASSES[0]}",a\n')
    assert place.train("t.csv").code == 0 and len(built) == 4


def test_in_both_frameworks(place, monkeypatch):
    for name in backends.NAMES:
        loaded(name)
    main = tasks.classify.main
    monkeypatch.setattr(both_frameworks, "_run_child", lambda task, argv: (run_program(main, argv), False))
    options = (*TINY, *place.where, "--backend", "both", "--out", "b")
    done = run_main(main, place.root / "train.csv", "--test", place.root / "test.csv", *options)
    assert done.code == 0, done.err
    assert {path.name for path in Path("b").iterdir()} == {"plan.json", "report.html", *backends.NAMES}
    assert "predictions agree" in done.out and done.out.count("inferred") == 1
    page = Path("b/report.html").read_text(encoding="utf-8")
    assert CHINESE in page and "\U0001f600 $_x" in page


def test_error_in_both_frameworks_leaves_no_folder(place, refused, monkeypatch):
    """It shows in the first one's process, and the folder made for both is taken away again."""
    monkeypatch.setattr(
        both_frameworks, "_run_child", lambda task, argv: (run_program(tasks.classify.main, argv), False)
    )
    write_csv(Path("t.csv"), [("good", "a"), ("bad", "b")])
    done = run_main(tasks.classify.main, "t.csv", *TINY, *place.where, "--backend", "both", "--out", "b")
    assert done.code == 2 and done.err.count("\n") == 1 and "t.csv: the dev split has no text" in done.err
    assert [path.name for path in Path().iterdir()] == ["t.csv"]


def test_config_of_an_earlier_run(place):
    """With its own files, and with another one in place of them."""
    done = run_main(tasks.classify.main, "--config", place.any_run / "experiment.json", *place.where, "--out", "again")
    assert done.code == 0 and "inferred" not in done.out, done.err
    one, other = (RunFolder.open(run).read_record()[0] for run in (Path("again"), place.any_run))
    assert one == other
    rows = [(f"text {number} {number % 4}", number % 4) for number in range(48)]
    assert place.train(write_csv(Path("four.csv"), rows), "--out", "four").code == 0
    write_csv(Path("two.csv"), [(text, int(label) % 2) for text, label in rows])
    done = run_main(tasks.classify.main, "two.csv", "--config", "four/experiment.json", *place.where, "--out", "two")
    assert done.code == 0, done.err
    experiment, execution = RunFolder.open(Path("two")).read_record()
    assert execution["classes"] == ["0", "1"] and experiment.model.head.classes == 2
    assert experiment.data.source == str(Path("two.csv").absolute())


@pytest.mark.slow
@pytest.mark.parametrize("labels", [(":cat:", "[bold]x[/]"), ("-1", "=1+1"), ("nan", "2"), ("\u00e9", "e\u0301")])
def test_labels_are_kept_verbatim(place, labels):
    """On the terminal too, and in the same order whatever order they come in."""
    rows = [(f"text {number} w{number % 2}", labels[number % 2]) for number in range(40)]
    for name, own in (("one", rows), ("other", rows[::-1])):
        done = place.train(write_csv(Path(f"{name}.csv"), own), "--epochs", 1, "--out", name)
        assert done.code == 0, done.err
        assert all(f"{label} 16" in done.out for label in labels)
    one, other = (RunFolder.open(Path(name)).read_record()[1]["classes"] for name in ("one", "other"))
    assert one == other and set(one) == set(labels)


def test_labels_outside_the_encoding_of_the_terminal(place):
    """In a process of its own, where standard output has another encoding."""
    unknown = "note: text 1: 1 of 1 word unknown (not in the run's vocabulary)\n"
    for words, told in ((["good"], unknown), ([CHINESE], "")):
        process = [sys.executable, "-m", "tasks.classify", "predict", str(place.any_run), *words]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and done.stderr == told and done.stdout.count("\n") == 1


# Stopping and going on, measuring again


@pytest.fixture
def stopped(place) -> Path:
    shutil.copy(place.table, "train.csv")
    with stop_at(5):
        done = place.train("train.csv", "--test", place.root / "test.csv", "--out", "run")
    assert done.code == 130, done.err
    return Path("run")


def test_resume_needs_the_same_data(place, stopped, refused):
    again = ("--resume", stopped, *place.where)
    table = Path("train.csv")
    content = table.read_bytes()
    table.write_bytes(content.replace(b"film", b"plot", 1))
    refused(*again, says=(str(table.absolute()), "not the data that run was trained on"))
    table.unlink()
    refused(*again, says=f"{table.absolute()}: no such file")
    table.write_bytes(content)
    for more in (("other.csv",), ("--test", "x.csv"), ("--text-column", "text"), ("--encoding", "utf-8")):
        name = "TRAIN" if more[0] == "other.csv" else more[0]
        refused(*again, *more, says=("--resume takes these settings from the run", name))
    done = run_main(tasks.classify.main, *again)
    assert done.code == 0 and "resume   from step 5" in done.out and "inferred" not in done.out, done.err


def test_evaluation_of_moved_files(place, refused):
    accuracy = RunFolder.open(place.any_run).read_result()["test"]["accuracy"]
    moved = [shutil.copy(place.root / name, name) for name in ("train.csv", "test.csv", "dev.jsonl.gz")]
    where = [part for pair in zip(("--data", "--test", "--dev"), moved, strict=True) for part in pair]
    argv = ("evaluate", place.any_run, *place.where, "--backend", "numpy")
    for more in ((), where):
        done = run_main(tasks.classify.main, *argv, *more)
        assert done.code == 0 and f"test accuracy {accuracy:.4f}" in done.out, done.err
        assert "18 of 18 predictions match predictions.csv" in done.out
    other = write_csv(Path("other.csv"), [("a new text", "a label of its own")])
    refused(*argv, "--test", other, says=(f"test {other}", "not the data", "--data, --dev and --test"))
    refused(*argv, "--test", "gone.csv", says="gone.csv: no such file")


# Predicting for a file


NEW = ["a wonderful film", "()", 'awful, "hated"\nand dull', "", "good\rplot", f"{CHINESE} caf\u00e9 \U0001f600"]

NOTES = (
    "note: no prediction for 2 of 6 texts: no tokens (rows 2, 4)\n"
    "note: 1 of 6 texts: half or more of the words unknown (not in the run's vocabulary)\n"
)


def new_file(name: str) -> Path:
    path, rows = Path(name), [(text, "?") for text in NEW]
    if ".jsonl" in name:
        return write_jsonl(path, rows)
    if ".tsv" in name:
        content = "text\tid\n" + "".join(f"{' '.join(text.split())}\t{number}\n" for number, text in enumerate(NEW))
        path.write_text(content, encoding="utf-8", newline="")
        return path
    plain = write_csv(Path(name.removesuffix(".gz")), rows, quoting=csv.QUOTE_ALL)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("name", "computed_by"),
    [
        *zip(("n.csv", "n.csv.gz"), backends.NAMES, strict=True),
        *((name, "numpy") for name in ("n.tsv", "n.jsonl", "n.jsonl.gz")),
    ],
)
def test_predictions_for_a_table(place, name, computed_by):
    if computed_by != "numpy":
        loaded(computed_by)
    run = place.any_run
    argv = ("predict", run, "--file", new_file(name), "--out", "o.csv", "--backend", computed_by, "--device", "cpu")
    done = run_main(tasks.classify.main, *argv)
    assert done.code == 0 and "written  o.csv: predictions for 6 texts" in done.out, done.err
    assert done.err == NOTES
    rows = table_of(Path("o.csv"))
    other = "id" if ".tsv" in name else "label"
    assert list(rows[0]) == ["text", other, "predicted", *(f"p_{name}" for name in CLASSES)]
    assert [row[other] for row in rows] == (list("012345") if other == "id" else ["?"] * 6)
    flat = ".tsv" in name
    assert [row["text"] for row in rows] == [" ".join(text.split()) if flat else text for text in NEW]
    alone = run_main(tasks.classify.main, "predict", run, *(NEW[place] for place in (0, 2, 4, 5)))
    answers = iter(alone.out.splitlines())
    for row in rows:
        shares = [row[f"p_{name}"] for name in CLASSES]
        if row["text"] in ("()", ""):
            assert [row["predicted"], *shares] == [""] * 4
            continue
        assert sum(map(float, shares)) == pytest.approx(1, abs=2e-6)
        assert row["predicted"] == CLASSES[int(np.argmax(list(map(float, shares))))]
        label, share, _ = next(answers).split("\t")
        assert (label, float(share)) == (row["predicted"], pytest.approx(max(map(float, shares)), abs=6e-5))
    assert {path.name for path in Path().iterdir()} <= {name, name.removesuffix(".gz"), "o.csv"}


def test_predictions_for_lines_and_arguments(place):
    Path("n.txt").write_text("\n\n".join(text for text in NEW if text), encoding="utf-8", newline="")
    Path("n.txt.gz").write_bytes(gzip.compress(Path("n.txt").read_bytes()))
    for number, name in enumerate(("n.txt", "n.txt.gz")):
        done = run_main(tasks.classify.main, "predict", place.any_run, "--file", name, "--out", f"{number}.csv")
        assert done.code == 0, done.err
    rows = table_of(Path("0.csv"))
    assert rows == table_of(Path("1.csv")) and len(rows) == 6 and rows[1]["predicted"] == ""
    assert run_main(tasks.classify.main, "predict", place.any_run, "good", "()", "--out", "2.csv").code == 0
    assert [row["predicted"] != "" for row in table_of(Path("2.csv"))] == [True, False]


def test_table_without_out(place):
    """Rows without tokens have an empty label, and are counted."""
    done = run_main(tasks.classify.main, "predict", place.any_run, "--file", new_file("n.csv"))
    assert done.code == 0 and done.err == NOTES
    found = [line.split("\t") for line in done.out.split("\n")[:-1]]
    assert [text for _, _, text in found] == [" ".join(text.split()) for text in NEW]
    assert [(label, share) == ("", "") for label, share, _ in found] == [text in ("", "()") for text in NEW]


def test_order_of_many_rows(place):
    """More than are computed together; a fault behind them leaves nothing."""
    rng = fresh_rng()
    words = np.array(["wonderful", "awful", "so-so", "film", "plot", "()"])
    rows = [(" ".join(rng.choice(words, rng.integers(1, 4))), number) for number in range(2 * CHUNK + 500)]
    write_csv(Path("n.csv"), rows, ("body", "id"))
    argv = ("predict", place.any_run, "--file", "n.csv", "--text-column", "body", "--out")
    assert run_main(tasks.classify.main, *argv, "o.csv").code == 0
    found = table_of(Path("o.csv"))
    assert [(row["body"], int(row["id"])) for row in found] == rows
    said = Counter((row["body"], row["predicted"]) for row in found)
    assert len(said) == len({text for text, _ in said})
    assert all((row["predicted"] == "") == (set(row["body"].split()) == {"()"}) for row in found)


@pytest.mark.parametrize(
    ("content", "argv", "says"),
    [
        ("text\n" + "good\n" * 4999 + "a,b\n", (), ("n.csv: row 5000 (line 5001)", "2 cells")),
        ("text\n" + "good\n" * 4999 + "\0\n", (), ("n.csv: line 5001", "NUL")),
        ("words\ngood\n", (), ("no column 'text'", "--text-column")),
        ("text\n", (), ("n.csv: no text to predict for", "expected rows")),
        ("", (), "n.csv: empty"),
        ("text\ngood\n", ("--text-column", "words"), "no column 'words'"),
        ("text\ngood\n", ("--encoding", "utf-88"), ("encoding 'utf-88'", "UTF-8".lower())),
        ("text\ngood\n", ("--out", "n.csv"), ("--out n.csv: exists", "another name")),
        ("text\ngood\n", ("--out", "no/o.csv"), ("--out no/o.csv", "there is no folder")),
        ("text\ngood\n", ("--file", "gone.csv"), "gone.csv: no such file"),
        ("text\ngood\n", ("--file", "."), ".: a folder, not a file"),
        ("text\ngood\n", ("--backend", "tensorflow"), "unknown backend 'tensorflow'"),
        ("text\ngood\n", ("--explain",), ("--out", "--explain")),
        ("text\ngood\n", ("a text",), ("TEXT", "--file")),
        (
            "text\n" + "\u00c3\u00a9\n" * 9 + "\xff\n",
            (),
            ("n.csv: line 11", "not UTF-8 at byte 0"),
        ),
    ],
)
def test_unreadable_table_for_predict(place, refused, content, argv, says):
    """In particular, no half of an output is left."""
    Path("n.csv").write_bytes(content.encode("latin-1"))
    refused("predict", place.any_run, "--file", "n.csv", "--out", "o.csv", *argv, says=says)


def test_disk_full_during_predict(place, refused, monkeypatch):
    """The disk is full when all of them are there."""

    def full(number):
        raise OSError(28, "No space left on device")

    new_file("n.csv")
    monkeypatch.setattr(os, "fsync", full)
    says = ("o.csv", "No space left", "no partial file remains")
    refused("predict", place.any_run, "--file", "n.csv", "--out", "o.csv", says=says)


@pytest.mark.parametrize("option", ["--text-column", "--encoding"])
def test_options_of_a_file_without_file(place, refused, option):
    refused("predict", place.any_run, "good", option, "utf-8", says=(option, "--file"))
    refused("predict", place.any_run, "good", "--raw", says=("--raw", "--out"))


# What is refused


def rows_with(*more: tuple[str, str]) -> str:
    stream = io.StringIO()
    base = [(f"text {number}", "ab"[number % 2]) for number in range(20)]
    csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *base, *more])
    return stream.getvalue()


MISTAKES = {
    "no column": ("train.csv", "a,b\n1,2\n", (), ("train.csv: no column 'text'", "a, b", "--label-column")),
    "named twice": ("train.csv", "text,label,label\na,b,c\n", (), "2 columns are named 'label'"),
    "empty": ("train.csv", "", (), "train.csv: empty"),
    "header only": ("train.csv", "text,label\n", (), "train.csv: no row below"),
    "no texts": ("train.csv", "text,label\n(),a\n,b\nc,\n", (), ("2 without tokens", "1 without a label")),
    "one class": ("train.csv", "text,label\na,p\nb,p\n", (), ("train.csv: all texts have the label 'p'", "two")),
    "rare everywhere": (
        "train.csv",
        "text,label\na,b\nc,d\n",
        (),
        "the dev split has no text, as every label has fewer",
    ),
    "torn": (
        "train.csv",
        rows_with(("x", "c"), ("X", "d")),
        (),
        ("label 'c' (and none with 1 other labels)", "conflicting labels"),
    ),
    "damaged": (
        "train.csv",
        rows_with().encode() + 9 * "\u00e9,a\n".encode() + b"caf\xe9,a\n",
        (),
        ("line 31", "--encoding"),
    ),
    "no table": ("train.xlsx", b"PK\5\6" + bytes(18), (), "train.xlsx: a zip archive, not a table"),
    "no header": ("train.csv", rows_with().partition("\n")[2], (), ("looks like data (text 0, a)", "--columns, e.g.")),
    "a header": ("train.csv", rows_with(), ("--columns", "x,y"), ("is a header line (text, label)", "omit --columns")),
    "columns of objects": ("train.csv", '[{"a": 1}]', ("--columns", "x,y"), ("a JSON array names its columns (a)",)),
    "columns twice": (
        "train.csv",
        rows_with(),
        ("--columns", "x,x"),
        "--columns: got x, x, expected names that differ",
    ),
    "columns too few": ("train.csv", "1,a,b\n", ("--columns", "label,text"), "got 3 cells, expected 2 as in --columns"),
    "rare in test": ("train.csv", rows_with(), ("--test", "t.csv"), ("t.csv: row 2: label 'c'", "does not occur")),
    "too many cells": ("train.csv", rows_with() + "a,b,c\n", (), "row 21 (line 22): got 3 cells"),
    "fault in test": ("train.csv", rows_with(), ("--test", "bad.tsv"), "bad.tsv: row 2 (line 3): got 3 cells"),
    "truncated UTF-16": (
        "train.csv",
        rows_with().encode("utf-16")[:-1],
        ("--encoding", "utf-16"),
        "line 21: not UTF-16",
    ),
    "encoding": ("train.csv", rows_with(), ("--encoding", "utf9"), "encoding 'utf9'"),
    "same column": ("train.csv", rows_with(), ("--label-column", "text"), "both text and label"),
    "same file": ("train.csv", rows_with(), ("--test", "./train.csv"), "given for two splits"),
    "same held out": ("train.csv", rows_with(), ("--test", "t.csv", "--dev", "t.csv"), "given for two splits"),
    "no test": ("train.csv", rows_with(), ("--test", "none.csv"), "none.csv: no such file"),
    "empty dev": ("train.csv", rows_with(), ("--dev", "header.csv"), "header.csv: no row below"),
    "half gz": ("train.csv.gz", gzip.compress(rows_with().encode())[:-9], (), "truncated or damaged"),
    "JSON": ("train.jsonl", '{"text": "a", "label": "b"}\n[]', (), ("row 2 (line 2)", "not an object")),
    "limit": (
        "train.csv",
        rows_with(*[(f"c{n}", "c") for n in range(9)]),
        ("--train-limit", 2),
        "raise --train-limit",
    ),
    "config and recipe": ("train.csv", rows_with(), ("--config", "x", "--recipe", "default"), "give one"),
    "recipe": ("train.csv", rows_with(), ("--recipe", "textbook"), "unknown recipe 'textbook'"),
    "data": ("train.csv", rows_with(), ("--data", "x"), "--data"),
    "other data": ("train.csv", rows_with(), ("--set", 'data={"kind": "reviews"}'), "expected table"),
    "other task": ("train.csv", rows_with(), ("--set", "task=imdb"), "expected classify"),
    "one logit": (
        "train.csv",
        rows_with(*[(f"c{n}", "c") for n in range(3)]),
        ("--set", "model.head.one_logit=true"),
        "one_logit",
    ),
    "weights": ("train.csv", rows_with(), ("--set", "training.class_weights=[1, 2, 3]"), "class_weights has 3 numbers"),
    "two tables": ("train.csv", rows_with(), ("more.csv",), "unrecognized arguments: more.csv"),
    "out": ("train.csv", rows_with(), ("--out", "t.csv"), "t.csv: exists"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_training_data_errors(place, refused, name):
    file, content, argv, says = MISTAKES[name]
    Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    Path("t.csv").write_text("text,label\nnew text,a\nnew other,c\n")
    Path("bad.tsv").write_text("text\tlabel\na\tb\na\tb\tc\n")
    Path("header.csv").write_text("label,text\n")
    refused(file, *TINY, *place.where, "--backend", place.backend, *argv, says=says)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), ("missing training file", "TRAIN.csv")),
        (("trian",), "trian: no such file"),
        (("folder.csv",), "folder.csv: a folder, not a table"),
        (("~nobody-of-this-name/t.csv",), "no home folder"),
        (("x" * 300 + ".csv",), "File name too long"),
        ((os.fsdecode(b"caf\xe9.csv"),), "not UTF-8"),
        (("loop.csv",), "loop.csv: "),
        (("--config", "none.json"), "none.json: cannot be read"),
    ],
)
def test_unreadable_training_file(place, refused, argv, says):
    Path("folder.csv").mkdir()
    Path("loop.csv").symlink_to("loop.csv")
    refused(*argv, *TINY, *place.where, "--backend", place.backend, says=says)


def test_other_encodings(place):
    rows = [(f"\u7535\u5f71 {number} \u597d", "\u6b63\u8d1f"[number % 2]) for number in range(40)]
    Path("t.csv").write_bytes(write_csv(Path("u.csv"), rows).read_bytes().decode().encode("gb18030"))
    done = place.train("t.csv", "--encoding", "gb18030", "--tokenizer", "characters", "--out", "r")
    assert done.code == 0, done.err
    assert RunFolder.open(Path("r")).read_record()[1]["classes"] == ["\u6b63", "\u8d1f"]
    new = write_csv(Path("v.csv"), rows[:5]).read_bytes().decode()
    Path("n.csv").write_bytes(new.encode("gb18030"))
    assert run_main(tasks.classify.main, "predict", "r", "--file", "n.csv", "--out", "o.csv").code == 0
    assert [row["text"] for row in table_of(Path("o.csv"))] == [text for text, _ in rows[:5]]


def test_error_in_a_process(tmp_path):
    """Exit code and line as a shell sees them, from a file whose name is not UTF-8 too."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    with open(path, "w") as stream:  # noqa: PTH123 (no Path has such a name)
        stream.write(rows_with())
    done = subprocess.run([sys.executable, "-m", "tasks.classify", path], cwd=ROOT, capture_output=True)
    assert done.returncode == 2 and done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"error: ") and b"not UTF-8" in done.stderr


# The Chinese reviews


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("reviews"), fresh_rng()
    common = np.array(list("\u623f\u95f4\u9152\u5e97\u7535\u8111\u4e66\u5f88\u7684"))
    for name, told in (("pos", "\u597d\u68d2\u8d5e"), ("neg", "\u574f\u5dee\u70c2")):
        lines = ["".join([*rng.choice(common, 12), *rng.choice(list(told), 3)]) for _ in range(30)]
        (folder / f"{name}.txt").write_text("\n".join([*lines, lines[0], "", " "]), encoding="utf-8")
    return folder


def test_chinese_reviews(place, reviews):
    for package in ("jieba", "rjieba"):
        pytest.importorskip(package)
    main, argv = tasks.reviews_zh.main, ("--data", reviews, *TINY, *place.where, "--backend", place.backend)
    done = run_main(main, *argv, "--out", "r")
    assert done.code == 0, done.err
    assert "48 train, 6 dev, 6 test" in done.out and "4 without tokens" in done.out
    assert "2 duplicates" in done.out and "text     tokenized by rjieba " in done.out
    experiment, execution = RunFolder.open(Path("r")).read_record()
    assert execution["tokenized_by"].startswith("rjieba ") and experiment.text.jieba_hmm is False
    assert execution["classes"] == ["negative", "positive"] and experiment.data.source == str(reviews)
    done = run_main(main, "predict", "r", "\u623f\u95f4\u5f88\u597d")
    assert done.code == 0 and done.out.split("\t")[0] in execution["classes"]
    done = run_main(main, "evaluate", "r", "--backend", "numpy", *place.where)
    assert done.code == 0 and "6 of 6 predictions" in done.out, done.err


def test_jieba_and_rjieba_tokenize_chinese_reviews_equally(place, reviews, monkeypatch):
    for package in ("jieba", "rjieba"):
        pytest.importorskip(package)
    find = tokenizers.importlib.util.find_spec
    experiment = replace(recipe("default", "reviews_zh"), {"data.source": str(reviews)})
    one, _ = load_corpus(experiment.data, experiment.text, Path("one"))
    monkeypatch.setattr(tokenizers.importlib.util, "find_spec", lambda name: None if name == "rjieba" else find(name))
    other, _ = load_corpus(experiment.data, experiment.text, Path("other"))
    assert core.train.setup.tokenized_by(experiment)["tokenized_by"].startswith("jieba ")
    assert one.tokens == other.tokens and np.array_equal(one.ids, other.ids)
    assert {path.name for path in Path("one").iterdir()} != {path.name for path in Path("other").iterdir()}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--data", "gone"), ("gone", "no such file", "pos.txt and neg.txt")),
        (("--data", "half"), ("half/pos.txt: no such file", "pos.txt and neg.txt")),
        (("--data", "~nobody-of-this-name"), "no home folder"),
        (("reviews.csv",), "unknown command 'reviews.csv'"),
        (("--text-column", "text"), "--text-column"),
    ],
)
def test_errors_of_chinese_reviews(place, refused, argv, says):
    Path("half").mkdir()
    Path("half/neg.txt").write_text("bad\n")
    refused(*argv, *TINY, *place.where, "--backend", place.backend, says=says, main=tasks.reviews_zh.main)
