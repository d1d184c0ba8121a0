"""Models with n-grams as a user runs them: alone, beside a network, and in predict, evaluate and compare."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tasks.classify
import tasks.compare
import tasks.reviews_zh
from core.spec.experiment import replace
from core.train.run_folder import RunFolder
from tasks.cli.recipes import TASK_RECIPES, recipe
from tests.conftest import INSTALLED, ROOT, Done, check_refused, each_backend, fresh_rng, run_main, stop_at

LINEAR = {
    "experiment.json",
    "vocab.json",
    "ngrams.safetensors",
    "best.safetensors",
    "last.safetensors",
    "metrics.jsonl",
    "result.json",
    "predictions.csv",
    "mistakes.csv",
    "ngrams.csv",
    "confusion.png",
    "reliability.png",
}
TINY = ("--hidden", 4, "--embedding-dim", 4, "--batch-size", 16, "--epochs", 1, "--max-length", 8, "--dtype", "float64")


def write_table(path: Path, rows: int, classes: int, telling: bool = True, words: str = "film plot a the was") -> Path:
    """Texts of 1 to 14 words; a pair of words, in this order, tells the class."""
    rng = fresh_rng()
    pairs = [("not", "good"), ("good", "not"), ("very", "fair")][:classes]
    with path.open("w", encoding="utf-8", newline="") as stream:
        write = csv.writer(stream).writerow
        write(["text", "label"])
        for number in range(rows):
            label = number % classes
            more = rng.choice(words.split(), rng.integers(1, 13)).tolist()
            pair = pairs[label if telling else int(rng.integers(classes))]
            write([" ".join([*more[: len(more) // 2], *pair, *more[len(more) // 2 :]]), f"c{label}"])
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a table of each number of classes, and a linear run on each."""
    root = tmp_path_factory.mktemp("ngrams")
    for classes in (2, 3):
        table = write_table(root / f"{classes}.csv", 200, classes)
        done = classify(root, table, "--encoder", "ngrams", "--out", root / f"linear{classes}")
        assert done.code == 0, done.err
        (root / f"linear{classes}.txt").write_text(done.out, encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def classify(root: Path, *argv: object) -> Done:
    return run_main(tasks.classify.main, *argv, "--cache-dir", root / "cache")


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_run_is_a_run(place, classes):
    run, printed = place / f"linear{classes}", (place / f"linear{classes}.txt").read_text(encoding="utf-8")
    folder = RunFolder.open(run)
    assert {path.name for path in run.iterdir()} >= LINEAR
    experiment, execution = folder.read_record()
    assert experiment.model.is_linear and execution["backend"] == "numpy"
    assert execution["versions"] == {"numpy": np.__version__} and folder.read_best(experiment.model) == {}
    result, lines = folder.read_result(), folder.read_metrics()
    assert result["test"]["accuracy"] > 0.9, printed  # the order of two words tells the class
    assert [line["split"] for line in lines] == ["dev"] and lines[0]["accuracy"] == result["dev"]["accuracy"]
    rows = rows_of(run / "ngrams.csv")
    assert {"not good", "good not"} <= {row["n-gram"] for row in rows[:10]}
    first = rows[0]
    assert int(first[f"texts {first['class']}"]) == max(int(first[f"texts c{number}"]) for number in range(classes))
    for number, pair in enumerate(("not good", "good not", "very fair")[:classes]):
        assert any(line.startswith(f"c{number}: ") and pair in line for line in printed.splitlines()), printed
    check_refused(tasks.classify.main, "--resume", run, says="run is already finished", folder=place)


def test_a_stopped_network_resumes_with_its_n_grams_in_another_framework(place, tmp_path, monkeypatch):
    """The linear model is read from the run, not fitted again, and the end is that of an uninterrupted run."""
    table, first, last = place / "2.csv", INSTALLED[0], INSTALLED[-1]
    options = (*TINY, "--epochs", 2, "--average", 0.5, "--ngrams")
    assert classify(place, table, *options, "--backend", first, "--out", tmp_path / "whole").code == 0
    with stop_at(4):
        assert classify(place, table, *options, "--backend", first, "--out", tmp_path / "stopped").code == 130
    monkeypatch.setattr("core.train.setup.fit_ngrams", None)
    done = classify(place, "--resume", tmp_path / "stopped", "--backend", last)
    assert done.code == 0, done.err
    whole, resumed = RunFolder.open(tmp_path / "whole"), RunFolder.open(tmp_path / "stopped")
    experiment, _ = whole.read_record()
    assert experiment.model.ngrams is not None and resumed.read_record()[1]["segments"][-1]["from_step"] >= 4
    ends = [folder.read_last(experiment.model)[0] for folder in (whole, resumed)]
    for name, array in ends[0].items():
        np.testing.assert_allclose(ends[1][name], array, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(
        resumed.read_predictions().probabilities, whole.read_predictions().probabilities, atol=1e-6
    )


def test_an_interrupted_linear_run_is_not_resumed(place):
    shutil.copytree(place / "linear2", "r")
    for names in (("result.json",), ("best.safetensors", "last.safetensors", "metrics.jsonl")):
        for name in names:
            Path("r", name).unlink()
        says = "r: a linear model of n-grams is not resumed: remove it with rm -r r, start again"
        check_refused(tasks.classify.main, "--resume", "r", says=says, folder=place)


@pytest.mark.parametrize("classes", [2, 3])
def test_predict_and_evaluate_a_linear_run(place, classes):
    run = place / f"linear{classes}"
    done = run_main(tasks.classify.main, "evaluate", run, "--cache-dir", place / "cache")
    count = RunFolder.open(run).read_result()["test"]["documents"]
    assert done.code == 0 and f"{count} of {count} predictions match" in done.out, done.err
    long = " ".join(["film"] * 300) + " good not " + " ".join(["film"] * 300)  # the pair is in the middle
    done = run_main(
        tasks.classify.main, "predict", run, "a not good plot", long, "?? ()", "--explain", "--html", "p.html"
    )
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    answers = [line.split("\t") for line in lines if "\t" in line]
    assert [own[0] for own in answers[:2]] == ["c0", "c1"]
    parts = next(line for line in lines if line.startswith("  n-grams of c0: "))
    assert parts.startswith("  n-grams of c0: not good +")
    assert "n-grams of c0: not good +" in Path("p.html").read_text(encoding="utf-8")
    done = run_main(tasks.classify.main, "predict", run, "--file", place / f"{classes}.csv", "--out", "o.csv")
    found = rows_of(Path("o.csv"))
    assert np.mean([row["label"] == row["predicted"] for row in found]) > 0.95
    says = "a linear model of n-grams needs no framework"
    check_refused(tasks.classify.main, "predict", run, "a", "--backend", "torch", says=says, folder=place)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--backend", "torch"), "--backend torch: a linear model of n-grams needs no framework"),
        (("--backend", "both"), "--backend both: a linear model of n-grams needs no framework"),
        (("--device", "gpu"), "--device gpu"),
        (("--epochs", 3, "--lr", 0.1, "--max-length", 8), "--max-length, --lr, --epochs: without effect"),
        (("--hidden", 8), "--hidden: model.encoder of kind ngrams has no hidden_size"),
        (("--set", "training.epochs=3"), "--set training.epochs: without effect"),
        (("--tensorboard",), "--tensorboard"),
        (("--visualdl",), "--visualdl: a linear model of n-grams is fitted in one go"),
        (("--no-ngrams",), "--no-ngrams"),
        (("--ngram-orders", 0), "orders and characters are both 0"),
    ],
)
def test_refused_for_a_linear_model(place, argv, says):
    check_refused(tasks.classify.main, place / "2.csv", "--encoder", "ngrams", *argv, says=says, folder=Path.cwd())


