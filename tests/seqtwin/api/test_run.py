"""`seqtwin.load`: a run that a program trained, its model, predictions, explanations, gates and vectors."""

from __future__ import annotations

import csv
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

import seqtwin
import tasks.gates
import tasks.imdb
import tasks.words
from core.analysis.gates import Place, trace
from core.analysis.occlusion import log_odds
from core.batch import pad
from core.data.encode import encode_text
from core.models.encoders.recurrent import RecurrentEncoder
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, ROOT, one_line, run_main

WORDS = ("film", "wonderful", "awful", "unheard", "the", "dull", "loved")


@pytest.fixture
def run(finished_runs):
    return seqtwin.load(finished_runs.any_run)


@pytest.fixture
def texts(rng):
    return [" ".join(rng.choice(WORDS, size)) for size in (1, 2, 9, 40)]


def test_predictions_are_those_of_the_program(run, texts, tmp_path):
    file, out = tmp_path / "texts.txt", tmp_path / "out.csv"
    file.write_text("\n".join(texts), encoding="utf-8")
    assert run_main(tasks.imdb.main, "predict", run.path, "--file", file, "--out", out).code == 0
    with out.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    shares = run.predict_proba(texts)
    assert run.predict(texts) == [row["predicted"] for row in rows]
    written = [[float(row[f"p_{name}"]) for name in run.classes] for row in rows]
    assert np.abs(shares - written).max() < 1e-6
    assert run.predict(texts[2]) == rows[2]["predicted"]
    calibrated = run.predict_proba(texts, calibrate=True)
    temperature = run.result["calibration"]["temperature"]
    expected = (np.log(shares[:, 1]) - np.log(shares[:, 0])) / temperature
    assert np.log(calibrated[:, 1]) - np.log(calibrated[:, 0]) == pytest.approx(expected)


def test_a_text_without_tokens_has_no_prediction(run):
    assert run.predict(["", "wonderful"])[0] is None and run.predict(" ") is None
    assert np.isnan(run.predict_proba(["wonderful", ""])).tolist() == [[False, False], [True, True]]
    with pytest.raises(seqtwin.UserError, match=r"texts\[1\]: .* finds no tokens"):
        run.explain(["wonderful", ""])


@pytest.mark.parametrize("name", ["numpy", *INSTALLED])
def test_every_backend_predicts_the_same(run, texts, name):
    other = pickle.loads(pickle.dumps(seqtwin.load(run.path, backend=name, device="cpu")))
    assert np.abs(other.predict_proba(texts) - run.predict_proba(texts)).max() < 1e-9  # the runs are in float64
    assert f"'{name}'" in repr(other.__reduce__())


def test_explanations_are_differences_of_log_odds(run, texts):
    """Computed here without a function of the product: the log-odds of the text less those without the word."""
    text = texts[2]
    words = text.split()
    found = run.explain(text)
    assert found.prediction == run.predict(text) and list(found.probabilities) == run.classes
    assert found.probability == pytest.approx(max(found.probabilities.values()))
    assert [word.strip("[]") for word, _ in found.words] == words
    place = run.classes.index(found.prediction)
    without = [" ".join(words[:number] + words[number + 1 :]) for number in range(len(words))]
    odds = [np.log(own[place] / (1 - own[place])) for own in run.predict_proba([text, *without])]
    assert [effect for _, effect in found.words] == pytest.approx([odds[0] - own for own in odds[1:]], abs=1e-9)
    strongest = sorted((abs(effect) for _, effect in found.words), reverse=True)[:3]
    assert [abs(effect) for _, effect in found.strongest(3)] == pytest.approx(strongest)
    assert found.prediction in repr(found) and found._repr_html_().count('class="word') == len(words)
    assert [own.prediction for own in run.explain(texts)] == run.predict(texts)
    assert log_odds(np.log(run.predict_proba([text])), place)[0] == pytest.approx(odds[0])


def test_parameters_vocabulary_and_spec_are_those_of_the_folder(run):
    folder = RunFolder.open(run.path)
    experiment, execution = folder.read_record()
    assert (run.experiment, run.execution, run.task) == (experiment, execution, "imdb")
    assert run.classes == execution["classes"] and run.vocabulary == folder.read_vocabulary(experiment.model)
    for name, array in folder.read_best(experiment.model).items():
        assert (run.parameters[name] == array).all()
    assert run.metrics == folder.read_metrics() and run.result == folder.read_result()


def test_evaluation_gives_the_figures_of_the_result(run, finished_runs):
    found = run.evaluate(cache_dir=str(finished_runs.cache))
    for name, value in run.result["test"].items():
        flat = name in ("accuracy", "loss", "macro_f1")
        assert found[name] == (pytest.approx(value, rel=1e-6) if flat else value), name
    dev = run.evaluate("dev", data=str(finished_runs.archive), cache_dir=str(finished_runs.cache))
    assert dev["accuracy"] == pytest.approx(run.result["dev"]["accuracy"])
    assert dev["documents"] == run.execution["data"]["dev"]["documents"]
    with pytest.raises(seqtwin.UserError, match="split tests: choose one of test, dev, train"):
        run.evaluate("tests")


