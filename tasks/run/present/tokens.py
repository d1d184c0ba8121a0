"""Show the runs of taggers: tags, accuracy per token, confusion matrix."""

from __future__ import annotations

from pathlib import Path

from core.models.heads.tokens import TokenEvaluation
from core.strings import shorten
from core.train.record import Run
from tasks.cli.console import fact
from tasks.run.present.pictures import draw_or_note
from tasks.run.present.pooled import CONFUSION, NAME, save_confusion

PICTURES = {"confusion matrix": CONFUSION}
"""Files of the pictures beside the curves, by name."""


def describe(run: Run) -> None:
    """Print the tags of the data."""
    classes = run.execution["classes"]
    named = ", ".join(shorten(name, NAME) for name in classes[:12])
    fact("tags", f"{len(classes)}: {named}{', ...' if len(classes) > 12 else ''}")


def headline(result: dict) -> str:
    """Return the main line of a result."""
    test, dev = result["test"], result["dev"]
    return (
        f"[bold]test accuracy {test['accuracy']:.4f}[/] per token on {test['documents']:,} held-out texts"
        f" (dev {dev['accuracy']:.4f} at step {dev['step']}; macro F1 {test['macro_f1']:.4f})"
    )


def save(run: Run, found: TokenEvaluation, cache: Path) -> str:
    """Draw the confusion matrix of the tags. Return no sample text."""
    draw_or_note(CONFUSION, lambda: save_confusion(run, found))
    return ""
