"""Event files for TensorBoard: what they hold is what metrics.jsonl holds; and the line where its package is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from core.data.sources import imdb as reviews
from core.train.run_folder import RunFolder
from tasks import imdb
from tasks.cli.console import run_program
from tasks.run import scalar_log, train
from tests.conftest import INSTALLED, make_reviews

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="is not installed")
SMALL = ("--epochs", "2", "--hidden", "8", "--embedding-dim", "8", "--vocab-size", "50", "--batch-size", "4")


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    code = run_program(imdb.main, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def events(folder) -> dict[str, list[tuple[int, float]]]:
    """Every scalar by its tag, read by TensorBoard's own reader, which leaves out what a restart made void."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@needs_tensorboard
@pytest.mark.parametrize("name", INSTALLED)
def test_curves_equal_the_metrics_after_a_resume(name, tmp_path, rng, capsys, monkeypatch):
    monkeypatch.setattr(reviews, "PER_CLASS", 60)
    made = make_reviews(tmp_path / "data", rng, 60)
    common = ("--data", made, "--cache-dir", tmp_path / "cache", *SMALL)
    run = tmp_path / "run"
    taken = iter([False] * 25 + [True])

    class Stop:
        def __init__(self, several):
            pass

        def __enter__(self):
            return lambda: next(taken)

        def __exit__(self, *_):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(train, "stop_signals", Stop)
        code, out, _ = call(capsys, "--backend", name, "--tensorboard", "--out", run, *common)
    assert code == 130 and f"tensorboard --logdir {run / 'tensorboard'}" in out
    stopped = RunFolder(run).read_metrics()[-1]["step"]
    code, out, err = call(capsys, "--resume", run, "--tensorboard", "--cache-dir", tmp_path / "cache")
    assert code == 0, err
    lines, found = RunFolder(run).read_metrics(), events(run / "tensorboard")
    assert set(found) == {"loss/train", "accuracy/train", "tokens_per_second", "loss/dev", "accuracy/dev"}
    for quantity in ("loss", "accuracy"):
        dev = [(line["step"], line[quantity]) for line in lines if line["split"] == "dev"]
        assert len(dev) == 2 and np.allclose(found[f"{quantity}/dev"], dev, rtol=1e-6)
        own_lines = [line for line in lines if line["split"] == "train"]
        steps = [step for step, _ in found[f"{quantity}/train"]]
        assert stopped in steps and steps == sorted(set(steps)) and steps[-1] == len(own_lines)
        for (step, value), before in zip(found[f"{quantity}/train"], [0, *steps], strict=False):
            own = [line for line in own_lines if before < line["step"] <= step]
            weights = [line["counted"] for line in own]
            assert value == pytest.approx(np.average([line[quantity] for line in own], weights=weights), rel=1e-5)


@pytest.mark.parametrize("package", ["tensorboard", "visualdl"])
def test_missing_package_is_one_line(package, tmp_path, capsys, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(
        scalar_log.importlib.util, "find_spec", lambda name: None if name == package else original(name)
    )
    code, _, err = call(capsys, "--backend", INSTALLED[0], f"--{package}", "--out", tmp_path / "run")
    assert code == 2 and f"pip install 'seqtwin[{package}]'" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
