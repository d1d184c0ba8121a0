"""`tasks.export` as a user runs it: every format, predict.py in a process of its own, faults, errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks.classify
import tasks.export.__main__ as export
import tasks.export.write as export_files
import tasks.imdb
import tasks.tag
from core.data.sources import imdb
from core.export import encoders
from core.export import script as export_script
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, Done, check_refused, each_backend, fresh_rng, needs_both, run_main
from tests.finished_runs import EACH
from tests.tasks.test_ngrams import TINY as HYBRID
from tests.tasks.test_ngrams import write_table
from tests.tasks.test_tag import TINY, WORDS, make_lines, word_tags

FRAMEWORKS = {"torchscript": "torch", "paddle": "paddle"}
TAGGER, HASHED = TINY[:-2], TINY[-2:]
"""Options of a small tagger, and those of its table of bigrams."""
FORMATS = ("onnx", "int8", *(name for name, backend in FRAMEWORKS.items() if backend in INSTALLED))


@pytest.fixture(autouse=True)
def small_reviews(monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")


def exported(run: Path, to: str, out: Path, *argv: object) -> Done:
    return run_main(export.main, run, "--to", to, "--out", out, "--check-texts", "all", *argv)


def run_script(out: Path, *argv: str) -> list[str]:
    """Run predict.py where seqtwin cannot be imported."""
    paths = [path for path in sys.path if path and not (Path(path) / "core").is_dir()]
    code = "import runpy, sys; sys.path[:] = eval(sys.argv.pop(1)); sys.argv[:] = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__'); assert 'core' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, repr(paths), str(out / "predict.py"), *argv],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
        cwd=out,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_each_format_is_checked_on_all_test_texts(finished_runs, to, tmp_path):
    out = tmp_path / "out"
    done = exported(finished_runs.any_run, to, out, "--cache-dir", finished_runs.cache)
    assert done.code == 0, done.out + done.err
    assert "predict.py encodes 48 of 48 texts as the run does" in done.out
    assert "48 of 48 predictions the same as" in done.out or to == "int8"
    card = json.loads((out / "export.json").read_text(encoding="utf-8"))
    assert (
        card["to"] == to and card["check"]["passed"] and card["check"]["largest_difference"] < (1e-6, 0.1)[to == "int8"]
    )
    assert card["spec"].startswith("sha256:") and card["inputs"] == ["ids", "lengths"]
    if to == "onnx":
        text = "A wonderful film, I loved it! zzz"
        label, share, shown = run_script(out, text)[0].split("\t")
        own = run_main(tasks.imdb.main, "predict", finished_runs.any_run, text).out.rstrip("\n").split("\t")
        assert [label, shown] == [own[0], own[2]] and float(share) == pytest.approx(float(own[1]), abs=2e-4)


@pytest.mark.slow
@needs_both
def test_a_run_of_one_framework_exports_to_the_other(finished_runs, tmp_path):
    for to, backend in FRAMEWORKS.items():
        other = next(name for name in INSTALLED if name != backend)
        done = exported(finished_runs.runs[other], to, tmp_path / to, "--cache-dir", finished_runs.cache)
        assert done.code == 0 and f"48 of 48 predictions the same as {other} on cpu" in done.out, done.out + done.err


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a linear run, a hybrid one with n-grams of characters, and a tagger with a CRF."""
    root = tmp_path_factory.mktemp("export")
    write_table(root / "t.csv", 160, 2)
    more = ("--cache-dir", root / "cache", "--device", "cpu")
    done = run_main(
        tasks.classify.main, root / "t.csv", *HYBRID, *more, "--out", root / "hybrid", "--ngram-characters", 2
    )
    assert done.code == 0, done.err
    done = run_main(tasks.classify.main, root / "t.csv", "--encoder", "ngrams", *more[:2], "--out", root / "linear")
    assert done.code == 0, done.err
    (root / "words.txt").write_text(word_tags(make_lines(fresh_rng(), 160)), encoding="utf-8")
    for name, options in (("tagger", [*HASHED, "--crf"]), ("tags", ["--recipe", "pos"])):
        argv = ("--data", root / "words.txt", *TAGGER, "--epochs", 1, *options, "--out", root / name)
        done = run_main(tasks.tag.main, *argv)
        assert done.code == 0, done.err
    return root


@pytest.mark.slow
@pytest.mark.parametrize("run", ["hybrid", "linear"])
@pytest.mark.parametrize("to", FORMATS)
def test_n_grams_are_exported(place, run, to, tmp_path):
    if run == "linear" and to in FRAMEWORKS:
        check_refused(
            export.main,
            place / run,
            "--to",
            to,
            "--out",
            tmp_path / "out",
            says="which no framework computes",
            folder=place,
        )
        return
    assert RunFolder.open(place / run).read_record()[0].model.ngrams is not None
    done = exported(place / run, to, tmp_path / "out", "--cache-dir", place / "cache")
    assert done.code == 0, done.out + done.err
    card = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    assert card["inputs"][-1] == ("ngram_ends" if run == "hybrid" else "ngrams")
    assert card["check"]["largest_difference"] < (2e-6 if to != "int8" else 0.1)
    if to == "onnx":
        lines = run_script(tmp_path / "out", "film the not good plot", "zzz")
        own = run_main(tasks.classify.main, "predict", place / run, "film the not good plot", "zzz").out.splitlines()
        assert [line.split("\t")[::2] for line in lines] == [line.split("\t")[::2] for line in own]


