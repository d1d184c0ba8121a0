"""Answers of a served run: those that `predict` gives, alone or in a batch, for every kind of model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tasks.classify
import tasks.tag
from core.errors import UserError
from core.train.run_lock import held
from tasks.run.predict_options import PredictOptions
from tasks.serve import served_run
from tasks.serve.served_run import ServedRun
from tests.conftest import INSTALLED, fresh_rng, run_main
from tests.tasks.serve.served import RUN, make_texts

TINY = (
    "--hidden",
    4,
    "--embedding-dim",
    4,
    "--batch-size",
    16,
    "--epochs",
    1,
    "--max-length",
    12,
    "--dtype",
    "float64",
)
ALWAYS = ("--set", "model.ngrams.only_if_useful=false")
KINDS = {
    "ngrams": (tasks.classify, ("--encoder", "ngrams")),
    "textcnn": (tasks.classify, ("--encoder", "textcnn", "--pooling", "mean", "--no-baseline", *TINY[2:])),
    "hybrid": (tasks.classify, ("--recipe", "hybrid", "--no-baseline", *ALWAYS, *TINY)),
    "tags": (tasks.tag, (*TINY, "--crf")),
}


def open_run(run: Path, **wanted) -> ServedRun:
    return ServedRun.open(str(run), PredictOptions(**wanted))


def close_to(first, second) -> bool:
    """Return whether two JSON values are equal, with numbers equal to 1e-6."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(close_to(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(close_to, first, second))
    if isinstance(first, float):
        return abs(first - second) < 1e-6
    return first == second


def check_batches(served: ServedRun, texts: list[str], rng: np.random.Generator) -> None:
    """Check that answers in batches of random sizes are those that the texts get alone."""
    alone = [served.answers([text])[0] for text in texts]
    assert alone[1] is None and sum(own is None for own in alone) < len(texts) / 2
    order, start = rng.permutation(len(texts)), 0
    while start < len(texts):
        size = int(rng.integers(1, 40))
        rows = order[start : start + size]
        for row, answer in zip(rows, served.answers([texts[row] for row in rows]), strict=True):
            assert close_to(alone[row], answer), texts[row]
        start += size


def test_answers_do_not_depend_on_the_batch(rng):
    texts = make_texts(rng, RUN, 120)
    check_batches(open_run(RUN), texts, rng)


def test_answers_are_those_of_predict(rng, tmp_path):
    texts = make_texts(rng, RUN, 60)
    table = tmp_path / "t.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in texts)])
    done = run_main(tasks.classify.main, "predict", RUN, "--file", table, "--out", tmp_path / "o.csv")
    assert done.code == 0, done.err
    content = (tmp_path / "o.csv").read_text(encoding="utf-8-sig")
    rows = {row["text"]: row for row in csv.DictReader(io.StringIO(content, newline=""))}
    for text, answer in zip(texts, open_run(RUN).answers(texts), strict=True):
        if answer is None:
            assert text not in rows or rows[text]["predicted"] == ""  # a blank row is skipped
            continue
        row = rows[text]
        assert answer["label"] == row["predicted"] and answer["probability"] == max(answer["probabilities"].values())
        for name, share in answer["probabilities"].items():
            assert float(row[f"p_{name}"]) == pytest.approx(share, abs=1.5e-6)
        assert answer["unknown"] == [word for word in text.split() if word in ("zzqx", "qqvw")]


def test_a_file_is_that_of_predict(rng, tmp_path):
    texts = make_texts(rng, RUN, 50)
    table, own, expected = tmp_path / "t.csv", tmp_path / "own.csv", tmp_path / "expected.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["n", "text"], *([f"={n}", text] for n, text in enumerate(texts))])
    served = open_run(RUN)
    assert served.write_predictions(table, own, {}, served.predictor.engine) == 50
    run_main(tasks.classify.main, "predict", RUN, "--file", table, "--out", expected)
    assert own.read_bytes() == expected.read_bytes()


def test_a_file_with_too_many_rows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(served_run, "MOST_ROWS", 7)
    table, served = tmp_path / "t.txt", open_run(RUN)
    for rows in (7, 8):
        table.write_text("good film\n" * rows)
        if rows == 7:
            assert served.write_predictions(table, tmp_path / "o.csv", {}, served.predictor.engine) == 7
            continue
        with pytest.raises(UserError, match="more than 7 lines"):
            served.write_predictions(table, tmp_path / "p.csv", {}, served.predictor.engine)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.csv", "t.txt"]


