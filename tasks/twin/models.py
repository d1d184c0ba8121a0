"""Models of the user, from `FILE:NAME`, `MODULE:NAME` or a recording, and the functions that they give for them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends import weight_files
from core.errors import UserError
from core.twin.file import ModelRecord, is_recording, read_record
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.recorded import RecordedSide
from core.weights.state_dict import StateDict
from tasks.cli.console import console, fact
from tasks.cli.framework import load_backend
from tasks.cli.terminal import literal
from tasks.cli.user_files import UserFiles

IMPORTS = re.compile(r"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)
EXAMPLE = "my_model.py:Model"
LISTED = 3
"""Most names that are listed of a file."""


@dataclass(frozen=True)
class Loaded:
    """A model, living or recorded."""

    name: str
    framework: str
    model: Any = None
    """None for a recording."""
    record: ModelRecord | None = None
    """None for a living model."""

    def side(self, loss: Callable | None, optimizer: Callable | None) -> Any:
        """Return what compares it."""
        if self.record is not None:
            return RecordedSide(self.record, self.name)
        module = importlib.import_module(f"backends.{self.framework}.twin.side")
        return module.TwinSide(self.model, self.name, loss, optimizer)


def load(where: str, files: UserFiles, seed: int) -> Loaded:
    """Return the model of an argument; exceptions of the user's code pass through. Raises UserError.

    The frameworks' random numbers are seeded meanwhile, so that a model has the same starting values in every run.
    """
    if is_recording(where):
        record = read_record(where)
        fact("recorded", f"{where}: {record.name} in {FRAMEWORK_NAMES[record.recordings[0].framework]}")
        return Loaded(where, record.recordings[0].framework, record=record)
    otherwise = f"{where}: expected FILE:CLASS, such as {EXAMPLE}"
    _import_frameworks(_locate(where.rpartition(":")[0], otherwise))
    with _seeded(seed):
        made = attribute(where, files, otherwise)
        built = made() if inspect.isclass(made) or (callable(made) and framework_of(made) is None) else made
    framework = framework_of(built)
    if framework is None:
        expected = " or ".join(FRAMEWORK_NAMES.values())
        raise UserError(f"{where}: got {type(built).__name__}, expected a module of {expected}")
    fact("model", f"{where}: {type(built).__name__} in {FRAMEWORK_NAMES[framework]}")
    return Loaded(where, framework, model=built)


def _locate(file: str, otherwise: str) -> Path:
    """Return the file of `FILE` or of a module's name. Raises UserError, with the text `otherwise` if it is neither."""
    if file.endswith(".py") or Path(file).is_file():
        if not Path(file).is_file():
            raise UserError(f"{file}: no such file: check the path")
        return Path(file)
    if not all(part.isidentifier() for part in file.split(".")):
        raise UserError(otherwise)
    try:
        spec = importlib.util.find_spec(file)
    except ModuleNotFoundError as error:
        if not file.startswith(error.name or file):  # an import in the user's package fails
            raise
        spec = None
    if spec is None or not spec.has_location or spec.origin is None:
        raise UserError(f"no module {file}: give FILE:NAME, or start where it can be imported")
    return Path(spec.origin)


