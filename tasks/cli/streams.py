"""Standard input, output and error of a program, which may be closed, full, or a pipe whose reader has gone.

Programs that only print results end when standard output is lost. Those that write files, such as a training run, go on
without printing. The loss of standard error never ends a program.

Everything that is printed passes here. Control characters in plain text are replaced (`core.strings.printable`), as
text, labels and names come from files; rich's own styles pass through `styled`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core.errors import UserError
from core.strings import printable

PIPE_CLOSED = 141
"""Exit code if the reader of standard output has gone: 128 + SIGPIPE, as in the shell."""

OUTPUT, ERROR = "standard output", "standard error"


class OutputLost(Exception):
    """Standard output cannot be written.

    No OSError: libraries ignore those of a stream, and rich ends the process.
    """

    def __init__(self, cause: OSError) -> None:
        fix = "free disk space, or redirect it elsewhere" if cause.errno == errno.ENOSPC else "redirect it to a file"
        super().__init__(f"{OUTPUT}: cannot be written ({cause.strerror or cause}): {fix}")
        self.by_reader = isinstance(cause, ConnectionError)
        """Whether the reader of the pipe has gone, such as `head`."""


class Output:
    """Standard output or error; `stream` is None if it was closed before the program started.

    `on_loss(name, cause)` is called for the first error.
    """

    def __init__(self, stream: Any, name: str, on_loss: Callable[[str, OSError], None]) -> None:
        self.stream, self.name, self._on_loss = stream, name, on_loss
        self.lost: OSError | None = None
        self.styled = _Styled(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write plain text, without its control characters."""
        return self.put(printable(text))

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._call("flush")

    def isatty(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def put(self, text: str) -> int:
        """Write text as it is."""
        if text:
            self._call("write", text)
        return len(text)

    def _call(self, name: str, *arguments: str) -> None:
        if self.lost is not None:
            return
        try:
            if self.stream is None:
                raise OSError(errno.EBADF, "it is closed")
            getattr(self.stream, name)(*arguments)
        except OSError as error:
            self.lost = error
            self._discard()
            self._on_loss(self.name, error)

    def _discard(self) -> None:
        """Redirect the descriptor to the null device, for text in buffers, other libraries and child processes."""
        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


class _Styled:
    """The side of an output for text with escape sequences of our own."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)

    def write(self, text: str) -> int:
        return self._output.put(text)


class Input:
    """Standard input; `stream` is None if it was closed before the program started."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    @property
    def buffer(self) -> Input:
        return Input(None if self.stream is None else self.stream.buffer)

    def isatty(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def read(self, *size: int) -> Any:
        return self._read("read", *size)

    def readline(self, *size: int) -> Any:
        return self._read("readline", *size)

    def _read(self, name: str, *size: int) -> Any:
        """Call a method of the stream. Raises UserError if it is closed or cannot be read."""
        fix = "give the text as an argument or a file"
        if self.stream is None:
            raise UserError(f"standard input is closed: {fix}")
        try:
            return getattr(self.stream, name)(*size)
        except UnicodeDecodeError as error:
            raise UserError(f"standard input: not {error.encoding.upper()}: convert it, or {fix}") from None
        except OSError as error:
            raise UserError(f"standard input: cannot be read ({error.strerror or error}): {fix}") from None


class Streams:
    """The standard streams of the running program."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self.work = ""
        """What continues if standard output is lost, "" for a program that ends then."""
        self.output = Output(sys.stdout, OUTPUT, self._on_loss)
        self.error = Output(sys.stderr, ERROR, self._on_loss)

    def _on_loss(self, name: str, cause: OSError) -> None:
        if self.work:
            self._tell(name, f"{name} cannot be written ({cause.strerror or cause}), {self.work} continues without it")
        elif name == OUTPUT:
            raise OutputLost(cause)

    def flush(self) -> None:
        """Write what is buffered. Raises OutputLost if it cannot be written, or could not before."""
        self.output.flush()
        if self.output.lost is not None and not self.work:
            raise OutputLost(self.output.lost)


_current: list[Streams] = []


@contextmanager
def guarded(tell: Callable[[str, str], None]) -> Iterator[Streams]:
    """Replace the standard streams during a program.

    `tell(name, text)` prints a note that the stream `name` is lost, on the other one.
    """
    before, streams = (sys.stdin, sys.stdout, sys.stderr), Streams(tell)
    sys.stdin, sys.stdout, sys.stderr = Input(sys.stdin), streams.output, streams.error
    _current.append(streams)
    try:
        yield streams
    finally:
        _current.pop()
        sys.stdin, sys.stdout, sys.stderr = before


def keep_working(work: str = "training") -> None:
    """Go on if standard output is lost: the results of this program are in files."""
    for streams in _current[-1:]:
        streams.work = work


def open_missing() -> None:
    """Open the null device in place of standard descriptors that are closed.

    The next file that is opened would get their number, and everything that libraries print.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            os.set_inheritable(descriptor, True)
