"""Inputs of an exported model, and masks over their real tokens."""

from __future__ import annotations

from core.export.graph import Graph


class Sequences:
    """The inputs `ids` [B, L] and `lengths` [B], both int64, and values derived from them, created once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ids = graph.input("ids", ("batch", "length"))
        self.lengths = graph.input("lengths", ("batch",))
        self._counts: dict[int, str] = {}
        self._masks: dict[int, str] = {}
        self._steps = ""
        self._short = ""

    @property
    def steps(self) -> str:
        """The positions 0 to L - 1, [L]."""
        if not self._steps:
            size = self.graph.op("Shape", self.ids, start=1, end=2)
            limit = self.graph.op("Squeeze", size, self.graph.constant([0]))
            self._steps = self.graph.op("Range", self.graph.constant(0), limit, self.graph.constant(1))
        return self._steps

    @property
    def short_lengths(self) -> str:
        """The lengths [B] as int32, which ONNX's recurrent operators read."""
        if not self._short:
            self._short = self.graph.op("Cast", self.lengths, to=self.graph.onnx.TensorProto.INT32)
        return self._short

    def counts(self, width: int = 1) -> str:
        """Return the numbers of valid windows [B, 1] (`core.batch.Windows`)."""
        if width not in self._counts:
            whole = self.graph.op("Sub", self.lengths, self.graph.constant(width - 1))
            least = self.graph.op("Max", whole, self.graph.constant(1))
            self._counts[width] = self.graph.op("Unsqueeze", least, self.graph.constant([1]))
        return self._counts[width]

    def mask(self, width: int = 1) -> str:
        """Return which windows are valid, [B, L, 1] bool; of width 1: which tokens are real."""
        if width not in self._masks:
            found = self.graph.op("Less", self.steps, self.counts(width))
            self._masks[width] = self.graph.op("Unsqueeze", found, self.graph.constant([2]))
        return self._masks[width]

    def at_last(self) -> str:
        """Return which position is the last real token, [B, L, 1] bool."""
        last = self.graph.op("Sub", self.counts(), self.graph.constant(1))
        return self.graph.op("Unsqueeze", self.graph.op("Equal", self.steps, last), self.graph.constant([2]))

    def shape_of_states(self, hidden: int) -> str:
        """Return the shape [B, hidden]."""
        size = self.graph.op("Shape", self.ids, start=0, end=1)
        return self.graph.op("Concat", size, self.graph.constant([hidden]), axis=0)
