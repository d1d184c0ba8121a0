"""Names of options in messages: `core` and `backends` name a field or an argument, a user types a flag."""

from __future__ import annotations

import re

from tasks.cli.options import OPTIONS

OF_FIELDS = {path: option.flag for options in OPTIONS.values() for option in options for path in option.paths}
"""Flag by field of the spec: `training.clip_norm` is set by `--clip-norm`."""
OF_TABLES = {
    "data.text_column": "--text-column",
    "data.label_column": "--label-column",
    "data.encoding": "--encoding",
}
"""Fields of tables, whose options only the programs for tables have."""
OF_ARGUMENTS = {
    "device": "--device",
    "implementation": "--impl",
    "out": "--out",
    "resume": "--resume",
    "shapes": "--shapes",
    "entry": "--state",
    "layout": "--linear",
    "encoder": "--encoder",
    "embedding": "--embedding",
    "hidden": "--head-hidden",
    "head": "--head",
    "pooling": "--pooling",
    "activation": "--activation",
    "encoder_activation": "--encoder-activation",
}
"""Flag by argument: what no field of a spec says. From `entry` on: of weights that are converted."""

FLAGS = {**OF_FIELDS, **OF_TABLES, **OF_ARGUMENTS}


def name_flags(message: str) -> str:
    """Return a message with every `field` that has a flag replaced by the flag, and all else as it is."""
    return re.sub(r"`([a-z_.]+)`", lambda match: FLAGS.get(match[1], match[0]), message)
