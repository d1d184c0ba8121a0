"""Limits of memory and operations for the readers of weight files, proportional to the size of the file.

A few bytes of a pickle can ask for terabytes, or for more operations than anyone waits for. Every reader creates one
`Budget` and charges it for all that its file makes it create. An honest file of arrays uses a small share of it.
"""

from __future__ import annotations

from core.errors import UserError

MEMORY, MEMORY_PER_BYTE = 128 * 10**6, 8
"""Limit of created bytes: a constant, and bytes per byte of the file."""
OPERATIONS, BYTES_PER_OPERATION = 10**6, 8
"""Limit of operations: a constant, and bytes of the file per further operation. A million takes about a second."""


class Budget:
    """What a file of `size` bytes may still use. `where` names the file in errors."""

    __slots__ = ("memory", "operations", "size", "where")

    def __init__(self, where: str, size: int) -> None:
        self.where, self.size = where, size
        self.memory = MEMORY + MEMORY_PER_BYTE * size
        self.operations = OPERATIONS + size // BYTES_PER_OPERATION

    def create(self, count: int) -> None:
        """Charge `count` bytes of memory. Raises UserError if the file asks for more than its limit."""
        self.memory -= count
        if self.memory < 0:
            limit = (MEMORY + MEMORY_PER_BYTE * self.size) / 10**6
            self._refuse(f"{limit:,.0f} MB of memory")

    def operate(self, count: int = 1) -> None:
        """Charge `count` operations. Raises UserError if the file asks for more than its limit."""
        self.operations -= count
        if self.operations < 0:
            self._refuse(f"{OPERATIONS + self.size // BYTES_PER_OPERATION:,} operations")

    def _refuse(self, limit: str) -> None:
        raise UserError(
            f"{self.where}: asks for more than {limit}, the limit for {self.size:,} bytes: save a state dict, which"
            f" holds arrays only"
        )
