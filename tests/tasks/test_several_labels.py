"""`tasks.classify` on texts with several labels: train, resume, predict, explain, evaluate, compare."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import seqtwin
import tasks.classify
import tasks.compare
import tasks.export.__main__
import tasks.report
from core.models.heads.multilabel_scores import score_labels
from core.report.run_list import list_runs
from core.train.run_folder import RunFolder
from tasks.run.predict_options import PredictOptions
from tasks.serve.served_run import ServedRun
from tests.conftest import INSTALLED, Done, check_refused, each_backend, fresh_rng, needs_both, run_main, stop_at
from tests.topics import Topics, make_topics, rows_of

TINY = ("--hidden", 8, "--embedding-dim", 8, "--epochs", 6, "--batch-size", 8, "--lr", 0.05)
TINY += ("--dropout", 0, "--dtype", "float64")
pytestmark = pytest.mark.slow
main = tasks.classify.main


@dataclass(frozen=True)
class Made:
    """Texts of train and test with their files, and a finished run per installed backend. No test changes them."""

    root: Path
    train: Topics
    test: Topics
    runs: dict[str, Done]

    @property
    def files(self) -> tuple[object, ...]:
        return self.root / "train.csv", "--test", self.root / "test.csv", "--cache-dir", self.root / "cache"

    def run(self, name: str = INSTALLED[0]) -> Path:
        return self.root / name


def write(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("text", "labels")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("topics"), fresh_rng()
    found = Made(root, make_topics(rng, 280), make_topics(rng, 150), {})
    for part in ("train", "test"):
        write(root / f"{part}.csv", rows_of(getattr(found, part)))
    for name in INSTALLED:
        found.runs[name] = run_main(main, *found.files, *TINY, "--backend", name, "--out", root / name)
        assert found.runs[name].code == 0, found.runs[name].err
    return found


@each_backend
def test_training_learns_the_labels(name, made):
    done, folder = made.runs[name], RunFolder.open(made.run(name))
    experiment, execution = folder.read_record()
    result = folder.read_result()
    out = " ".join(done.out.split())
    assert "inferred --label-column labels" in out and "inferred --multi-label (| in column labels)" in out
    assert experiment.recipe == experiment.model.head.kind == "multilabel" and experiment.data.multi_label
    assert execution["classes"] == ["economy", "politics", "sports", "travel", "weather"]
    assert re.search(r"\d\.\d\d labels per training text; \d+ of these texts have none", out)
    # Better than the most frequent label for every text, which is economy.
    rows = read(made.run(name) / "predictions.csv")
    truth = [own["labels"].split("|") if own["labels"] else [] for own in rows]
    share = sum("economy" in own for own in truth) / len(truth)
    constant = 2 * share / (1 + sum(map(len, truth)) / len(truth))
    assert result["test"]["micro_f1"] > constant + 0.15, (result["test"], constant)
    assert result["dev"]["micro_f1"] == max(
        line["micro_f1"] for line in folder.read_metrics() if line["split"] == "dev"
    )
    assert result["baseline"]["test"]["micro_f1"] > constant + 0.15
    assert f"alone: test micro F1 {result['baseline']['test']['micro_f1']:.4f}" in out
    assert f"test micro F1 {result['test']['micro_f1']:.4f}" in out and "calibration" not in result


@each_backend
def test_predictions_have_the_figures_of_the_result(name, made):
    rows, result = read(made.run(name) / "predictions.csv"), RunFolder.open(made.run(name)).read_result()["test"]
    classes = ["economy", "politics", "sports", "travel", "weather"]
    assert list(rows[0]) == ["id", "labels", "predicted", *(f"p_{own}" for own in classes)]
    wanted = {f"test/{row}": own for row, own in enumerate(made.test.labels, 1)}
    assert {own["id"]: own["labels"].split("|") if own["labels"] else [] for own in rows}.items() <= wanted.items()
    true = np.array([[name in own["labels"].split("|") for name in classes] for own in rows])
    guessed = np.array([[name in own["predicted"].split("|") for name in classes] for own in rows])
    shares = np.array([[float(own[f"p_{name}"]) for name in classes] for own in rows])
    assert np.array_equal(shares > 0.5, guessed) or np.abs(shares[(shares > 0.5) != guessed] - 0.5).max() < 1e-6
    both = (true & guessed).sum()
    assert result["micro_f1"] == pytest.approx(2 * both / (true.sum() + guessed.sum()))
    assert result["accuracy"] == pytest.approx((true == guessed).all(axis=1).mean())
    assert result["precision"] == pytest.approx(both / guessed.sum())
    assert [own["count"] for own in result["per_class"]] == true.sum(axis=0).tolist()
    logits = np.where(guessed, 1.0, -1.0)
    assert result["macro_f1"] == pytest.approx(score_labels(logits, true.astype(int), 0.5).macro_f1)
    mistakes = read(made.run(name) / "mistakes.csv")
    assert {own["id"] for own in mistakes} <= {own["id"] for own in rows if own["labels"] != own["predicted"]}
    assert all(own["text"] == made.test.texts[int(own["id"].partition("/")[2]) - 1] for own in mistakes)


@needs_both
def test_both_backends_predict_the_same(made, tmp_path):
    one, other = (read(made.run(name) / "predictions.csv") for name in INSTALLED[:2])
    assert [own["predicted"] for own in one] == [own["predicted"] for own in other]
    paths = [made.run(name) for name in INSTALLED[:2]]
    done = run_main(tasks.compare.main, *paths, "--cache-dir", made.root / "cache", "--out", tmp_path / "page.html")
    assert done.code == 0 and f"{len(one)} of {len(one)} predictions agree" in done.out, done.out + done.err
    assert "micro F1" in done.out and "micro F1" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert {own.figure for own in list_runs(made.root)} == {"micro_f1"}


@needs_both
def test_a_run_resumes_in_the_other_framework(made, tmp_path):
    first, second = INSTALLED[:2]
    path = tmp_path / "run"
    with stop_at(60):
        done = run_main(main, *made.files, *TINY, "--backend", first, "--out", path)
    assert "checkpoint saved" in done.out, done.err
    done = run_main(main, "--resume", path, "--backend", second, "--cache-dir", made.root / "cache")
    assert done.code == 0, done.err
    whole, resumed = (RunFolder.open(own).read_result() for own in (made.run(first), path))
    assert resumed["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=1e-9)
    assert resumed["test"]["per_class"] == whole["test"]["per_class"]


@pytest.mark.parametrize("backend", ["fast", "numpy", *INSTALLED])
def test_every_evaluator_predicts_the_same(backend, made):
    done = run_main(main, "evaluate", made.run(), "--backend", backend, "--cache-dir", made.root / "cache")
    count = len(read(made.run() / "predictions.csv"))
    assert done.code == 0 and f"{count} of {count} predictions match" in done.out, done.err
    assert "exact match" in done.out and re.search(r"label +precision +recall", done.out)


def test_predict_prints_the_labels_and_their_probabilities(made, tmp_path):
    texts = [*made.test.texts[:6], ".", "the"]
    done = run_main(main, "predict", made.run(), *texts)
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[2] for line in lines] == texts
    file = write(tmp_path / "new.csv", [(text, "x") for text in texts], ("text", "note"))
    out = tmp_path / "out.csv"
    assert run_main(main, "predict", made.run(), "--file", file, "--out", out).code == 0
    rows = read(out)
    assert [own["predicted"] for own in rows] == [line[0] for line in lines]
    for own, (labels, shares, text) in zip(rows, lines, strict=True):
        wanted = [f"{float(own[f'p_{label}']):.4f}" for label in labels.split("|") if label]
        found = [share for share in shares.split("|") if share]
        assert len(found) == len(wanted), text
        assert all(abs(float(a) - float(b)) < 2e-4 for a, b in zip(found, wanted, strict=True))
    assert rows[6]["p_economy"] == "" and "no prediction for 1 of 8 texts" in done.err


def test_explanations_are_of_the_most_probable_label_or_the_chosen_one(made, tmp_path):
    text = "the storm and the flood after an election"
    own = run_main(main, "predict", made.run(), text, "--out", tmp_path / "p.csv")
    assert own.code == 0
    (row,) = read(tmp_path / "p.csv")
    best = max((float(row[name]), name) for name in row if name.startswith("p_"))[1].removeprefix("p_")
    done = run_main(main, "predict", made.run(), "--explain", text)
    assert f"log-odds of {best} ({float(row[f'p_{best}']):.4f})" in done.out, done.out
    done = run_main(main, "predict", made.run(), "--label", "travel", text, "--html", tmp_path / "page.html")
    assert f"log-odds of travel ({float(row['p_travel']):.4f})" in done.out
    assert "travel" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_evaluate_a_file(made, tmp_path):
    done = run_main(main, "evaluate", made.run(), "--file", made.root / "test.csv", "--out", tmp_path / "wrong.csv")
    result = RunFolder.open(made.run()).read_result()["test"]
    # The run left out duplicates.
    if result["documents"] == len(made.test.texts):
        assert f"micro F1 {result['micro_f1']:.4f}" in done.out, done.out
    wrong = read(tmp_path / "wrong.csv")
    assert wrong and all(own["label"] != own["predicted"] for own in wrong)
    new = write(tmp_path / "new.csv", [("the storm", "weather|x")])
    says = "new.csv: row 1: label 'x' is no class of the run"
    check_refused(main, "evaluate", made.run(), "--file", new, says=says, folder=made.run())


def test_a_threshold_changes_the_predictions_alone(made, tmp_path):
    """The same training: a lower threshold predicts more labels."""
    more = ("--backend", INSTALLED[0], "--out", tmp_path / "run", "--threshold", 0.2, "--epochs", 3)
    assert run_main(main, *made.files, *TINY, *more).code == 0
    rows = read(tmp_path / "run" / "predictions.csv")
    for own in rows:
        wanted = [name[2:] for name in own if name.startswith("p_") and float(own[name]) > 0.2]
        assert own["predicted"] == "|".join(wanted)


def test_spec_files_and_both_frameworks(made, tmp_path):
    spec = json.loads((made.run() / "experiment.json").read_text(encoding="utf-8"))["experiment"]
    assert spec["format"] == 8 and spec["model"]["head"]["kind"] == "multilabel"
    spec["training"]["epochs"] = 1
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    how = ("--config", tmp_path / "spec.json", "--cache-dir", made.root / "cache", "--threshold", 0.4)
    assert run_main(main, *how, "--backend", INSTALLED[0], "--out", tmp_path / "one").code == 0
    experiment, _ = RunFolder.open(tmp_path / "one").read_record()
    assert experiment.model.head.threshold == 0.4


REFUSED = [
    (("--ngrams",), "--ngrams: model: ngrams needs head.kind pooled"),
    (("--recipe", "hybrid"), "ngrams needs head.kind pooled"),
    (("--class-weights", "balanced"), "training.class_weights is not supported by head.kind multilabel"),
    (("--no-multi-label", "--threshold", "0.2"), "--threshold 0.2: for several labels per text"),
    (("--no-multi-label", "--label-separator", ";"), "--label-separator ;: for several labels per text"),
    (("--threshold", "2"), "model.head.threshold"),
    (("--virtual-adversarial", "0.1"), "needs model.head.kind pooled"),
]


@pytest.mark.parametrize(("argv", "says"), REFUSED)
def test_training_options_that_do_not_apply(argv, says, made, tmp_path):
    check_refused(main, *made.files, *argv, "--out", tmp_path / "run", says=says, folder=tmp_path)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--label", "nope"), "--label nope: no label of the run: choose one of economy, politics"),
        (("--calibrate",), "--calibrate is for one label per text, this run has model.head.kind multilabel"),
        (("--min-probability", "0.9"), "--min-probability is for one label per text"),
    ],
)
def test_prediction_options_that_do_not_apply(argv, says, made):
    check_refused(main, "predict", made.run(), *argv, "the storm", says=says, folder=made.run())


def test_an_explained_label_of_a_run_with_one(tmp_path):
    rows = [(f"a {['dull', 'fine'][number % 2]} film {number}", "ab"[number % 2]) for number in range(40)]
    path = write(tmp_path / "t.csv", rows, ("text", "label"))
    assert run_main(main, path, "--encoder", "ngrams", "--cache-dir", tmp_path, "--out", tmp_path / "run").code == 0
    says = "--label is for several labels per text, this run has one: omit it"
    check_refused(main, "predict", tmp_path / "run", "--label", "a", "dull", says=says, folder=tmp_path / "run")


def test_export_is_refused(made, tmp_path):
    argv = (made.run(), "--to", "onnx", "--out", tmp_path / "e")
    says = "model.head.kind multilabel cannot be exported: give a run with a label per text or per token"
    check_refused(tasks.export.__main__.main, *argv, says=says, folder=tmp_path)


@pytest.mark.parametrize("change", [("labels", "label"), ("economy", "x"), ("weather|", "weather|y|")])
def test_damaged_predictions_are_noticed(change, made, tmp_path):
    """Before the end of a run, its files have no digests: the content itself must fit."""
    path = shutil.copytree(made.run(), tmp_path / "run")
    (path / "result.json").unlink()
    assert RunFolder.open(path).read_predictions().several
    text = (path / "predictions.csv").read_text(encoding="utf-8")
    header, *rows = text.splitlines()
    rows[0] = f"{rows[0].partition(',')[0]},economy,weather|economy,{','.join(rows[0].split(',')[3:])}"
    if change[0] == "labels":
        header = header.replace("labels", "label")
    else:
        rows[0] = rows[0].replace(change[0], change[1])
    (path / "predictions.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"predictions.csv is damaged"):
        RunFolder.open(path).read_predictions()


def test_the_page_of_a_run_has_its_labels(made, tmp_path):
    done = run_main(tasks.report.main, made.run(), "--out", tmp_path / "page.html", "--cache-dir", made.root / "cache")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    figures = RunFolder.open(made.run()).read_result()["test"]
    assert done.code == 0 and f"Test micro F1 {figures['micro_f1']:.4f}" in text
    simple = RunFolder.open(made.run()).read_result()["baseline"]["test"]["micro_f1"]
    assert f"A linear model of n-grams has a micro F1 of {simple:.4f} on the same texts" in text
    for shown in ("any number of 5 labels for a text", "exact match", f"{figures['accuracy']:.4f}", "Scores by label"):
        assert shown in text
    assert all(f"{own['f1']:.4f}" in text for own in figures["per_class"])


def test_python_and_the_server_give_the_labels_of_predict(made):
    run, texts = seqtwin.load(made.run()), [*made.test.texts[:20], "()"]
    shares = run.predict_proba(texts)
    assert np.isnan(shares[-1]).all() and run.predict("()") is None
    found = run.predict(texts[:-1])
    assert found == [[name for name, own in zip(run.classes, row, strict=True) if own > 0.5] for row in shares[:-1]]
    explained = run.explain(texts[0])
    assert explained.prediction.startswith(run.classes[int(shares[0].argmax())])
    served = ServedRun.open(str(made.run()), PredictOptions())
    answers = served.answers(texts)
    assert answers[-1] is None and [own["label"] for own in answers[:-1]] == ["|".join(labels) for labels in found]
    assert [own["labels"] for own in answers[:-1]] == found
    assert served.explanation(texts[0], None, served.predictor.engine)["label"] == explained.prediction


def test_folds_of_several_labels_are_refused(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_main(main, made.root / "train.csv", "--cross-validate", 3, "--out", "folds")
    assert done.code == 2 and "--cross-validate: not for texts with several labels" in done.err
    assert done.err.count("\n") == 1 and not Path("folds").exists()
