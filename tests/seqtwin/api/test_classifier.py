"""`seqtwin.TextClassifier`: what a fit leaves, and every run folder that a program can use."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import threading
import warnings

import numpy as np
import pytest

import backends
import seqtwin
from core.errors import Note
from seqtwin.command.main import main
from tasks.cli.commands import started_by_seqtwin
from tests.conftest import fresh_rng, one_line, run_main, stop_at
from tests.seqtwin.api.texts_in_memory import TELLING, labeled_texts

CLASSES = ("bad", "good", "odd")
CODES = {"bad": 10, "good": 9, "odd": -3}
"""Labels whose order differs from that of their names as strings."""


def command(*argv: object):
    with started_by_seqtwin():
        return run_main(main, *argv)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder, with the cache inside."""
    root = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield root


@pytest.fixture(scope="module")
def texts(place):
    return labeled_texts(fresh_rng(), 25, CLASSES)


@pytest.fixture(scope="module")
def fitted(place, texts):
    """A linear model, with whole numbers as labels."""
    own, labels = texts
    quick = {"encoder": "ngrams", "ngram_orders": 2, "pictures": False}
    return seqtwin.TextClassifier(runs=str(place / "runs"), **quick).fit(own, [CODES[name] for name in labels])


def new(place, **options):
    return seqtwin.TextClassifier(runs=str(place / "runs"), encoder="ngrams", pictures=False, **options)


def test_predictions_are_labels_of_the_given_type_in_the_order_of_classes(fitted, rng):
    assert fitted.classes_.tolist() == sorted(CODES.values())
    own, names = labeled_texts(rng, 9, CLASSES)
    labels = [CODES[name] for name in names]
    shares = fitted.predict_proba(own)
    assert shares.shape == (27, 3) and np.allclose(shares.sum(axis=1), 1.0)
    predicted = fitted.predict(own)
    assert predicted.dtype == fitted.classes_.dtype
    assert predicted.tolist() == [fitted.classes_[row.argmax()] for row in shares]
    assert list(map(int, fitted.run_.predict(own))) == predicted.tolist()
    right = np.array(labels) == predicted
    weights = rng.random(27)
    assert fitted.score(own, labels) == pytest.approx(right.mean()) and right.mean() > 0.5
    wrong = [CODES["odd"]] * 27
    expected = float((weights * (predicted == CODES["odd"])).sum() / weights.sum())
    assert fitted.score(own, wrong, weights) == pytest.approx(expected)


def test_a_text_without_tokens_has_the_shares_of_the_labels(fitted):
    with pytest.warns(Note, match="2 of 3 texts have no tokens"):
        shares = fitted.predict_proba(["", " ".join(TELLING["bad"]), " \n"])
    counts = dict(zip(fitted.run_.classes, fitted.run_.execution["data"]["train"]["per_class"], strict=True))
    expected = [counts[str(label)] for label in fitted.classes_.tolist()]
    assert shares[0] == pytest.approx(np.array(expected) / sum(expected)) and (shares[0] == shares[2]).all()
    assert fitted.classes_[shares[1].argmax()] == CODES["bad"]


def test_texts_may_be_arrays_series_and_columns(fitted, texts):
    pandas = pytest.importorskip("pandas")
    own = texts[0][:7]
    expected = fitted.predict_proba(own)
    frame = pandas.DataFrame({"body": own}, index=range(7, 14))
    for given in (tuple(own), np.array(own), np.array(own, dtype=object)[:, None], frame["body"], frame, iter(own)):
        assert (fitted.predict_proba(given) == expected).all()
    with pytest.raises(seqtwin.UserError, match=r"\(7, 2\) \(body, other\), expected one column"):
        fitted.predict(frame.assign(other=1))


@pytest.mark.parametrize(
    "given, says",
    [
        (["fine", None], "texts[1]: got None (NoneType)"),
        (["fine", "dull", 3.5], "texts[2]: got 3.5 (float)"),
        (np.arange(4), "texts[0]: got np.int64(0) (int64)"),
        (["fine", float("nan")], "texts[1]: got nan (float)"),
        ("fine", "got a single string"),
        ([["fine"]], "texts[0]: got ['fine'] (list)"),
        (7, "texts: got int"),
        (["a\0b"], "texts[0]: contains a NUL"),
        (["a\ud800"], "texts[0]: contains half of a surrogate pair"),
    ],
)
def test_values_that_are_no_texts_are_refused_in_one_line(fitted, given, says):
    for call in (fitted.predict, fitted.predict_proba, lambda own: fitted.fit(own, ["a", "b"])):
        with pytest.raises(seqtwin.UserError) as error:
            call(given)
        assert says in one_line(error)


