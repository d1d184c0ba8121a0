"""`seqtwin.train` and `seqtwin.compare`: the same runs and pages as those of the programs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import seqtwin
import tasks.compare
from seqtwin.api.calls import name_keywords
from seqtwin.api.options import arguments_of, keywords_of
from seqtwin.api.training import program_of
from tasks.cli.options import OPTIONS
from tasks.cli.recipes import TASK_RECIPES
from tasks.run.train_command import train_parser
from tests.conftest import INSTALLED, fresh_rng, one_line, run_main
from tests.finished_runs import STEPS_PER_EPOCH, TINY
from tests.seqtwin.api.texts_in_memory import labeled_texts

VALUES = {int: 3, float: 0.25, bool: True, tuple: [2, 3], str: "text"}


@pytest.mark.parametrize("task", TASK_RECIPES)
def test_every_keyword_gives_the_argument_of_its_flag(task):
    program = program_of(task)
    known, parser = keywords_of(program), train_parser(program)
    for option in (own for group in OPTIONS.values() for own in group if own.dest in known):
        value = option.choices[-1] if option.choices else VALUES[option.field.type]
        given = [option.flag]
        if option.field.type is tuple:
            given.append(",".join(map(str, value)))
        elif option.field.type is not bool:
            given.append(str(value))
        parsed = parser.parse_args(given)
        for own in (value, np.array(value) if isinstance(value, list) else value):
            assert vars(arguments_of(program, {option.dest: own}, "test")) == vars(parsed), option.flag
    fields = {"training.schedule.warmup_share": 0.2, "text.tokenizer": "letters", "model.ngrams": None}
    parsed = parser.parse_args([part for own in fields for part in ("--set", f"{own}=")])
    assert len(parsed.set) == len(fields)
    found = arguments_of(program, {"set": fields, "baseline": None, "epochs": np.int64(4)}, "test")
    assert found.set == ["training.schedule.warmup_share=0.2", 'text.tokenizer="letters"', "model.ngrams=null"]
    assert type(found.epochs) is int and found.epochs == 4


@pytest.mark.parametrize(
    "text, expected",
    [
        ("--max-length 3: lower `training.clip_norm`", "max_length 3: lower clip_norm"),
        ("set --data, or: seqtwin resume RUN --backend x", "set data, or: seqtwin resume RUN --backend x"),
        ("omit --no-ngrams", "omit ngrams=False"),
        ("a --strange flag -- and a--hidden", "a --strange flag -- and a--hidden"),
        ("run: seqtwin classify TRAIN --epochs 3", "run: seqtwin classify TRAIN --epochs 3"),
    ],
)
def test_messages_name_keywords_outside_of_commands(text, expected):
    assert name_keywords(text) == expected


def test_a_run_equals_that_of_the_program(finished_runs, tmp_path, capfd, monkeypatch):
    """On reviews, with the options of the session's runs, for the first epoch."""
    monkeypatch.setattr("core.data.sources.imdb.PER_CLASS", 24)
    flags = [str(own) for own in TINY]
    options: dict[str, object] = {
        flag[2:].replace("-", "_"): value for flag, value in zip(TINY[::2], TINY[1::2], strict=True)
    }
    options |= {"epochs": 1, "device": "cpu", "cache_dir": str(finished_runs.cache), "pictures": False}
    backend = finished_runs.backend
    run = seqtwin.train("imdb", finished_runs.archive, out=tmp_path / "own", backend=backend, **options)
    assert capfd.readouterr().out == "" and run.path == tmp_path / "own" and "--hidden" in flags
    done = finished_runs.train("--backend", backend, "--out", tmp_path / "program", "--epochs", 1)
    assert done.code == 0, done.err
    other = seqtwin.load(tmp_path / "program")
    assert run.experiment == other.experiment and run.result["training"]["steps"] == STEPS_PER_EPOCH
    for name, array in other.parameters.items():
        assert (run.parameters[name] == array).all(), name


