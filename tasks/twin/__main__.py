"""Compare a PaddlePaddle model with a PyTorch model, and name the first difference and its likely cause.

python -m tasks.twin mine_torch.py:Model mine_paddle.py:Model --input ids=int[4,9]:50
python -m tasks.twin mine_torch.py:Model mine_paddle.py:Model --input x=float[4,9] --steps 10 --html twin.html
python -m tasks.twin mine_torch.py:Model --input ids=int[4,9]:50 --record torch.safetensors
python -m tasks.twin torch.safetensors mine_paddle.py:Model
"""

from __future__ import annotations

from core.files import write_json_atomic, write_text_atomic
from core.report.twin import page
from core.twin.contract import Side
from core.twin.failing import in_one_line
from tasks.cli.commands import program_command
from tasks.cli.console import console, errors, fact, launch
from tasks.cli.terminal import literal
from tasks.cli.user_files import UserFiles
from tasks.twin.arguments import Request, parse
from tasks.twin.compare import compare, finite
from tasks.twin.models import Loaded, check_call, convert, function, load, load_weights
from tasks.twin.progress import TwinProgress
from tasks.twin.record import batches_of, record
from tasks.twin.table import print_verdict


def main(argv: list[str]) -> int:
    files = UserFiles()
    request = parse(argv)
    try:
        return _run(request, files)
    except Exception as error:  # the user's code can raise any exception
        trace = files.trace(error)
        if not trace:
            line = in_one_line(error)
            if line is None:
                raise
            raise line from None
        errors.print(trace, markup=False, end="")
        return 2


def _run(request: Request, files: UserFiles) -> int:
    models = [load(where, files, request.seed) for where in request.models]
    if request.weights:
        load_weights(models[0], request.weights)
    if request.convert:
        convert(models[0], models[1], request.convert, files)
    losses = [function(where, files, "--loss") for where in request.losses]
    optimizers = [function(where, files, "--optimizer") for where in request.optimizers]
    sides = [own.side(*functions) for own, *functions in zip(models, losses, optimizers, strict=True)]
    if request.record is not None:
        return _record(request, models[0], sides[0])
    with TwinProgress() as progress:
        verdict = compare(models, sides, request, progress)
    print_verdict(verdict)
    if request.json is not None:
        write_json_atomic(request.json, finite(verdict.as_json()))
        fact("json", str(request.json))
    if request.html is not None:
        write_text_atomic(request.html, page(verdict))
        fact("page", str(request.html))
    return 0 if verdict.same else 1


def _record(request: Request, model: Loaded, side: Side) -> int:
    assert request.record is not None
    batches = batches_of(request)
    check_call(model, batches[0])
    with TwinProgress() as progress:
        found = record(side, request, batches, request.record, progress)
    for own in found.recordings:
        outputs = ", ".join(f"{name}{' ' * bool(name)}{list(array.shape)}" for name, array in own.outputs.items())
        loss = "no loss" if own.loss is None else f"loss {own.loss:.6g}"
        fact(own.mode, f"{own.dtype}, {len(own.calls)} calls of modules, outputs {outputs}, {loss}", 10)
    for text in dict.fromkeys(text for own in found.recordings for text in own.notes):
        console.print(f"[yellow]note:[/] {literal(text)}")
    if found.steps:
        fact("training", f"{len(found.steps)} steps, last loss {found.steps[-1].loss:.6g}", 10)
    fact("written", f"{request.record} ({request.record.stat().st_size:,} bytes)", 10)
    fact("next", f"{program_command('tasks.twin')} {request.record} FILE:MODEL", 10, command=True)
    return 0


if __name__ == "__main__":
    launch(main)
