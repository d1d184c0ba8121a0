"""Show the runs of an encoder-decoder: exact match and BLEU, wrong outputs, attention of a few examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.sources.lookup import read_texts
from core.decoding import decode
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.heads.decoder import DecoderHead
from core.models.heads.decoder_scores import DecoderEvaluation
from core.models.precision import rounding_of
from core.plots.attention import AttentionMap, draw_attention
from core.schema import of_kind
from core.strings import shorten
from core.train.misclassified import KEPT, Misclassified, with_texts
from core.train.record import Run
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.present.pictures import LINE, draw_or_note

ATTENTION = "attention.png"

PICTURES = {"attention": ATTENTION}
"""Files of the pictures other than the curves, by name."""

SHOWN = 5
"""Number of wrong outputs to print."""
DRAWN = 4
"""Number of test examples whose attention is drawn."""


def describe(run: Run) -> None:
    """Print the size of the targets."""
    data = run.texts
    fact(
        "targets",
        f"vocabulary {data['target_vocabulary']:,}, at most {data['train']['longest_target']} tokens with EOS",
    )


def headline(result: dict) -> str:
    """Return the main line of a result."""
    test, dev = result["test"], result["dev"]
    bleu = f"; BLEU {test['bleu']:.4f}" if "bleu" in test else ""
    return (
        f"[bold]test exact match {test['exact_match']:.4f}[/] on {test['documents']:,} held-out texts"
        f" (dev {dev['exact_match']:.4f} at step {dev['step']}{bleu}; token accuracy {test['accuracy']:.4f})"
    )


def breakdown(found: DecoderEvaluation, classes: list[str]) -> None:
    """Print the exact match by target length; the outputs have no classes."""
    for line in found.details():
        console.print(line)


def save(run: Run, found: DecoderEvaluation, cache: Path) -> str:
    """Draw the attention of a few test examples, write and print wrong outputs.

    Return the first wrong source, or the first one of test.
    """
    if of_kind(run.experiment.model.head, DecoderHead).attention != "none":
        draw_or_note(ATTENTION, lambda: _draw(run))
    return _save_mistakes(run, found, cache) or _first_source(run, cache)


def _first_source(run: Run, cache: Path) -> str:
    name = run.data.test.names[0]
    return shorten(read_texts(run.experiment, run.execution["data"]["fingerprint"], {name}, cache)[name], LINE // 2)


def _draw(run: Run) -> None:
    """Draw the attention, computed by the NumPy reference from the best checkpoint."""
    experiment = run.experiment
    parameters = run.folder.read_best(experiment.model)
    engine = ReferenceEngine(experiment.model, parameters, rounding_of(experiment.training.dtype))
    batch = run.data.test.batch(np.arange(min(DRAWN, len(run.data.test))))
    decoded = decode(engine, batch, of_kind(experiment.model.head, DecoderHead).max_output)
    sources, targets = run.data.vocabulary.tokens, run.data.test.classes
    maps = [
        AttentionMap(
            [sources[number] for number in batch.ids[row, : batch.lengths[row]]],
            [targets[number] for number in decoded.row(row)],
            decoded.attention[row, : decoded.lengths[row], : batch.lengths[row]],
        )
        for row in range(len(batch.lengths))
        if decoded.attention is not None and decoded.lengths[row]
    ]
    if maps:
        draw_attention(maps, f"{run.title}: test", run.folder.path / ATTENTION)


def _save_mistakes(run: Run, found: DecoderEvaluation, cache: Path) -> str:
    """Write `mistakes.csv`, the most confident wrong outputs, and print a few."""
    labels, outputs = found.strings(run.data.test.targets, run.data.test.classes)
    wrong = [row for row, (label, output) in enumerate(zip(labels, outputs, strict=True)) if label != output]
    number = len(wrong)
    shares = found.probabilities[:, 0]
    wrong = sorted(wrong, key=lambda row: -shares[row])[:KEPT]
    names = run.data.test.names
    rows = [Misclassified(names[row], labels[row], outputs[row], float(shares[row])) for row in wrong]
    if rows:
        with DataProgress() as progress:
            try:
                named, fingerprint = {own.name for own in rows}, run.execution["data"]["fingerprint"]
                rows = with_texts(rows, read_texts(run.experiment, fingerprint, named, cache, progress))
            except UserError as error:
                note(f"mistakes.csv has no texts: {error}")
    run.folder.write_mistakes([own.cells for own in rows])
    if not rows:
        return ""
    console.print(f"\nmost confident wrong outputs ({len(rows[:SHOWN])} of {number:,}):")
    for own in rows[:SHOWN]:
        said = f"{shorten(own.text, LINE)}  true: {shorten(own.label, LINE)}, predicted: {shorten(own.predicted, LINE)}"
        console.print(literal(f"  {own.probability:.4f}  {said}"))
    fact("errors", str(run.folder.path / "mistakes.csv"))
    return shorten(rows[0].text, LINE // 2)