@pytest.mark.parametrize(
    "labels, says",
    [
        ([1, 2, 3], "got 4 texts and 3 labels"),
        ([1, None, 1, 2], "labels[1]: got None"),
        ([1, 2, "1", 2], "labels[2]: got '1', expected labels of one type"),
        ([True, 1, True, False], "labels[1]: got 1, expected labels of one type"),
        ([0.5, 1.0, 1.0, 0.0], "labels[0]: got 0.5, expected a class"),
        (["a", "b ", "a", "b"], "labels[1]: got 'b '"),
        (["a", "", "a", "b"], "labels[1]: got ''"),
        (None, "labels: got None"),
    ],
)
def test_wrong_labels_are_refused_and_no_run_is_left(tmp_path, labels, says):
    own = ["fine film", "dull plot", "great film", "awful plot"]
    with pytest.raises(seqtwin.UserError) as error:
        new(tmp_path).fit(own, labels)
    assert says in one_line(error)
    with pytest.raises(seqtwin.UserError) as error:
        new(tmp_path).fit(own, ["all"] * 4)  # found when the folder is there
    assert one_line(error).startswith("texts: all texts have the label 'all'")
    assert not list(tmp_path.glob("runs/*"))


def test_unknown_options_are_refused_with_the_nearest_name():
    for name, near in (("hiddn", "hidden"), ("hidden_size", "hidden"), ("learning_rate", "lr"), ("epoch", "epochs")):
        for call in (seqtwin.TextClassifier, seqtwin.TextClassifier().set_params):
            with pytest.raises(seqtwin.UserError) as error:
                call(**{name: 3})
            assert one_line(error) == f"TextClassifier: unknown option {name!r}: use {near}"
    for name in ("out", "train", "text_column", "resume", "config"):
        with pytest.raises(seqtwin.UserError, match="unknown option"):
            seqtwin.TextClassifier(**{name: "x"})


@pytest.mark.parametrize(
    "options, says",
    [
        ({"encoder": "none", "hidden": 3}, "hidden: model.encoder of kind none has no hidden_size"),
        ({"cell": "ltsm"}, "cell ltsm: choose one of"),
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow'"),
        ({"backend": "both"}, "backend 'both' gives two runs"),
        ({"recipe": "hybrd"}, "unknown recipe 'hybrd'"),
        ({"encoder": "ngrams", "epochs": 2}, "epochs: without effect on a linear model"),
        ({"set": {"training.epoch": 3}}, "no field training.epoch"),
        ({"hidden": "many"}, "hidden many: "),
    ],
)
def test_errors_name_keywords_and_leave_no_run(tmp_path, texts, options, says):
    with pytest.raises(seqtwin.UserError) as error:
        seqtwin.TextClassifier(runs=str(tmp_path), **options).fit(*texts)
    assert says in one_line(error) and " --" not in one_line(error).partition("seqtwin ")[0]
    assert not list(tmp_path.iterdir())


def test_parameters_are_read_set_and_shown():
    orders = [1, 2]
    own = seqtwin.TextClassifier("torch", hidden=7, kernels=orders)
    assert own.get_params()["kernels"] is orders
    assert own.get_params() == {
        "backend": "torch",
        "recipe": None,
        "runs": "runs",
        "verbose": False,
        "hidden": 7,
        "kernels": orders,
    }
    assert own.set_params(recipe="default", hidden=8, epochs=2) is own
    assert (own.recipe, own.get_params()["hidden"]) == ("default", 8)
    assert repr(own) == "TextClassifier(backend='torch', recipe='default', hidden=8, kernels=[1, 2], epochs=2)"
    assert repr(seqtwin.TextClassifier()) == "TextClassifier()"
    with pytest.raises(seqtwin.UserError, match="not fitted"):
        own.predict(["fine"])


def test_a_pickle_and_a_copy_predict_the_same(fitted, texts, tmp_path):
    expected = fitted.predict_proba(texts[0])
    content = pickle.dumps(fitted)
    assert len(content) < 10_000
    fitted.save(tmp_path / "kept")
    with pytest.raises(seqtwin.UserError, match="exists"):
        fitted.save(tmp_path / "kept")
    for other in (pickle.loads(content), seqtwin.TextClassifier.load(tmp_path / "kept")):
        assert (other.predict_proba(texts[0]) == expected).all()
        assert other.classes_.tolist() == fitted.classes_.tolist() and other.get_params() == fitted.get_params()
    moved = pickle.dumps(seqtwin.TextClassifier.load(tmp_path / "kept"))
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(seqtwin.UserError, match="no such run folder"):
        pickle.loads(moved)


