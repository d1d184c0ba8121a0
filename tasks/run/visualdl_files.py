"""Write VisualDL log files to a run's folder during training."""

from __future__ import annotations

from pathlib import Path

from tasks.run.scalar_log import ScalarLog

PACKAGE = "visualdl"
"""Name of the package, its option, and the subfolder of a run's folder."""


class VisualLog(ScalarLog):
    """Write scalars as VisualDL's records.

    VisualDL has no mark for a resume, so each segment of a run has a subfolder, which it shows as a separate curve.
    """

    def __init__(self, run: Path, from_step: int) -> None:
        # Imported here, as in `tasks/run/event_files.py`.
        from visualdl import LogWriter  # pyright: ignore[reportMissingImports]

        self.folder = run / PACKAGE
        self._writer = LogWriter(logdir=str(self.folder / f"from-step-{from_step}"))

    def __enter__(self) -> VisualLog:
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(tag=name, step=step, value=value)
