"""Keywords of a training run, as the arguments of its program: `hidden=64` is `--hidden 64`."""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import os
from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType

from core.errors import UserError
from core.strings import shorten
from tasks.cli.options import OPTIONS
from tasks.run.both_frameworks import BOTH
from tasks.run.program import NO_BASELINE, Program
from tasks.run.train_command import train_parser

BASELINE, PICTURES = "baseline", "pictures"
"""Keywords that no argument has: False for `--no-baseline`, and for a run without pictures."""
NOT_KEYWORDS = ("resume", "out", "cross_validate", NO_BASELINE[2:].replace("-", "_"))
"""Arguments of a program that are no options of a run."""
FILES = ("train", "data", "dev", "test", "columns", "text_column", "label_column", "encoding", "config")
"""Keywords that name files, or describe them."""

FIELDS = MappingProxyType(
    {
        name.rpartition(".")[2]: option.dest
        for options in OPTIONS.values()
        for option in options
        for name in reversed(option.paths)
        if not name.endswith(".kind")
    }
)
"""Keyword of a field of the spec by its last name: `hidden_size` is `hidden`."""


def keywords_of(program: Program) -> list[str]:
    """Return the keywords of a training run of a program."""
    return [*(name for name in _defaults(program) if name not in NOT_KEYWORDS), BASELINE, PICTURES]


def check_keywords(names: Collection[str], known: Collection[str], where: str) -> None:
    """Raise UserError for a name that is not known, with the nearest one."""
    for name in names:
        if name not in known:
            field = FIELDS.get(name)
            near = [field] if field in known else difflib.get_close_matches(name, known, n=1)
            fix = f"use {near[0]}" if near else "see docs/python-api.md"
            raise UserError(f"{where}: unknown option {shorten(name, 80)!r}: {fix}")


def arguments_of(program: Program, options: Mapping[str, object], where: str) -> argparse.Namespace:
    """Return the arguments of a program for these keywords; one that is None has its default.

    Raises UserError for an unknown keyword, and for a value that no argument can have.
    """
    check_keywords(options, keywords_of(program), where)
    arguments = argparse.Namespace(**copy.deepcopy(dict(_defaults(program))))
    for name, value in options.items():
        if value is None or name == PICTURES:
            continue
        if name == BASELINE:
            if hasattr(arguments, NOT_KEYWORDS[-1]):
                setattr(arguments, NOT_KEYWORDS[-1], not value)
        else:
            setattr(arguments, name, _value(name, value, where))
    if arguments.backend == BOTH:
        raise UserError(f"{where}: backend {BOTH!r} gives two runs: train each, and compare them")
    return arguments


@cache
def _defaults(program: Program) -> Mapping[str, object]:
    """Return the arguments of a program that is given none. They do not change, and a parser takes long to make."""
    return MappingProxyType(vars(train_parser(program).parse_args([])))


def _value(name: str, value: object, where: str) -> object:
    """Return a value as the parser of the program would."""
    if name == "set":
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: set: got {type(value).__name__}, expected a dictionary of fields of the spec")
        return [f"{field}={json.dumps(plain(own))}" for field, own in value.items()]
    value = plain(value)
    if name in ("columns", "text_column") and isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        raise UserError(f"{where}: {name}: got a dictionary, expected a value")
    return value


def plain(value: object) -> object:
    """Return a value as JSON knows it: no tuple, path, or number of NumPy."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    if isinstance(value, Mapping):
        return {str(name): plain(own) for name, own in value.items()}
    tolist = getattr(value, "tolist", None)
    return tolist() if tolist is not None else value
