"""The commands of `seqtwin`, with one line about each. Programs are imported when they run."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType, ModuleType

RUN = "use a run"

RUN_COMMANDS = MappingProxyType(
    {
        "predict": "Predict labels, tags or outputs of new texts with a run",
        "explain": "Predict, and show the effect of each word",
        "evaluate": "Evaluate the best checkpoint of a run, with any backend",
        "resume": "Resume a stopped run, with any backend",
    }
)
"""Commands for a run of any task: the task is that of its record."""

GROUPS = MappingProxyType(
    {
        "train": {
            "imdb": "Train a classifier on movie reviews",
            "classify": "Train a classifier on your own labeled texts",
            "reviews_zh": "Train a classifier on Chinese reviews",
            "tag": "Train a tagger of words or characters",
            "translate": "Train an encoder-decoder on pairs of texts",
            "pretrain": "Train a recurrent language model, forward and backward",
            "word2vec": "Train word vectors by skip-gram or CBOW",
        },
        RUN: {
            "runs": "List the runs of a folder",
            "report": "Write the page of a finished run, its model card",
            "words": "Show what word vectors know",
            "gates": "Plot every gate and state of a trained LSTM or GRU",
            "export": "Export a finished classifier or tagger",
            "serve": "Serve a classifier or tagger over HTTP, with a page",
        },
        "compare and prove": {
            "compare": "Compare finished runs on one page",
            "bench": "Train several models on the same texts, over several seeds",
            "parity": "Verify numerical parity of both backends with the NumPy reference",
            "twin": "Compare a PaddlePaddle model with a PyTorch model",
            "port": "Convert a classifier's weights to the other framework",
        },
        "textbook": {
            "digit_sum": "Train recurrent layers to add the first two digits of a sequence",
            "exploding": "Measure the gradient norms of a recurrent layer",
            "derive": "Derive forward passes step by step, and check the results",
        },
        "machine": {
            "devices": "Print the CPU and, for each framework, every GPU that it detects",
            "speed": "Benchmark the recurrent layers of every cell and framework",
        },
    }
)
"""Programs by group, in the order of the help."""

PROGRAMS = MappingProxyType({name: text for group in GROUPS.values() for name, text in group.items()})

NAME_WIDTH = 12


def load(name: str) -> ModuleType:
    """Import the module of a program, which has a `main`."""
    module = import_module(f"tasks.{name}")
    return import_module(f"{module.__name__}.__main__") if hasattr(module, "__path__") else module


def help_text() -> str:
    """Return the help of `seqtwin`."""
    lines = ["usage: seqtwin COMMAND ...", "", "Sequence models in PaddlePaddle and PyTorch, verified equal."]
    for title, programs in GROUPS.items():
        lines += ["", f"{title}:"]
        shown = {**RUN_COMMANDS, **programs} if title == RUN else programs
        lines += [f"  {name:<{NAME_WIDTH}}{text}" for name, text in shown.items()]
    lines += [
        "",
        "Each command has --help. RUN may be latest: the newest finished run in runs.",
        "  --version                           versions of seqtwin and the frameworks",
        "  --print-completion bash|zsh|tcsh    completion script of a shell",
    ]
    return "\n".join(lines) + "\n"
