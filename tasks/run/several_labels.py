"""Several labels per text: whether the user's table has them, and the head that predicts them."""

from __future__ import annotations

import argparse

from core.data.sources.several_labels import reason_for_several
from core.errors import UserError
from core.models.heads import MultilabelHead, PooledHead
from core.schema import of_kind
from core.spec.data import Table
from core.spec.experiment import Experiment, replace
from tasks.cli.console import Parser, fact
from tasks.cli.options import apply_options
from tasks.cli.recipes import recipe
from tasks.cli.start_options import with_settings_of_start

MULTI_LABEL, THRESHOLD, SEPARATOR = "--multi-label", "--threshold", "--label-separator"
FIELDS = {
    MULTI_LABEL: "data.multi_label",
    THRESHOLD: "model.head.threshold",
    SEPARATOR: "data.label_separator",
}
"""Flags of several labels per text, and their fields."""
RECIPE = "multilabel"
"""Recipe of texts with several labels, unless the user names one."""


def add_label_options(parser: Parser) -> None:
    """Add the options of `FIELDS`."""
    text = "several labels per text [inferred]"
    parser.add_argument(MULTI_LABEL, action=argparse.BooleanOptionalAction, default=None, help=text)
    parser.add_argument(SEPARATOR, metavar="S", help="separator of several labels per text [|]")
    text = "probability above which a label is predicted [0.5]"
    parser.add_argument(THRESHOLD, metavar="P", type=float, help=text)


def wants_several(arguments: argparse.Namespace) -> bool | None:
    """Return whether the user says that a text has several labels; None if the texts have to tell."""
    if arguments.multi_label is None and arguments.label_separator is not None:
        return True
    return arguments.multi_label


def with_several_labels(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the spec for one or several labels per text, as the user or the cells of the label column say.

    Without a recipe of the user's, it is the one of several labels; a spec file keeps its head. Raises UserError for
    options that do not apply.
    """
    given = {FIELDS[flag]: value for flag, value in _given(arguments).items() if value is not None}
    if arguments.config:
        return replace(experiment, given, "options")
    wanted, data = wants_several(arguments), of_kind(experiment.data, Table)
    if wanted is None and not data.multi_label and (reason := reason_for_several(data)):
        fact("inferred", f"{MULTI_LABEL} ({reason})")
        wanted = True
    wanted = data.multi_label if wanted is None else wanted
    if not wanted:
        for flag, value in _given(arguments).items():
            if value is not None and flag != MULTI_LABEL:
                raise UserError(f"{flag} {value}: for several labels per text: add {MULTI_LABEL}, or omit it")
        return replace(experiment, {"data.multi_label": False})
    if not isinstance(experiment.model.head, MultilabelHead):
        if arguments.recipe is None:
            base = with_settings_of_start(recipe(RECIPE, experiment.task), arguments)
            experiment = replace(apply_options(base, arguments), {"data": data.model_dump(mode="json")})
        else:
            experiment = _with_head(experiment)
    return replace(experiment, {**given, "data.multi_label": True}, "options")


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the values of the options of `FIELDS`, by flag."""
    values = arguments.multi_label, arguments.threshold, arguments.label_separator
    return dict(zip(FIELDS, values, strict=True))


def _with_head(experiment: Experiment) -> Experiment:
    """Return the spec with a head for several labels in place of one for a class, with the same layers."""
    head = of_kind(experiment.model.head, PooledHead)
    if head.one_logit:
        raise UserError("model.head.one_logit is for one of two classes per text: set it false for several labels")
    kept = head.model_dump(mode="json", exclude={"kind", "one_logit"})
    return replace(experiment, {"model.head": {**kept, "kind": "multilabel"}}, f"recipe {experiment.recipe}")
