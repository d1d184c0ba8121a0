"""Write docs/python-api.md from the docstrings of `import seqtwin`, and its options from the programs.

python -m tools.python_api                             # print the page
python -m tools.python_api --write docs/python-api.md
"""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import seqtwin
from core.files import write_text_atomic
from seqtwin.api.options import BASELINE, FILES, NOT_KEYWORDS, PICTURES
from seqtwin.api.training import TABLE_TASK, program_of
from tasks.run.train_command import train_parser

INTRODUCTION = """# Python interface

English only. This page is written by `python -m tools.python_api --write docs/python-api.md` from the docstrings.

How do you use seqtwin from Python? `import seqtwin` gives the functions and classes of this page. Every model is a
[run folder](runs.md#files-of-a-run), as one that the command trained: both read the runs of the other.

```python
import seqtwin

classifier = seqtwin.TextClassifier(epochs=3).fit(texts, labels)  # lists, Series, or columns of a DataFrame
classifier.predict(["Where is my parcel?"])
classifier.explain("Where is my parcel?")  # in color in a notebook

run = seqtwin.train("classify", "train.csv", backend="torch", verbose=True)
run = seqtwin.load("latest")
run.result["test"]["accuracy"], run.parameters["embedding.weight"].shape
run.gates("Where is my parcel?")["forget_gate"]
run.nearest("parcel")

seqtwin.compare([run, classifier.run_])
```

Functions print nothing, unless `verbose=True`. An error caused by input is a `seqtwin.UserError`, in one line. Training
stops at Ctrl-C with a saved checkpoint, and leaves the handlers of signals as they were; in a thread it handles none.

## With scikit-learn

`TextClassifier` needs no scikit-learn, and works with it (`pip install '.[sklearn]'`):

```python
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score

quick = seqtwin.TextClassifier(encoder="ngrams", pictures=False, runs="search")
cross_val_score(quick, texts, labels)
GridSearchCV(quick, {"ngram_orders": [1, 2, 3]}).fit(texts, labels)
CalibratedClassifierCV(quick).fit(texts, labels)
```

Every fit creates a run folder in `runs`, which you may remove when the search is over. `pictures=False` omits the
pictures of a run, which take longer than a linear model. `seqtwin runs search` lists the runs.

The texts of a fit are in `texts.jsonl` of its run folder, so `seqtwin evaluate RUN` and `seqtwin resume RUN` work, also
after the folder was moved. `seqtwin classify --config RUN/experiment.json` trains it again.
"""
OPTIONS = """## Options

Keywords of `TextClassifier` and of `train("classify", ...)`, with their defaults in [brackets]. They are the options of
`seqtwin classify`, with underscores: `max_length=256` is `--max-length 256`. A value of None is the default. Other
tasks have other options: see the help of their programs, such as `seqtwin tag --help`.

"""
MORE = {
    "tokenizer": "tokenizer [inferred from the script of the texts]",
    "epochs": "training epochs [inferred from the number of texts]",
    "set": "dictionary that sets any spec fields by dotted name",
    BASELINE: "False: fit no linear n-gram baseline [True]",
    PICTURES: "False: draw no pictures [True]",
}
"""Helps of keywords that differ from those of the command line."""


CONSTRUCTED = ("TextClassifier",)
"""Classes that a user constructs; functions return the others."""


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for name in seqtwin.PUBLIC:
        own = getattr(seqtwin, name)
        parts.append(_class(name, own) if inspect.isclass(own) else _function(name, own))
    return "\n".join([*parts, OPTIONS + _options()]) + "\n"


def _class(name: str, own: type) -> str:
    lines = [f"## {name}\n"]
    if name in CONSTRUCTED:
        lines.append(f"```python\nseqtwin.{_signature(name, own)}\n```\n")
    lines.append(_text(own))
    for member, value in vars(own).items():
        if member.startswith("_"):
            continue
        called = value.__func__ if isinstance(value, classmethod) else value
        if inspect.isfunction(called):
            lines += [f"### {name}.{member}\n", f"```python\n{_signature(member, called)}\n```\n", _text(called)]
        elif inspect.getdoc(value) and (isinstance(value, property) or hasattr(value, "func")):
            lines += [f"### {name}.{member}\n", _text(value)]
    return "\n".join(lines)


def _function(name: str, own: object) -> str:
    return "\n".join([f"## {name}\n", f"```python\nseqtwin.{_signature(name, own)}\n```\n", _text(own)])


def _signature(name: str, own: object) -> str:
    """Return a call with the names and defaults of its parameters, without types."""
    signature = inspect.signature(own)  # type: ignore[arg-type]
    parameters = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in signature.parameters.values()
        if one.name not in ("self", "cls")
    ]
    plain = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return f"{name}{plain}".replace("'", '"')


def _text(own: object) -> str:
    """Return a docstring; an indented block becomes Python code."""
    text = inspect.getdoc(own) or ""
    text = re.sub(r"((?:^    .*\n?)+)", _code, text, flags=re.MULTILINE)
    return f"{text}\n"


def _code(match: re.Match[str]) -> str:
    lines = "\n".join(line[4:] for line in match[1].rstrip("\n").split("\n"))
    return f"```python\n{lines}\n```\n"


def _options() -> str:
    """Return the table of keywords, by the groups of the program's help."""
    lines = ["| keyword | meaning |", "|---|---|"]
    left_out = {"help", *NOT_KEYWORDS, *(set(FILES) - {"config"}), "config", "backend", "recipe"}
    for action in train_parser(program_of(TABLE_TASK))._actions:
        if action.dest not in left_out:
            text = MORE.get(action.dest, action.help or "").replace("|", "\\|")
            lines.append(f"| `{action.dest}` | {text} |")
    lines += [f"| `{name}` | {text} |" for name, text in MORE.items() if name in (BASELINE, PICTURES)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.python_api", description="Write docs/python-api.md.")
    parser.add_argument("--write", metavar="FILE", help="page to write [print it]")
    arguments = parser.parse_args()
    if arguments.write is None:
        print(page(), end="")
    else:
        write_text_atomic(Path(arguments.write), page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
