"""All findings of a comparison, and the sentence that names the first difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from core.twin.recording import Module

RUNGS = ("parameters", "forward pass", "gradients", "training steps")
"""Names of the rungs 0 to 3."""


@dataclass(frozen=True)
class Cause:
    """Why the first difference is there, as far as it is known."""

    sentence: str
    """One sentence in the user's words, naming modules, settings and values of both frameworks."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Path of the module by framework."""
    place: str = ""
    """`inside` a module, `between` two of them, `parameters`, `order`, `detached`, `optimizer`, or "" if unknown."""
    setting: str = ""
    """Neutral name of the setting, "" if none explains it."""
    repaired: bool = False
    """Whether the outputs agreed with an equal setting."""
    link: str = ""
    """Anchor of the entry in docs/differences.md, "" if there is none."""


@dataclass(frozen=True)
class Row:
    """A pair of calls (rung 1 and 2), or a call without a partner."""

    paths: Mapping[str, str]
    """Path of the module by framework; a framework without a partner is missing."""
    classes: Mapping[str, str]
    mode: str
    inputs: float | None = None
    """Difference of the inputs; None if they were not compared."""
    outputs: float | None = None
    gradients: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Result of one rung in one mode."""

    rung: int
    """0 parameters, 1 forward, 2 gradients, 3 training steps."""
    mode: str
    """`evaluation`, `training`, or "" for parameters."""
    value: float | None
    """Largest difference; None if nothing could be compared."""
    limit: float
    passed: bool
    compared: int
    """Number of arrays."""
    sentence: str = ""
    """What differs first, in words; "" if nothing does."""
    cause: Cause | None = None

    @property
    def why(self) -> str:
        """Return the cause in words, without names that the sentence has already; "" if it is unknown."""
        text = "" if self.cause is None else self.cause.sentence
        names, colon, rest = text.partition(": ")
        return rest if colon and names.startswith("`") and names in self.sentence else text


@dataclass(frozen=True)
class Pairing:
    """How the parameters of one model were matched with those of the other (rung 0)."""

    names: Mapping[str, str]
    """Neutral name in Paddle by neutral name in PyTorch."""
    how: Mapping[str, str]
    """By the name in PyTorch: `map`, `name`, `order`, `shape`, `permutation`, `transposed`, `gates`, `tied`."""
    ambiguous: tuple[tuple[str, ...], ...] = ()
    """Groups of PyTorch names with equal signatures that only the order of execution told apart."""
    left: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names without a partner, by framework."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison."""

    names: Mapping[str, str]
    """What was compared, by framework: `mine_torch.py:Model`."""
    versions: Mapping[str, str]
    dtype: str
    seed: int
    inputs: Mapping[str, str]
    """Type and shape of every input: `ids: int64 [4, 9]`."""
    pairing: Pairing
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    """Settings that differ without an effect on what was run, and what could not be followed."""
    seconds: float = 0.0
    rounding: Mapping[str, float] = field(default_factory=dict)
    """For float32: by mode the largest difference in units of the model's own rounding."""
    modules: Mapping[str, tuple[Module, ...]] = field(default_factory=dict)
    """Modules of both models by framework, in order of definition, for the trees of a report."""

    @property
    def same(self) -> bool:
        """Return whether every finding passed, and at least the forward pass was compared."""
        return all(own.passed for own in self.findings) and any(own.rung == 1 for own in self.findings)

    @property
    def first(self) -> Finding | None:
        """Return the first finding that failed, None if all passed."""
        failed = [own for own in self.findings if not own.passed]
        return min(failed, key=lambda own: own.rung, default=None)

    def sentence(self) -> str:
        """Return the result in one line."""
        if self.first is None:
            rungs = ", ".join(dict.fromkeys(RUNGS[own.rung] for own in self.findings))
            return f"the same in all that was compared: {rungs}" if self.same else "nothing was compared"
        return f"{self.first.sentence}{': ' if self.first.why else ''}{self.first.why}"

    def assert_same(self) -> None:
        """Raise AssertionError naming the first difference and its cause."""
        if not self.same:
            raise AssertionError(self.sentence())

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON tree, with `same` and `sentence`."""
        tree = asdict(self)
        return {"format": 1, "same": self.same, "sentence": self.sentence(), **tree}
