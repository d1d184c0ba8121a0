"""The tool that accounts for the time of a layer: batches as in a run, and a line for every number of threads."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from backends import kernels
from core.benchmark.shapes import parse_shape
from tools import kernel_schedule


def test_lengths_are_those_of_a_bucket(rng):
    shape, seed = parse_shape("7x300,3/4"), int(rng.integers(1000))
    lengths = kernel_schedule.batch_lengths(shape, seed)
    assert lengths.shape == (7,) and (np.diff(lengths) >= 0).all()
    assert lengths.min() >= 1 and lengths.max() <= 300
    drawn = np.sort(parse_shape("350x300,3/4").draw_lengths("imdb", seed))
    assert any(np.array_equal(lengths, drawn[first : first + 7]) for first in range(0, 350, 7))


@pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")
def test_a_line_for_every_number_of_threads(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "_threads", None)  # restored afterwards
    options = "--shapes 8x30,20/24,bi --cell gru --threads 1 3 --batches 2 --rounds 2 --jobs"
    monkeypatch.setattr(sys, "argv", ["kernel_schedule", *options.split()])
    kernel_schedule.main()
    printed = capsys.readouterr().out
    assert "gru" in printed.splitlines()[0]
    line = r"^ +(\d+) threads: idle (-?[\d.]+)% ± [\d.]+%, \d+ GFLOP/s.*forward [\d.]+%"
    found = re.findall(line, printed, re.MULTILINE)
    assert [threads for threads, _ in found] == ["1", "3"]
    assert abs(float(found[0][1])) < 0.1, "one thread is never idle"
    assert "job 0: " in printed
