"""What a run's own figures say about the scope of its model, sentence by sentence."""

from __future__ import annotations

from core.report.runs import Run
from core.spec.data import MovieReviews, PairedFiles, Table

FEW = 30
"""A class with fewer training texts is named as rare."""
NAMED = 8
"""Maximum number of classes in a sentence."""
WIDE = 0.05
"""A calibration error above this is named."""


def scope_of(run: Run) -> list[str]:
    """Return sentences about what the model was trained for, and the limits that the data and figures show."""
    found = [_trained_on(run), "It was tested on texts of the same source. Its figures say nothing about other texts."]
    found += _classes(run)
    found += _texts(run)
    found += _figures(run)
    return found


def _trained_on(run: Run) -> str:
    data, classes, kind = run.execution["data"], run.execution["classes"], run.experiment.model.head.kind
    documents = (data.get("train") or {}).get("documents")
    count = "" if documents is None else f"{documents:,} "
    what = {
        "pooled": f"one of {len(classes)} classes for a text",
        "multilabel": f"any number of {len(classes)} labels for a text",
        "tokens": f"one of {len(classes)} tags for each token",
        "decoder": "an output text for a text",
        "language": "the next word of a text",
    }[kind]
    return f"The model predicts {what}. It was trained on {count}texts. Data: {data['description']}."


def _classes(run: Run) -> list[str]:
    """Return what is known about rare and untested classes of texts."""
    data, classes = run.execution["data"], run.execution["classes"]
    if run.experiment.model.head.kind != "pooled":
        return []
    found = []
    train, test = ((data.get(split) or {}).get("per_class") or [] for split in ("train", "test"))
    rare = [f"{name} ({own})" for name, own in zip(classes, train, strict=False) if own < FEW]
    if rare:
        found.append(f"Classes with fewer than {FEW} training texts: {_named(rare)}. Their scores are uncertain.")
    untested = [name for name, own in zip(classes, test, strict=False) if own == 0]
    if untested:
        found.append(f"Classes without a test text: {_named(untested)}.")
    found.append("It predicts one of its classes for every text, also for a text of none of them.")
    return found


def _texts(run: Run) -> list[str]:
    data, found = run.execution["data"], []
    test = {} if run.experiment.model.is_linear else data.get("test") or {}
    if test.get("truncated") and test.get("documents"):
        share, limit = test["truncated"] / test["documents"], run.experiment.text.max_length
        found.append(
            f"Of the test texts, {100 * share:.1f} % have more than {limit:,} tokens: it does not read all of them."
        )
    if test.get("unknown_share"):
        found.append(f"Of the tokens of the test texts, {100 * test['unknown_share']:.1f} % are out of vocabulary.")
    own = run.experiment.data
    if isinstance(own, (MovieReviews, PairedFiles, Table)) and own.duplicates == "keep":
        found.append("Duplicate texts were kept: the same text may be in the training and the test split.")
    return found


def _figures(run: Run) -> list[str]:
    found = []
    if run.figure("test.interval"):
        found.append("The interval of the accuracy covers the choice of the test texts, not that of the seed.")
    error = run.figure("calibration.test.before.error")
    if error is not None and error > WIDE:
        found.append(
            f"Its probabilities are {100 * error:.1f} % away from the accuracy on average: ask for calibrated ones with"
            " --calibrate."
        )
    baseline = run.figure("baseline.test.accuracy")
    accuracy = run.figure("test.accuracy")
    if run.figure("baseline.mcnemar") and baseline > accuracy:
        found.append(f"A linear model of n-grams has a higher test accuracy, {baseline:.4f}; this one {accuracy:.4f}.")
    simple = run.figure("baseline.test.micro_f1")
    if simple is not None:
        own = run.figure("test.micro_f1")
        found.append(f"A linear model of n-grams has a micro F1 of {simple:.4f} on the same texts; this one {own:.4f}.")
    return found


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