def test_calls_that_cannot_train_are_refused(tmp_path):
    for call, says in (
        (lambda: seqtwin.train("imbd"), "unknown task 'imbd': choose one of imdb, "),
        (lambda: seqtwin.train("classify", tmp_path / "none.csv"), "none.csv"),
        (lambda: seqtwin.train("classify"), "missing training file"),
        (lambda: seqtwin.train("imdb", hiddn=3), "train: unknown option 'hiddn': use hidden"),
        (lambda: seqtwin.train("imdb", set=["a"]), "set: got list, expected a dictionary"),
        (lambda: seqtwin.train("imdb", hidden={}), "hidden: got a dictionary"),
    ):
        with pytest.raises(seqtwin.UserError) as error:
            call()
        assert says in one_line(error)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two linear models of the same texts."""
    root, own = tmp_path_factory.mktemp("pair"), labeled_texts(fresh_rng(), 30, ("bad", "good"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        quick = {"encoder": "ngrams", "pictures": False, "runs": str(root / "runs")}
        first = seqtwin.TextClassifier(ngram_orders=1, **quick).fit(*own)
        yield root, first, seqtwin.TextClassifier(ngram_orders=3, test_share=0.1, **quick).fit(*own)


def test_a_comparison_is_data_and_the_page_of_the_program(pair, tmp_path):
    root, *classifiers = pair
    runs = [own.run_ for own in classifiers]
    found = seqtwin.compare([runs[0], str(runs[1].path)], labels=["one", "three"], cache_dir=str(root / "cache"))
    assert sorted(found.runs) == ["one", "three"] and [row["run"] for row in found.rows] == found.runs
    by_label = dict(zip(("one", "three"), runs, strict=True))
    for row in found.rows:
        assert row["test accuracy"] == f"{by_label[row['run']].result['test']['accuracy']:.4f}"
    (both,) = found.pairs
    assert both["documents"] == runs[0].result["test"]["documents"] and 0 <= both["p_value"] <= 1
    assert [both["first"], both["second"]] == found.runs and "one" in repr(found)
    out = tmp_path / "page.html"
    done = run_main(tasks.compare.main, *(own.path for own in runs), "--labels", "one", "three", "--out", out)
    assert done.code == 0 and all(line in done.out for line in repr(found).splitlines()), done.err
    found.save(str(tmp_path / "own.html"))

    def without_time(page):
        return [line for line in page.splitlines() if "Written" not in line]

    assert without_time((tmp_path / "own.html").read_text()) == without_time(out.read_text())
    assert found._repr_html_().count("<iframe") == 1 and "<table" not in found._repr_html_()
    with pytest.raises(seqtwin.UserError, match="exists"):
        found.save(str(out))


def test_runs_that_cannot_be_compared(pair, tmp_path):
    _, first, second = pair
    copy = tmp_path / "stopped"
    shutil.copytree(second.run_.path, copy)
    (copy / "result.json").unlink()
    for runs, labels, says in (
        ([first.run_], None, "compare: got 1 runs, expected a list of at least 2 runs"),
        ([], None, "compare: got 0 runs"),
        (str(first.run_.path), None, "compare: got a single string"),
        ([first.run_, first.run_.path], None, "duplicate run"),
        ([first.run_, copy], None, "not finished"),
        ([first.run_, second.run_], ["one"], "labels: expected 2 labels, got 1"),
    ):
        with pytest.raises(seqtwin.UserError) as error:
            seqtwin.compare(runs, labels)
        assert says in one_line(error)


@pytest.mark.slow
def test_a_run_of_another_task_has_a_spec_parameters_and_figures(tmp_path):
    """Predictions are those of classifiers of texts."""
    if not INSTALLED:
        pytest.skip("no framework is installed")
    tiny = {"epochs": 1, "examples": 60, "hidden": 6, "embedding_dim": 5, "longest": 4, "beyond": 6, "pictures": False}
    run = seqtwin.train("translate", "reverse", backend=INSTALLED[0], out=tmp_path / "own", **tiny)
    assert run.task == "translate" and run.parameters["target.embedding.weight"].shape[1] == 5
    found = run.evaluate()
    for name in ("accuracy", "loss", "exact_match"):
        assert found[name] == pytest.approx(run.result["test"][name], rel=1e-4), name
    assert f"accuracy {found['accuracy']:.4f}" in repr(run) and "<table>" in run._repr_html_()
    for call in (
        lambda: run.predict("1 2"),
        lambda: run.explain(["1 2"]),
        lambda: run.gates("1 2"),
        lambda: seqtwin.TextClassifier.load(run.path),
    ):
        with pytest.raises(seqtwin.UserError, match="run of task translate: .* needs a classifier of texts"):
            call()
