"""Write TensorBoard event files to a run's folder during training."""

from __future__ import annotations

import time
from pathlib import Path

from tasks.run.scalar_log import ScalarLog

PACKAGE = "tensorboard"
"""Name of the package, its option, and the subfolder of a run's folder."""


class EventLog(ScalarLog):
    """Write scalars as TensorBoard's events.

    If a resumed run starts from `from_step`, TensorBoard hides the events that an earlier segment wrote beyond it.
    """

    def __init__(self, run: Path, from_step: int) -> None:
        # Imported here, since the import takes a third of a second.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self.folder = run / PACKAGE
        self._writer = EventFileWriter(str(self.folder), flush_secs=5)
        if from_step:
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=from_step + 1, session_log=start))

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
