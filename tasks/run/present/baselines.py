"""Lines about the simple models beside a classifier of texts."""

from __future__ import annotations

from core.spec.experiment import Experiment

LEAST_P = 1e-9
"""Smaller p-values are printed as less than this."""
SIGNIFICANT = 0.05
"""A difference with a smaller p-value is significant."""


def baseline_lines(result: dict, experiment: Experiment) -> list[str]:
    """Return the lines that compare a result with its simple models; none without them."""
    baseline = result.get("baseline", {})
    if "largest_class" not in baseline:
        return []
    largest = baseline["largest_class"]
    lines = []
    if "mcnemar" in baseline:
        pair, own = baseline["mcnemar"], result["test"]["accuracy"]
        linear = baseline["test"]["accuracy"]
        lines.append(
            f"n-grams alone {linear:.4f} (dev {baseline['dev']['accuracy']:.4f}), this model {own:.4f}:"
            f" {pair['only_model']:,} texts only this model has right,"
            f" {pair['only_baseline']:,} only the n-grams, {p_value(pair['p'])}"
        )
        if linear > own:
            lines.append(advice(experiment, pair["p"]))
    return [*lines, f"{largest['name']}: {largest['test']['accuracy']:.4f}"]


def p_value(p: float) -> str:
    """Return a p-value with two digits, or as below `LEAST_P`."""
    return f"p < {LEAST_P:.0e}".replace("e-0", "e-") if p < LEAST_P else f"p = {p:.2g}"


def advice(experiment: Experiment, p: float) -> str:
    """Return what to do if the linear model has the higher accuracy; `p` is that of the difference."""
    verdict = "better" if p < SIGNIFICANT else "no worse"
    both = "" if experiment.model.ngrams else ", or train both as one model with --recipe hybrid"
    return f"The linear model of n-grams is {verdict} here: use it alone with --encoder ngrams{both}."
