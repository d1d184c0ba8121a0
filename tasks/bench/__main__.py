"""Train several models on one data set, over several seeds, and write the table that compares them.

python -m tasks.bench imdb --seeds 0 1 2 --backend torch
python -m tasks.bench imdb --models bow textcnn lstm bilstm --train-limit 4000 --backend both
python -m tasks.bench reviews.csv --text-column review --label-column stars
python -m tasks.bench --resume runs/bench-imdb-...
python -m tasks.bench predict RUN --file texts.txt
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import backends
from core.engine.memory import check_memory, host_limit
from core.errors import UserError, forget_notes
from core.spec.experiment import Experiment
from core.train.prepare_data import absolute_source
from core.train.run_folder import PLAN, RunFolder
from core.train.run_lock import LOCK, held
from tasks.bench import prediction
from tasks.bench.models import MODELS, experiment_of
from tasks.bench.plan import SPECS, Plan
from tasks.bench.results import REPORT, write_results
from tasks.bench.training import is_unused, train
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact, launch
from tasks.cli.framework import load_backend
from tasks.cli.options import DEVICE_HELP, OPTIONS, add_options, apply_options, given
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.recipes import recipe
from tasks.cli.streams import keep_working
from tasks.run.both_frameworks import BOTH
from tasks.run.table_options import COLUMNS, add_columns, complete
from tasks.run.worker import Request

PROGRAM = "tasks.bench"
TASKS = ("imdb", "reviews_zh")
TABLE = "classify"
SEEDS = (0, 1, 2)
BASES = {"imdb": "lstm", "reviews_zh": "default", TABLE: "default"}
"""Recipe of each task whose encoder and pooling the models replace."""
MODEL_FIELDS = ("model.encoder.", "model.head.")
"""The fields that the models set, which therefore are no options."""
EXCLUDED = ("--seed", "--dropout", "--start")
EXCLUDED += tuple(option.flag for option in OPTIONS["model"] if option.paths[0].startswith(MODEL_FIELDS))


def main(argv: list[str]) -> int:
    forget_notes()
    if argv[:1] == ["predict"]:
        return prediction.main(argv[1:])
    parser = _parser()
    arguments = parser.parse_args(argv)
    keep_working()
    request = Request.read(arguments)
    cache = cache_folder(arguments.cache_dir)
    if arguments.resume:
        _refuse_with_resume(parser, arguments)
        return _resume(Path(arguments.resume), cache)
    task = _task(arguments)
    names = _backends(request)
    _check_lists(arguments)
    base = apply_options(recipe(BASES[task], task), arguments)
    if task == TABLE:
        base = complete(base, arguments)
    base = absolute_source(base)
    experiments = {model: experiment_of(model, base) for model in arguments.models}
    for model, experiment in experiments.items():
        _check(model, experiment, request)
    path = Path(arguments.out) if arguments.out else new_name(Path("runs"), f"bench-{task}")
    made = [own for own in (path, *path.parents) if not own.exists()]
    RunFolder.create(path)
    plan = Plan(
        path, task, tuple(arguments.models), tuple(arguments.seeds), names, request.device, request.implementation
    )
    with held(path):
        plan.write(experiments)
        code = _run(plan, cache)
    if code == 2 and is_unused(path):
        # The data was rejected before any training: leave no folder behind.
        _remove(path, made)
    return code


def _run(plan: Plan, cache: Path) -> int:
    fact("models", f"{', '.join(plan.models)}: {len(plan.models)}, {len(list(plan.jobs()))} runs in all")
    fact("folder", str(plan.folder))
    code = train(plan, cache)
    if code == 0:
        write_results(plan)
    return code


def _resume(path: Path, cache: Path) -> int:
    plan = Plan.read(path)
    if (path / REPORT).exists():
        raise UserError(f"{path}: all runs are finished; see the report {path / REPORT}")
    _check_installed(plan.backends)
    with held(path):
        return _run(plan, cache)


def _remove(path: Path, made: list[Path]) -> None:
    """Remove the plan, the specs, and the folders in `made` that are empty then."""
    shutil.rmtree(path / SPECS)
    for name in (PLAN, LOCK):
        (path / name).unlink(missing_ok=True)
    for own in made:
        if not any(own.iterdir()):
            own.rmdir()


def _task(arguments: argparse.Namespace) -> str:
    """Return the task of the data; `classify` for the user's own texts."""
    what = arguments.train
    if what is None:
        raise UserError(
            f"missing DATA: give {', '.join(TASKS)} or a file of labeled texts (see {program_command(PROGRAM)} --help)"
        )
    if what in TASKS:
        columns = [flag for flag in COLUMNS if getattr(arguments, _dest(flag)) is not None]
        if columns:
            raise UserError(f"{', '.join(columns)}: options of a file of texts, got {what}: omit them")
        return what
    if not Path(what).expanduser().is_file():
        raise UserError(f"{what}: no such file or task: give {', '.join(TASKS)} or a file of labeled texts")
    if arguments.data is not None:
        raise UserError(f"--data {arguments.data}: an option of {' and '.join(TASKS)}, got a file: omit it")
    return TABLE