@pytest.mark.slow
@pytest.mark.parametrize("run, to", [*(("tagger", to) for to in FORMATS), ("tags", "onnx")])
def test_taggers_are_exported(place, run, to, tmp_path):
    """Segmentation of characters by a CRF, and tags of words; predict.py prints what `predict` prints."""
    done = exported(place / run, to, tmp_path / "out", "--cache-dir", place / "cache")
    assert done.code == 0, done.out + done.err
    rng = fresh_rng()
    texts = ["".join(rng.choice(WORDS, size)) for size in (1, 4, 30)] + ["我 爱\u3000北京 ABC"]
    if to == "onnx":
        (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
        lines = run_script(tmp_path / "out", "--file", str(tmp_path / "texts.txt"))
        assert lines == run_main(tasks.tag.main, "predict", place / run, *texts).out.splitlines()
    card = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    assert ("crf" in card) == (run == "tagger") and card["check"]["predictions"] > card["check"]["texts"]
    assert len((tmp_path / "out/predict.py").read_text().splitlines()) < 70


def test_wrong_gates_and_wrong_tokens_are_detected(finished_runs, tmp_path, monkeypatch):
    argv = ("--cache-dir", finished_runs.cache)
    with monkeypatch.context() as patch:
        patch.setitem(encoders.ORDER, "lstm", (0, 1, 2, 3))
        done = exported(finished_runs.any_run, "onnx", tmp_path / "gates", *argv)
    assert done.code == 1 and "failed: the export does not predict as the run does" in done.out
    assert not json.loads((tmp_path / "gates/export.json").read_text())["check"]["passed"]
    with monkeypatch.context() as patch:
        patch.setattr(export_script, "kept_ends", lambda text: (text.max_length, 0))
        done = exported(finished_runs.any_run, "onnx", tmp_path / "tokens", *argv)
    assert done.code == 1 and "predict.py encodes" in done.out and "48 of 48 texts" not in done.out


def test_the_default_folder_is_in_the_run_and_no_check_is_said(finished_runs, tmp_path):
    shutil.copytree(finished_runs.any_run, tmp_path / "run")
    done = run_main(export.main, tmp_path / "run", "--to", "onnx", "--check-texts", 0)
    assert done.code == 0 and "not checked (--check-texts 0)" in done.out, done.err
    names = {path.name for path in (tmp_path / "run/export-onnx").iterdir()}
    assert names == {"export.json", "model.onnx", "predict.py", "tokenizer.json", "vocabulary.json"}
    check_refused(
        export.main, tmp_path / "run", "--to", "onnx", says="exists; choose another folder with --out", folder=tmp_path
    )


def test_an_error_leaves_no_folder(finished_runs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    argv = (finished_runs.any_run, "--to", "onnx", "--check-texts", 0, "--out")
    done = run_main(export.main, *argv, tmp_path / "file/x")
    assert done.code == 2 and "file/x: cannot be created" in done.err and done.err.count("\n") == 1
    monkeypatch.setattr(export_files, "script", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_main(export.main, *argv, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@each_backend
def test_refused(finished_runs, name, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(finished_runs.runs[name], run)

    def refused(*argv: object, says: str) -> None:
        check_refused(export.main, run, *argv, says=says, folder=tmp_path)

    refused("--to", "tflite", says="--to tflite: choose one of onnx, torchscript, paddle, int8")
    refused("--to", "onnx", "--check-texts", "few", says="--check-texts few: expected a number of texts, or all")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    refused("--to", "int8", says="onnx is not installed; run: pip install -e '.[onnx]'")
    refused("--to", "paddle", says="paddle is not installed; run: pip install paddlepaddle")
    monkeypatch.undo()
    experiment = json.loads((run / "experiment.json").read_text())
    changes = {
        "residual_srn": (("model", "encoder", "cell"), "torchscript", "use --to onnx"),
        "bfloat16": (("training", "dtype"), "paddle", "use --to onnx"),
    }
    for value, (path, to, says) in changes.items():
        tree = json.loads(json.dumps(experiment))
        section = tree["experiment"]
        for part in path[:-1]:
            section = section[part]
        section[path[-1]] = value
        (run / "experiment.json").write_text(json.dumps({**tree, "digest": None}))
        refused("--to", to, says=says)
    (run / "experiment.json").write_text(json.dumps(experiment))
    (run / "result.json").unlink()
    refused("--to", "onnx", says="result.json is missing")
