"""Show the runs of language models: the pieces of the texts, and the perplexity."""

from __future__ import annotations

from pathlib import Path

from core.models.heads.language_scores import LanguageEvaluation
from core.train.record import Run
from tasks.cli.console import fact

PICTURES: dict[str, str] = {}
"""Files of the pictures other than the curves, by name: none."""


def describe(run: Run) -> None:
    """Print the number of tokens."""
    train = run.texts["train"]
    fact(
        "pieces",
        f"{train['tokens']:,} tokens, at most {train['max_length']} each; {train['unknown_share']:.2%} unknown",
    )


def headline(result: dict) -> str:
    """Return the main line of a result."""
    test, dev = result["test"], result["dev"]
    return (
        f"[bold]test perplexity {test['perplexity']:.2f}[/] of {test['predictions']:,} predictions"
        f" (dev {dev['perplexity']:.2f} at step {dev['step']}; accuracy {test['accuracy']:.4f})"
    )


def breakdown(found: LanguageEvaluation, classes: list[str]) -> None:
    """Print nothing: words are no classes."""


def save(run: Run, found: LanguageEvaluation, cache: Path) -> str:
    """Write nothing; a language model has no sample text."""
    return ""