def _backends(request: Request) -> tuple[str, ...]:
    """Return the backends that train. Raises UserError unless all are installed."""
    names = tuple(backends.NAMES) if request.backend == BOTH else (request.backend_name,)
    _check_installed(names)
    return names


def _check_installed(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in backends.NAMES or not backends.installed(name):
            load_backend(name)  # raises with the reason; the runs load it in their own processes


def _check_lists(arguments: argparse.Namespace) -> None:
    """Raise UserError for an unknown or repeated model, or an invalid or repeated seed."""
    for name in arguments.models:
        if name not in MODELS:
            raise UserError(f"--models {name}: choose from {', '.join(MODELS)}")
        if arguments.models.count(name) > 1:
            raise UserError(f"--models {name}: given twice, expected each model once")
    for seed in arguments.seeds:
        if seed < 0 or arguments.seeds.count(seed) > 1:
            raise UserError(f"--seeds {seed}: expected integers >= 0, each once")


def _check(model: str, experiment: Experiment, request: Request) -> None:
    """Raise UserError for a model that does not fit memory, or that the implementation cannot compute."""
    check_memory(experiment, host_limit())
    own = experiment.model.implementations
    if request.implementation not in ("auto", *own):
        raise UserError(
            f"--impl {request.implementation}: the model {model} has {', '.join(own)}: give auto or one of these"
        )


def _refuse_with_resume(parser: Parser, arguments: argparse.Namespace) -> None:
    own = ("backend", "device", "impl", "out", "models", "seeds", *map(_dest, COLUMNS))
    fixed = [f"--{name.replace('_', '-')}" for name in own if getattr(arguments, name) != parser.get_default(name)]
    fixed += ["DATA"] * (arguments.train is not None) + given(arguments)
    if fixed:
        raise UserError(f"--resume takes these settings from the folder: omit {', '.join(fixed)}")


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _parser() -> Parser:
    models = "; ".join(f"{name}: {model.title}, {model.about}" for name, model in MODELS.items())
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Train several models on the same texts, with the same schedule, over several seeds, and write a"
        " table that compares them: report.html, table.md, table.csv, accuracy.png. Every model is a change of the"
        " default recipe's encoder and pooling. Ctrl-C stops after a step; --resume continues there.",
        epilog=f"Models: {models}. Every run is a run folder, for predict, evaluate and tasks.compare. Another"
        " command: predict RUN times predictions (it has its own --help). Defaults are in [brackets].",
    )
    parser.add_argument("train", metavar="DATA", nargs="?", help=f"{', '.join(TASKS)}, or a file of labeled texts")
    add = parser.add_argument
    add("--models", nargs="+", metavar="M", default=list(MODELS), help=f"models [{' '.join(MODELS)}]")
    add("--seeds", nargs="+", type=int, metavar="N", default=list(SEEDS), help=f"seeds [{' '.join(map(str, SEEDS))}]")
    add("--backend", metavar="B", help=f"{', '.join(backends.NAMES)}, or {BOTH} [first installed]")
    add("--device", metavar="D", default="auto", help=DEVICE_HELP)
    add("--impl", metavar="I", default="auto", help="implementation that all models have [auto: fastest available]")
    add("--out", metavar="DIR", help="folder to create [runs/bench-DATA-DATE-TIME]")
    add("--resume", metavar="DIR", help="resume a stopped bench")
    add("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")
    add_columns(parser)
    bases = {name: recipe(base, name) for name, base in BASES.items()}
    add_options(parser, bases, EXCLUDED, {"--data": "another copy of the reviews: official, or PATH"})
    parser.set_defaults(config=None)
    return parser


if __name__ == "__main__":
    launch(main)
