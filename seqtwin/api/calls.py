"""Calls of the programs' functions from Python: quiet unless wanted, errors with the names of keywords."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from backends.numpy_threads import kept_threads
from core.errors import UserError
from core.strings import message
from tasks.cli.commands import SEQTWIN, started_by_seqtwin
from tasks.cli.flags import FLAGS, name_flags
from tasks.cli.terminal import silent

FLAG = re.compile(r"(?<![\w-])--(no-)?([a-z][a-z-]*[a-z])(?![\w-])")
COMMAND = re.compile(rf"\b(?:{SEQTWIN} [a-z_]+|python -m tasks\.[a-z_]+) ")
KEYWORDS = {flag.removeprefix("--") for flag in FLAGS.values()} | {"backend", "recipe", "config", "cache-dir", "data"}
"""Options whose flags become keywords in messages."""


@contextmanager
def called(verbose: bool = False) -> Iterator[None]:
    """Run the block as a function of the interface: without output unless `verbose`.

    Raises UserError in one line that names keywords, not flags. Threads of NumPy are as before after the block.
    """
    with ExitStack() as during:
        during.enter_context(started_by_seqtwin())
        during.enter_context(kept_threads())
        if not verbose:
            during.enter_context(silent())
        try:
            yield
        except UserError as error:
            raise UserError(name_keywords(str(error))) from None


def name_keywords(text: str) -> str:
    """Return a message in one line, with keywords in place of fields and flags; commands keep their flags."""
    text = message(name_flags(text))
    command = COMMAND.search(text)
    end = len(text) if command is None else command.start()
    return FLAG.sub(_keyword, text[:end]) + text[end:]


def _keyword(match: re.Match[str]) -> str:
    name = match[2]
    if name not in KEYWORDS:
        return match[0]
    return name.replace("-", "_") + ("=False" if match[1] else "")
