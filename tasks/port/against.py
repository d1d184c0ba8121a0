"""Logits of the user's own model, from its class (`--against`) or from a file (`--logits`)."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import backends
from backends import weight_files
from core.errors import UserError
from core.weights.convert import unwrapped
from core.weights.state_dict import StateDict
from core.weights.witness_logits import Witness, check_witness, random_texts, read_witness
from tasks.cli.console import fact
from tasks.cli.user_files import UserFiles
from tasks.port.verify import load_sides


def witness_of(arguments: argparse.Namespace, state: StateDict, vocab_size: int, seed: int) -> Witness:
    """Return the witness that the arguments ask for. Raises UserError.

    `vocab_size` is the number of rows of the embedding.
    """
    if arguments.logits:
        return read_witness(Path(arguments.logits))
    where, sides = arguments.against, load_sides()
    model = build(where)
    owners = {name: side for name, side in sides.items() if side.owns(model)}
    if not owners:
        raise UserError(f"{where}: got {type(model).__name__}, expected a module of {' or '.join(sides)}")
    ((name, side),) = owners.items()
    _load(side, model, state, f"{where} ({name})", arguments.source)
    ids, lengths = random_texts(vocab_size, np.random.default_rng(seed))
    logits, call = side.module_logits(model, ids, lengths, where)
    again, _ = side.module_logits(model, ids, lengths, where)
    if logits.shape != again.shape or not np.array_equal(logits, again, equal_nan=True):
        raise UserError(
            f"{where}: two runs of {call} on the same texts differ: make it deterministic in evaluation mode, e.g. give"
            f" dropout training=self.training"
        )
    fact("run", f"{call} of {where} in {name}, random texts of unequal lengths, seed {seed}")
    return check_witness(ids, lengths, logits, where)


def build(where: str) -> object:
    """Return the model of `FILE:NAME`: a class or function, called without arguments. Raises UserError.

    This runs the file.
    """
    path, _, name = where.rpartition(":")
    if not path or not Path(path).is_file():
        raise UserError(f"--against {where}: expected FILE:CLASS, e.g. my_model.py:Reviews")
    make = getattr(_import(Path(path)), name, None)
    if not callable(make):
        raise UserError(f"--against {where}: no class or function {name} in {path}")
    try:
        return make()
    except Exception as error:  # the user's code can raise any exception
        raise UserError(
            f"{where}: {name}() raised {_short(error)}: give a function without arguments that returns the model"
        ) from None


def _import(path: Path) -> ModuleType:
    try:
        return UserFiles().load(path)
    except UserError:
        raise
    except Exception as error:  # the user's code can raise any exception
        raise UserError(f"{path}: its import raised {_short(error)}: correct it, or give `logits` FILE") from None


def _load(side: Any, model: object, state: StateDict, where: str, source: str) -> None:
    """Load the arrays of the file into the model, under their own names or without the prefixes of wrappers."""
    kind = weight_files.kind_of_source(source)
    if kind in backends.NAMES and kind != side.NAME:
        raise UserError(f"{where}: {source} is a file of {kind}: give the class of the framework that wrote it")
    try:
        side.load_module(model, state.arrays, where)
    except UserError:
        side.load_module(model, unwrapped(state.arrays)[0], where)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