def test_an_explanation_is_that_of_the_predictor():
    served = open_run(RUN)
    known = served.predictor.vocabulary.tokens[2:5]
    text = f"{known[0]} zzqx {known[1]} {known[2]}"
    found = served.explanation(text, None, served.predictor.engine)
    assert [own["token"] for own in found["words"]] == [known[0], "[zzqx]", *known[1:]]
    assert found["label"] == served.answers([text])[0]["label"]
    shares = [own["share"] for own in found["words"]]
    assert max(map(abs, shares)) == 1.0
    scale = {round(own["effect"] / own["share"], 9) for own in found["words"]}
    assert len(scale) == 1 and scale.pop() > 0
    assert served.explanation("()", None, served.predictor.engine) is None
    with pytest.raises(UserError, match="token: this run predicts a class per text"):
        served.explanation("good", 1, served.predictor.engine)


def test_an_answer_below_the_least_probability_is_a_question_mark(finished_runs, rng):
    run = finished_runs.any_run
    texts = [text for text in make_texts(rng, run, 9) if text.strip("()")]
    plain, calm = open_run(run).answers(texts), open_run(run, minimum=0.9999999999).answers(texts)
    assert [own["label"] for own in calm] == ["?"] * len(texts)
    temperature = json.loads((run / "result.json").read_text())["calibration"]["temperature"]
    for first, second in zip(plain, open_run(run, calibrate=True).answers(texts), strict=True):
        assert first["label"] == second["label"]
        odds = [np.log(own["probability"] / (1 - own["probability"])) for own in (first, second)]
        assert odds[0] == pytest.approx(temperature * odds[1], abs=1e-4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A tiny run of every kind of model."""
    root, rng = tmp_path_factory.mktemp("runs"), fresh_rng()
    words = ["film", "plot", "was", "the", "very", "not", "good", "bad", "fair"]
    with (root / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        write = csv.writer(stream).writerow
        write(["text", "label"])
        for number in range(60):
            write([" ".join([words[6 + number % 3], *rng.choice(words, rng.integers(1, 15))]), f"c{number % 3}"])
    lines = [" ".join(f"{word}/{len(word)}" for word in rng.choice(["我", "上海", "天安门"], 6)) for _ in range(40)]
    (root / "w.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {}
    for name, (program, options) in KINDS.items():
        data = (root / "t.csv",) if program is tasks.classify else ("--data", root / "w.txt")
        device = () if name == "ngrams" else ("--backend", INSTALLED[0], "--device", "cpu")
        done = run_main(program.main, *data, *options, *device, "--out", root / name)
        assert done.code == 0, done.err
        found[name] = root / name
    return found


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="no framework is installed")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_served(runs, rng, kind, capsys):
    served = open_run(runs[kind])
    texts = make_texts(rng, runs[kind], 60)
    if kind == "tags":
        texts = ["".join(text.split()) for text in texts]
    check_batches(served, texts, rng)
    found = served.explanation(texts[-1], None, served.predictor.engine)
    answer = served.answers([texts[-1]])[0]
    if kind == "tags":
        assert len(answer["tags"]) == len(answer["tokens"]) == len(answer["probabilities"])
        assert "".join(answer["tagged"].split()) == texts[-1] and found["label"].startswith("tag ")
        first = served.explanation(texts[-1], 1, served.predictor.engine)
        assert "token 1," in first["label"]
        with pytest.raises(UserError, match="no token 999"):
            served.explanation(texts[-1], 999, served.predictor.engine)
    else:
        assert found["label"] == answer["label"] and found["exact"] == (kind == "ngrams")
        assert bool(found["notes"]) == (kind in ("ngrams", "hybrid"))
    evaluator = served.description["evaluator"]
    told = capsys.readouterr().err
    assert evaluator == ("numpy on cpu" if kind in ("ngrams", "textcnn") else "fast on cpu")
    assert ("note: numpy computes the predictions" in told) == (kind == "textcnn")


def refused(run: Path, says: str) -> None:
    with pytest.raises(UserError) as error:
        open_run(run)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_runs_that_cannot_be_served(tmp_path):
    refused(tmp_path / "none", "no such run folder")
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    with held(run):
        refused(run, f"{run}: in training: wait until it is finished")
    (run / "result.json").unlink()
    refused(run, f"{run}: stopped before its end: finish it with python -m tasks.")
    (run / "experiment.json").unlink()
    (run / "plan.json").write_text(json.dumps({"kind": "both", "program": "tasks.imdb", "digest": None}))
    refused(run, "a folder of several runs")
