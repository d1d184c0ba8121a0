"""The GPU check: on a GPU where there is one; and on the CPU, with tiny sizes, so that its code has been executed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from core.engine.executor import Executor
from tests.conftest import Done, loaded, run_main
from tools.gpu_check import __main__ as check
from tools.gpu_check import measured
from tools.gpu_check.context import PLAIN, SIZES, Context, NotRun, Sizes, bounded, row

CHEAP = ("devices", "parity", "tf32", "training", "memory", "speed")
"""`processes` is left out: two programs more by each launcher, and `test_processes.py` has them on the CPU."""


def run_check(*argv: object) -> tuple[Done, dict]:
    """Run the program in this process; what it checks runs in others."""
    done, out = run_main(check.main, *argv), Path("gpu-check.json")
    return done, json.loads(out.read_text()) if out.is_file() else {}


@pytest.mark.slow
def test_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done, record = run_check("--quick")
    if done.out.startswith("skipped: "):
        assert done.code == 0 and done.out.count("\n") == 1 and not record
        pytest.skip(done.out.strip())
    assert done.code == 0, done.out + done.err


@pytest.fixture
def texts(tmp_path, rng) -> Path:
    words = ["film", "plot", "actor", "scene", "the", "a", "of", "and"]
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for row in range(80):
            label = ("awful", "fine")[row % 2]
            writer.writerow([" ".join([*rng.choice(words, rng.integers(1, 14)), f"n{row}", label]), label])
    return tmp_path / "texts.csv"


@pytest.mark.slow
def test_checks_run_on_the_cpu(backend, tmp_path, texts, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "gpu.md"
    page.write_text(f"# Ours\n\nkept\n\n{check.MARK}\n\nold results\n")
    argv = ("--device", "cpu", "--data", texts, "--backend", backend.NAME, "--write", page, "--checks", *CHEAP)
    done, record = run_check(*argv)
    assert done.code == 0, done.out + done.err
    assert record["size"] == "tiny" and record["frameworks"][backend.NAME]["versions"]
    rows = record["rows"]
    assert list(dict.fromkeys(row["check"] for row in rows)) == list(CHEAP)
    reasons = {row["check"]: row["verdict"] for row in rows if row["verdict"] not in ("ok", "recorded")}
    assert set(reasons) <= {"tf32", "speed"} and "a CPU has no TF32" in reasons["tf32"], reasons
    text = page.read_text()
    assert text.startswith("# Ours\n\nkept\n") and "old results" not in text and "| parity |" in text
    assert "CPU, no GPU was checked" in text and text.count(check.MARK) == 1


def context_of(package, **changes: object) -> Context:
    fields = {"device": "cpu", "gpu": "", "size": "tiny", "data": "packaged", "cache": Path()}
    return Context(package.NAME, package, **{**fields, **changes})


class Wrong:
    """A backend whose GPU adds a little to every gradient."""

    def __init__(self, package, error: float) -> None:
        self.package, self.error, self.NAME = package, error, package.NAME

    def Engine(self, model, training, parameters, executor):
        engine = self.package.Engine(model, training, parameters, Executor("cpu", executor.implementation))
        right = engine.gradients

        def gradients(batch, step):
            loss, arrays = right(batch, step)
            return loss, {name: array + np.asarray(self.error, array.dtype) for name, array in arrays.items()}

        if executor.device != "cpu":
            engine.gradients = gradients
        return engine


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_wrong_gpu_is_detected(error, monkeypatch):
    sizes = Sizes(PLAIN[:1], None, 1, 3, 1, {})
    monkeypatch.setitem(SIZES, "tiny", sizes)
    rows = measured.rows_of("parity", context_of(Wrong(loaded("torch"), error), device="gpu:0"))
    verdicts = {(row["what"].split(",")[1].strip(), "gradient" in row["what"]): row["verdict"] for row in rows}
    assert verdicts["builtin ~ reference", True] == verdicts["loop ~ loop on the CPU", True] == "MISSED"
    assert verdicts["packed ~ reference", True] == verdicts["packed ~ packed on the CPU", True] == "MISSED"
    assert verdicts["builtin ~ reference", False] == "ok"
    json.dumps(rows, allow_nan=False)


def test_ineffective_tf32_switch_is_detected(backend):
    small = PLAIN[0].experiment("float32")
    rows = list(measured.tf32_rows(context_of(backend), small))
    assert len(rows) == 6 and {row["verdict"] for row in rows} == {"MISSED"}


def test_bfloat16_is_compared_with_itself(backend):
    experiment = PLAIN[0].experiment("bfloat16")
    rows = list(measured.bfloat16_rows(context_of(backend), experiment))
    assert len(rows) == 9 and {row["verdict"] for row in rows} == {"ok"}
    rows = list(measured.bfloat16_rows(context_of(Wrong(backend, 0.1), device="gpu:0"), experiment))
    assert [row["verdict"] for row in rows] == ["ok", "ok", "MISSED"] * 3


def test_failing_check_is_one_row(monkeypatch):
    def check_breaks(context):
        yield bounded("first", 1.0, 2.0)
        raise RuntimeError("no\nkernel")

    def check_none(context):
        raise NotRun("one GPU")
        yield

    for name, function in (("breaks", check_breaks), ("none", check_none)):
        monkeypatch.setitem(measured.CHECKS, name, function)
    context = Context("torch", None, "gpu:0", "X", "tiny", "packaged", Path())
    first, second = measured.rows_of("breaks", context)
    assert (first["verdict"], second["verdict"]) == ("ok", "MISSED")
    assert second["figure"] == "RuntimeError: no kernel"
    assert [row["verdict"] for row in measured.rows_of("none", context)] == ["not run: one GPU"]


@pytest.mark.parametrize(
    "value, limit, verdict",
    [(1.0, 1.0, "ok"), (1.1, 1.0, "MISSED"), (float("nan"), 1.0, "MISSED"), (9.0, None, "recorded")],
)
def test_verdicts(value, limit, verdict):
    assert bounded("x", value, limit)["verdict"] == verdict


def made_up() -> list[dict]:
    rows = [
        bounded("one epoch", 2.5, 3.0, "{:.2f} s", " (extrapolated from 60 of 157 steps)"),
        bounded("w" * 200, 2e-3, 1e-5, note=" (a|b[0])"),
        row("", "", verdict="not run: one GPU"),
    ]
    return [{"framework": "torch", "check": "c", **row, "seconds": 1.5} for row in rows]


def test_the_table():
    header, *lines = check.table(made_up()).splitlines()
    assert header.split() == ["framework", "check", "what", "figure", "limit", "seconds", "verdict"]
    place = header.index("verdict")
    assert [line[place:] for line in lines] == ["ok", "MISSED", "not run: one GPU"]
    assert "2.50 s (extrapolated from 60 of 157 steps)" in lines[0] and "3.00 s" in lines[0]
    assert "www..." in lines[1]
    assert check.summary(made_up()) == "1 ok, 1 MISSED, 0 recorded, 1 not run"


def test_the_page(tmp_path):
    record = {
        "date": "2026-11-21T20:00:00+00:00",
        "size": "full",
        "frameworks": {
            "torch": {"device": "gpu:0", "gpu": "GPU 0 (H200)", "versions": {"torch": "2"}},
            "paddle": {"refused": "no build"},
        },
        "rows": made_up(),
    }
    page = tmp_path / "new.md"
    check.write_page(page, record)
    first = page.read_text()
    assert "2026-11-21 20:00, full" in first and "torch: GPU 0 (H200); torch 2" in first and "paddle: no build" in first
    assert r"(a\|b\[0\])" in first and "w" * 200 in first
    check.write_page(page, record)
    assert page.read_text() == first


@pytest.mark.parametrize("argv", [("--checks", "none"), ("--backend", "numpy"), ("--device", "gpu:3")])
def test_mistakes_are_one_line(argv):
    done = run_main(check.main, *argv)
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1


def test_a_process_that_dies_is_a_row(monkeypatch):
    monkeypatch.setattr(check, "call_in_child", lambda *_: (None, "was killed by signal 11 (SIGSEGV)"))
    versions, rows = check.run_in_child("torch", ["parity", "speed"], {})
    assert versions == {} and [row["check"] for row in rows] == ["parity", "speed"]
    assert all(row["verdict"] == "MISSED" and "SIGSEGV" in row["what"] for row in rows)
