"""The two models of a case, with their values, inputs and optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from core.twin.inputs import parse_inputs
from tests.twin.cases import Case
from tests.twin.conversions import CONVERSIONS
from tests.twin.weights import convert, randomize_paddle, randomize_torch


@dataclass(frozen=True)
class Built:
    """A case that is ready to be compared."""

    torch: Any
    paddle: Any
    inputs: dict[str, np.ndarray]


def build(case: Case, seed: int) -> Built:
    """Build the models of a case, the faulty one with its fault; all values are drawn by `seed`."""
    module_name, _, classes = case.pair.partition(":")
    module = import_module(f"tests.twin.pairs.{module_name}")
    names = classes.split(",") if classes else module.CLASSES
    options = dict(case.options)
    models = [
        getattr(module, name)(case.fault if side == case.side else "", **options)
        for side, name in zip(("torch", "paddle"), names, strict=True)
    ]
    rng = np.random.default_rng(seed)
    randomize_torch(models[0], rng)
    randomize_paddle(models[1], rng)
    if case.conversion:
        conversion = CONVERSIONS[case.conversion]
        convert(*models, conversion.rename, conversion.change)
    inputs = parse_inputs(list(getattr(module, "INPUTS_OF", {}).get(names[0], module.INPUTS)), seed)
    if "lengths" in inputs:
        inputs["lengths"] = inputs["lengths"][::-1].copy()  # from 1 to the longest: never sorted as packing wants it
    return Built(*models, getattr(module, "prepare", dict)(inputs))