@pytest.mark.parametrize("reverse", [False, True])
def test_gates_are_those_of_the_trace(run, texts, tmp_path, reverse):
    found = run.gates(texts[2], reverse=reverse)
    model = run.experiment.model
    assert isinstance(model.encoder, RecurrentEncoder)
    ids = encode_text(texts[2], run.vocabulary, run.experiment.text, "text").ids
    expected = trace(model, run.parameters, pad([ids], {}), Place(0, reverse))
    assert found.tokens == [word for word, _ in run.explain(texts[2]).words]
    assert list(found.values) == list(expected) and found["forget_gate"].shape == (9, model.encoder.hidden_size)
    for name, values in expected.items():
        assert (found[name] == values).all()
    assert found.prediction == run.predict(texts[2])
    assert f"layer 0, {'reverse' if reverse else 'forward'}" in repr(found)
    if reverse:
        found.save(str(tmp_path / "gates.png"))
    else:
        (tmp_path / "gates.png").write_bytes(found._repr_png_())
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")
    for call, says in (
        (lambda: found.save(str(tmp_path / "gates.png")), "exists"),
        (lambda: found["forget"], "no gate 'forget': choose one of input_gate"),
        (lambda: run.gates(texts[2], layer=3), "no layer 3"),
        (lambda: run.gates(3), "texts[0]: got 3"),
    ):
        with pytest.raises(seqtwin.UserError) as error:
            call()
        assert says in one_line(error)


def test_nearest_words_have_the_largest_cosines(run):
    word = "film"
    table = run.parameters["embedding.weight"].astype(np.float64)
    units = table[2:] / np.linalg.norm(table[2:], axis=1)[:, None]
    words = run.vocabulary.tokens[2:]
    cosines = dict(zip(words, units @ units[words.index(word)], strict=True))
    expected = sorted((own for own in words if own != word), key=lambda own: -cosines[own])[:4]
    found = run.nearest(word, 4)
    assert [own for own, _ in found] == expected
    assert [cosine for _, cosine in found] == pytest.approx([cosines[own] for own in expected])
    with pytest.raises(seqtwin.UserError, match="nearest spellings: film"):
        run.nearest("flim")


def test_a_notebook_shows_figures_and_pictures(run, tmp_path):
    shown = run._repr_html_()
    assert f"accuracy {run.result['test']['accuracy']:.4f}" in shown and shown.count("data:image/png;base64,") == 2
    assert "Run of task imdb" in repr(run) and str(run.path) in repr(run)
    copy = tmp_path / "<b>run"
    shutil.copytree(run.path, copy)
    assert "<b>run" not in seqtwin.load(copy)._repr_html_()
    hostile = run.explain("<script>alert(1)</script> wonderful")._repr_html_()
    assert "<script" not in hostile and "wonderful" in hostile


def test_folders_that_hold_no_finished_run_are_refused(run, tmp_path, monkeypatch):
    copy = tmp_path / "runs" / "own"
    shutil.copytree(run.path, copy)
    monkeypatch.chdir(tmp_path)
    assert seqtwin.load("latest").path == copy
    (copy / "result.json").unlink()
    for place, says in (
        (copy, f"not finished: resume it with seqtwin resume {copy}"),
        (tmp_path / "none", "no such run folder"),
        (tmp_path, "experiment.json is missing"),
        ("latest", "no finished run"),
    ):
        with pytest.raises(seqtwin.UserError) as error:
            seqtwin.load(place)
        assert says in one_line(error)


def test_the_threads_of_numpy_are_as_before(run, texts):
    from backends.numpy_threads import _functions, threads

    before = threads()
    try:
        for function in _functions("set_num_threads"):
            function(2)
        wanted = threads()
        seqtwin.load(run.path).predict(texts)
        assert threads() == wanted
    finally:
        for function, number in zip(_functions("set_num_threads"), before, strict=True):
            function(number)


@pytest.mark.slow
def test_the_import_is_lazy_and_not_disturbed_by_files_of_a_user(run, tmp_path):
    """`import seqtwin` imports no other package; a user's core.py is not taken in place of ours."""
    (tmp_path / "core.py").write_text("raise ValueError('of the user')\n")
    code = (
        "import sys, seqtwin; print([name for name in ('numpy', 'rich', 'core') if name in sys.modules], dir(seqtwin))"
    )
    code += f"; print(seqtwin.load({str(run.path)!r}).predict('wonderful'), 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("[] [") and all(repr(name) in first for name in seqtwin.PUBLIC)
    assert second == f"{run.predict('wonderful')} False" and done.stderr == ""
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        seqtwin.loda  # noqa: B018
