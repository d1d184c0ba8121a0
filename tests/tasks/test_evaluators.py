"""Which engine predicts with a run, and that the program states it: never one in silence in place of another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasks.classify
from backends import kernels
from backends.kernels.engine import KernelEngine
from core.engine.reference import ReferenceEngine
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from tasks.run.evaluators import choose, evaluator_of_evaluation
from tasks.run.worker import Request
from tests.conftest import ROOT, Done, check_refused, run_main

RUN = ROOT / "tests/core/train/format1/finished-torch"
NOT_COMPILED = "it was not compiled (no g++)"
compiled = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def used(monkeypatch) -> list[str]:
    """The engines in the order of their calls."""
    names = []
    for engine, name in ((KernelEngine, "fast"), (ReferenceEngine, "numpy")):

        def recorded(self, batch, own=engine.logits, name=name):
            names.append(name)
            return own(self, batch)

        monkeypatch.setattr(engine, "logits", recorded)
    return names


def predict(*argv: object) -> Done:
    done = run_main(tasks.classify.main, "predict", RUN, *argv)
    assert done.code == 0, done.err
    return done


@compiled
@pytest.mark.parametrize("options", [(), ("--explain",), ("--out", "o.csv")])
def test_fast_is_the_default(used, options):
    given = ("--file", "texts.txt") if "--out" in options else ("fine film",)
    Path("texts.txt").write_text("fine film\nawful\n", encoding="utf-8")
    done = predict(*given, *options)
    assert set(used) == {"fast"} and done.err == ""
    assert "--out" not in options or "(fast on cpu)" in done.out


@compiled
def test_requested_evaluators_agree(used):
    fast, numpy = (predict("good film", "a bad one", "--backend", name) for name in ("fast", "numpy"))
    assert used == ["fast", "numpy"] and fast == numpy


def test_without_kernels_numpy_predicts_and_says_why(used, monkeypatch):
    monkeypatch.setattr(kernels, "failure", lambda: NOT_COMPILED)
    done = predict("fine film")
    assert used == ["numpy"] and done.err == f"note: numpy computes the predictions: {NOT_COMPILED}\n"
    check_refused(
        *(tasks.classify.main, "predict", RUN, "good", "--backend", "fast"),
        says=f"--backend fast: {NOT_COMPILED}: use --backend numpy",
        folder=Path.cwd(),
    )


def experiment(**changes: object) -> Experiment:
    own, _ = RunFolder.open(RUN).read_record()
    return replace(own, changes)


@compiled
def test_models_without_a_kernel_are_numpys():
    assert choose(experiment(), Request()) == ("fast", None)
    for changes, says in (
        (
            {"model.encoder": {"kind": "textcnn"}, "model.head.pooling": "mean"},
            "no compiled kernel for `model.head.pooling` mean of `model.encoder.kind` textcnn",
        ),
        ({"training.dtype": "bfloat16"}, "the compiled kernels do not round to bfloat16"),
    ):
        assert choose(experiment(**changes), Request()) == ("numpy", says)


@compiled
@pytest.mark.parametrize(
    ("changes", "asked", "device", "wanted"),
    [
        ({}, Request(), "cpu", "fast"),
        ({}, Request("numpy"), "cpu", "numpy"),
        ({}, Request(), "gpu:0", "torch"),
        ({}, Request(device="gpu"), "cpu", "torch"),
        ({}, Request(implementation="loop"), "cpu", "torch"),
        ({"model.encoder": {"kind": "textcnn"}, "model.head.pooling": "max"}, Request(), "cpu", "fast"),
        ({"model.encoder": {"kind": "textcnn"}, "model.head.pooling": "mean"}, Request(), "cpu", "torch"),
    ],
)
def test_evaluation_is_fast_or_the_runs(changes, asked, device, wanted):
    execution = {"backend": "torch", "device": device}
    assert evaluator_of_evaluation(experiment(**changes), execution, asked).backend == wanted


@pytest.mark.slow
def test_numpy_has_one_thread():
    """As its waiting threads would take the cores from the kernels."""
    code = (
        "import tasks.classify\nfrom backends.numpy_threads import threads\nbefore = threads()\n"
        f"tasks.classify.main(['predict', {str(RUN)!r}, 'good film'])\nprint(before, threads())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["OPENBLAS_NUM_THREADS"] = "2"
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", code], **options)
    shown = done.stdout.splitlines()[-1]
    if shown == "[] []":
        pytest.skip("this NumPy has another library than OpenBLAS")
    assert shown == "[2] [1]"


@compiled
@pytest.mark.slow
def test_prediction_imports_no_framework():
    code = (
        "import sys, tasks.classify\n"
        f"code = tasks.classify.main(['predict', {str(RUN)!r}, 'good film', '--explain'])\n"
        "print([name for name in ('torch', 'paddle', 'jieba', 'matplotlib', 'pandas') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[] 0\n")
