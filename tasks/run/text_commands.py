"""Run a text task: `train` (the default), `predict` and `evaluate`, shared by all text tasks."""

from __future__ import annotations

from core.errors import UserError, forget_notes
from tasks.run.evaluate_command import evaluate_command
from tasks.run.predict_command import predict_command
from tasks.run.program import Program
from tasks.run.train_command import train_command

COMMANDS = {"train": train_command, "predict": predict_command, "evaluate": evaluate_command}


def run(program: Program, argv: list[str]) -> int:
    """Run a command. Return the exit code."""
    forget_notes()
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("train", argv)
    if command == "train" and rest and not rest[0].startswith("-") and not program.usage:
        raise UserError(f"unknown command {rest[0]!r}: choose one of {', '.join(COMMANDS)} (see {program.name} --help)")
    if command == "predict" and program.predict is not None:
        return program.predict(program.name, rest)
    return COMMANDS[command](program, rest)
