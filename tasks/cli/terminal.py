"""Consoles of standard output and standard error, and messages in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from core.strings import MESSAGE, message, one_line, printable

LEAST_WIDTH = 20
"""Width of a narrower terminal; rich prints nothing for a width of 0."""


OUTPUT, ERRORS = "standard output", "standard error"
_silent: ContextVar[frozenset[str]] = ContextVar("silent", default=frozenset())
"""Streams on which consoles print nothing."""


@contextmanager
def silent(*streams: str) -> Iterator[None]:
    """Print nothing on the consoles of these streams (all by default) while the block runs, in this thread alone."""
    token = _silent.set(_silent.get() | {*(streams or (OUTPUT, ERRORS))})
    try:
        yield
    finally:
        _silent.reset(token)


class Terminal(Console):
    """A console that replaces control characters in all that it prints, but not in its own styles."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is printed: set for a process of rank > 0, and inside of `silent`."""
        return self._quiet or (ERRORS if self.stderr else OUTPUT) in _silent.get()

    @quiet.setter
    def quiet(self, value: bool) -> None:
        self._quiet = value

    @property
    def is_terminal(self) -> bool:
        # A notebook's kernel sets FORCE_COLOR for its output, which shows no bars that move.
        return not is_of_kernel(self.file) and super().is_terminal

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # The segments of a control move the cursor, for progress bars.
            plain = segment.control or segment.text.isprintable()
            yield segment if plain else Segment(printable(segment.text), segment.style)

    @property
    def file(self) -> IO[str]:
        """The stream, without the replacement of escape sequences in plain text (`tasks/cli/streams.py`)."""
        file = super().file
        return getattr(file, "styled", file)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    @property
    def size(self) -> ConsoleDimensions:
        width, height = super().size
        return ConsoleDimensions(max(width, LEAST_WIDTH), height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


def is_of_kernel(stream: object) -> bool:
    """Return whether a stream is the output of a cell of a notebook."""
    return type(stream).__module__.startswith("ipykernel.")


console = Terminal(highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
"""Standard output. Lines are not wrapped, so that other tools can process them; `:cat:` is no emoji."""

errors = Terminal(stderr=True, highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)


def literal(text: str) -> str:
    """Return text that a console prints as it is, on one line: without markup and control characters."""
    return escape(one_line(text))


def error(text: str, who: str = "") -> None:
    """Print an error; `who` precedes it."""
    errors.print(f"{who}[red]error:[/] {_message(text)}")


def warning(text: str) -> None:
    errors.print(f"[yellow]warning:[/] {_message(text)}")


def note(text: str, longest: int = MESSAGE, on: Console = errors) -> None:
    """Print a note of at most `longest` characters."""
    on.print(f"[yellow]note:[/] {_message(text, longest)}")


def _message(text: str, longest: int = MESSAGE) -> str:
    from tasks.cli.flags import name_flags  # all options of all programs

    return escape(message(name_flags(text), longest))
