"""Progress of a comparison: one bar, with what is running now."""

from __future__ import annotations

from tasks.cli.console import bar
from tasks.cli.terminal import literal


class TwinProgress:
    """Show what is running, and how many runs are done: call it with (description, done, total)."""

    def __enter__(self) -> TwinProgress:
        self._bar = bar()
        self._task = self._bar.add_task("", total=None)
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def __call__(self, description: str, done: int, total: int | None) -> None:
        self._bar.update(self._task, description=literal(description), completed=done, total=total)
