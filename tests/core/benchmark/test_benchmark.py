"""What is timed, how timings become figures, the parts of a step, and the work of others on the machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from core.benchmark import load
from core.benchmark.shapes import REVIEW_QUANTILES, SHAPES, Shape, parse_shape
from core.benchmark.step_flops import step_flops
from core.benchmark.step_profile import parts, timed_parts
from core.benchmark.timing import Stopwatch, Summary, calls_for, rounds_for, takes_part
from core.engine import machine
from core.engine.executor import Executor
from core.errors import UserError
from core.models.model import initial_parameters
from core.spec.experiment import replace
from tasks.cli.recipes import recipe
from tests.conftest import make_dataset, one_line


def test_flops_by_hand():
    """Tokens, gates, additions and multiplications, units, then what each unit reads, for directions and layers."""
    assert SHAPES["textbook-srn"].flops("srn", 10, False) == 10 * 1 * 2 * 10 * (10 + 10)
    assert SHAPES["small"].flops("gru", 5, True) == 3 * 5 * 3 * 2 * 128 * (128 + 128) * 2
    assert SHAPES["deep"].flops("lstm", 1, True) == 3 * 4 * 2 * 256 * ((100 + 256) + (512 + 256)) * 2


def test_flops_of_a_step_by_hand():
    """A BiLSTM, a frozen embedding, adversarial passes, and the windows of a TextCNN."""
    lengths = np.array([3, 1, 9])
    columns = 2 * 13 * 2 * 4 * 128
    plain, frozen = recipe("lstm"), replace(recipe("lstm"), {"model.embedding.trainable": False})
    assert step_flops(plain.model, plain.training, lengths) == 3 * columns * (128 + 128)
    assert step_flops(frozen.model, frozen.training, lengths) == columns * (2 * (128 + 128) + 128)
    deep = replace(plain, {"model.encoder.num_layers": 2, "model.embedding.trainable": False})
    assert step_flops(deep.model, deep.training, lengths) == columns * (3 * (256 + 384) - 128)
    worst, virtual = (replace(frozen, {f"training.{name}": 0.1}) for name in ("adversarial", "virtual_adversarial"))
    assert step_flops(worst.model, worst.training, lengths) == 2 * 3 * columns * 256
    assert step_flops(virtual.model, virtual.training, lengths) == (3 + 2 + 3) * columns * 256
    both = replace(worst, {"training.virtual_adversarial": 0.1})
    assert step_flops(both.model, both.training, lengths) == (3 + 3 + 2 + 3) * columns * 256
    # Kernels of 3, 4 and 5 tokens have 1 + 1 + 7, 1 + 1 + 6 and 1 + 1 + 5 windows, of which a maximum takes one each.
    texts = recipe("textcnn")
    forward, backward = (2 * 100 * 128 * sum(products) for products in ((9 * 3, 8 * 4, 7 * 5), (3 * 3, 3 * 4, 3 * 5)))
    assert step_flops(texts.model, texts.training, lengths) == forward + 2 * backward
    mean = replace(texts, {"model.head.pooling": "mean"})
    assert step_flops(mean.model, mean.training, lengths) == 3 * forward
    bag = replace(plain, {"model.encoder": {"kind": "none"}})
    assert step_flops(bag.model, bag.training, lengths) == 0


def test_lengths_as_reviews_have_them():
    for length, mean in ((256, 180.7), (128, 90.35)):  # measured on the reviews themselves, truncated to 256 tokens
        lengths = Shape("", 4000, length, 1, 1).draw_lengths("imdb", 0)
        assert abs(lengths.mean() - mean) < 0.7 and abs((lengths == length).mean() - 0.3) < 0.01
        assert lengths.min() >= REVIEW_QUANTILES[0] // 2 and lengths.max() == length and lengths.dtype == np.int64
    assert (Shape("", 5, 7, 1, 1).draw_lengths("equal", 0) == 7).all()
    for shape in (*SHAPES.values(), Shape("", 1, 1, 1, 1)):
        lengths = shape.draw_lengths("imdb", 3)
        assert lengths.shape == (shape.batch,) and lengths.min() >= 1 and lengths.max() <= shape.length
        assert (lengths == shape.draw_lengths("imdb", 3)).all()


def test_shapes_by_name_and_as_numbers():
    assert parse_shape("imdb") is SHAPES["imdb"] and str(SHAPES["deep"]) == "32 x 256, 100/256, bi, 2 layers"
    shape = parse_shape("64x256,256/128,bi,2")
    assert asdict(shape) == asdict(Shape("64x256,256/128,bi,2", 64, 256, 256, 128, True, 2))
    assert parse_shape("2x5,10/10") == SHAPES["textbook-srn"] and parse_shape("2x5,10/10,3").layers == 3
    for text in ("typo", "2x5", "2x5,10", "0x5,1/1", "2x5,10/10,bi,0", "2x5,10/10,17", "2x5,10/10,uni"):
        with pytest.raises(UserError) as error:
            parse_shape(text)
        assert f"`shapes` {text}: " in one_line(error)


def test_arrays_are_zero_past_the_lengths():
    lengths = np.array([9, 1, 4, 2])
    arrays = Shape("", 4, 9, 3, 5, True, 2).arrays("gru", lengths, "float64", 0)
    assert arrays["x"].shape == (4, 9, 3) and arrays["d_output"].shape == (4, 9, 10)
    assert arrays["encoder.weight_ih_l1_reverse"].shape == (15, 10) and len(arrays) == 2 + 16
    assert {array.dtype for array in arrays.values()} == {np.dtype("float64")}
    for name in ("x", "d_output"):
        for row, length in enumerate(lengths):
            assert arrays[name][row, :length].all() and not arrays[name][row, length:].any()


def test_calls_and_rounds():
    assert Summary.of([1.0, 2.0, 10.0, 3.0, 4.0]) == Summary(3.0, 2.0, 4.0, 5)
    with pytest.raises(ValueError, match="no values"):
        Summary.of([])
    assert [calls_for(seconds, 0.005) for seconds in (1.0, 0.005, 0.002, 1e-5, 0.0)] == [1, 1, 3, 500, 10_000]
    assert [rounds_for(seconds, 7, 15.0) for seconds in (0.01, 2.0, 4.0, 60.0)] == [7, 7, 3, 2]
    assert rounds_for(60.0, 1, 15.0) == 1
    for own, rounds in itertools.combinations_with_replacement(range(1, 12), 2):
        taken = [round for round in range(rounds) if takes_part(round, own, rounds)]
        assert len(taken) == own and taken[0] == 0


def test_a_stopwatch_counts_every_moment_once(monkeypatch):
    """A part within another, around another, as a decorator, and one that fails."""
    watch, clock = Stopwatch(), iter((0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0, 1000.0, 1001.0))
    monkeypatch.setattr(time, "perf_counter", clock.__next__)
    with watch.part("outer"):
        with watch.part("inner"):
            watch.part("outer")(int)()
        with contextlib.suppress(KeyError), watch.part("inner"):
            raise KeyError
    watch.part("inner")(int)()
    assert watch.seconds == {"outer": 1.0 + 4.0 + 16.0 + 64.0, "inner": 2.0 + 8.0 + 32.0 + 1.0}


# Parts of a step


@pytest.mark.parametrize(("of", "part"), [("default", "recurrent"), ("textcnn", "convolution")])
def test_parts_of_a_step_are_the_step(backend, of, part, rng, monkeypatch):
    """Every name that is wrapped is there, every part takes time, and afterwards all is as it was."""
    experiment = replace(recipe(of), {"training.batch_size": 8}).with_vocab_size(20)
    encoder, parameters = experiment.model.encoder, initial_parameters(experiment.model, 0, "float32")
    engine = backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "builtin"))
    watch, batch = Stopwatch(), make_dataset(rng, 8).batch(np.arange(8))
    with timed_parts(backend, engine, encoder, watch), watch.part("rest"):
        engine.train_step(batch, 0, 1e-3)
    assert set(watch.seconds) == set(parts(encoder)) and min(watch.seconds.values()) > 0 and part in watch.seconds
    before = dict(watch.seconds)
    engine.train_step(batch, 1, 1e-3)
    assert watch.seconds == before
    with (
        pytest.raises(RuntimeError, match=f"never entered: .*{part}"),
        timed_parts(backend, engine, encoder, Stopwatch()),
    ):
        pass
    monkeypatch.delattr(backend.engine, "clip")
    with pytest.raises(AttributeError, match="clip"), timed_parts(backend, engine, encoder, watch):
        pass


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system tells no processor times")
def test_work_of_other_processes_is_measured():
    burns = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    busy = subprocess.Popen([sys.executable, "-c", burns], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # Other processes may be at work too: the difference is the work of this one.
        start, everyone, without_it = time.perf_counter(), load.OtherWork([]), load.OtherWork([busy.pid])
        busy.stdout.readline()
        seen, unseen, seconds = everyone.cores(), without_it.cores(), time.perf_counter() - start
    finally:
        busy.kill()
        busy.communicate()
    assert (seen - unseen) * seconds > 0.3


def test_unknown_work_of_other_processes(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert load.OtherWork([]).cores() is None
    monkeypatch.setattr(machine, "Path", lambda *_: Path("/nowhere"))
    assert machine.processor() and machine.processor_vendor() == ""