def _import_frameworks(file: Path) -> None:
    """Import the frameworks that a file imports, with a message, before the file does."""
    for name in sorted(set(IMPORTS.findall(file.read_text(encoding="utf-8", errors="replace")))):
        if name in backends.NAMES:
            load_backend(name)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the random numbers of all imported frameworks, and restore their states afterwards."""
    with ExitStack() as stack:
        for name in backends.NAMES:
            if f"backends.{name}" in sys.modules:
                stack.enter_context(importlib.import_module(f"backends.{name}.twin.casting").seeded(seed))
        yield


def attribute(where: str, files: UserFiles, otherwise: str) -> Any:
    """Return what `FILE:NAME` or `MODULE:NAME` names. Raises UserError, with the text `otherwise` if it is neither."""
    file, colon, name = where.rpartition(":")
    if not colon or not file or not name:
        raise UserError(otherwise)
    path = _locate(file, otherwise)
    found = files.load(path) if Path(file).is_file() else files.load_module(file, path)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{where}: no class, function or model {name} in {file}: check the name")
        found = getattr(found, part)
    return found


def framework_of(model: object) -> str | None:
    """Return the framework that a model is a module of, None if there is none."""
    owners = [name for name in backends.NAMES if name in sys.modules and load_backend(name).owns(model)]
    return owners[0] if owners else None


def function(where: str, files: UserFiles, flag: str) -> Callable | None:
    """Return the function of `FILE:NAME`, None for "". Raises UserError."""
    if not where:
        return None
    found = attribute(where, files, f"{flag} {where}: expected FILE:FUNCTION, such as my_losses.py:loss")
    if not callable(found):
        raise UserError(f"{flag} {where}: got {type(found).__name__}, expected a function")
    return found


def load_weights(loaded: Loaded, path: str) -> None:
    """Load a state dict into a model; no code of the file is executed. Raises UserError if the model needs more.

    Arrays that the model does not have, such as those of its loss, are left out with a note.
    """
    state = weight_files.reader(weight_files.kind_of_source(path)).read_state(path)
    own = state_of(loaded.model)
    extra = [name for name in state.arrays if name not in own]
    if all(name in state.arrays for name, array in own.items() if array.dtype.kind == "f"):
        state = replace(state, arrays={name: array for name, array in state.arrays.items() if name in own})
    _load(loaded, state, f"{loaded.name}, --weights {path}")
    fact("weights", f"{len(state.arrays)} arrays of {path}")
    if extra:
        more = f" and {len(extra) - LISTED} more" if len(extra) > LISTED else ""
        console.print(f"[yellow]note:[/] {literal(', '.join(extra[:LISTED]) + more)} not in the model: left out")


def convert(first: Loaded, second: Loaded, where: str, files: UserFiles) -> None:
    """Load the user's conversion of the first model's state dict into the second. Raises UserError."""
    if first.model is None or second.model is None:
        raise UserError(f"--convert {where}: a recording has no state dict: give both models as FILE:NAME")
    made = function(where, files, "--convert")
    assert made is not None
    found = made(state_of(first.model))
    if not isinstance(found, Mapping) or not all(isinstance(own, np.ndarray) for own in found.values()):
        raise UserError(f"--convert {where}: expected a dictionary of NumPy arrays by name in the second model")
    arrays = {str(name): own for name, own in found.items() if own.dtype.kind == "f"}
    _load(second, StateDict(where, arrays), f"{second.name}, --convert {where}")
    fact("convert", f"{len(arrays)} arrays by {where}")


def state_of(model: Any) -> dict[str, np.ndarray]:
    """Return the state dict of a model of either framework as arrays, under its own names and in its own layout."""
    return {name: np.array(own.detach().cpu().numpy()) for name, own in model.state_dict().items()}


def _load(loaded: Loaded, state: StateDict, where: str) -> None:
    load_backend(loaded.framework).load_module(loaded.model, state.arrays, where)


def check_call(loaded: Loaded, inputs: Mapping[str, Any]) -> None:
    """Raise UserError if `forward` of a living model does not take these inputs."""
    if loaded.model is None:
        return
    forward = loaded.model.forward
    places = [inputs[str(number)] for number in range(len(inputs)) if str(number) in inputs]
    others = {name: own for name, own in inputs.items() if not name.isdigit()}
    try:
        signature = inspect.signature(forward)
    except ValueError:  # compiled code has no signature
        return
    try:
        signature.bind(*places, **others)
    except TypeError as error:
        got = ", ".join(inputs) or "nothing"
        raise UserError(
            f"{loaded.name}: forward{signature} does not fit the inputs {got} ({error}): name them as forward does, or"
            f" give --input without names, by position"
        ) from None
