"""`tasks.tag` as a user runs it: segmentation, given tags, entities, prediction, explanation, resume, errors."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tasks.compare
import tasks.tag
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, Done, check_refused, each_backend, fresh_rng, needs_both, run_main, stop_at

WORDS = ["我", "爱", "上海", "天安门", "新年", "社会主义", "的", "。", "，", "１９９８年", *["北", "京", "北京"] * 6]
"""Some texts have several segmentations, so that no model makes no mistake."""
TAGS = {1: "x", 2: "n", 3: "n", 4: "l", 5: "t"}
TINY = (
    *("--hidden", 6, "--embedding-dim", 8, "--max-length", 16, "--batch-size", 8, "--epochs", 2, "--lr", 0.03),
    *("--dropout", 0.1, "--dtype", "float64", "--device", "cpu", "--set", "model.embedding.bigrams=50"),
)
"""Options of a model that learns within a second."""


def make_lines(rng: np.random.Generator, rows: int) -> list[list[str]]:
    return [list(rng.choice(WORDS, size)) for size in [1, *rng.integers(2, 9, rows - 1)]]


def word_tags(lines: list[list[str]]) -> str:
    return "\n".join(" ".join(f"{word}/{TAGS[len(word)]}" for word in own) for own in lines) + "\n"


def bio(lines: list[list[str]]) -> str:
    """A character per line with the tags of entities: words of two or three characters are places."""
    rows = []
    for own in lines:
        for word in own:
            kind = len(word) in (2, 3)
            rows += [f"{c}\tz\t{('I' if n else 'B') + '-LOC' if kind else 'O'}" for n, c in enumerate(word)]
        rows.append("")
    return "\n".join(rows)


@dataclass(frozen=True)
class Place:
    """A folder with data, and one finished run per backend."""

    folder: Path
    runs: dict[str, Path]
    outputs: dict[str, Done]

    @property
    def data(self) -> Path:
        return self.folder / "words.txt"

    @property
    def any_run(self) -> Path:
        return next(iter(self.runs.values()))

    def train(self, *argv: object, data: str = "words.txt") -> Done:
        return run_main(tasks.tag.main, "--data", self.folder / data, *TINY, *argv)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    folder, rng = tmp_path_factory.mktemp("tag"), fresh_rng()
    (folder / "words.txt").write_text(word_tags(make_lines(rng, 240)), encoding="utf-8")
    (folder / "places.conll").write_text(bio(make_lines(rng, 120)), encoding="utf-8")
    found = Place(folder, {}, {})
    for name in INSTALLED:
        found.runs[name] = folder / name
        found.outputs[name] = found.train("--backend", name, "--out", found.runs[name], "--crf")
        assert found.outputs[name].code == 0, found.outputs[name].err
    return found


def predict(*argv: object, stdin: str | None = None, patch: pytest.MonkeyPatch | None = None) -> list[str]:
    if stdin is not None and patch is not None:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    done = run_main(tasks.tag.main, "predict", *argv)
    assert done.code == 0, done.err
    return done.out.splitlines()


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


@pytest.mark.slow
@each_backend
def test_run_of_segmentation(place, name):
    run, out = place.runs[name], place.outputs[name].out
    result = result_of(run)
    test = result["test"]
    assert 0.0 < test["f1"] <= 1.0 and test["f1"] == pytest.approx(
        2 * test["precision"] * test["recall"] / (test["precision"] + test["recall"])
    )
    assert f"test F1 {test['f1']:.4f}" in out and re.search(r"dev accuracy \d\.\d+  F1 \d\.\d+", out)
    assert set(test["per_tag"]) <= set("BMES") and len(test["confusion"]) == 4
    assert sum(map(sum, test["confusion"])) == test["tokens"]
    assert 0.5 < result["baseline"]["test"]["f1"] <= 1.0
    assert "forward maximum match" in out and "divided into pieces" in out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line["split"] == "dev" and line["step"] == result["dev"]["step"]]
    assert best[0]["f1"] == result["dev"]["f1"] and best[0]["accuracy"] == result["dev"]["accuracy"]
    assert (run / "confusion.png").is_file()


@pytest.mark.slow
@needs_both
def test_frameworks_agree(place):
    """The same tags and figures, by what each trained; and what `evaluate` says of the other framework."""
    one, other = (result_of(run) for run in place.runs.values())
    for key in ("f1", "accuracy", "loss", "macro_f1"):
        assert one["test"][key] == pytest.approx(other["test"][key], abs=1e-9)
    first, second = ((run / "predictions.csv").read_text() for run in place.runs.values())
    assert first == second
    done = run_main(tasks.tag.main, "evaluate", place.runs["torch"], "--backend", "paddle")
    number = one["test"]["documents"]
    assert done.code == 0 and f"{number} of {number} predictions match" in done.out
    out = place.folder / "compared.html"
    done = run_main(tasks.compare.main, *place.runs.values(), "--out", out)
    assert done.code == 0 and f"{number} of {number} predictions agree" in done.out, done.out + done.err
    assert f"{one['test']['f1']:.4f}" in out.read_text()


@pytest.mark.slow
@each_backend
def test_prediction_is_that_of_numpy(place, name):
    texts = ["我爱北京天安门。", "１９９８年 新年", "社会主义" * 6]
    assert predict(place.runs[name], *texts) == predict(place.runs[name], "--backend", name, *texts)


@pytest.mark.slow
def test_prediction_keeps_the_text(place, monkeypatch):
    """Words are joined by spaces, a space of the text separates words, and unknown characters are kept."""
    text = "我爱 北京ＡΩ天安门"
    (line,) = predict(place.any_run, text)
    assert line.replace(" ", "") == text.replace(" ", "") and " 北" in line
    assert predict(place.any_run, " ", text) == ["", line]
    assert predict(place.any_run, stdin=f"{text}\n\n我\n", patch=monkeypatch) == [line, "我"]
    assert predict(place.any_run, "--interactive", stdin=f"{text}\n", patch=monkeypatch) == [line]
    full, half = predict(place.any_run, "１９９８年", "1998年")
    assert [len(word) for word in full.split()] == [len(word) for word in half.split()], "width does not matter"


@pytest.mark.slow
def test_prediction_of_a_file(place, tmp_path):
    table, out = tmp_path / "new.csv", tmp_path / "out.csv"
    table.write_text("id,text,predicted\n1,我爱北京,old\n2,,\n", encoding="utf-8")
    done = run_main(tasks.tag.main, "predict", place.any_run, "--file", table, "--out", out)
    assert done.code == 0 and "no prediction for 1 of 2 texts" in done.err + done.out
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "text", "predicted", "predicted_2", "lowest_probability"]
    assert rows[1][3].replace(" ", "") == "我爱北京" and 0.0 < float(rows[1][4]) <= 1.0
    assert rows[2] == ["2", "", "", "", ""]


@pytest.mark.slow
def test_explanation_of_a_token(place, tmp_path):
    page = tmp_path / "page.html"
    lines = predict(place.any_run, "我爱北京天安门", "--token", 3, "--html", page)
    assert "of token 3, 北" in lines[2] and "天</span>" in page.read_text()
    assert "of token" in predict(place.any_run, "我爱北京", "--explain")[2]
    for number in (0, 8):
        argv = ("predict", place.any_run, "我爱北京天安门", "--token", number)
        done = run_main(tasks.tag.main, *argv)
        assert done.code == 2 and f"no token {number}: choose one of 1 to 7 for --token" in done.err


@pytest.mark.slow
@needs_both
def test_resume_in_the_other_framework(place, tmp_path):
    """The same result as without the stop."""
    run = tmp_path / "run"
    with stop_at(12):
        assert place.train("--backend", "torch", "--out", run, "--crf").code == 130
    done = run_main(tasks.tag.main, "--resume", run, "--backend", "paddle", "--device", "cpu")
    assert done.code == 0, done.err
    resumed, whole = result_of(run), result_of(place.runs["torch"])
    assert resumed["test"]["loss"] == pytest.approx(whole["test"]["loss"], abs=1e-9)
    assert resumed["dev"] == pytest.approx(whole["dev"], abs=1e-9)


@pytest.mark.slow
@each_backend
def test_entities_of_a_file_in_columns(place, tmp_path, name):
    """Without --recipe, the file's own tags are trained; its tokens are characters, so a new text is divided."""
    run = tmp_path / "run"
    done = place.train("--backend", name, "--out", run, data="places.conll")
    assert done.code == 0, done.err
    assert "--recipe pos" in done.out and "--tokenizer letters" in done.out
    test = result_of(run)["test"]
    assert set(test["per_tag"]) <= {"O", "B-LOC", "I-LOC"} and "f1" in test
    (line,) = predict(run, "我爱北京")
    assert re.fullmatch(r"我/\S+ 爱/\S+ 北/\S+ 京/\S+", line)