@pytest.mark.slow
def test_flags_of_ngrams(place):
    says = "--ngram-orders: the model has no section model.ngrams: add --ngrams"
    argv = (place / "2.csv", "--encoder", "none", "--ngram-orders", 2, "--out", "r")
    check_refused(tasks.classify.main, *argv, says=says, folder=Path.cwd())
    done = classify(place, *argv[:-2], "--ngram-characters", 2, "--ngrams", *TINY[2:], "--out", "r")
    assert done.code == 0, done.err
    ngrams = RunFolder.open(Path("r")).read_record()[0].model.ngrams
    assert ngrams is not None and (ngrams.orders, ngrams.characters, ngrams.inputs) == (2, 2, True)


@pytest.mark.slow
def test_no_framework_is_imported(place):
    """Not even installed ones: a finder refuses them."""
    code = (
        "import sys, importlib.abc\n"
        "class No(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'paddle'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "from tasks.cli.console import run_program\n"
        "import tasks.classify\n"
        "codes = [run_program(tasks.classify.main, argv.split('|')) for argv in sys.argv[1:]]\n"
        "assert not {'torch', 'paddle'} & sys.modules.keys()\n"
        "sys.exit(max(codes))\n"
    )
    cache = f"--cache-dir|{place / 'cache'}"
    train = f"{place / '2.csv'}|--encoder|ngrams|--out|r|{cache}"
    commands = [train, "predict|r|a not good plot|--explain", f"evaluate|r|{cache}"]
    process = [sys.executable, "-c", code, *commands]
    done = subprocess.run(process, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr
    assert "c0\t" in done.stdout and "predictions match" in done.stdout


@pytest.mark.slow
@each_backend
def test_a_hybrid_run(place, name):
    """Trained by one framework; each evaluator gives its predictions, and the same explanation."""
    argv = (*TINY, "--backend", name, "--device", "cpu", "--out", "r")
    assert classify(place, place / "3.csv", *argv).code == 0
    experiment, execution = RunFolder.open(Path("r")).read_record()
    assert experiment.recipe == "hybrid" and experiment.model.ngrams is not None and execution["ngrams"]["useful"]
    text = "film " * 20 + "good not " + "film " * 20  # longer than the network reads
    shown = set()
    for evaluator in ("numpy", *INSTALLED):
        more = ("--cache-dir", place / "cache", "--backend", evaluator)
        done = run_main(tasks.classify.main, "evaluate", "r", *more)
        count = RunFolder.open(Path("r")).read_result()["test"]["documents"]
        assert f"{count} of {count} predictions match" in done.out, done.err
        done = run_main(tasks.classify.main, "predict", "r", text, "not", "--explain", "--backend", evaluator)
        shown.add(done.out)
        assert "log-odds of c1" in done.out and "n-grams of c1 in the linear model alone: good not +" in done.out
    assert len(shown) == 1
    done = run_main(tasks.compare.main, "r", place / "linear3", "--out", "c.html", "--cache-dir", place / "cache")
    assert done.code == 0 and "predictions agree" in done.out and "BiLSTM 4 + n-grams" in done.out, done.err


def test_useless_ngrams_are_left_out(place):
    """In both frameworks at once: labels are drawn, so n-grams predict them no better than the largest class."""
    table = write_table(Path("t.csv"), 300, 2, telling=False)
    done = classify(place, table, *TINY, "--device", "cpu", "--out", "r")
    execution = RunFolder.open(Path("r")).read_record()[1]
    record = execution["ngrams"]
    largest, texts = record["largest_class"], execution["data"]["train"]["documents"]
    limit = largest + 2 * np.sqrt(largest * (1 - largest) / texts)
    assert record["useful"] == (record["left_out_accuracy"] > limit)
    if not record["useful"]:  # one of about 40 draws is by chance
        assert RunFolder.open(Path("r")).read_record()[0].model.ngrams is None
        assert "not useful, so the network is alone" in done.out and not Path("r/ngrams.safetensors").exists()
        done = run_main(tasks.classify.main, "evaluate", "r", "--cache-dir", place / "cache")
        assert done.code == 0 and "predictions match" in done.out


def test_characters_join_for_a_script_without_spaces(place):
    """Words of jieba and characters, unless the user says otherwise."""
    table = write_table(Path("z.csv"), 60, 2, words="\u623f\u95f4 \u670d\u52a1 \u5f88 \u7535\u5f71 \u54c8")
    argv = (table, "--encoder", "ngrams", "--tokenizer", "jieba")
    pytest.importorskip("jieba")
    done = classify(place, *argv, "--out", "r")
    assert "inferred --ngram-characters 3" in done.out, done.err
    others = {"a": ((), 3), "b": (("--ngram-characters", 0), 0), "c": (("--tokenizer", "characters"), 0)}
    for name, (more, expected) in others.items():
        assert classify(place, *argv, *more, "--out", name).code == 0
        ngrams = RunFolder.open(Path(name)).read_record()[0].model.ngrams
        assert ngrams is not None and ngrams.characters == expected


@pytest.mark.parametrize("task", ["imdb", "reviews_zh", "classify"])
def test_recipe_hybrid(task):
    own, base = recipe("hybrid", task), recipe("default", task)
    assert own.model.ngrams is not None and base.model.ngrams is None and "hybrid" in TASK_RECIPES[task]
    assert replace(own, {"model.ngrams": None}).model.embedding == base.model.embedding
    assert json.loads(own.model_dump_json())["model"]["ngrams"]["characters"] == (3 if task == "reviews_zh" else 0)
