"""Find the run that the word `latest` names, in the folder `runs`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from core.errors import UserError
from tasks.cli.terminal import literal, note

LATEST = "latest"
RUNS = Path("runs")


def named_run(name: str, tasks: Collection[str] = (), finished: bool = True) -> str:
    """Return the path of a run. The name `latest` is the newest one in `runs`, which a note on standard error names.

    It is the newest finished one of these tasks (none: any but word2vec), or the newest stopped one. A folder of that
    name comes first. Raises UserError if there is none.
    """
    if name != LATEST or Path(name).exists():
        return name
    # Imported here, so that a prediction starts without it.
    from core.report.run_list import WORD2VEC, newest

    def accept(task: str) -> bool:
        return task in tasks if tasks else task != WORD2VEC

    found = newest(RUNS, accept, finished) if RUNS.is_dir() else None
    if found is None:
        state, of = "finished" if finished else "stopped", f" of {', '.join(tasks)}" if tasks else ""
        raise UserError(f"{LATEST}: no {state} run{of} in the folder {RUNS}: give the path of a run")
    note(f"{LATEST} is {literal(str(found))}")
    return str(found)