@pytest.mark.slow
def test_tags_of_words(place, tmp_path):
    run = tmp_path / "run"
    done = place.train("--recipe", "pos", "--backend", INSTALLED[0], "--out", run)
    assert done.code == 0, done.err
    result = result_of(run)
    assert "f1" not in result["test"] and result["baseline"]["test"] == {"accuracy": 1.0}
    assert f"test accuracy {result['test']['accuracy']:.4f}" in done.out and "most frequent tag" in done.out
    (line,) = predict(run, "我 爱 北京")
    assert re.fullmatch(r"我/\w 爱/\w 北京/\w", line)


@pytest.mark.slow
@needs_both
def test_both_frameworks(place, tmp_path):
    with contextlib.chdir(tmp_path):
        done = place.train("--backend", "both", "--out", tmp_path / "both", "--epochs", 1, "--recipe", "segment")
    assert done.code == 0, done.err
    assert "predictions agree" in done.out


@pytest.mark.slow
def test_mistakes_show_the_words(place):
    with (place.any_run / "mistakes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    result = RunFolder.open(place.any_run).read_result()
    assert bool(rows) == (result["test"]["f1"] < 1.0)  # the small model may have learned its few sentences
    for row in rows:
        assert row["label"] != row["predicted"]
        for key in ("label", "predicted"):
            assert row[key].replace(" ", "") == row["text"]
        assert 0.0 <= float(row["probability"]) <= 1.0


def test_refusals(place, tmp_path):
    def refused(*argv: object, says: tuple[str, ...] | str) -> None:
        check_refused(tasks.tag.main, "--backend", INSTALLED[0], *argv, says=says, folder=tmp_path)

    bad = tmp_path / "bad.txt"
    bad.write_text("我/r 爱/v\n北京/ns 天安门\n", encoding="utf-8")
    refused("--data", bad, says=("line 2", "is not word/tag"))
    test = tmp_path / "test.txt"
    test.write_text("我/odd\n", encoding="utf-8")
    refused("--data", place.data, "--recipe", "pos", "--test", test, says=("'odd' does not occur", str(test)))
    refused("--data", place.data, "--test", place.data, says="given for two splits")
    refused("--test", test, says="omit --dev and --test")
    refused("--data", tmp_path / "none", says="no such file")
    refused("--data", place.folder / "places.conll", "--columns", "1,4", says=("no column 4", "--columns"))
    refused("--data", place.data, "--columns", "a", says="--columns a")
    refused("--data", place.data, "--tokenizer", "words", says="text.tokenizer letters")
    refused("--data", place.data, "--crf", "--class-weights", "balanced", says="remove one of them")
    refused("--data", place.data, "--encoder", "textcnn", says="padding same")
