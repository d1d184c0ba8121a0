"""Serve a finished run over HTTP: predictions, explanations, files and a page.

python -m tasks.serve RUN
python -m tasks.serve latest --port 0 --min-probability 0.9
"""

from __future__ import annotations

import importlib.util
import math

from core.errors import UserError
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact, launch
from tasks.cli.recipes import TASK_RECIPES
from tasks.cli.terminal import warning
from tasks.run.latest import named_run
from tasks.run.predict_options import PredictOptions, check_minimum

PROGRAM = "tasks.serve"
TASKS = tuple(own for own in TASK_RECIPES if own not in ("pretrain", "translate"))
"""Tasks whose runs can be served."""
PACKAGES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
"""Modules that a server needs, and the packages that provide them."""
HOST, PORT, MEGABYTES, SECONDS = "127.0.0.1", 8000, 5.0, 10.0


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    check_packages()
    check_minimum(arguments.min_probability)
    if not (math.isfinite(arguments.max_request) and arguments.max_request > 0):
        raise UserError(f"--max-request {arguments.max_request:g}: give a positive number of megabytes")
    if not (math.isfinite(arguments.timeout) and arguments.timeout > 0):
        raise UserError(f"--timeout {arguments.timeout:g}: give a positive number of seconds")
    # Imported here: they import the packages.
    from tasks.serve.application import Server, application
    from tasks.serve.limits import Limits
    from tasks.serve.served_run import ServedRun
    from tasks.serve.server import is_local, listen, serve

    wanted = PredictOptions(calibrate=arguments.calibrate, minimum=arguments.min_probability)
    run = named_run(arguments.run, TASKS)
    served = ServedRun.open(run, wanted)
    limits = Limits(int(arguments.max_request * 1e6), arguments.timeout)
    listener = listen(arguments.host, arguments.port)
    server = Server(served)
    app = application(server, limits)
    served.answers(["warm up"])  # compiles patterns, loads a dictionary
    own = served.description
    fact("run", f"{run}: {own['model']}, predicts {own['predicts']}; computed by {own['evaluator']}")
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    fact("address", f"http://{host}:{listener.getsockname()[1]} (Ctrl-C ends it)")
    if not is_local(arguments.host):
        warning("every machine that reaches this address can use it: there is no authentication, and no encryption")
    serve(app, listener, limits, server.batcher.close)
    fact("ended", "by a signal")
    return 0


def check_packages() -> None:
    """Raise UserError if a package that a server needs is missing."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        names = " ".join(missing)
        raise UserError(f"serving needs {' and '.join(missing)}, not installed here; run: pip install {names}")


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Serve a finished classifier or tagger over HTTP, with a page at /: POST /predict and /explain, GET"
        " /health and /metrics. It needs no framework. See docs/serving.md.",
        epilog="Ctrl-C and SIGTERM end the server after the running requests are answered, with exit code 0.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or latest")
    parser.add_argument("--host", metavar="H", default=HOST, help=f"address to listen on [{HOST}: this machine only]")
    parser.add_argument("--port", metavar="N", type=int, default=PORT, help=f"port; 0: any free one [{PORT}]")
    text = f"largest body of a request, in megabytes [{MEGABYTES:g}]"
    parser.add_argument("--max-request", metavar="MB", type=float, default=MEGABYTES, help=text)
    text = f"seconds to receive a request [{SECONDS:g}]"
    parser.add_argument("--timeout", metavar="S", type=float, default=SECONDS, help=text)
    parser.add_argument("--calibrate", action="store_true", help="probabilities calibrated on the run's dev texts")
    text = "answer ? below this calibrated probability"
    parser.add_argument("--min-probability", metavar="P", type=float, help=text)
    return parser


if __name__ == "__main__":
    launch(main)