def test_a_run_of_a_program_becomes_a_classifier_with_strings(fitted, texts, tmp_path):
    """They are ordered as strings, while the run orders numbers by value."""
    fitted.save(tmp_path / "kept")
    (tmp_path / "kept" / "classifier.json").unlink()
    other = seqtwin.TextClassifier.load(tmp_path / "kept")
    assert other.classes_.tolist() == sorted(map(str, CODES.values()))
    assert other.predict(texts[0]).tolist() == [str(own) for own in fitted.predict(texts[0])]
    assert sorted(other.classes_.tolist(), key=int) == other.run_.classes != other.classes_.tolist()


def test_the_run_folder_is_used_by_the_programs_also_if_it_moved(fitted, texts, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(fitted.run_.path, copy)
    rows = [json.loads(line) for line in (copy / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts[0]
    assert [row["label"] for row in rows] == [str(CODES[name]) for name in texts[1]]
    text = texts[0][3]
    done = command("predict", copy, text)
    assert done.out.split("\t")[0] == str(fitted.predict([text])[0]), done.err
    number = fitted.run_.result["test"]["documents"]
    done = command("evaluate", copy)
    assert f"{number} of {number} predictions match predictions.csv" in done.out, done.err
    again = tmp_path / "again"
    done = command("classify", "--config", copy / "experiment.json", "--out", again)
    assert done.code == 0, done.err
    for name in ("vocab.json", "predictions.csv", "ngrams.safetensors"):
        assert (again / name).read_bytes() == (copy / name).read_bytes(), name
    record = json.loads((copy / "experiment.json").read_text(encoding="utf-8"))
    assert record["experiment"]["data"]["source"] == "texts.jsonl"


def test_a_fit_is_quiet_and_leaves_signals_alone(place, texts, capfd):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = new(place).fit(*texts)
    assert capfd.readouterr() == ("", "")
    loud = new(place, verbose=True).fit(*texts)
    assert "test accuracy" in capfd.readouterr().out
    assert {number: signal.getsignal(number) for number in before} == before
    assert first.run_.path != loud.run_.path
    assert (first.predict_proba(texts[0]) == loud.predict_proba(texts[0])).all()


@pytest.fixture
def backend():
    """The first installed framework."""
    name = next((name for name in backends.NAMES if backends.installed(name)), None)
    return name or pytest.skip("no framework is installed")


TINY = {"recipe": "default", "hidden": 4, "embedding_dim": 5, "epochs": 3, "batch_size": 8, "pictures": False}


@pytest.mark.slow
def test_a_network_is_trained_in_a_thread(place, texts, backend, capfd):
    """It handles no signals there; its labels are booleans."""
    found = []

    def train() -> None:
        own = seqtwin.TextClassifier(backend, runs=str(place / "runs"), baseline=False, **TINY)
        found.append(own.fit(texts[0], [name == "good" for name in texts[1]]))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    (own,) = found
    assert capfd.readouterr().out == ""
    assert own.classes_.tolist() == [False, True] and own.predict(texts[0]).dtype == bool
    model = own.run_.experiment.model
    assert (model.encoder.hidden_size, model.embedding.dim) == (4, 5)
    assert own.run_.execution["backend"] == backend and "baseline" not in own.run_.result
    assert not list(own.run_.path.glob("*.png"))


@pytest.mark.slow
def test_a_stopped_fit_can_be_resumed(place, texts, backend):
    """Ctrl-C saves a checkpoint, and raises KeyboardInterrupt, which names the command."""
    own = seqtwin.TextClassifier(backend, runs=str(place / "stopped"), **TINY)
    with stop_at(5), pytest.raises(KeyboardInterrupt, match="seqtwin resume ") as caught:
        own.fit(*texts)
    (run,) = (place / "stopped").iterdir()
    assert str(caught.value).endswith(f"seqtwin resume {run}")
    moved = run.rename(place / "elsewhere")
    done = command("resume", moved)
    assert done.code == 0, done.err
    whole = seqtwin.TextClassifier(backend, runs=str(place / "runs"), **TINY).fit(*texts)
    resumed = seqtwin.TextClassifier.load(moved)
    assert (resumed.predict_proba(texts[0]) == whole.predict_proba(texts[0])).all()
