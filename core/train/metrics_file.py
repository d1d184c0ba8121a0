"""`metrics.jsonl`: one JSON object per line, for each training step and each evaluation."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from core.checked_json import file_digest_of, parse_json
from core.errors import Note, UserError
from core.files import write_bytes_atomic
from core.train.state import in_this_format

QUANTITIES = ("epoch", "loss", "accuracy")
"""Numbers of every line; a loss that is not finite is null."""
OPTIONAL = ("counted", "tokens", "tokens_per_second", "device_share", "steps", "learning_rate", "grad_norm")
"""Numbers that a line may have, besides `grad_norms`: numbers by parameter, null for one that is not finite."""


class MetricsFile:
    """The metrics of a run. Lines are appended as a whole; `sound` tells which lines a run can have."""

    def __init__(self, path: Path, sound: Callable[[object], bool] | None = None) -> None:
        self.path, self._sound = path, sound or is_sound

    def append(self, lines: list[dict]) -> None:
        """Append lines. Raises UserError if the file cannot be written."""
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(metrics_text(lines))
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}): free disk space, then `resume`"
            ) from None

    def mark(self) -> str:
        """Return `BYTES:SHA-256` of the file, which a checkpoint holds, "0:..." without a file."""
        data = self._data()
        return f"{len(data)}:{hashlib.sha256(data).hexdigest()}"

    def read(self, digest: str | None = None) -> tuple[list[dict], str]:
        """Return all sound lines, and what is wrong with the file, "" for nothing.

        A torn last line, which a killed process leaves, is ignored. `digest` is that of the file, if it is known.
        """
        data = self._data()
        lines, damaged = parse_metrics(data, self._sound)
        if damaged:
            return lines, f"{_named(damaged)}: left out"
        changed = digest is not None and file_digest_of(data) != digest
        return lines, "changed since the run finished: figures may be wrong" if changed else ""

    def recover(self, step: int, mark: str) -> None:
        """Drop the lines after `step`, which a resume repeats.

        `mark` is that of the checkpoint, "" if it has none. If the file was changed since, a copy of it is kept, and
        its sound lines up to `step` stay.
        """
        data = self._data()
        size, _, digest = mark.partition(":")
        if mark and hashlib.sha256(data[: int(size)]).hexdigest() == digest:
            if len(data) != int(size):
                write_bytes_atomic(self.path, data[: int(size)])
            return
        lines, damaged = parse_metrics(data, self._sound)
        if damaged or mark:
            what = _named(damaged) or "changed since the checkpoint"
            told = f"{what}: sound lines are kept, and a copy of all as {self._copy()}" if data else "missing"
            warnings.warn(Note(f"{self.path}: {told}"), stacklevel=2)
        if data:
            write_bytes_atomic(self.path, metrics_text([line for line in lines if line["step"] <= step]).encode())

    def _data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}): check its permissions") from None

    def _copy(self) -> str:
        """Copy the file under a new name, and return that."""
        number = 1
        while (copy := self.path.with_name(f"metrics-damaged-{number}.jsonl")).exists():
            number += 1
        shutil.copyfile(self.path, copy)
        return copy.name


def parse_metrics(data: bytes, sound: Callable[[object], bool] | None = None) -> tuple[list[dict], list[int]]:
    """Return the lines that are `sound` (None: `is_sound`), and the numbers of the others, from 1.

    A torn last line is neither.
    """
    sound = sound or is_sound
    found: list[dict] = []
    damaged: list[int] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            entry = in_this_format(parse_json(line))
        except (ValueError, RecursionError):
            entry = {}
        if sound(entry):
            found.append(entry)
        else:
            damaged.append(number)
    return found, damaged


def is_sound(line: object) -> bool:
    """Return whether decoded JSON is a line of metrics."""
    if not isinstance(line, dict) or line.get("split") not in ("train", "dev"):
        return False
    if type(line.get("step")) is not int or line["step"] < 0 or not set(QUANTITIES) <= set(line):
        return False
    if not isinstance(line.get("run", ""), str):
        return False
    numbers = {name: line[name] for name in (*QUANTITIES, *OPTIONAL) if name in line}
    if line["split"] == "train" and (type(line.get("counted")) is not int or line["counted"] < 1):
        return False
    norms = line.get("grad_norms", {})
    if not isinstance(norms, dict) or not all(norm is None or _is_number(norm) for norm in norms.values()):
        return False
    nullable = ("loss", "grad_norm", "device_share")
    return all(_is_number(value) or (value is None and name in nullable) for name, value in numbers.items())


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type]


def metrics_text(lines: list[dict]) -> str:
    """Format lines of metrics."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def _named(damaged: list[int]) -> str:
    if not damaged:
        return ""
    first = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
    return f"line {first} is damaged" if len(damaged) == 1 else f"{len(damaged)} lines are damaged ({first})"
