"""Translate the spec fields and arguments that `core` and `backends` name in messages into flags."""

from __future__ import annotations

import re

from tasks.cli.commands import run_command
from tasks.cli.options import OPTIONS
from tasks.cli.word_options import WORD_FLAGS

FIELD_FLAGS = {path: option.flag for options in OPTIONS.values() for option in options for path in option.paths}
"""Map each spec field to its flag: `training.clip_norm` to `--clip-norm`."""
FILE_FLAGS = {
    "data.columns": "--columns",
    "data.text_column": "--text-column",
    "data.label_column": "--label-column",
    "data.label_separator": "--label-separator",
    "data.multi_label": "--multi-label",
    "model.head.threshold": "--threshold",
    "data.encoding": "--encoding",
    "data.dev": "--dev",
    "data.test": "--test",
    "data.unlabeled_file": "--unlabeled-file",
    "data.folds": "--cross-validate",
    "model.head.crf": "--crf",
}
"""Map fields of files and tags to their flags, which only some programs have."""
ARGUMENT_FLAGS = {
    "device": "--device",
    "implementation": "--impl",
    "out": "--out",
    "split": "--split",
    "resume": "--resume",
    "token": "--token",
    "label": "--label",
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
    "logits": "--logits",
}
"""Map arguments that are no spec fields to their flags; from `entry` on, those of `tasks.port`."""

FLAGS = {**WORD_FLAGS, **FIELD_FLAGS, **FILE_FLAGS, **ARGUMENT_FLAGS}


def name_flags(message: str) -> str:
    """Return a message with every backquoted field that has a flag, or program, replaced by the flag, or command."""
    message = re.sub(r"`(tasks\.\w+) resume`", lambda match: run_command(match[1], "resume"), message)
    return re.sub(r"`([a-z_.]+)`", lambda match: FLAGS.get(match[1], match[0]), message)
