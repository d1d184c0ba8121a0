"""Hostile weight files: each ends in one line, within its budget of memory and operations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends import weight_files
from core import zip_directory
from core.errors import UserError
from core.weights import budget, torch_files
from core.weights.convert import Port, convert
from core.weights.layers import find_layers
from tests.core.weights.hostile_table import HOSTILE
from tests.peak_memory import refusal

MEMORY, OPERATIONS = 2 * 10**6, 10**4
"""Constants of the budget in these tests: smaller ones, so that small files exceed them."""


def read(path: Path) -> Port:
    reader = weight_files.reader(weight_files.kind_of_source(path))
    return convert(reader.read_state(path), reader.LINEAR_LAYOUT)


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setattr(budget, "MEMORY", MEMORY)
    monkeypatch.setattr(budget, "OPERATIONS", OPERATIONS)
    monkeypatch.setattr(zip_directory, "SPARE", 100)


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_file_ends_in_one_line_within_its_budget(title, tmp_path, small_budget):
    data, said = HOSTILE[title]
    path = tmp_path / title
    path.write_bytes(data)
    message, peak = refusal(lambda: read(path))
    assert said in message and message.startswith(f"{path}: "), message
    assert message.isprintable() and len(message) < 700
    assert peak < 2 * MEMORY + 12 * len(data), f"{peak:,} bytes"


def test_the_limits_are_proportional_and_named(small_budget):
    assert (budget.Budget("a", 0).memory, budget.Budget("a", 1000).memory) == (MEMORY, MEMORY + 8000)
    assert (budget.Budget("a", 0).operations, budget.Budget("a", 800).operations) == (OPERATIONS, OPERATIONS + 100)
    with pytest.raises(
        UserError, match=r"^a: asks for more than 10 MB of memory, the limit for 1,000,000 bytes: save a"
    ):
        budget.Budget("a", 10**6).create(10**7 + 1)
    with pytest.raises(UserError, match=r"^a: asks for more than 10,100 operations, the limit for 800 bytes: save a"):
        budget.Budget("a", 800).operate(10_101)


def test_layers_of_many_modules_are_found_in_linear_time(tmp_path, monkeypatch):
    """By the calls of the function that sees every name."""
    from core.weights import layers

    state = {}
    for number in range(300):
        state |= {f"r{number}.weight_ih_l0": np.ones((4, 1)), f"r{number}.weight_hh_l0": np.ones((4, 1))}
        state |= {f"n{number}.weight_g": np.ones((2, 1)), f"n{number}.weight_v": np.ones((2, 1))}
    seen = []
    monkeypatch.setattr(layers, "layer_name", lambda key: seen.append(key) or torch_names(key))
    found = find_layers(torch_files.StateDict("my.pt", state), "out_in")
    assert [layer.name for layer in found.found[:4]] == ["r0", "r1", "r2", "r3"] and len(found.found) == 300
    assert len(seen) <= 2 * len(state)


def torch_names(key: str) -> str | None:
    return key if "_l0" in key else None
